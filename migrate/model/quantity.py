"""Kubernetes quantities read exactly, and bytes, rates and times written for people.

A disk that is one byte short is a lost disk, so nothing here goes through a float.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal

MIB = 1024**2

_BINARY = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4, "Pi": 1024**5, "Ei": 1024**6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_QUANTITY = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?\d{1,3}))?", re.ASCII)
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(h|ms|m|s)", re.ASCII)
_SECONDS = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
_EXACT = Context(prec=2000, Emax=MAX_EMAX, Emin=MIN_EMIN)


def parse(text: str | int) -> Decimal:
    """Return the exact value of a quantity such as `10Gi`, `1.5`, `500m`, `12e6`. Raises ValueError.

    Grammar of k8s.io/apimachinery: a signed decimal number, then a binary suffix, a decimal suffix, or an exponent.
    """
    if isinstance(text, int):
        return Decimal(text)
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}" is not a quantity')
    sign, digits, binary, decimal, exponent = found.groups()
    number = Decimal(sign + digits)
    if binary:
        return _EXACT.multiply(number, Decimal(_BINARY[binary]))
    return _EXACT.scaleb(number, int(exponent) if exponent else _DECIMAL[decimal or ""])


def to_bytes(text: str | int) -> int:
    """Return a quantity as whole bytes, rounded up as Kubernetes does. Raises ValueError."""
    return math.ceil(parse(text))


def human(size_bytes: float | Decimal) -> str:
    """Write a size for people: `512 B`, `1.5 GiB`."""
    value, unit = float(size_bytes), "B"
    if abs(value) < 1024:
        return f"{value:.0f} B"
    for bigger in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        value, unit = value / 1024, bigger
        if abs(value) < 1023.95:
            break
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def human_rate(bytes_per_second: float) -> str:
    """Write a pace for people: `85.3 MiB/s`."""
    return f"{human(bytes_per_second)}/s"


def human_duration(span: timedelta | float) -> str:
    """Write a time (a timedelta or seconds) for people, in its two largest units: `42 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`."""
    seconds = span.total_seconds() if isinstance(span, timedelta) else float(span)
    if seconds < 0:
        return "-" + human_duration(-seconds)
    if 0 < seconds < 10:
        text = f"{seconds:.1f}".removesuffix(".0")
        return "10 s" if text == "10" else f"{text} s"
    whole = round(seconds)
    for size, unit, smaller_size, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            count, rest = divmod(whole, size)
            part = rest // smaller_size
            return f"{count} {unit} {part} {smaller}" if part else f"{count} {unit}"
    return f"{whole} s"


def to_duration(text: str) -> timedelta | None:
    """Read a duration as Go writes it: 1h30m0s, 1.5h, 90s; None for anything else."""
    parts = _PART.findall(text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text:
        return None
    return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
