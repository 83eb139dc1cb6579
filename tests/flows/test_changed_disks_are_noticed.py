"""The disks that are copied are the disks that the VM has when it is halted, and nobody else writes to them after that."""

from __future__ import annotations

import json

import pytest

from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, EXPORT, POD, PVC, SNAPSHOT, VM
from migrate.model import labels
from migrate.model.migration import Names, Start, Verify
from migrate.model.observation import State
from migrate.model.record import KEY
from migrate.model.report import Outcome
from migrate.workflow.run import Ending
from tests.flows.conftest import Begin
from tests.flows.flow import Flow, interrupt
from tests.machines import disk, user_pod


def add(flow: Flow, claim: str) -> None:
    """Give the source VM one more disk, as its owner would."""
    vm = flow.vm()
    assert vm is not None
    spec = vm["spec"]["template"]["spec"]
    more = {
        "volumes": [*spec["volumes"], {"name": claim, "dataVolume": {"name": claim}}],
        "domain": {"devices": {"disks": [*spec["domain"]["devices"]["disks"], {"name": claim, "disk": {"bus": "virtio"}}]}},
    }
    flow.east.merge(VM, flow.name, {"spec": {"template": {"spec": more}}})


def said(ending: Ending) -> str:
    assert ending.report.outcome is Outcome.BLOCKED, ending.report
    return " ".join(f"{problem.what} {problem.why} {problem.now}" for problem in ending.report.problems)


@pytest.mark.slow
@pytest.mark.parametrize("step", [pytest.param("prepare-target", marks=pytest.mark.slow), "stop-source"])
def test_a_disk_added_before_the_halt(begin: Begin, step: str) -> None:
    """The source is not halted, the disk is named, a stranger's claim of its name is let be; cured, the same command moves both disks."""
    flow = begin(start=Start.NEVER)
    extra = f"{flow.name}-extra"
    flow.lab.plant([disk(extra), disk(extra, cluster="west")])
    flow.when(step, "", lambda: add(flow, extra))
    words = said(flow.move())
    assert extra in words
    assert "run the same" in words
    assert flow.runs()
    assert flow.vm("west") is None
    flow.west.delete(DATAVOLUME, extra)
    flow.until(lambda: flow.west.get(PVC, extra) is None)
    assert flow.plan().error is None
    assert flow.move().report.outcome is Outcome.MOVED
    assert flow.unequal() == []
    assert [one.target for one in flow.move().report.disks] == [f"{flow.name}-root", extra]


@pytest.mark.parametrize("reason", ["NotHalted", pytest.param("HaltAnnounced", marks=pytest.mark.slow)])
def test_a_disk_hot_added_before_the_halt(begin: Begin, reason: str) -> None:
    """Only the instance knows it, so no export would carry it: it is named before the halt; taken off again, the same command moves."""
    flow = begin(start=Start.NEVER, grace_s=0 if reason == "HaltAnnounced" else None)
    extra = f"{flow.name}-hot"
    flow.lab.plant([disk(extra)])
    flow.when("stop-source", reason, lambda: hotplug(flow, "addvolume", extra))
    words = said(flow.move())
    assert f"PVC {extra} is attached to the running instance only" in words
    assert "virtctl addvolume --persist" in words
    assert flow.runs()
    assert (flow.vm() or {})["spec"]["runStrategy"] == "Always"
    hotplug(flow, "removevolume", extra)
    assert flow.move().report.outcome is Outcome.MOVED


def hotplug(flow: Flow, word: str, claim: str) -> None:
    """Add a disk to the running guest, or take it off, as `virtctl` does without --persist."""
    path = f"/apis/subresources.kubevirt.io/v1/namespaces/{flow.source.namespace}/virtualmachineinstances/{flow.name}/{word}"
    source = {"volumeSource": {"dataVolume": {"name": claim, "hotpluggable": True}}} if word == "addvolume" else {}
    flow.until(flow.runs)
    flow.east.call("PUT", path, {"name": claim, **source})


@pytest.mark.slow
def test_a_disk_added_before_the_snapshot(begin: Begin) -> None:
    """It is in the snapshot and was not asked for, which is said; the same command takes another snapshot, and copies both disks."""
    flow = begin(strategy="Halted", playbook="snapshot-copy")
    extra = f"{flow.name}-extra"
    flow.lab.plant([disk(extra)])
    flow.when("snapshot-source", "SnapshotMissing", lambda: add(flow, extra))
    words = said(flow.move())
    assert f"the VM got other disks since it was asked for: {extra}" in words
    assert "run the same" in words
    flow.until(lambda: flow.east.get(SNAPSHOT, Names.of(flow.events[-1].migration, "").snapshot) is None)
    assert flow.move().report.outcome is Outcome.COPIED
    assert flow.unequal() == []
    assert [one.target for one in flow.move().report.disks] == [f"{flow.name}-root", extra]


