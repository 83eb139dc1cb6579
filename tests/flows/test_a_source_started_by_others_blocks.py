"""A start of the source by anybody else makes every copy stale: the move ends BLOCKED, and nothing is ever started on the target."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.model import labels
from migrate.model.migration import OnFailure
from migrate.model.report import Outcome
from migrate.workflow.run import Ending
from tests.flows.conftest import Begin
from tests.flows.flow import Flow

MOMENTS = [
    ("publish-disks", ""),
    ("import-disks", "Importing"),
    ("create-target", ""),
    ("verify-disks", "ProofToBegin"),
    ("start-target", "NotStarted"),
]


MARKS_A_CLAIM = {
    *("east: create leases", "east: delete leases", "east: patch virtualmachines"),
    *("west: create leases", "west: delete leases"),
    *("west: patch virtualmachines", "west: patch datavolumes", "west: patch configmaps"),
}
"""What a run writes that takes the claim, stops, and gives the claim up."""


def essence(vm: dict[str, Any] | None) -> object:
    """Return all of a VM that a claim does not change."""
    notes = dict(vm["metadata"].get("annotations") or {}) if vm is not None else {}
    notes.pop(labels.CLAIM, None)
    return vm and (vm["spec"], vm["metadata"]["generation"], notes)


def start(flow: Flow) -> None:
    """Start the source as somebody else would, and see it run."""
    flow.set_strategy("Always")
    flow.until(flow.runs, what="the start of the source")


def start_and_stop(flow: Flow) -> None:
    """Start the source and stop it again; nobody looks in between."""
    start(flow)
    flow.set_strategy("Halted")
    flow.until(lambda: flow.instance() is None, what="the stop of the source")


def blocked(flow: Flow, ending: Ending) -> str:
    """Check how it ended, on both sides, and return what was said."""
    assert ending.error is not None
    assert (ending.report.outcome, getattr(ending.error, "exit_code", None)) == (Outcome.BLOCKED, 3)
    assert flow.instance("west") is None
    target = flow.vm("west")
    assert target is None or target["spec"]["runStrategy"] == "Halted"
    return " ".join(f"{problem.what} {problem.why} {problem.now}" for problem in ending.report.problems)


@pytest.mark.parametrize(
    ("step", "reason"), [MOMENTS[1], *(pytest.param(*moment, marks=pytest.mark.slow) for moment in (MOMENTS[0], *MOMENTS[2:]))]
)
def test_started_in_the_middle(begin: Begin, step: str, reason: str) -> None:
    """Whenever it is started, the run ends BLOCKED with the copies named, the target stays down, and the source is left running."""
    flow = begin(disks=("root", "data"))
    flow.when(step, reason, lambda: start(flow))
    said = blocked(flow, flow.move())
    assert flow.runs()
    if step != "publish-disks":
        assert f"{flow.name}-root" in said
    if step not in ("publish-disks", "import-disks"):
        assert f"{flow.name}-data" in said


@pytest.mark.parametrize(
    ("step", "reason"), [MOMENTS[0], MOMENTS[4], *(pytest.param(*moment, marks=pytest.mark.slow) for moment in MOMENTS[1:4])]
)
def test_started_and_stopped_between_two_looks(begin: Begin, step: str, reason: str) -> None:
    """Halted again when we look, it is not as we left it: BLOCKED all the same, and so is every later run, which touches neither VM."""
    flow = begin(disks=("root", "data"))
    flow.when(step, reason, lambda: start_and_stop(flow))
    said = blocked(flow, flow.move())
    if step == "start-target":
        assert f"{flow.name}-root" in said
        assert f"{flow.name}-data" in said
    before = [essence(flow.vm(side)) for side in ("east", "west")]
    written = flow.writes(lambda: blocked(flow, flow.move()))
    assert {line.partition("/")[0] for line in written} <= MARKS_A_CLAIM, written
    assert [essence(flow.vm(side)) for side in ("east", "west")] == before


def test_undo_is_refused_nothing_by_a_start(begin: Begin) -> None:
    """With --on-failure undo the copies are removed, and the running source stays as its owner wants it."""
    flow = begin(on_failure=OnFailure.UNDO)
    flow.when("import-disks", "", lambda: start(flow))
    ending = flow.move()
    assert getattr(ending.error, "exit_code", None) == 3
    assert ending.report.outcome is Outcome.UNDONE
    assert flow.runs()
    vm = flow.vm()
    assert vm is not None
    assert vm["spec"]["runStrategy"] == "Always"
    assert not [note for note in vm["metadata"].get("annotations") or {} if note.startswith("kubevirt-migrate.io/")]
    assert flow.vm("west") is None
    assert ("west", "shop", f"{flow.name}-root") not in flow.lab.disks()
