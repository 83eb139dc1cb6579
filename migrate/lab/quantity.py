"""Resource quantities (`1Gi`, `500m`, `1e3`): exact value, and the one spelling in which the API server writes them back."""

from __future__ import annotations

import re
from fractions import Fraction

_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_FORM = re.compile(r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]+)?")
PROBLEM = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def value(text: str | int) -> Fraction:
    """Return the exact number that a quantity stands for. Raise ValueError with the server's words when it is none."""
    found = _FORM.fullmatch(str(text))
    if found is None:
        raise ValueError(PROBLEM)
    sign, digits, suffix = found.group(1), found.group(2), found.group(3) or ""
    number = Fraction(digits.rstrip(".") if digits != "." else "0")
    if suffix in _BINARY:
        number *= 1024 ** _BINARY[suffix]
    elif suffix in _DECIMAL:
        number *= Fraction(10) ** _DECIMAL[suffix]
    else:
        number *= Fraction(10) ** int(suffix[1:])
    return -number if sign == "-" else number


def canonical(text: str | int) -> str:
    """Return the spelling that the server stores: the largest suffix of the same family that leaves a whole number."""
    spelled = str(text)
    number = value(spelled)
    if spelled.endswith("i"):
        return _binary(number)
    found = _FORM.fullmatch(spelled)
    exponent = bool(found and found.group(3) and found.group(3)[0] in "eE" and len(found.group(3)) > 1)
    return _decimal(number, exponent=exponent)


def plus(first: str | int, second: str | int, *, minus: bool = False) -> str:
    """Return the sum (or difference) of two quantities, in the family (binary or decimal suffixes) of the first that is not 0."""
    total = value(first) - value(second) if minus else value(first) + value(second)
    family = first if value(first) else second
    return _binary(total) if str(family).endswith("i") else _decimal(total, exponent=False)


def _binary(number: Fraction) -> str:
    if number.denominator != 1 or abs(number) < 1024:
        return _decimal(number, exponent=False)
    whole, power = int(number), 0
    while power < 6 and whole % 1024 == 0 and whole:
        whole //= 1024
        power += 1
    suffix = next((name for name, exponent in _BINARY.items() if exponent == power), "")
    return f"{whole}{suffix}"


def _decimal(number: Fraction, *, exponent: bool) -> str:
    if number == 0:
        return "0"
    steps = number * 10**9
    whole = -(-steps.numerator // steps.denominator)  # finer than nano is rounded up
    power = -9
    while power < 18 and whole % 1000 == 0:
        whole //= 1000
        power += 3
    if exponent:
        return f"{whole}e{power}" if power else str(whole)
    suffix = next(name for name, ten in _DECIMAL.items() if ten == power)
    return f"{whole}{suffix}"
