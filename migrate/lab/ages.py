"""How long ago something was, in kubectl's short words."""

from __future__ import annotations

from datetime import datetime

UNKNOWN = "<unknown>"


def moment(text: str) -> datetime:
    """Read a timestamp of the API (RFC 3339, with or without fractions)."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def since(text: str | None, now: datetime) -> str:
    """Return the age of a timestamp, `<unknown>` when there is none."""
    return human((now - moment(text)).total_seconds()) if text else UNKNOWN


def human(seconds: float) -> str:
    """Return a duration with two or three significant digits: 45s, 2m30s, 12m, 5h7m, 3d4h, 400d, 2y30d."""
    if seconds < -1:
        return "<invalid>"
    whole = max(int(seconds), 0)
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        return _pair(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return _pair(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    years = days // 365
    return _pair(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def _pair(first: int, unit: str, second: int, small: str) -> str:
    return f"{first}{unit}{second}{small}" if second else f"{first}{unit}"
