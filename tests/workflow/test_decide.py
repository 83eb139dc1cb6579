"""A verdict follows from the observation, the limits and the counts, and from nothing else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from migrate.model.observation import Observation, State
from migrate.steps.base import Limits
from migrate.workflow.decide import Tally, Verdict, decide

ROWS = yaml.safe_load((Path(__file__).parents[1] / "decisions" / "table.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(f"{key}={value}" for key, value in row.items()))
def test_every_row_of_the_table(row: dict[str, object]) -> None:
    """Each row of tests/decisions/table.yaml gives the verdict that it names."""
    limits = Limits(quiet=timedelta(seconds=600), acts=3, blocked=timedelta(seconds=row.get("blocked-limit", 0)))
    tally = Tally(acts=row.get("acts", 0), still_s=row.get("still", 0), blocked_s=row.get("blocked", 0))
    seen = Observation(State(row["state"]), "Reason", "words", patience_s=row.get("patience", 0.0))
    assert decide(seen, limits, tally).value == row["then"]


@given(
    state=st.sampled_from(State),
    acts=st.integers(0, 50),
    still=st.floats(0, 1e6),
    blocked=st.floats(0, 1e6),
)
def test_only_done_advances_and_only_needed_acts(state: State, acts: int, still: float, blocked: float) -> None:
    """Whatever was counted, nothing but DONE advances and nothing but NEEDED acts."""
    verdict = decide(Observation(state, "Reason", "words"), Limits(timedelta(minutes=10), 3), Tally(acts, still, blocked))
    assert (verdict is Verdict.ADVANCE) == (state is State.DONE)
    assert verdict is not Verdict.ACT or state is State.NEEDED
