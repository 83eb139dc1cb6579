"""An export of a snapshot: claims restored for it alone, the bytes of the moment of the cut, names, phases, manifests, the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import EVENT, EXPORT, POD, PV, PVC, RESOURCEQUOTA, SNAPSHOT, VM, VOLUMESNAPSHOT
from migrate.lab.kubevirt_guest import read_guest_log
from migrate.lab.up import Lab
from migrate.model.errors import Refused
from tests.lab.exports import Export, make
from tests.lab.snapshots import running, take
from tests.machines import disk, machine

KIND = "VirtualMachineSnapshot"


@pytest.fixture
def api(lab: Lab) -> Iterator[Cluster]:
    yield lab.east.client("lab/user").at("shop")
    lab.east.trouble.clear()


def file_of(lab: Lab, api: Cluster, claim: str) -> Path:
    found = api.get(PVC, claim)
    assert found is not None
    pv = api.get(PV, found["spec"]["volumeName"])
    assert pv is not None
    path = lab.east.volumes.path(pv)
    return path / "disk.img" if path.is_dir() else path


def body(export: Export, claim: str) -> bytes:
    return export.fetch(export.url(claim)).body


def test_the_bytes_are_those_of_the_moment_of_the_cut(lab: Lab, api: Cluster) -> None:
    """The guest of the snapshotted VM goes on writing and is never stopped; what is served stays as it was cut."""
    lab.plant([disk("a1"), running("a", ["a1"])])
    lab.clock.sleep(21)
    snapshot = take(lab, "a-snap", "a")
    snapshot.until_ready()
    cut = read_guest_log(next((lab.east.directory / "snapshots").rglob("disk.img")))
    export = make(lab, "a-ex", "a-snap", kind=KIND)
    export.until("Ready")
    lab.clock.sleep(30)
    first = body(export, "a1")
    lab.clock.sleep(30)
    assert body(export, "a1") == first
    log, live = read_guest_log(first), read_guest_log(file_of(lab, api, "a1"))
    assert (log.boots, log.clean, log.last) == (1, False, cut.last)
    assert live.boots == 1
    assert live.last > log.last + 8
    assert first[1 << 20 :] == file_of(lab, api, "a1").read_bytes()[1 << 20 :]


def test_links_have_the_names_of_the_claims_and_addresses_of_the_restored_ones(lab: Lab, api: Cluster) -> None:
    """Each link is named by the source's claim, its address by the restored claim, which belongs to the export and goes with it."""
    lab.plant([disk("b1"), disk("b2", storage_class="ceph", mode="Block", mib=4), machine("b", ["b1", "b2"])])
    take(lab, "b-snap", "b").until_ready()
    export = make(lab, "b-ex", "b-snap", kind=KIND)
    status = export.until("Ready")
    assert status["virtualMachineName"] == "b"
    assert ("VolumesCreated", "True", "AllPVCsReady") in {(c["type"], c["status"], c.get("reason")) for c in status["conditions"]}
    assert {volume["name"] for volume in status["links"]["external"]["volumes"]} == {"b1", "b2"}
    for name in ("b1", "b2"):
        assert export.url(name).endswith(f"/volumes/b-ex-{name}/disk.img")
        assert export.url(name, "gzip").endswith(f"/volumes/b-ex-{name}/disk.img.gz")
        assert hashlib.sha256(body(export, name)).digest() == hashlib.sha256(file_of(lab, api, name).read_bytes()).digest()
        restored = api.get(PVC, f"b-ex-{name}")
        assert restored is not None
        assert [(ref["kind"], ref["name"], ref["controller"]) for ref in restored["metadata"]["ownerReferences"]] == [
            ("VirtualMachineExport", "b-ex", True)
        ]
        assert restored["spec"]["dataSource"]["kind"] == "VolumeSnapshot"
        annotations = restored["metadata"]["annotations"]
        assert annotations["cdi.kubevirt.io/storage.contentType"] == "kubevirt"
        assert "cdi.kubevirt.io/storage.pod.restarts" not in annotations
    api.delete(EXPORT, "b-ex")
    lab.until(lambda: not [claim for claim in api.list(PVC) if claim["metadata"]["name"].startswith("b-ex-")])
    assert api.get(POD, "virt-export-b-ex") is None
    assert {claim["metadata"]["name"] for claim in api.list(PVC)} >= {"b1", "b2"}


def test_the_manifest_is_made_from_the_machine_of_today(lab: Lab, api: Cluster) -> None:
    """What was changed since the snapshot shows in `all`, and what the VM was does not; the content alone keeps it."""
    lab.plant([disk("c1"), machine("c", ["c1"])])
    snapshot = take(lab, "c-snap", "c")
    snapshot.until_ready()
    api.merge(VM, "c", {"metadata": {"labels": {"changed": "since"}}})
    export = make(lab, "c-ex", "c-snap", kind=KIND)
    export.until("Ready")
    items = json.loads(export.fetch(export.manifest()).body)["items"]
    assert [item["kind"] for item in items] == ["ConfigMap", "VirtualMachine", "DataVolume"]
    assert items[1]["metadata"]["labels"] == {"changed": "since"}
    assert items[2]["metadata"]["name"] == "c1"
    assert items[2]["spec"]["source"]["http"]["url"] == export.url("c1", "gzip")
    assert snapshot.content is not None
    assert "labels" not in snapshot.content["spec"]["source"]["virtualMachine"]["metadata"]


