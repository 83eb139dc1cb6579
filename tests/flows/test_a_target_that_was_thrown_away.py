"""A finished move whose target was deleted is not taken for a finished move: it is said, and `undo` clears the way for a new one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, PVC, VM
from migrate.model import labels
from migrate.model.migration import Start
from migrate.model.report import Outcome
from tests.flows.conftest import Begin
from tests.flows.flow import Flow
from tests.flows.test_a_source_started_by_others_blocks import start, start_and_stop


def throw_away(flow: Flow, *, disks: bool = True) -> None:
    """Delete the target as whoever rehearses a move does in the end: VM, record and, unless they are forgotten, disks."""
    flow.west.delete(VM, flow.target.name)
    flow.until(lambda: flow.vm("west") is None and flow.instance("west") is None)
    flow.west.delete(CONFIGMAP, f"migrate-{flow.events[-1].migration}")
    if disks:
        flow.west.delete(DATAVOLUME, f"{flow.name}-root")
        flow.until(lambda: flow.west.get(PVC, f"{flow.name}-root") is None)


def leave(flow: Flow) -> None:
    """Let the source stand as it does."""
    assert not flow.runs()


@pytest.mark.parametrize("since", [start, *(pytest.param(one, marks=pytest.mark.slow) for one in (start_and_stop, leave))])
def test_the_real_move_after_a_rehearsal(begin: Begin, since: Callable[[Flow], object]) -> None:
    """Whatever became of the source since, the same command writes nothing and names `undo`; after that it moves what the source is now."""
    flow = begin()
    assert flow.move().report.outcome is Outcome.MOVED
    throw_away(flow)
    since(flow)
    ran = flow.runs()
    reports = []
    assert flow.writes(lambda: reports.append(flow.move().report)) == []
    (report,) = reports
    assert (report.outcome, report.reason) == (Outcome.BLOCKED, "TargetLost")
    assert "not there any more" in report.problems[0].what
    assert "migrate undo" in report.problems[0].now
    assert flow.runs() == ran
    assert flow.undo().report.outcome is Outcome.UNDONE
    vm = flow.vm()
    assert vm is not None
    assert not [note for note in vm["metadata"].get("annotations") or {} if note.startswith(labels.PREFIX)]
    flow.until(flow.runs)
    ending = flow.move(start=Start.NEVER)
    assert ending.report.outcome is Outcome.MOVED, ending.report
    assert flow.unequal() == []
    assert not flow.runs()


def test_disks_of_a_target_vm_that_was_deleted_are_kept(begin: Begin) -> None:
    """They hold what its guest wrote, so undo refuses as long as it is not told to give that up."""
    flow = begin()
    flow.move()
    throw_away(flow, disks=False)
    assert flow.move().report.outcome is Outcome.BLOCKED
    refused = flow.undo().report
    assert (refused.outcome, refused.reason) == (Outcome.BLOCKED, "TargetStarted")
    assert flow.west.get(DATAVOLUME, f"{flow.name}-root") is not None
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    flow.until(flow.runs)
    assert flow.west.get(DATAVOLUME, f"{flow.name}-root") is None
