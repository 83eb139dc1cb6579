"""Once a guest may have written to the copies, none is filled again, and no undo takes them that was not told to; a target that somebody
else started is left alone.
"""

from __future__ import annotations

import copy

import pytest

from migrate.kube.kinds import DATAVOLUME, POD, PVC, VM, VMI
from migrate.model import labels
from migrate.model.migration import Start
from migrate.model.objects import uid_of
from migrate.model.report import Outcome, Report
from migrate.reading.started import started_of
from tests.flows.conftest import Begin
from tests.flows.flow import Flow, interrupt
from tests.machines import machine, user_pod


def started_then_cut(flow: Flow) -> None:
    """Let a run start the target, and end before it marks the source as moved."""
    flow.when("release-source", "NotReleased", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    flow.until(lambda: flow.runs("west"))


def delete_target(flow: Flow) -> None:
    """Delete the VM and leave its disks."""
    flow.west.delete(VM, flow.target.name)
    flow.until(lambda: flow.vm("west") is None and flow.instance("west") is None)


def start_target(flow: Flow) -> None:
    """Start the target as its owner would, without us."""
    flow.set_strategy("Always", "west")
    flow.until(lambda: flow.runs("west"))


def stopped(flow: Flow, reason: str) -> Report:
    """Ask again, and see that it stops for this reason without a write to anything that a guest uses."""
    report = flow.move().report
    assert (report.outcome, report.reason) == (Outcome.BLOCKED, reason)
    return report


def test_disks_outlive_their_vm(begin: Begin) -> None:
    """We started it, its VM was deleted, its disks were not: neither a plain undo nor the same command touches them."""
    flow = begin()
    started_then_cut(flow)
    before = uid_of(flow.west.get(PVC, f"{flow.name}-root") or {})
    delete_target(flow)
    report = stopped(flow, "TargetLost")
    assert f"VM {flow.target} is not there any more" in report.problems[0].what
    assert "--even-if-started" in report.problems[0].now
    assert flow.vm("west") is None
    refused = flow.undo().report
    assert (refused.outcome, refused.reason) == (Outcome.BLOCKED, "TargetStarted")
    assert uid_of(flow.west.get(PVC, f"{flow.name}-root") or {}) == before
    assert not flow.runs()
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    flow.until(flow.runs)


@pytest.mark.slow
def test_a_way_back_that_is_cut_forgets_no_start(begin: Begin) -> None:
    """Told to go back all the same, it ends before the disks are deleted: they still say that a guest wrote to them."""
    flow = begin()
    started_then_cut(flow)
    pod = user_pod(flow.name, f"{flow.name}-root")
    flow.until(lambda: flow.runs("west"))
    flow.west.create(pod)
    ending = flow.undo(even_if_started=True)
    assert ending.report.reason == "DiskInUse", ending.report
    assert started_of(flow.west.get(DATAVOLUME, f"{flow.name}-root")) is not None
    stopped(flow, "TargetLost")
    assert flow.undo().report.reason == "TargetStarted"
    flow.west.delete(POD, f"{flow.name}-user")
    flow.until(lambda: flow.west.get(POD, f"{flow.name}-user") is None)
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    flow.until(flow.runs)


@pytest.mark.slow
def test_a_lost_disk_is_not_filled_from_the_halted_source(begin: Begin) -> None:
    """A guest would start on one disk of now and one of then."""
    flow = begin(disks=("root", "data"))
    started_then_cut(flow)
    flow.west.delete(DATAVOLUME, f"{flow.name}-data")
    flow.west.delete(VMI, flow.target.name)
    flow.until(lambda: flow.west.get(PVC, f"{flow.name}-data") is None)
    report = stopped(flow, "TargetLost")
    assert f"disk {flow.name}-data is not there any more" in report.problems[0].what
    assert flow.west.get(DATAVOLUME, f"{flow.name}-data") is None
    assert not flow.runs("west")


@pytest.mark.slow
def test_a_claim_that_was_filled_again_is_another(begin: Begin) -> None:
    """CDI fills another claim while the DataVolume stays: that one the guest never saw."""
    flow = begin(disks=("root", "data"))
    started_then_cut(flow)
    was = uid_of(flow.west.get(PVC, f"{flow.name}-data") or {})
    flow.set_strategy("Halted", "west")
    flow.until(lambda: flow.instance("west") is None)
    flow.west.delete(PVC, f"{flow.name}-data")
    flow.until(lambda: uid_of(flow.west.get(PVC, f"{flow.name}-data") or {"metadata": {"uid": was}}) != was)
    report = stopped(flow, "TargetLost")
    assert f"the claim of disk {flow.name}-data is gone, or is another one" in report.problems[0].what


@pytest.mark.parametrize("when", [("verify-disks", "Proven"), pytest.param(("clean-up", ""), marks=pytest.mark.slow)])
def test_a_target_that_its_owner_started(begin: Begin, when: tuple[str, str]) -> None:
    """With `--start never` it is left running, its disks say so, and nothing takes it back without being told to."""
    flow = begin(start=Start.NEVER)
    flow.when(*when, lambda: start_target(flow))
    flow.when("release-source", "NotReleased", interrupt)
    flow.move()
    assert flow.move().report.outcome in (Outcome.MOVED, Outcome.NOTHING_LEFT)
    flow.lab.clock.sleep(10)
    assert flow.runs("west")
    assert (flow.vm("west") or {})["spec"]["runStrategy"] == "Always"
    refused = flow.undo().report
    assert (refused.outcome, refused.reason) == (Outcome.BLOCKED, "TargetStarted")
    assert flow.runs("west")


@pytest.mark.slow
def test_a_start_by_its_owner_is_noted(begin: Begin) -> None:
    """Even when it is stopped again and its VM deleted, its disks say that a guest wrote to them."""
    flow = begin(start=Start.NEVER)
    flow.when("verify-disks", "Proven", lambda: start_target(flow))
    flow.when("release-source", "NotReleased", interrupt)
    flow.move()
    assert started_of(flow.west.get(DATAVOLUME, f"{flow.name}-root")) is not None
    delete_target(flow)
    assert flow.undo().report.reason == "TargetStarted"
    assert flow.west.get(DATAVOLUME, f"{flow.name}-root") is not None


def test_a_move_that_is_cut_before_the_start_can_be_undone(begin: Begin) -> None:
    """The note on the disks comes before the start; a target that nobody started is still taken back."""
    flow = begin()
    flow.when("start-target", "NotStarted", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    assert started_of(flow.west.get(DATAVOLUME, f"{flow.name}-root")) is not None
    assert flow.undo().report.outcome is Outcome.UNDONE
    flow.until(flow.runs)


@pytest.mark.slow
def test_disks_of_a_copy_outlive_their_vm(begin: Begin) -> None:
    """A finished copy was started by its owner, unwatched, and its VM was deleted: the same command says so, and no plain undo takes its
    disks."""
    flow = begin(strategy="Halted", playbook="snapshot-copy")
    assert flow.move().report.outcome is Outcome.COPIED
    start_target(flow)
    delete_target(flow)
    report = stopped(flow, "TargetLost")
    told = f"migrate undo {flow.source} {flow.target} --method snapshot --even-if-started"
    assert told in report.problems[0].now
    assert [line for line in report.now if "migrate undo" in line and told not in line] == []
    refused = flow.undo().report
    assert (refused.outcome, refused.reason) == (Outcome.BLOCKED, "TargetStarted")
    assert flow.west.get(DATAVOLUME, f"{flow.name}-root") is not None
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    assert flow.west.get(DATAVOLUME, f"{flow.name}-root") is None


def left_unfinished(begin: Begin) -> Flow:
    """Let a run make the target and leave it halted, as it was told to, and end before it marks the source as moved."""
    flow = begin(start=Start.NEVER)
    flow.when("release-source", "NotReleased", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    return flow


def test_a_target_vm_that_somebody_deleted(begin: Begin) -> None:
    """Nobody saw it run, but somebody started it, and deleted the VM: its disks are left alone, and it is not made anew on them."""
    flow = left_unfinished(begin)
    start_target(flow)
    delete_target(flow)
    report = stopped(flow, "TargetLost")
    assert "somebody deleted the VM" in report.problems[0].why
    assert [line for line in report.now if "--even-if-started" in line]
    assert flow.vm("west") is None
    refused = flow.undo().report
    assert (refused.outcome, refused.reason) == (Outcome.BLOCKED, "TargetStarted")
    assert flow.west.get(DATAVOLUME, f"{flow.name}-root") is not None
    assert not flow.runs()
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    flow.until(flow.runs)


@pytest.mark.slow
@pytest.mark.parametrize("told", [False, True])
def test_a_target_vm_that_an_undo_deleted(begin: Begin, told: bool) -> None:
    """The undo was cut after that: its own deletion is no sign of a start, so the same undo goes on, and so does the move; a VM that the
    move made anew is noted like the first."""
    for back in (True, False):
        flow = left_unfinished(begin)
        flow.when("import-disks", "", interrupt)
        assert flow.undo(even_if_started=told).report.outcome is Outcome.INTERRUPTED
        assert flow.vm("west") is None
        if back:
            assert flow.undo().report.outcome is Outcome.UNDONE
            flow.until(flow.runs)
            continue
        flow.when("release-source", "NotReleased", interrupt)
        assert flow.move().report.outcome is Outcome.INTERRUPTED
        delete_target(flow)
        assert flow.undo().report.reason == "TargetStarted"


def stranger(flow: Flow) -> None:
    """Have somebody's own VM run under the target's name, on none of our disks."""
    volumes = [{"name": "theirs", "containerDisk": {"image": "quay.io/containerdisks/theirs"}}]
    flow.lab.plant([machine(flow.name, [], volumes=volumes, cluster="west", strategy="Always")])
    flow.until(lambda: flow.runs("west"))


@pytest.mark.slow
@pytest.mark.parametrize("told", [False, True])
def test_a_stranger_took_the_name_before(begin: Begin, told: bool) -> None:
    """The target was never made, so what runs there is nobody that we started: the undo that is named works, and leaves it running."""
    flow = begin()
    flow.when("create-target", "TargetMissing", lambda: stranger(flow))
    report = flow.move().report
    assert (report.outcome, report.reason) == (Outcome.BLOCKED, "NameTaken")
    assert f"go back: migrate undo {flow.source} {flow.target}" in report.now
    assert flow.undo(even_if_started=told).report.outcome is Outcome.UNDONE
    flow.until(flow.runs)
    assert flow.runs("west")
    assert flow.west.get(DATAVOLUME, f"{flow.name}-root") is None


@pytest.mark.slow
def test_a_stranger_took_the_name_after(begin: Begin) -> None:
    """The target was there, and may be what runs now: no undo goes beside it, and none is named that would be refused."""
    flow = begin()
    started_then_cut(flow)
    delete_target(flow)
    flow.west.delete(DATAVOLUME, f"{flow.name}-root")
    flow.until(lambda: flow.west.get(PVC, f"{flow.name}-root") is None)
    stranger(flow)
    for told in (False, True):
        refused = flow.undo(even_if_started=told).report
        assert (refused.outcome, refused.reason) == (Outcome.BLOCKED, "TargetStarted")
        assert "is not ours to stop" in refused.problems[0].what
        assert f"virtctl --context west -n {flow.target.namespace} stop {flow.name}" in refused.problems[0].now
        assert not [line for line in refused.now if "migrate undo" in line]
    assert not flow.runs()


@pytest.mark.slow
@pytest.mark.parametrize("disks", [True, False])
def test_another_machine_in_place_of_the_target(begin: Begin, disks: bool) -> None:
    """It was made anew without our label and runs: it is called another, and the source is not started beside it."""
    flow = begin()
    flow.move()
    remade = copy.deepcopy(flow.vm("west") or {})
    delete_target(flow)
    if not disks:
        flow.west.delete(DATAVOLUME, f"{flow.name}-root")
        flow.until(lambda: flow.west.get(PVC, f"{flow.name}-root") is None)
        remade["spec"]["template"]["spec"]["volumes"] = []
        remade["spec"]["template"]["spec"]["domain"]["devices"]["disks"] = []
    remade.pop("status", None)
    flow.west.create({**remade, "metadata": {"name": flow.target.name, "namespace": flow.target.namespace}})
    flow.until(lambda: flow.runs("west"))
    for even_if_started in (False, True):
        refused = flow.undo(even_if_started=even_if_started).report
        assert (refused.outcome, refused.reason) == (Outcome.BLOCKED, "TargetStarted")
    assert not flow.runs()
    assert flow.runs("west")


@pytest.mark.slow
def test_a_target_vm_that_was_made_again_by_hand(begin: Begin) -> None:
    """With our label it is taken for the target, and the move ends."""
    flow = begin()
    started_then_cut(flow)
    remade = copy.deepcopy(flow.vm("west") or {})
    delete_target(flow)
    remade.pop("status", None)
    marks = {labels.ID: remade["metadata"]["labels"][labels.ID]}
    stopped(flow, "TargetLost")
    flow.west.create({**remade, "metadata": {"name": flow.target.name, "namespace": flow.target.namespace, "labels": marks}})
    flow.until(lambda: flow.runs("west"))
    assert flow.move().report.outcome is Outcome.MOVED
    assert flow.runs("west")
    assert not flow.runs()
