"""What the same words mean once a record is closed: finished, undone, asked anew."""

from __future__ import annotations

import pytest

from migrate.kube.kinds import DATAVOLUME, VM
from migrate.model import labels
from migrate.model.errors import Blocked
from migrate.model.migration import OnFailure, Start
from migrate.model.report import Outcome
from migrate.workflow.run import Ending
from tests.flows.conftest import Begin
from tests.flows.flow import interrupt

pytestmark = pytest.mark.slow


def test_a_finished_move_that_was_not_started_can_be_taken_back(begin: Begin) -> None:
    """Nobody watched the target since, so undo refuses and writes to neither VM; told to all the same, it brings the source back."""
    flow = begin(start=Start.NEVER)
    flow.move()
    assert flow.undo().report.outcome is Outcome.BLOCKED
    assert flow.vm("west") is not None
    assert not flow.runs()
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    flow.until(flow.runs)
    assert flow.vm("west") is None
    vm = flow.vm()
    assert vm is not None
    assert not [note for note in vm["metadata"].get("annotations") or {} if note.startswith(labels.PREFIX)]


def test_after_an_undo_the_same_command_asks_for_again(begin: Begin) -> None:
    """It is no success: nothing was moved. It ends blocked, names --again, and writes nothing."""
    flow = begin(start=Start.NEVER)
    flow.when("import-disks", "", interrupt)
    flow.move()
    flow.undo()
    endings: list[Ending] = []
    assert flow.writes(lambda: endings.append(flow.move())) == []
    (ending,) = endings
    assert isinstance(ending.error, Blocked)
    assert "--again" in ending.report.problems[0].now
    assert ending.report.outcome is Outcome.UNDONE


def test_again_after_a_finished_move(begin: Begin) -> None:
    """With the target removed by its owner, --again moves the halted source once more; it is a new attempt with a record of its own."""
    flow = begin(start=Start.NEVER)
    first = flow.move().report
    flow.west.delete(VM, flow.name)
    flow.until(lambda: flow.vm("west") is None)
    flow.west.delete(DATAVOLUME, f"{flow.name}-root")
    flow.until(lambda: ("west", "shop", f"{flow.name}-root") not in flow.lab.disks())
    again = flow.move(again=True)
    assert again.report.problems == ()
    assert (again.report.outcome, again.report.attempt) == (Outcome.MOVED, 2)
    assert again.report.migration != first.migration
    assert flow.unequal() == []


def test_on_failure_undo_writes_nothing_before_anything_began(begin: Begin) -> None:
    """A move that the check refuses has nothing to take back: not even the claim is written."""
    flow = begin(to="nowhere", on_failure=OnFailure.UNDO)
    endings: list[Ending] = []
    assert flow.writes(lambda: endings.append(flow.move())) == []
    assert endings[0].report.outcome is Outcome.BLOCKED
