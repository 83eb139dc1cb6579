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


def throw_away(flow: Flow, *, disks: bool = True, record: bool = False) -> None:
    """Delete the target as whoever rehearses a move does in the end: the VM, unless they are forgotten its disks; rarely the record."""
    flow.west.delete(VM, flow.target.name)
    flow.until(lambda: flow.vm("west") is None and flow.instance("west") is None)
    if record:
        flow.west.delete(CONFIGMAP, f"migrate-{flow.events[-1].migration}")
    if disks:
        flow.west.delete(DATAVOLUME, f"{flow.name}-root")
        flow.until(lambda: flow.west.get(PVC, f"{flow.name}-root") is None)


def leave(flow: Flow) -> None:
    """Let the source stand as it does."""
    assert not flow.runs()


MORE = ((start_and_stop, True), (leave, True), (start, False))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("since", "record"), [(start, True), (leave, False), *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)]
)
def test_the_real_move_after_a_rehearsal(begin: Begin, since: Callable[[Flow], object], record: bool) -> None:
    """Whatever became of the source and of the `record` (deleted or not), the same command writes nothing and names `undo`; after that the
    VM is moved as it is now."""
    flow = begin()
    assert flow.move().report.outcome is Outcome.MOVED
    throw_away(flow, record=record)
    since(flow)
    ran = flow.runs()
    reports = []
    assert flow.writes(lambda: reports.append(flow.move().report)) == []
    (report,) = reports
    assert (report.outcome, report.reason) == (Outcome.BLOCKED, "TargetLost")
    assert "not there any more" in report.problems[0].what
    assert "migrate undo" in report.problems[0].now
    assert not [line for line in report.now if "kubectl" in line or "migrate retire" in line]
    assert flow.runs() == ran
    assert flow.undo().report.outcome is Outcome.UNDONE
    vm = flow.vm()
    assert vm is not None
    assert not [note for note in vm["metadata"].get("annotations") or {} if note.startswith(labels.PREFIX)]
    flow.until(flow.runs)
    ending = flow.move(start=Start.NEVER, again=not record)
    assert ending.report.outcome is Outcome.MOVED, ending.report
    assert flow.unequal() == []
    assert not flow.runs()


@pytest.mark.parametrize("record", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_disks_of_a_target_vm_that_was_deleted_are_kept(begin: Begin, record: bool) -> None:
    """They hold what its guest wrote, so undo refuses as long as it is not told to give that up, and the report says so where it can."""
    flow = begin()
    flow.move()
    throw_away(flow, disks=False, record=record)
    report = flow.move().report
    assert report.outcome is Outcome.BLOCKED
    assert record or [
        line for line in report.now if line.startswith(f"go back: migrate undo {flow.source} {flow.target} --even-if-started")
    ]
    refused = flow.undo().report
    assert (refused.outcome, refused.reason) == (Outcome.BLOCKED, "TargetStarted")
    assert flow.west.get(DATAVOLUME, f"{flow.name}-root") is not None
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    flow.until(flow.runs)
    assert flow.west.get(DATAVOLUME, f"{flow.name}-root") is None


def test_a_report_of_a_finished_move_sees_that_its_target_is_gone(begin: Begin) -> None:
    """`--again` names the way; where somebody took our notes off the source as well, the record still says what is missing."""
    flow = begin(start=Start.NEVER)
    flow.move()
    throw_away(flow)
    ending = flow.move(again=True, start=Start.ALWAYS)
    assert "migrate undo" in " ".join(problem.now for problem in ending.report.problems)
    flow.east.merge(VM, flow.name, {"metadata": {"annotations": {labels.MOVED_TO: None, labels.HALTED_BY: None}}})
    report = flow.move().report
    assert (report.outcome, report.reason) == (Outcome.BLOCKED, "TargetLost")
    assert f"VM {flow.target} is not there any more; disk {flow.name}-root is not there any more" in report.problems[0].what
    assert not [line for line in report.now if "kubectl" in line or "migrate retire" in line]
