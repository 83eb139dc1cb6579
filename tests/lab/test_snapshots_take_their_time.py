"""The life of a snapshot: the lock, what keeps it waiting, the deadline, late readiness, what is left out, the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import (
    POD,
    SNAPSHOT,
    SNAPSHOT_CONTENT,
    STORAGEPROFILE,
    VM,
    VOLUMESNAPSHOT,
    VOLUMESNAPSHOTCLASS,
    VOLUMESNAPSHOTCONTENT,
)
from migrate.lab.up import Lab
from migrate.model.errors import Refused
from tests.lab.exports import make
from tests.lab.snapshots import Snapshot, manifest, running, take
from tests.machines import disk, machine, user_pod

Object = dict[str, Any]


@pytest.fixture
def api(lab: Lab) -> Iterator[Cluster]:
    yield lab.east.client("lab/user").at("shop")
    lab.east.trouble.clear()


def vm(api: Cluster, name: str) -> Object:
    found = api.get(VM, name)
    assert found is not None
    return found


def locked(api: Cluster, name: str) -> str:
    return str(vm(api, name)["status"].get("snapshotInProgress", ""))


def test_succeeded_comes_before_ready(lab: Lab, api: Cluster) -> None:
    """The guest goes on and the VM is free again as soon as every volume is cut; the snapshot can be used later."""
    lab.plant([disk("a1"), machine("a", ["a1"])])
    snapshot = take(lab, "a-snap", "a")
    status = snapshot.until("Succeeded")
    assert (status["readyToUse"], snapshot.said("Ready"), snapshot.said("Progressing")) == (
        False,
        ("False", "Not ready"),
        ("False", "Operation complete"),
    )
    lab.until(lambda: not locked(api, "a"))
    assert not snapshot.status["readyToUse"]
    status = snapshot.until_ready()
    assert snapshot.said("Ready") == ("True", "Ready")
    assert status["sourceUID"] == vm(api, "a")["metadata"]["uid"]
    assert status["snapshotVolumes"] == {"includedVolumes": ["a1"]}
    assert "indications" not in status
    assert "sourceIndications" not in status


def test_the_content_holds_the_machine_and_its_volumes(lab: Lab, api: Cluster) -> None:
    """What was started counts, not what was changed since; the disks and their claims are those of now."""
    lab.plant([disk("b1"), disk("b2"), running("b", ["b1", "b2"])])
    api.merge(VM, "b", {"metadata": {"labels": {"kept": "yes"}}, "spec": {"template": {"spec": {"domain": {"memory": {"guest": "1Gi"}}}}}})
    snapshot = take(lab, "b-snap", "b")
    snapshot.until_ready()
    content = snapshot.content
    assert content is not None
    assert content["metadata"]["name"] == snapshot.status["virtualMachineSnapshotContentName"]
    kept = content["spec"]["source"]["virtualMachine"]
    assert kept["spec"]["template"]["spec"]["domain"]["memory"] == {"guest": "256Mi"}
    assert (kept["metadata"]["name"], kept["metadata"]["labels"]) == ("b", {"kept": "yes"})
    assert kept["metadata"]["uid"] == vm(api, "b")["metadata"]["uid"]
    assert "managedFields" not in kept["metadata"]
    uid = snapshot.found["metadata"]["uid"]
    names = {backup["volumeName"]: backup["volumeSnapshotName"] for backup in content["spec"]["volumeBackups"]}
    assert names == {name: f"vmsnapshot-{uid}-volume-{name}" for name in ("b1", "b2")}
    for name, cut in names.items():
        found = api.get(VOLUMESNAPSHOT, cut)
        assert found is not None
        assert found["spec"] == {"source": {"persistentVolumeClaimName": name}, "volumeSnapshotClassName": "fast-snapshots"}
        bound = api.get(VOLUMESNAPSHOTCONTENT, found["status"]["boundVolumeSnapshotContentName"])
        assert bound is not None
        assert bound["status"]["readyToUse"]


def test_a_locked_machine_keeps_its_state_and_its_disks(lab: Lab, api: Cluster) -> None:
    """Until the snapshot is taken, nobody starts the VM or changes its volumes, and a second snapshot waits."""
    lab.east.trouble.set("snapshot", "lag", claim="c1", seconds=30)
    lab.plant([disk("c1"), machine("c", ["c1"])])
    first = take(lab, "c-one", "c")
    lab.until(lambda: first.said("Progressing") == ("True", "Source locked and operation in progress"))
    assert locked(api, "c") == "c-one"
    assert "snapshot.kubevirt.io/snapshot-source-protection" in vm(api, "c")["metadata"]["finalizers"]
    with pytest.raises(Refused, match='Cannot update vm running state until snapshot "c-one" completes'):
        api.merge(VM, "c", {"spec": {"runStrategy": "Always"}})
    second = take(lab, "c-two", "c")
    lab.until(lambda: second.said("Progressing") == ("False", 'Source not locked snapshot "c-one" in progress'))
    first.until("Succeeded")
    second.until_ready(seconds=200)
    api.merge(VM, "c", {"metadata": {"labels": {"free": "again"}}})
    assert "snapshot.kubevirt.io/snapshot-source-protection" not in vm(api, "c")["metadata"]["finalizers"]


def test_an_exporter_pod_keeps_it_waiting_until_the_deadline(lab: Lab, api: Cluster) -> None:
    """A halted VM is not snapshotted while a pod uses its disk; the deadline ends that, and nothing but the deadline."""
    lab.plant([disk("d1"), machine("d", ["d1"])])
    make(lab, "d-ex", "d").until("Ready")
    snapshot = take(lab, "d-snap", "d", failureDeadline="1m0s")
    lab.until(lambda: snapshot.said("Progressing") == ("False", "Source not locked source is offline but 1 pods using PVCs [d1]"))
    assert snapshot.phase == "InProgress"
    status = snapshot.until("Failed")
    assert snapshot.said("Failure") == ("True", "snapshot deadline exceeded")
    assert snapshot.said("Progressing") == ("False", "Operation failed")
    assert not status["readyToUse"]
    assert (snapshot.content, locked(api, "d")) == (None, "")


@pytest.mark.slow
def test_any_pod_on_the_disk_counts_and_its_end_frees_it(lab: Lab, api: Cluster) -> None:
    """Somebody else's pod is as good as an exporter's; when it is gone the snapshot goes on by itself."""
    lab.plant([disk("e1"), machine("e", ["e1"])])
    api.create(user_pod("e", "e1"))
    snapshot = take(lab, "e-snap", "e")
    lab.clock.sleep(12)
    assert (snapshot.phase, locked(api, "e")) == ("InProgress", "")
    api.delete(POD, "e-user", grace_s=0)
    snapshot.until_ready()


@pytest.mark.slow
def test_a_refusing_storage_ends_at_the_deadline(lab: Lab, api: Cluster) -> None:
    """The storage's words stand in the error; at the deadline the content goes and the VM is free."""
    lab.east.trouble.set("snapshot", "refuse", claim="f1", message="the pool is full")
    lab.plant([disk("f1"), machine("f", ["f1"])])
    snapshot = take(lab, "f-snap", "f", failureDeadline="40s")
    lab.until(lambda: "the pool is full" in (snapshot.status.get("error") or {}).get("message", ""))
    assert (snapshot.phase, snapshot.said("Progressing")) == ("InProgress", ("False", "In error state"))
    snapshot.until("Failed")
    lab.until(lambda: snapshot.content is None and not locked(api, "f"))
    assert "the pool is full" in snapshot.status["error"]["message"]


