"""A copy is made, and told about, from the snapshot that its disks are of: not from an earlier one, nor from the source as it is now."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.kube.kinds import DATAVOLUME, SECRET, SNAPSHOT, VM
from migrate.model import labels
from migrate.model.migration import Identity, Names, OnFailure, Start, Verify
from migrate.model.observation import State
from migrate.model.report import Outcome
from migrate.model.snapshot import Consistency
from tests.case_files import words_of
from tests.flows.conftest import Begin
from tests.flows.exhibits import secret
from tests.flows.flow import Flow, interrupt

COPY = "snapshot-copy"


@pytest.mark.slow
def test_the_report_is_about_the_snapshot_that_was_copied(begin: Begin) -> None:
    """A run that was cut had taken one, which went; the guest started; the next run took another: that one and its worth are told."""
    flow = begin(strategy="Halted", playbook=COPY)
    flow.when("publish-disks", State.NEEDED, interrupt)
    first = flow.move().report.snapshot
    assert first is not None
    assert first.consistency is Consistency.OFFLINE
    flow.set_strategy("Always")
    flow.until(flow.runs)
    report = flow.move().report
    assert (report.outcome, report.problems) == (Outcome.COPIED, ())
    assert report.snapshot is not None
    noted: dict[str, Any] = flow.west.get(DATAVOLUME, f"{flow.name}-root")["metadata"]["annotations"]  # type: ignore[index]
    assert report.snapshot.uid == noted[labels.SOURCE_GENERATION] != first.uid
    assert report.snapshot.consistency is Consistency.CRASH


@pytest.mark.slow
def test_an_unproven_copy_keeps_it_until_the_vm_is_made(begin: Begin) -> None:
    """With `--verify off` disks want it no more once they are imported, but the VM is made from it: the next run goes on, and ends well."""
    flow = begin(strategy="Halted", playbook=COPY, verify=Verify.OFF)
    flow.when("import-disks", State.DONE, interrupt)
    ending = flow.move()
    assert ending.report.outcome is Outcome.INTERRUPTED
    assert flow.vm("west") is None
    assert any(line.startswith("stays: ") and "snapshot" in line for line in ending.report.now)
    report = flow.move().report
    assert (report.outcome, report.problems) == (Outcome.COPIED, ())
    assert flow.vm("west") is not None
    assert flow.unequal() == []


@pytest.mark.slow
def test_a_copy_that_stays_the_machine_keeps_what_only_the_instance_knew(begin: Begin) -> None:
    """`--identity keep`: MAC and uuid are those that the guest had at the snapshot: no spec names them, and it stopped then."""
    flow = begin(strategy="Always", playbook=COPY, identity=Identity.KEEP)
    flow.until(flow.runs)
    instance = flow.instance()
    assert instance is not None
    flow.when("publish-disks", "", lambda: flow.set_strategy("Halted"))
    flow.when("create-target", "TargetMissing", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    assert flow.vm("west") is None
    flow.until(lambda: flow.instance() is None)
    report = flow.move().report
    assert (report.outcome, report.problems) == (Outcome.COPIED, ())
    domain: dict[str, Any] = flow.vm("west")["spec"]["template"]["spec"]["domain"]  # type: ignore[index]
    macs = [card["mac"] for card in instance["status"]["interfaces"]]
    assert [card.get("macAddress") for card in domain["devices"]["interfaces"]] == macs
    assert domain["firmware"]["uuid"] == instance["spec"]["domain"]["firmware"]["uuid"]


def older(begin: Begin, **wishes: Any) -> Flow:
    """Begin with a guest that was started with the Secret NAME-then, of a VM that names NAME-now since."""

    def alter(name: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
        spec["template"]["spec"]["accessCredentials"] = credentials(f"{name}-then")
        return [secret(f"{name}-{word}") for word in ("then", "now")]

    flow = begin(strategy="Always", playbook=COPY, alter=alter, **wishes)
    flow.until(flow.runs)
    flow.east.merge(VM, flow.name, {"spec": {"template": {"spec": {"accessCredentials": credentials(f"{flow.name}-now")}}}})
    flow.until(lambda: "RestartRequired" in [one["type"] for one in flow.vm()["status"]["conditions"]])  # type: ignore[index]
    return flow


def credentials(name: str) -> list[dict[str, Any]]:
    return [{"sshPublicKey": {"source": {"secret": {"secretName": name}}, "propagationMethod": {"noCloud": {}}}}]


def carried(flow: Flow) -> list[str]:
    """Return which of both Secrets the target has."""
    return [word for word in ("then", "now") if flow.west.get(SECRET, f"{flow.name}-{word}") is not None]


def told(flow: Flow, step: str) -> str:
    return words_of([problem for event in flow.events if event.step == step for problem in event.problems])


def test_what_only_the_running_guest_names_travels(begin: Begin) -> None:
    """A guest that runs with an older spec is copied with that, and so with what that names; an undo takes it back, also after a cut."""
    flow = older(begin)
    flow.when("publish-disks", State.NEEDED, interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    assert "the copy is made of the older one" in told(flow, "check-both")
    assert carried(flow) == ["then"]
    assert flow.undo().report.outcome is Outcome.UNDONE
    assert carried(flow) == []
    report = flow.move(again=True).report
    assert (report.outcome, report.problems) == (Outcome.COPIED, ())
    assert flow.vm("west")["spec"]["template"]["spec"]["accessCredentials"] == credentials(f"{flow.name}-then")  # type: ignore[index]
    assert carried(flow) == ["then"]
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    assert carried(flow) == []


@pytest.mark.slow
def test_a_run_that_fails_takes_back_what_only_the_guest_named(begin: Begin) -> None:
    """With `--on-failure undo`, too, which is the very run that carried it."""
    flow = older(begin, on_failure=OnFailure.UNDO)
    flow.when("import-disks", "", lambda: flow.east.delete(SNAPSHOT, Names.of(flow.events[-1].migration, "").snapshot))
    report = flow.move().report
    assert (report.outcome, report.reason) == (Outcome.UNDONE, "SnapshotGone")
    assert "carry-references" in {event.step for event in flow.events}
    assert carried(flow) == []


@pytest.mark.slow
def test_what_only_the_running_guest_names_and_nobody_has_is_said(begin: Begin) -> None:
    """A Secret that is gone on both sides stops a copy that is to be started before any disk is made; else it is told, by its name."""
    flow = older(begin)
    flow.east.delete(SECRET, f"{flow.name}-then")
    report = flow.move(start=Start.ALWAYS).report
    assert (report.outcome, report.reason) == (Outcome.BLOCKED, "ReferencesLacking")
    assert f"Secret {flow.name}-then is missing on both sides" in words_of(report.problems)
    assert flow.west.get(DATAVOLUME, f"{flow.name}-root") is None
    assert flow.undo().report.outcome is Outcome.UNDONE
    assert flow.move(again=True).report.outcome is Outcome.COPIED
    assert f"Secret {flow.name}-then is missing on both sides" in told(flow, "carry-references")
