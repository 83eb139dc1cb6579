"""What an export says of its source and its pod: phases, reasons, and which links its environment gives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from migrate.lab import export_links, export_pod, export_status
from migrate.lab.export_pod import PodFrame, Side
from migrate.lab.export_source import MachineObjects, NotYetKnown, Source, claim_source, is_disk, machine_source
from migrate.lab.kubevirt_release import release

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
V13, V16, V19 = (release(name) for name in ("v1.3", "v1.6", "v1.9"))
KUBEVIRT: dict[str, Any] = {"spec": {}}


def export(kind: str = "VirtualMachine", name: str = "db", **spec: Any) -> dict[str, Any]:
    metadata = {"name": "ex", "namespace": "shop", "uid": "e1", "creationTimestamp": "2026-11-21T12:00:00Z", "labels": {"team": "a"}}
    source = {"kind": kind, "name": name}
    return {"apiVersion": "export.kubevirt.io/v1", "kind": "VirtualMachineExport", "metadata": metadata, "spec": {"source": source, **spec}}


def claim(name: str, *, owner: str = "", mode: str = "Filesystem", content: str | None = None, **metadata: Any) -> dict[str, Any]:
    refs = [{"kind": "DataVolume", "name": owner, "uid": "d", "controller": True}] if owner else []
    annotations = {} if content is None else {"cdi.kubevirt.io/storage.contentType": content}
    about = {"name": name, "namespace": "shop", "ownerReferences": refs, "annotations": annotations, **metadata}
    return {"metadata": about, "spec": {"volumeMode": mode}, "status": {"phase": "Bound"}}


def vm(*volumes: dict[str, Any], **domain: Any) -> dict[str, Any]:
    spec = {"volumes": [{"name": f"v{index}", **volume} for index, volume in enumerate(volumes)], "domain": domain}
    return {"metadata": {"name": "db", "namespace": "shop"}, "spec": {"template": {"spec": spec}}}


def found(
    machine: dict[str, Any] | None, *claims: dict[str, Any], phase: str | None = None, disks: dict[str, Any] | None = None
) -> MachineObjects:
    instance = None if phase is None else {"metadata": {"name": "db"}, "status": {"phase": phase}}
    return MachineObjects(machine, instance, {each["metadata"]["name"]: each for each in claims}, disks or {})


DISK = {"dataVolume": {"name": "one"}}
SUCCEEDED = {"status": {"phase": "Succeeded"}, "spec": {}}
RUNNING_IMPORT = {"status": {"phase": "ImportInProgress"}, "spec": {}}


@pytest.mark.parametrize(
    ("objects", "reason", "skipped", "offered"),
    [
        (found(None), "VMNotFound", True, False),
        (found(vm()), "VMNoVolumes", True, False),
        (found(vm({"containerDisk": {"image": "x"}})), "VMNoVolumes", True, False),
        (found(vm(DISK)), "VMNoVolumes", True, False),
        (found(vm(DISK, {"persistentVolumeClaim": {"claimName": "two"}}), claim("two")), "VolumesNotPopulated", False, False),
        (found(vm(DISK), claim("one", owner="one"), disks={"one": RUNNING_IMPORT}), "VolumesNotPopulated", False, False),
        (found(vm(DISK), claim("one"), phase="Running"), "InUse", False, False),
        (found(vm(DISK), claim("one"), phase=""), "InUse", False, False),
        (found(vm(DISK), claim("one"), phase="Succeeded"), "Initializing", False, True),
        (found(vm(DISK), claim("one", owner="one"), disks={"one": SUCCEEDED}), "Initializing", False, True),
        (found(vm({"persistentVolumeClaim": {"claimName": "gone"}}, DISK), claim("one")), "Initializing", False, True),
        (found(vm({"memoryDump": {"claimName": "dump"}}), claim("dump")), "Initializing", False, True),
        (found(vm(DISK, devices={"tpm": {"persistent": True}}), claim("one")), "VMNoVolumes", True, False),
    ],
)
def test_a_machine_as_source(objects: MachineObjects, reason: str, skipped: bool, offered: bool) -> None:
    """Missing VM or volumes are skipped, unpopulated ones wait, a live instance is in use, plain missing claims are left out."""
    source = machine_source(export(), objects, V19)
    assert (source.ready.reason, source.skipped, source.offered) == (reason, skipped, offered)


def test_state_of_tpm_is_exported_after_the_disks() -> None:
    """The claim with persistent state is found by its label and exported last, from release 1.5."""
    machine = vm(DISK, devices={"tpm": {"persistent": True}})
    state = claim("persistent-state-for-db-x", labels={"persistent-state-for": "db"})
    objects = found(machine, claim("one"), state)
    assert [each["metadata"]["name"] for each in machine_source(export(), objects, V19).volumes] == ["one", "persistent-state-for-db-x"]
    assert len(machine_source(export(), objects, V13).volumes) == 1


def test_older_releases_say_in_use_for_everything() -> None:
    """Before release 1.8 the reason is InUse whatever is missing, and before 1.5 a finished instance is in use too."""
    assert machine_source(export(), found(None), V16).ready.reason == "InUse"
    finished = found(vm(DISK), claim("one"), phase="Succeeded")
    assert machine_source(export(), finished, V16).offered
    assert not machine_source(export(), finished, V13).offered


def test_a_disk_whose_datavolume_is_unseen_is_not_judged() -> None:
    """Without the DataVolume that controls a claim nothing is said; the controller tries again."""
    with pytest.raises(NotYetKnown):
        machine_source(export(), found(vm(DISK), claim("one", owner="one")), V19)


def pod(name: str, claimed: str, *, phase: str = "Running", owner: str = "other") -> dict[str, Any]:
    refs = [{"uid": owner, "kind": "X", "name": "x", "controller": True}]
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": claimed}}]
    return {"metadata": {"name": name, "ownerReferences": refs}, "spec": {"volumes": volumes}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("pvc", "pods", "ready", "own", "offered"),
    [
        (None, [], "Initializing", "PVCNotFound", False),
        (claim("one"), [], "", "PVCBound", True),
        (claim("one"), [pod("p", "one")], "InUse", "PVCBound", False),
        (claim("one"), [pod("p", "one", phase="Succeeded")], "", "PVCBound", True),
        (claim("one"), [pod("p", "one", owner="e1")], "", "PVCBound", True),
        (claim("one"), [pod("p", "two")], "", "PVCBound", True),
        (claim("one", owner="one"), [], "PVCPending", "PVCBound", False),
        ({**claim("one"), "status": {"phase": "Lost"}}, [], "", "Unknown", True),
    ],
)
def test_a_claim_as_source(pvc: Any, pods: list[Any], ready: str, own: str, offered: bool) -> None:
    """A claim is in use by any live pod but the export's own, and waits for the import of its DataVolume."""
    source = claim_source(export("PersistentVolumeClaim", "one"), pvc, disks={"one": RUNNING_IMPORT}, pods=pods)
    assert source.own is not None
    assert (source.ready.reason, source.own.reason, source.offered, source.skipped) == (ready, own, offered, False)