@pytest.mark.slow
def test_it_may_never_be_ready(lab: Lab) -> None:
    """A snapshot that has Succeeded does not fail any more, however long it cannot be used."""
    order = lab.east.trouble.set("snapshot", "hang", claim="g1")
    lab.plant([disk("g1"), machine("g", ["g1"])])
    snapshot = take(lab, "g-snap", "g", failureDeadline="20s")
    snapshot.until("Succeeded")
    lab.clock.sleep(90)
    assert (snapshot.phase, snapshot.status["readyToUse"]) == ("Succeeded", False)
    lab.east.trouble.clear(order)
    snapshot.until_ready()


def test_what_cannot_be_snapshotted_is_left_out_and_told(lab: Lab, api: Cluster) -> None:
    """The VM says it beforehand; the snapshot succeeds without the disk, names it, and says that it is partial."""
    image = {"name": "image", "containerDisk": {"image": "registry/image"}}
    lab.plant([disk("h1"), disk("h2", storage_class="slow-legacy"), machine("h", ["h1", "h2"], volumes=[image])])
    words = "No VolumeSnapshotClass: Volume snapshots are not configured for this StorageClass [slow-legacy] [h2]"
    assert vm(api, "h")["status"]["volumeSnapshotStatuses"] == [
        {"name": "h1", "enabled": True},
        {"name": "h2", "enabled": False, "reason": words},
        {"name": "image", "enabled": False, "reason": "Snapshot is not supported for this volumeSource type [image]"},
    ]
    snapshot = take(lab, "h-snap", "h")
    status = snapshot.until_ready()
    assert status["snapshotVolumes"] == {"includedVolumes": ["h1"], "excludedVolumes": ["h2", "image"]}
    assert status["indications"] == ["PartialSnapshot"]
    assert [entry["indication"] for entry in status["sourceIndications"]] == ["PartialSnapshot"]


