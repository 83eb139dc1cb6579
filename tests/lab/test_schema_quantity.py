"""Quantities are exact, and spelt as the server spells them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.lab import quantity

spelt = st.builds(
    lambda number, suffix: f"{number}{suffix}", st.integers(0, 10**6), st.sampled_from(["", "k", "M", "G", "m", "Ki", "Mi", "Gi", "Ti"])
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1024Mi", "1Gi"),
        ("1Gi", "1Gi"),
        ("1073741824", "1073741824"),
        ("0.5", "500m"),
        ("1500m", "1500m"),
        ("2000m", "2"),
        ("1e3", "1e3"),
        ("1000", "1k"),
        ("1.5Gi", "1536Mi"),
        ("0", "0"),
        ("0Gi", "0"),
        ("512Ki", "512Ki"),
        ("100E", "100E"),
        ("-1000", "-1k"),
        (5, "5"),
    ],
)
def test_canonical_spelling(text: str | int, canonical: str) -> None:
    """The largest suffix of the same family that leaves a whole number."""
    assert quantity.canonical(text) == canonical


@given(spelt)
def test_canonical_spelling_keeps_the_value_and_stays(text: str) -> None:
    """Respelling changes nothing but the text, and respelling again changes nothing at all."""
    once = quantity.canonical(text)
    assert quantity.value(once) == quantity.value(text)
    assert quantity.canonical(once) == once


@given(spelt, spelt)
def test_sums_and_differences_are_exact(first: str, second: str) -> None:
    """Adding and taking away again leads back."""
    total = quantity.plus(first, second)
    assert quantity.value(total) == quantity.value(first) + quantity.value(second)
    assert quantity.value(quantity.plus(total, second, minus=True)) == quantity.value(first)


def test_sum_keeps_the_family_of_the_first_that_counts() -> None:
    """Gi plus Gi is Gi; nothing plus Gi is Gi."""
    assert quantity.plus("5Gi", "5Gi") == "10Gi"
    assert quantity.plus("0", "1536Mi") == "1536Mi"
    assert quantity.value("1Mi") == Fraction(1048576)


@pytest.mark.parametrize("text", ["", "Gi", "1GB", "1 Gi", "x", "1e", ".", "--1"])
def test_other_text_is_no_quantity(text: str) -> None:
    """Everything else is refused with the server's words."""
    with pytest.raises(ValueError, match="quantities must match"):
        quantity.value(text)
