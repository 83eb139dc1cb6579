"""Durations and times as Go and Kubernetes write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def duration(text: str) -> timedelta:
    """Return the duration that a word like `2h30m0s` stands for. Raises ValueError."""
    body = text.lstrip("+-") if text[:1] in "+-" else text
    parts = _PART.findall(body)
    if body != "0" and (not parts or "".join(number + unit for number, unit in parts) != body):
        raise ValueError(f"time: invalid duration {text!r}")
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    return timedelta(seconds=-seconds if text.startswith("-") else seconds)


def moment(text: str) -> datetime:
    """Return the time that an RFC 3339 word stands for. Raises ValueError."""
    return datetime.fromisoformat(text)


def stamp(when: datetime) -> str:
    """Return a time as Kubernetes writes it: UTC, whole seconds."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
