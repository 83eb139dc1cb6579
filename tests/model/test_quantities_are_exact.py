"""Quantities are read exactly and rounded up, never through a float."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model.quantity import human, human_duration, human_rate, parse, to_bytes

SUFFIXES = {
    "": Fraction(1),
    **{suffix: Fraction(10) ** power for suffix, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)},
    **{f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1", 1),
        ("1Ki", 1024),
        ("10Gi", 10737418240),
        ("1.5Gi", 1610612736),
        ("1G", 1000000000),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("12e-1", 2),
        ("100m", 1),
        ("1n", 1),
        (".5Ki", 512),
        ("5.", 5),
        ("+3k", 3000),
        ("8Ei", 2**63),
        ("11381663335", 11381663335),
        (7, 7),
    ],
)
def test_bytes(text: str | int, size: int) -> None:
    """Every spelling that Kubernetes takes is read, and a part of a byte is a byte."""
    assert to_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "Gi", "1gi", "1 Gi", "1GiB", "1e", "1e3Gi", "1.2.3", "--1", "٣", "1e9999", "0x10", "1_000", "1\n", "nan", "inf"]
)
def test_what_is_no_quantity(text: str) -> None:
    """Anything else is a ValueError that repeats the text."""
    with pytest.raises(ValueError, match="not a quantity"):
        parse(text)


@given(st.integers(0, 10**25), st.integers(0, 30), st.sampled_from(sorted(SUFFIXES)), st.sampled_from(["", "-", "+"]))
def test_exact(digits: int, places: int, suffix: str, sign: str) -> None:
    """The value is exactly digits, point and suffix, and bytes are its ceiling."""
    text = str(digits)
    if places:
        text = text.rjust(places + 1, "0")
        text = f"{text[:-places]}.{text[-places:]}"
    exact = Fraction(digits, 10**places) * SUFFIXES[suffix] * (-1 if sign == "-" else 1)
    assert Fraction(parse(f"{sign}{text}{suffix}")) == exact
    assert to_bytes(f"{sign}{text}{suffix}") == math.ceil(exact)


@given(st.integers(-(10**6), 10**6), st.integers(-99, 99))
def test_exponents(digits: int, exponent: int) -> None:
    """An exponent of either letter means a power of ten."""
    for letter in "eE":
        assert Fraction(parse(f"{digits}{letter}{exponent}")) == Fraction(digits) * Fraction(10) ** exponent


@given(st.integers(0, 2**63))
def test_plain_bytes_come_back(size: int) -> None:
    """What we write into a DataVolume, a plain number, reads back as itself."""
    assert to_bytes(str(size)) == size


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (2**30, "1 GiB"),
        (2**30 - 1, "1 GiB"),
        (5 * 2**40, "5 TiB"),
        (Decimal(2**20), "1 MiB"),
    ],
)
def test_sizes_for_people(size: int | Decimal, words: str) -> None:
    """Sizes have at most one decimal and never show 1024 of a unit."""
    assert human(size) == words


@given(st.integers(0, 2**63))
def test_sizes_for_people_are_short(size: int) -> None:
    """No size is longer than nine signs or off by more than a twentieth."""
    words = human(size)
    assert len(words) <= 10
    number, unit = words.split()
    power = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].index(unit)
    assert float(number) * 1024**power == pytest.approx(size, rel=0.05, abs=0.5)


def test_rates_for_people() -> None:
    """A pace is a size per second."""
    assert human_rate(85.3 * 2**20) == "85.3 MiB/s"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.04, "0 s"),
        (2.34, "2.3 s"),
        (9.99, "10 s"),
        (42, "42 s"),
        (59.6, "1 min"),
        (185, "3 min 5 s"),
        (7200, "2 h"),
        (7800, "2 h 10 min"),
        (86400 * 3 + 3600 * 4, "3 d 4 h"),
        (-42, "-42 s"),
        (timedelta(minutes=3, seconds=5), "3 min 5 s"),
    ],
)
def test_times_for_people(seconds: float | timedelta, words: str) -> None:
    """Times are told in their two largest units."""
    assert human_duration(seconds) == words