@pytest.mark.slow
def test_undo_removes_disks_that_no_record_names(begin: Begin) -> None:
    """A copy of this migration that its record does not name is removed like the others, and the undo ends."""
    flow = begin(start=Start.NEVER, disks=("root", "data"))
    flow.when("start-target", "", interrupt)
    flow.move()
    forget(flow, f"{flow.name}-data")
    words = said(flow.move())
    assert f"{flow.name}-data" in words
    assert "undo" in words
    assert flow.undo().report.outcome is Outcome.UNDONE
    flow.until(flow.runs)
    assert not [name for _, _, name in (key for key in flow.lab.disks() if key[0] == "west") if flow.name in name]


def forget(flow: Flow, claim: str) -> None:
    """Take a disk out of the record, as a version that did not compare them had left it."""
    (record,) = [one for one in flow.west.list(CONFIGMAP) if flow.events[-1].migration in one["data"].get(KEY, "")]
    whole = json.loads(record["data"][KEY])
    whole["migration"]["disks"] = [one for one in whole["migration"]["disks"] if one["pvc"] != claim]
    flow.west.merge(CONFIGMAP, record["metadata"]["name"], {"data": {KEY: json.dumps(whole)}})


def make_anew(flow: Flow) -> None:
    """Delete the source's disk and plant another one under its name, as somebody does who restores a backup."""
    root = f"{flow.name}-root"
    flow.east.delete(EXPORT, Names.of(flow.events[-1].migration, "").export)  # its server would hold the claim
    flow.east.delete(DATAVOLUME, root)
    flow.until(lambda: flow.east.get(PVC, root) is None)
    flow.lab.plant([disk(root)])
    flow.until(lambda: ((flow.east.get(PVC, root) or {}).get("status") or {}).get("phase") == "Bound")


def test_a_claim_made_anew_before_it_was_copied(begin: Begin) -> None:
    """After the halt its name leads to another disk: that is not copied unasked, and an undo gives the VM back with it."""
    flow = begin(strategy="Halted")
    flow.when("publish-disks", "", lambda: make_anew(flow))
    ending = flow.move()
    assert f"the source's disk {flow.name}-root was made anew" in said(ending)
    assert ending.report.reason == "DisksChanged"
    assert flow.west.get(DATAVOLUME, f"{flow.name}-root") is None
    assert flow.move().report.reason == "DisksChanged"
    assert flow.undo().report.outcome is Outcome.UNDONE
    assert flow.move(again=True).report.outcome is Outcome.MOVED
    assert flow.unequal() == []


@pytest.mark.slow
@pytest.mark.parametrize(("step", "verify"), [("create-target", Verify.OFF), ("verify-disks", Verify.SAMPLE)])
def test_a_claim_made_anew_after_it_was_copied(begin: Begin, step: str, verify: Verify) -> None:
    """The copy is of a disk that is gone, or of both: nothing is proven or started, and no undo takes the copy."""
    flow = begin(verify=verify)
    flow.when(step, State.NEEDED, lambda: make_anew(flow))
    words = said(flow.move())
    assert f"the source's disk {flow.name}-root was made anew" in words
    assert "may be all that is left" in words
    volume = flow.west.get(DATAVOLUME, f"{flow.name}-root")
    assert volume is not None
    assert labels.PROOF not in volume["metadata"]["annotations"]
    assert not flow.runs("west")
    assert flow.undo().report.reason == "LastCopies"


@pytest.mark.slow
def test_a_claim_made_anew_before_the_halt(begin: Begin) -> None:
    """A run that ends before the halt has noted the old one; the next run moves the one that is there then."""
    flow = begin(strategy="Halted")
    flow.when("stop-source", "", interrupt)
    flow.move()
    make_anew(flow)
    assert flow.move().report.outcome is Outcome.MOVED
    assert flow.unequal() == []


@pytest.mark.parametrize("step", ["publish-disks", pytest.param("start-target", marks=pytest.mark.slow)])
def test_a_pod_on_the_source_disk_after_the_halt(begin: Begin, step: str) -> None:
    """Whenever somebody's pod takes the disk, the target is not started and the pod is named; once it is gone the move goes on."""
    flow = begin()
    flow.when(step, State.NEEDED, lambda: flow.east.create(user_pod(flow.name, f"{flow.name}-root")))
    assert f"pod {flow.name}-user" in said(flow.move())
    assert flow.instance("west") is None
    volume = flow.west.get(DATAVOLUME, f"{flow.name}-root")
    assert volume is not None
    assert (labels.PROOF in volume["metadata"]["annotations"]) == (step == "start-target")
    flow.east.delete(POD, f"{flow.name}-user")
    flow.until(lambda: flow.east.get(POD, f"{flow.name}-user") is None)
    assert flow.move().report.outcome is Outcome.MOVED
