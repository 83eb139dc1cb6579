"""A copy is made, and told about, from the snapshot that its disks are of: not from an earlier one, nor from the source as it is now."""

from __future__ import annotations

from typing import Any

from migrate.kube.kinds import DATAVOLUME, VM
from migrate.model import labels
from migrate.model.migration import Identity, Verify
from migrate.model.observation import State
from migrate.model.report import Outcome
from migrate.model.snapshot import Consistency
from tests.flows.conftest import Begin
from tests.flows.flow import interrupt

COPY = "snapshot-copy"


def test_the_report_is_about_the_snapshot_that_was_copied(begin: Begin) -> None:
    """A run that was cut had taken one, which went; the guest started; the next run took another: that one and its worth are told."""
    flow = begin(strategy="Halted", playbook=COPY)
    flow.when("publish-disks", "ExportPending", interrupt)
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


def test_a_copy_that_stays_the_machine_keeps_what_only_the_instance_knew(begin: Begin) -> None:
    """`--identity keep`: MAC and uuid are those that the guest had at the snapshot: no spec names them, and it stopped then."""
    flow = begin(strategy="Always", playbook=COPY, identity=Identity.KEEP)
    flow.until(flow.runs)
    instance = flow.instance()
    assert instance is not None
    flow.when("publish-disks", "", lambda: flow.set_strategy("Halted"))
    flow.when("verify-disks", "Comparing", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    flow.west.delete(VM, flow.name)
    flow.until(lambda: flow.vm("west") is None and flow.instance() is None)
    report = flow.move().report
    assert (report.outcome, report.problems) == (Outcome.COPIED, ())
    domain: dict[str, Any] = flow.vm("west")["spec"]["template"]["spec"]["domain"]  # type: ignore[index]
    macs = [card["mac"] for card in instance["status"]["interfaces"]]
    assert [card.get("macAddress") for card in domain["devices"]["interfaces"]] == macs
    assert domain["firmware"]["uuid"] == instance["spec"]["domain"]["firmware"]["uuid"]
