"""`--fence`: whoever starts the halted source gets no guest; undo and unfence give it back as it was."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.kube.kinds import POD, VM
from migrate.model import labels
from migrate.model.errors import Blocked
from migrate.model.objects import annotations_of
from migrate.model.report import Outcome
from migrate.workflow.afterwards import Afterwards
from migrate.workflow.ask import Question
from tests.flows.conftest import Begin
from tests.flows.flow import Flow


def selector(flow: Flow, side: str = "east") -> dict[str, str] | None:
    """Return the node selector of a VM's template."""
    vm = flow.vm(side)
    assert vm is not None
    found: dict[str, str] | None = vm["spec"]["template"]["spec"].get("nodeSelector")
    return found


def stands(flow: Flow) -> dict[str, Any]:
    """Return what an undo has to restore."""
    vm = flow.vm()
    assert vm is not None
    return {"spec": vm["spec"], "notes": vm["metadata"].get("annotations")}


def started(flow: Flow) -> None:
    """Start the source as somebody else would, and see that its guest stays down."""
    flow.set_strategy("Always")
    flow.until(lambda: status_of(flow) == "ErrorUnschedulable", what="the refusal of the scheduler")
    flow.lab.clock.sleep(60)
    assert not flow.runs()
    (launcher,) = [pod for pod in flow.east.list(POD) if pod["metadata"]["name"].startswith(f"virt-launcher-{flow.name}-")]
    assert launcher["status"]["phase"] == "Pending"


def status_of(flow: Flow) -> str:
    return str(((flow.vm() or {}).get("status") or {}).get("printableStatus", ""))


def test_nobody_brings_up_a_fenced_source(begin: Begin) -> None:
    """After the move the target runs without a fence; the source, started by somebody, is Pending, and unfence lets it go."""
    flow = begin(fence=True)
    flow.until(flow.runs)
    report = flow.move().report
    assert (report.outcome, report.source.message) == (
        Outcome.MOVED,
        f"halted since {annotations_of(flow.vm())[labels.HALTED_AT]} and fenced",
    )
    assert flow.runs("west")
    assert selector(flow, "west") is None
    started(flow)
    flow.set_strategy("Halted")
    flow.until(lambda: flow.instance() is None)
    afterwards = Afterwards(Question(flow.source, flow.target), source=flow.east, target=flow.west, clock=flow.lab.clock)
    assert afterwards.unfence(flow.events.append).report.outcome is Outcome.UNFENCED
    assert selector(flow) is None
    assert not [line for line in flow.ours() if "Lease" in line]
    flow.set_strategy("Always")
    flow.until(flow.runs)


@pytest.mark.slow
@pytest.mark.parametrize("own", [None, {"kubernetes.io/os": "linux"}])
@pytest.mark.parametrize("grace_s", [None, 0])
def test_an_undo_takes_the_fence_off(begin: Begin, own: dict[str, str] | None, grace_s: int | None) -> None:
    """Started by somebody in the middle, it is Pending and the move is blocked; undo gives all back as it was."""
    flow = begin(fence=True, strategy="Halted", grace_s=grace_s)
    if own is not None:
        flow.east.merge(VM, flow.name, {"spec": {"template": {"spec": {"nodeSelector": own}}}})
    flow.set_strategy("Always")
    flow.until(flow.runs)
    before = stands(flow)
    flow.when("import-disks", "Importing", lambda: started(flow))
    ending = flow.move()
    assert isinstance(ending.error, Blocked), ending.error
    assert ending.report.problems[0].what.startswith(f"somebody started {flow.name}")
    assert labels.FENCED in (selector(flow) or {})
    assert flow.undo().report.outcome is Outcome.UNDONE
    assert stands(flow) == before
    flow.until(flow.runs)


def test_an_unfinished_move_is_not_unfenced(begin: Begin) -> None:
    """Before the end there is undo; unfence says so."""
    flow = begin(fence=True, disks=())
    with pytest.raises(Blocked, match="not finished"):
        Afterwards(Question(flow.source, flow.target), source=flow.east, target=flow.west, clock=flow.lab.clock)