@pytest.mark.parametrize(
    ("pvc", "expected"),
    [
        (claim("one", mode="Block"), True),
        (claim("one", content="kubevirt"), True),
        (claim("one", content=""), True),
        (claim("one", content="archive"), False),
        (claim("one"), False),
        (claim("one", owner="one"), True),
        (claim("one", owner="files"), False),
        (claim("one", owner="missing"), False),
    ],
)
def test_what_counts_as_a_disk(pvc: Any, expected: bool) -> None:
    """Block claims, claims that CDI marked, and claims of DataVolumes with VM content are disks; a hand-made file system is an archive."""
    assert is_disk(pvc, {"one": {"spec": {}}, "files": {"spec": {"contentType": "archive"}}}) is expected


READY = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
SOURCE = Source(volumes=(claim("one"),), populated=True, vm_name="db")


@pytest.mark.parametrize(
    ("exporter", "phase", "reason"),
    [
        (None, "Pending", "Initializing"),
        (READY, "Ready", "PodReady"),
        ({"status": {"phase": "Pending"}}, "Pending", "PodPending"),
        ({}, "Pending", "PodPending"),
        ({"status": {"phase": "Running"}}, "Pending", "Unknown"),
        ({"status": {"phase": "Failed"}}, "Pending", "Unknown"),
        ({"status": {"phase": "Succeeded"}}, "Terminated", "PodCompleted"),
    ],
)
def test_the_phase_follows_the_pod(exporter: Any, phase: str, reason: str) -> None:
    """Only a ready pod makes an export Ready, and only then there are links."""
    status = export_status.judged(export_status.initial(export(), V19, NOW), SOURCE, exporter, links={"internal": {}}, now=NOW)
    assert (status["phase"], status["conditions"][0]["reason"]) == (phase, reason)
    assert status["links"] == ({"internal": {}} if phase == "Ready" else {})


