"""Killed before any of its writes and again after it, each on a VM of its own, a move that is asked for again ends as if nobody had."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from migrate.lab.up import Lab
from migrate.model.migration import References
from tests.flows import matrix
from tests.flows.crash import Story

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Tell = Callable[[str, str], None]


@pytest.mark.parametrize("playbook", matrix.PLAYBOOKS)
def test_every_write_of_a_move(lab: Lab, record_property: Tell, playbook: str) -> None:
    """Before it arrives, then carried out but unanswered: clusters and bytes are as after a clean run, a last run writes nothing."""
    story = Story(matrix.moved, playbook=playbook)
    assert matrix.run(lab, f"{playbook}, writes", story, choose=matrix.writes, tell=record_property, deaths=2) == []


@pytest.mark.parametrize("verb", ["move", "undo"])
def test_every_write_that_carries_references(lab: Lab, record_property: Tell, verb: str) -> None:
    """Copies are made once, what is replaced is kept as it was at first, and an undo brings back just that, however often a run dies."""
    deed, before = (matrix.undo, matrix.unfinished) if verb == "undo" else (matrix.moved, lambda _: None)
    story = Story(deed, before=before, options={"references": References.REPLACE}, alter=matrix.naming)
    assert matrix.run(lab, f"references, {verb}", story, choose=matrix.carrying, tell=record_property, deaths=12) == []