@pytest.mark.slow
def test_backend_storage_is_snapshotted_and_exported_as_an_archive(lab: Lab, api: Cluster) -> None:
    """The claim with the state of TPM and EFI is one more volume, without being in the spec, and is no disk."""
    made = machine("i", ["i1"], strategy="Always")
    made["spec"]["template"]["spec"]["domain"]["devices"]["tpm"] = {"persistent": True}
    lab.plant([disk("i1"), made])
    api.merge(VM, "i", {"spec": {"runStrategy": "Halted"}})
    lab.until(lambda: vm(api, "i")["status"]["printableStatus"] == "Stopped")
    status = take(lab, "i-snap", "i").until_ready()
    assert status["snapshotVolumes"] == {"includedVolumes": ["i1", "persistent-state-for-i"]}
    export = make(lab, "i-ex", "i-snap", kind="VirtualMachineSnapshot")
    links = export.until("Ready")["links"]["external"]["volumes"]
    formats = {link["name"]: [entry["format"] for entry in link["formats"]] for link in links}
    state = next(name for name in formats if name.startswith("persistent-state-for-i"))
    assert formats == {"i1": ["raw", "gzip"], state: ["dir", "tar.gz"]}


def test_a_deleted_snapshot_takes_its_copies_along_unless_told(lab: Lab, api: Cluster) -> None:
    """With the policy Retain the content and the volume snapshots stay; otherwise nothing does, not even the files."""
    lab.plant([disk("j1"), machine("j", ["j1"])])
    for name, policy in (("j-gone", "Delete"), ("j-kept", "Retain")):
        take(lab, name, "j", deletionPolicy=policy).until_ready()

    def left() -> set[str]:
        contents = api.list(SNAPSHOT_CONTENT)
        return {content["spec"]["virtualMachineSnapshotName"] for content in contents} & {"j-gone", "j-kept"}

    def cuts() -> list[Object]:
        return api.list(VOLUMESNAPSHOT, labels={"snapshot.kubevirt.io/source-vm-name": "j"})

    gone, kept = sorted(cuts(), key=lambda cut: cut["metadata"]["creationTimestamp"])
    for name in ("j-gone", "j-kept"):
        api.delete(SNAPSHOT, name)
    lab.until(lambda: left() == {"j-kept"} and len(cuts()) == 1 and not api.get(SNAPSHOT, "j-kept"))
    files = lab.east.volumes.snapshots
    assert not (files / f"snapshot-{gone['metadata']['uid']}").exists()
    assert (files / f"snapshot-{kept['metadata']['uid']}").exists()


