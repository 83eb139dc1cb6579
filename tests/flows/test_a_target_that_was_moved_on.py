"""A target that was moved on, or is being moved on, is the source of another migration: the first one takes nothing of it away, and offers
no start of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, VM, VMI
from migrate.model import labels
from migrate.model.migration import Start
from migrate.model.objects import annotations_of
from migrate.model.observation import State
from migrate.model.refs import VMRef
from migrate.model.report import Outcome
from tests.flows.conftest import Begin
from tests.flows.flow import Flow, interrupt, status
from tests.flows.test_after_the_move import retire

pytestmark = pytest.mark.slow
Onward = Callable[[Flow], Flow]


@pytest.fixture
def onward() -> Iterator[Onward]:
    """Ask to move the target of a flow on, back to the first cluster, under another name."""
    made: list[Flow] = []

    def ask(flow: Flow) -> Flow:
        on = Flow(flow.lab, flow.name, to_name=f"{flow.name}b", create_namespace=True)
        on.source, on.target = VMRef("west", flow.target.namespace, flow.name), VMRef("east", "onward", on.target.name)
        on.east, on.west = flow.west, flow.east.at("onward")  # its source and its target
        on.login = flow.lab.kubeconfig  # the printed accounts are of one way
        made.append(on)
        return on

    yield ask
    for flow in made:
        flow.west.delete(VM, flow.target.name)


def arrived(begin: Begin) -> Flow:
    """Move a running VM, and see it run there."""
    flow = begin()
    assert flow.move().report.outcome is Outcome.MOVED
    flow.until(lambda: flow.runs("west"))
    return flow


def refused(flow: Flow) -> None:
    """Neither a plain undo nor one that was told to takes anything away, or names an undo that would."""
    for told in (False, True):
        report = flow.undo(even_if_started=told).report
        assert (report.outcome, report.reason) == (Outcome.BLOCKED, "MovedOn"), report
        assert not [line for line in report.now if "migrate undo" in line or "again" in line]
    assert not flow.runs()


def test_what_was_moved_on_is_left_alone(begin: Begin, onward: Onward) -> None:
    """It is told where it went, and nothing to start; an undo of the second move takes the note of it off."""
    flow = arrived(begin)
    on = onward(flow)
    assert on.move().report.outcome is Outcome.MOVED
    refused(flow)
    assert flow.vm("west") is not None
    for report in (flow.move().report, status(flow)):
        assert any(f"/{on.target.namespace}/{on.target.name}" in line for line in report.now), report.now
        assert not [line for line in report.now if "kubectl" in line or "migrate undo" in line]
    assert on.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    assert labels.MOVED_TO not in annotations_of(flow.west.get(CONFIGMAP, f"migrate-{flow.events[0].migration}"))


def test_what_was_moved_on_and_retired_is_known(begin: Begin, onward: Onward) -> None:
    """Its VM is gone, its record still says where it went: nothing is lost, and the first source is not started beside it."""
    flow = arrived(begin)
    on = onward(flow)
    assert on.move().report.outcome is Outcome.MOVED
    assert retire(on).report.outcome is Outcome.RETIRED
    assert (flow.vm("west"), flow.west.get(DATAVOLUME, f"{flow.name}-root")) == (None, None)
    refused(flow)
    report = flow.move().report
    assert (report.outcome, report.problems) == (Outcome.NOTHING_LEFT, ())
    assert any(f"/{on.target.namespace}/{on.target.name}" in line for line in report.now), report.now
    assert not [line for line in report.now if "migrate undo" in line or "migrate retire" in line]
    assert (on.west.get(VMI, on.target.name) or {})["status"]["phase"] == "Running"


def test_what_is_being_moved_on_is_left_alone(begin: Begin, onward: Onward) -> None:
    """Its disks are being compared just now; undone is the second move first, then the first one."""
    flow = arrived(begin)
    on = onward(flow)
    on.when("verify-disks", "", lambda: refused(flow))
    on.when("start-target", "", interrupt)
    assert on.move().report.outcome is Outcome.INTERRUPTED
    refused(flow)
    assert on.undo().report.outcome is Outcome.UNDONE
    flow.until(lambda: flow.runs("west"))
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    flow.until(flow.runs)


def test_what_has_not_arrived_is_not_moved_on(begin: Begin, onward: Onward) -> None:
    """Its disks are not proven, and an undo of its own may take it away."""
    flow = begin()
    flow.when("verify-disks", "", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    report = onward(flow).move().report
    assert (report.outcome, report.reason) == (Outcome.BLOCKED, "CheckFailed")
    assert flow.events[0].migration in report.problems[0].what
    assert flow.undo().report.outcome is Outcome.UNDONE
    flow.until(flow.runs)


def test_a_move_that_lost_its_source_on_the_way_is_known(begin: Begin, onward: Onward) -> None:
    """The machine is up on the third side, and its VM on the second one was deleted before it could be marked: the record tells."""
    flow = arrived(begin)
    on = onward(flow)

    def lose() -> None:
        on.east.delete(VM, on.name)
        flow.until(lambda: on.vm() is None)

    on.when("start-target", State.WAITING, lose)
    assert on.move().report.outcome is Outcome.BLOCKED
    refused(flow)


def test_a_label_that_was_taken_off_hides_nothing(begin: Begin, onward: Onward) -> None:
    """The first move never came to its end, and its VM was cut loose from it and moved on: its disks still say whose they were."""
    flow = begin()
    flow.when("verify-disks", "", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    flow.west.merge(VM, flow.name, {"metadata": {"labels": {labels.ID: None}}})
    on = onward(flow)
    assert on.move(start=Start.ALWAYS).report.outcome is Outcome.MOVED
    assert retire(on).report.outcome is Outcome.RETIRED
    refused(flow)


def test_a_retirement_writes_the_note_that_is_lacking(begin: Begin, onward: Onward) -> None:
    """An undo of the second move was cut, and its source marked again by hand, as its report offers: then only the retired VM knew."""
    flow = arrived(begin)
    on = onward(flow)
    assert on.move(start=Start.NEVER).report.outcome is Outcome.MOVED
    record = f"migrate-{flow.events[0].migration}"
    noted = annotations_of(flow.west.get(CONFIGMAP, record))
    flow.west.merge(CONFIGMAP, record, {"metadata": {"annotations": {labels.HALTED_BY: None, labels.MOVED_TO: None}}})
    assert retire(on).report.outcome is Outcome.RETIRED
    assert annotations_of(flow.west.get(CONFIGMAP, record))[labels.MOVED_TO] == noted[labels.MOVED_TO]
    refused(flow)