def test_nothing_to_export_is_skipped() -> None:
    """Without volumes the phase is Skipped, and comes back when volumes appear."""
    first = export_status.initial(export(), V19, NOW)
    skipped = export_status.judged(first, machine_source(export(), found(None), V19), None, links={}, now=NOW)
    assert (skipped["phase"], skipped["virtualMachineName"]) == ("Skipped", "db")
    assert export_status.judged(skipped, SOURCE, READY, links={}, now=NOW)["phase"] == "Ready"


def test_the_time_of_a_condition_is_that_of_its_change() -> None:
    """A condition that says the same again keeps its time."""
    first = export_status.judged(export_status.initial(export(), V19, NOW), SOURCE, READY, links={}, now=NOW)
    later = export_status.judged(first, SOURCE, READY, links={}, now=NOW + timedelta(hours=1))
    assert later == first


@pytest.mark.parametrize(("ttl", "hours"), [(None, 2), ("2h30m0s", 2.5), ("36h", 36)])
def test_the_time_to_live(ttl: str | None, hours: float) -> None:
    """It is two hours from creation unless the spec says otherwise."""
    spec = {"ttlDuration": ttl} if ttl else {}
    assert export_pod.expiration(export(**spec)) == NOW + timedelta(hours=hours)


def frame(**changes: Any) -> PodFrame:
    facts: dict[str, Any] = {"kubevirt": KUBEVIRT, "release": V19, "now": NOW, "tls_secret": "secret-x", "token_secret": "tok", "disks": {}}
    return PodFrame(**(facts | changes))


def env_of(made: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in made["spec"]["containers"][0]["env"]}


def test_a_pod_serves_no_longer_than_its_certificate() -> None:
    """The deadline is the end of the time to live, or 19 h 12 min by default, whichever comes first."""
    short, long = (export_pod.pod(export(ttlDuration=ttl), SOURCE, frame()) for ttl in ("2h", "48h"))
    assert env_of(short)["DEADLINE"] == "2026-11-21T14:00:00Z"
    assert env_of(long)["DEADLINE"] == "2026-11-22T07:12:00Z"
    slow = {"spec": {"certificateRotateStrategy": {"selfSigned": {"server": {"duration": "48h", "renewBefore": "1h"}}}}}
    assert env_of(export_pod.pod(export(ttlDuration="99h"), SOURCE, frame(kubevirt=slow)))["DEADLINE"] == "2026-11-23T11:00:00Z"


def test_the_pod_carries_what_the_export_carries() -> None:
    """Labels and annotations of the export are on the pod, beside those of the controller; limits are those of the release."""
    made = export_pod.pod(export(), SOURCE, frame())
    assert made["metadata"]["labels"] == {"team": "a", "kubevirt.io.virt-export-service": "ex"}
    parameters = made["metadata"]["annotations"]["kubevirt.io/export.certParameters"]
    assert parameters == '{"Duration":86400000000000,"RenewBefore":17280000000000}'
    container = made["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "1024Mi"}
    assert (container["readinessProbe"]["initialDelaySeconds"], container["readinessProbe"]["periodSeconds"]) == (5, 5)
    assert "readinessProbe" not in export_pod.pod(export(), SOURCE, frame(release=V13))["spec"]["containers"][0]


def test_links_follow_the_volumes_of_the_machine_by_name() -> None:
    """With twelve volumes every link still has the paths of its own claim, in the order of the VM."""
    names = [f"d{index}" for index in range(12)]
    source = Source(volumes=tuple(claim(name, mode="Block") for name in names), populated=True, vm_name="db")
    made = export_pod.pod(export(), source, frame())
    link = export_links.link(Side("host/base", "PEM"), "external", made, names)
    assert [volume["name"] for volume in link["volumes"]] == names
    for volume in link["volumes"]:
        raw, gzip = volume["formats"]
        assert raw == {"format": "raw", "url": f"https://host/base/volumes/{volume['name']}/disk.img"}
        assert gzip == {"format": "gzip", "url": f"https://host/base/volumes/{volume['name']}/disk.img.gz"}
    assert [entry["url"] for entry in link["manifests"]] == [f"https://host/base/external/manifests/{word}" for word in ("all", "secret")]


def test_an_archive_gets_dir_and_tar() -> None:
    """A claim that is no disk has a directory and an archive, and no raw."""
    made = export_pod.pod(export(), SOURCE, frame())
    link = export_links.link(Side("host", ""), "internal", made, ["one"])
    assert [entry["format"] for entry in link["volumes"][0]["formats"]] == ["dir", "tar.gz"]
    assert link["volumes"][0]["formats"][0]["url"] == "https://host/volumes/one/dir/"