@pytest.mark.slow
def test_a_snapshot_that_is_deleted_in_the_middle_frees_the_machine(lab: Lab, api: Cluster) -> None:
    """Deleting an unfinished snapshot unlocks the VM and leaves nothing behind."""
    lab.east.trouble.set("snapshot", "lag", claim="k1", seconds=60)
    lab.plant([disk("k1"), running("k", ["k1"])])
    take(lab, "k-snap", "k")
    lab.until(lambda: locked(api, "k") == "k-snap")
    api.delete(SNAPSHOT, "k-snap")
    lab.until(lambda: api.get(SNAPSHOT, "k-snap") is None and not locked(api, "k"))
    lab.until(lambda: not api.list(VOLUMESNAPSHOT, labels={"snapshot.kubevirt.io/source-vm-name": "k"}))


@pytest.mark.slow
def test_a_snapshot_of_nothing_waits(lab: Lab) -> None:
    """The VM need not exist; it may come later."""
    snapshot = take(lab, "l-snap", "l")
    lab.until(lambda: snapshot.said("Progressing") == ("False", "Source does not exist"))
    lab.plant([disk("l1"), machine("l", ["l1"])])
    snapshot.until_ready()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"kind": "VirtualMachine", "name": "x"}, "missing apiGroup"),
        ({"apiGroup": "apps", "kind": "VirtualMachine", "name": "x"}, "invalid apiGroup"),
        ({"apiGroup": "kubevirt.io", "kind": "VirtualMachineInstance", "name": "x"}, "invalid kind"),
    ],
)
def test_only_machines_can_be_snapshotted(api: Cluster, source: Object, words: str) -> None:
    """The webhook names what is wrong with the source."""
    with pytest.raises(Refused, match=words):
        api.create({**manifest("wrong", "x"), "spec": {"source": source}})


def test_the_spec_never_changes(lab: Lab, api: Cluster) -> None:
    """Not even the deadline."""
    api.create(manifest("m-snap", "m"))
    with pytest.raises(Refused, match="spec in immutable after creation"):
        api.merge(SNAPSHOT, "m-snap", {"spec": {"failureDeadline": "1h"}})
    assert Snapshot(lab, api, "m-snap").found["spec"].get("failureDeadline") is None


def test_the_class_of_a_driver_may_come_and_go(lab: Lab, api: Cluster) -> None:
    """CDI puts it into the profile, and the VMs on that driver say at once whether their volumes can be snapshotted."""

    def profiles() -> dict[str, str | None]:
        return {profile["metadata"]["name"]: profile["status"].get("snapshotClass") for profile in api.list(STORAGEPROFILE)}

    def enabled() -> list[bool]:
        return [entry["enabled"] for entry in vm(api, "n")["status"]["volumeSnapshotStatuses"]]

    all_of_them = {"fast": "fast-snapshots", "ceph": "ceph-snapshots", "local": "local-snapshots", "slow-legacy": None}
    assert profiles() == all_of_them
    lab.plant([disk("n1", storage_class="ceph", mib=4), machine("n", ["n1"])])
    assert enabled() == [True]
    gone = api.get(VOLUMESNAPSHOTCLASS, "ceph-snapshots")
    assert gone is not None
    api.delete(VOLUMESNAPSHOTCLASS, "ceph-snapshots")
    lab.until(lambda: enabled() == [False] and profiles() == {**all_of_them, "ceph": None})
    api.create({**gone, "metadata": {"name": "ceph-snapshots"}})
    lab.until(lambda: enabled() == [True] and profiles() == all_of_them)
