"""Rates and remaining times are calm, honest, and start anew when a counter falls back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.cli.pace import WINDOW_S, Pace


def test_a_steady_stream() -> None:
    """A steady stream has its rate, and the rest divided by it as the remaining time."""
    pace = Pace()
    for second in range(60):
        pace.note(second, second * 100)
    assert pace.rate() == pytest.approx(100)
    assert pace.eta_s(10_000) == pytest.approx((10_000 - 5_900) / 100)


def test_unknown_is_said_as_unknown() -> None:
    """One mark, no bytes, or no total give no figure at all."""
    pace = Pace()
    assert (pace.rate(), pace.eta_s(5)) == (None, None)
    pace.note(0, 0)
    assert pace.rate() is None
    pace.note(5, 0)
    assert (pace.rate(), pace.eta_s(5)) == (0, None)
    pace.note(6, 10)
    assert pace.eta_s(None) is None


def test_a_counter_that_falls_back_starts_anew() -> None:
    """An import that starts from zero again shows the rate of the new attempt."""
    pace = Pace()
    pace.note(0, 0)
    pace.note(10, 1000)
    pace.note(12, 0)
    assert pace.rate() is None
    pace.note(14, 20)
    assert pace.rate() == pytest.approx(10)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**12)), max_size=60))
def test_never_negative_and_never_long(steps: list[tuple[float, int]]) -> None:
    """Whatever counts come in, no rate or remaining time is negative, and the window stays bounded in time."""
    pace, at = Pace(), 0.0
    for gap, count in steps:
        at += gap
        pace.note(at, count)
        assert (pace.rate() or 0) >= 0
        assert (pace.eta_s(10**12) or 0) >= 0
        if len(pace.marks) > 2:
            assert at - pace.marks[1][0] < WINDOW_S