@pytest.mark.slow
def test_without_the_machine_there_is_no_manifest(lab: Lab, api: Cluster) -> None:
    """The disks are still served; both manifests answer 500."""
    lab.plant([disk("d1"), machine("d", ["d1"])])
    take(lab, "d-snap", "d").until_ready()
    api.delete(VM, "d")
    lab.until(lambda: api.get(VM, "d") is None)
    export = make(lab, "d-ex", "d-snap", kind=KIND)
    export.until("Ready")
    assert export.fetch(export.url("d1"), "HEAD").code == 200
    assert [export.fetch(export.manifest(word)).code for word in ("all", "auth-header-secret")] == [500, 500]


def test_it_waits_for_a_snapshot_that_is_not_ready(lab: Lab, api: Cluster) -> None:
    """Succeeded is not enough: until the snapshot can be used the export is Pending, with no claim restored."""
    lab.east.trouble.set("snapshot", "delay", claim="e1", seconds=60)
    lab.plant([disk("e1"), machine("e", ["e1"])])
    snapshot = take(lab, "e-snap", "e")
    snapshot.until("Succeeded")
    export = make(lab, "e-ex", "e-snap", kind=KIND)
    export.until("Pending", "NotAllPVCsCreated")
    lab.clock.sleep(20)
    assert (export.status["phase"], export.reason, api.get(PVC, "e-ex-e1")) == ("Pending", "NotAllPVCsCreated", None)
    export.until("Ready")


def test_a_snapshot_that_is_not_there_is_skipped_until_it_is(lab: Lab, api: Cluster) -> None:
    """An export of nothing is Skipped; the snapshot may come later, and go again while it is served."""
    lab.plant([disk("f1"), machine("f", ["f1"])])
    export = make(lab, "f-ex", "f-snap", kind=KIND)
    status = export.until("Skipped", "VMSnapshotNotFound")
    assert ("VolumesCreated", "VMSnapshotNoVolumes") in {(c["type"], c.get("reason")) for c in status["conditions"]}
    take(lab, "f-snap", "f")
    export.until("Ready")
    api.delete(SNAPSHOT, "f-snap")
    export.until("Skipped", "VMSnapshotNotFound")
    assert export.status["links"] == {}


@pytest.mark.slow
def test_a_snapshot_of_no_disk_is_skipped(lab: Lab) -> None:
    """A VM with nothing but a container disk has a snapshot that is ready and holds no volume."""
    volume = {"name": "image", "containerDisk": {"image": "registry/image"}}
    lab.plant([machine("g", volumes=[volume])])
    status = take(lab, "g-snap", "g").until_ready()
    assert status["snapshotVolumes"] == {"excludedVolumes": ["image"]}
    make(lab, "g-ex", "g-snap", kind=KIND).until("Skipped", "Initializing")


def test_quota_counts_restored_claims_and_the_pod(lab: Lab, api: Cluster) -> None:
    """Where no further claim fits, nothing is restored and the status stays empty; it goes on by itself once there is room."""
    lab.plant([disk("h1"), machine("h", ["h1"])])
    take(lab, "h-snap", "h").until_ready()
    used = len(api.list(PVC))
    quota: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "tight", "namespace": "shop"},
        "spec": {"hard": {"persistentvolumeclaims": str(used)}},
    }
    api.create(quota)
    lab.clock.sleep(1)
    export = make(lab, "h-ex", "h-snap", kind=KIND)
    lab.clock.sleep(10)
    assert export.status == {}
    assert api.get(PVC, "h-ex-h1") is None
    api.delete(RESOURCEQUOTA, "tight")
    export.until("Ready")


def test_a_claim_is_restored_from_a_ready_snapshot_alone(lab: Lab, api: Cluster) -> None:
    """A claim of a snapshot that is not ready, or smaller than it, stays Pending and says why."""
    lab.plant([disk("i1"), machine("i", ["i1"])])
    snapshot = take(lab, "i-snap", "i")
    snapshot.until_ready()
    cut = next(found for found in api.list(VOLUMESNAPSHOT) if found["spec"]["source"]["persistentVolumeClaimName"] == "i1")
    reference = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot"}
    for name, size, source in (("small", "1Mi", cut["metadata"]["name"]), ("early", "9Mi", "nothing")):
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "fast",
            "resources": {"requests": {"storage": size}},
            "dataSource": {**reference, "name": source},
        }
        api.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})

    def told(name: str, words: str) -> bool:
        return any(words in event["message"] for event in api.list(EVENT) if event["involvedObject"]["name"] == name)

    lab.until(lambda: told("small", "is less than the size") and told("early", "not found"))
    assert {(api.get(PVC, name) or {})["status"]["phase"] for name in ("small", "early")} == {"Pending"}


def test_only_a_snapshot_of_its_group_can_be_exported(api: Cluster) -> None:
    """The webhook wants the group of snapshots."""
    wrong = {"apiVersion": "export.kubevirt.io/v1", "kind": "VirtualMachineExport", "metadata": {"name": "x", "namespace": "shop"}}
    with pytest.raises(Refused, match=r"VMSnapshot API group must be snapshot\.kubevirt\.io"):
        api.create({**wrong, "spec": {"source": {"apiGroup": "kubevirt.io", "kind": KIND, "name": "x"}}})
