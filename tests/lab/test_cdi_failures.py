"""DataVolumes in a whole cluster, when things go wrong: what is said, what is retried, what never heals by itself."""

from __future__ import annotations

import json
import os
from typing import Any

from migrate.kube.kinds import DATAVOLUME, POD, PVC, RESOURCEQUOTA, SECRET
from tests.lab.cdi_lab import DISK, MIB, CdiLab, lab_fixture, shared_cdi_fixture, volume_path  # noqa: F401
from tests.lab.cdi_source import TOKEN


def restarts(lab: CdiLab, name: str) -> int:
    return int(lab.status(name).get("restartCount", 0))


def importer(lab: CdiLab) -> dict[str, Any]:
    found = next(iter(lab.pods("importer-")), "")
    return (lab.api.get(POD, found) if found else None) or {}


def test_a_refused_token_is_cured_in_place(lab: CdiLab) -> None:
    """A 401 crash-loops with rising restarts and back-off; new content of the same Secret ends it, the DataVolume untouched."""
    lab.server.token = "renewed"
    lab.api.create(lab.dv("token", storageClassName="fast"))
    lab.until(lambda: restarts(lab, "token") >= 2)
    words = "Unable to connect to http data source: expected status code 200, got 401. Status: 401 Unauthorized"
    lab.until(lambda: lab.condition("token", "Running") == ("False", "Error", words))
    assert lab.phase("token") == "ImportInProgress"
    assert ("Error", words) in lab.events("token")
    lab.until(lambda: "CrashLoopBackOff" in json.dumps(importer(lab)["status"]))
    lab.api.merge(SECRET, "source-header", {"stringData": {"t": f"{TOKEN}: renewed"}})
    lab.until(lab.done("token"), seconds=900)
    assert lab.content("token") == DISK
    assert restarts(lab, "token") >= 2
    lab.api.merge(SECRET, "source-header", {"stringData": {"t": f"{TOKEN}: s3cr3t"}})
    lab.remove("token")


def test_a_cut_stream_is_retried_from_the_start(lab: CdiLab) -> None:
    """A broken connection is ImagePullFailed, and every retry is a whole download."""
    lab.trouble.set("importer", "drop", after=MIB, name="cut", times=2)
    lab.api.create(lab.dv("cut", storageClassName="fast"))
    lab.until(lambda: restarts(lab, "cut") == 1)
    reasons = dict(lab.events("cut"))
    lab.until(lab.done("cut"))
    assert reasons["ImagePullFailed"].endswith("failed to pull image: unexpected EOF")
    assert restarts(lab, "cut") == 2
    assert lab.content("cut") == DISK
    lab.remove("cut")


def test_too_small_never_heals(lab: CdiLab) -> None:
    """A disk that does not fit loops for ever, never Failed, with one sentence for every cause."""
    lab.server.data = DISK + DISK
    lab.api.create(lab.dv("small", storageClassName="ceph"))
    lab.until(lambda: restarts(lab, "small") >= 2)
    lab.until(lambda: lab.condition("small", "Running") == ("False", "Error", "DataVolume too small to contain image"))
    assert lab.phase("small") == "ImportInProgress"
    lab.remove("small")


def test_out_of_memory_leaves_a_disk_in_the_way(lab: CdiLab) -> None:
    """After an OOM kill in the conversion the pod is replaced, but the leftover makes it too small for ever; made anew, it works."""
    lab.server.data = os.urandom(6 * MIB)
    lab.trouble.set("importer", "oom", after=3 * MIB, name="oom", times=1)
    lab.api.create(lab.dv("oom", storageClassName="fast", resources={"requests": {"storage": "6Mi"}}))
    lab.until(lambda: restarts(lab, "oom") >= 2)
    lab.until(lambda: lab.condition("oom", "Running")[2] == "DataVolume too small to contain image")
    env = {entry["name"]: entry.get("value", "") for entry in importer(lab)["spec"]["containers"][0]["env"]}
    assert env["CACHE_MODE"] == "TRYNONE"
    lab.remove("oom")
    lab.api.create(lab.dv("oom", storageClassName="fast", resources={"requests": {"storage": "6Mi"}}))
    lab.until(lab.done("oom"))
    assert lab.content("oom") == lab.server.data
    lab.remove("oom")


def test_an_evicted_importer_is_not_replaced(lab: CdiLab) -> None:
    """The Failed pod stays until somebody deletes it; then the import starts over."""
    lab.trouble.set("importer", "delay", seconds=20, name="evicted", attempt=1, times=1)
    lab.api.create(lab.dv("evicted", storageClassName="fast"))
    lab.until(lambda: lab.phase("evicted") == "ImportInProgress" and any("-scratch" in claim for claim in lab.claims()))
    lab.trouble.set("node", "evict", app="importer", times=1)
    lab.until(lambda: importer(lab).get("status", {}).get("phase") == "Failed")
    lab.clock.sleep(60)
    assert importer(lab)["status"]["phase"] == "Failed"
    assert ("ImportFailed", "Failed to import into PVC evicted") in lab.events("evicted")
    lab.api.delete(POD, importer(lab)["metadata"]["name"])
    lab.until(lab.done("evicted"))
    assert lab.content("evicted") == DISK
    lab.remove("evicted")


def test_a_wrong_checksum_is_final(lab: CdiLab) -> None:
    """The one failure that is Failed: no pod is left, nothing is retried."""
    dv = lab.dv("sum", storageClassName="fast")
    dv["spec"]["source"]["http"]["checksum"] = "md5:" + "0" * 32
    lab.api.create(dv)
    lab.until(lambda: lab.phase("sum") == "Failed")
    lab.until(lambda: not lab.pods("importer-"))
    lab.clock.sleep(60)
    assert lab.phase("sum") == "Failed"
    assert lab.condition("sum", "Running")[1] == "ChecksumError"
    assert not lab.pods("importer-")
    lab.remove("sum")


def quota(lab: CdiLab, **hard: str) -> None:
    """Limit the namespace; the server counts what is there already."""
    spec = {"hard": {key.replace("_", "."): value for key, value in hard.items()}}
    lab.api.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tight"}, "spec": spec})


def test_a_quota_for_the_claim(lab: CdiLab) -> None:
    """Refused at the claim: Pending with ErrExceededQuota, retried later by itself."""
    quota(lab, persistentvolumeclaims="0")
    lab.api.create(lab.dv("quota", storageClassName="fast"))
    lab.until(lambda: lab.condition("quota", "Bound")[1] == "ErrExceededQuota")
    assert lab.phase("quota") == "Pending"
    assert "exceeded quota: tight" in lab.condition("quota", "Bound")[2]
    lab.api.delete(RESOURCEQUOTA, "tight")
    lab.until(lab.done("quota"))
    lab.remove("quota")


def test_a_quota_for_the_hidden_claim(lab: CdiLab) -> None:
    """Refused at the hidden claim, it shows in an event of the claim only; no phase changes."""
    quota(lab, persistentvolumeclaims="1")
    lab.api.create(lab.dv("prime", storageClassName="fast"))
    lab.until(lambda: any(reason == "ErrCreatingPVCPrime" for reason, _ in lab.events("prime")))
    assert lab.phase("prime") == "Pending"
    assert lab.condition("prime", "Bound")[1:] == ("Pending", "PVC prime Pending")
    lab.api.delete(RESOURCEQUOTA, "tight")
    lab.until(lab.done("prime"))
    lab.remove("prime")


def test_a_quota_for_the_pod(lab: CdiLab) -> None:
    """Refused at the pod: the running condition tells, without the server's words."""
    quota(lab, pods="0")
    lab.api.create(lab.dv("pods", storageClassName="fast"))
    lab.until(lambda: lab.condition("pods", "Running")[1] == "ErrExceededQuota")
    assert "request access to cdi-deploy logs from your sysadmin" in lab.condition("pods", "Running")[2]
    lab.api.delete(RESOURCEQUOTA, "tight")
    lab.until(lab.done("pods"))
    lab.remove("pods")


def test_scratch_space_that_nobody_provides(lab: CdiLab) -> None:
    """A class that cannot make file systems leaves the second pod Pending for ever."""
    lab.trouble.set("storage", "refuse", name="*-scratch")
    lab.api.create(lab.dv("noscratch", storageClassName="ceph"))
    lab.until(lambda: any(claim.endswith("-scratch") for claim in lab.claims()))
    lab.until(lambda: lab.condition("noscratch", "Running")[1] == "Unschedulable")
    lab.clock.sleep(60)
    assert lab.phase("noscratch") == "ImportScheduled"
    assert importer(lab)["status"]["phase"] == "Pending"
    lab.remove("noscratch")


def test_a_missing_secret(lab: CdiLab) -> None:
    """The pod waits in ContainerCreating; once the Secret is there, it starts."""
    dv = lab.dv("nosecret", storageClassName="fast")
    dv["spec"]["source"]["http"]["secretExtraHeaders"] = ["later"]
    lab.api.create(dv)
    lab.until(lambda: lab.condition("nosecret", "Running")[1] == "ContainerCreating")
    assert lab.phase("nosecret") == "ImportScheduled"
    lab.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "later"}, "stringData": {"t": f"{TOKEN}:s3cr3t"}})
    lab.until(lab.done("nosecret"))
    lab.remove("nosecret")


def test_a_foreign_claim_of_the_same_name(lab: CdiLab) -> None:
    """A claim of another DataVolume is left alone; an event says so, and nothing else happens."""
    lab.api.create(lab.dv("mine", {"blank": {}}, storageClassName="fast"))
    lab.until(lab.done("mine"))
    owner = lab.api.get(DATAVOLUME, "mine")
    assert owner is not None
    reference = {
        "apiVersion": "cdi.kubevirt.io/v1beta1",
        "kind": "DataVolume",
        "name": "mine",
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "4Mi"}}}
    meta = {"name": "other", "ownerReferences": [reference]}
    lab.api.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec})
    lab.api.create(lab.dv("other", storageClassName="fast"))
    lab.until(lambda: ("ErrResourceExists", 'Resource "other" already exists and is not managed by DataVolume') in lab.events("other"))
    lab.clock.sleep(30)
    assert lab.phase("other") == ""
    lab.api.delete(DATAVOLUME, "other")
    lab.remove("mine")
    lab.until(lambda: lab.claims() == set())


def test_deleted_in_the_middle(lab: CdiLab) -> None:
    """Deleting the DataVolume takes claim, hidden claim, scratch space and pod with it, and the volumes' files."""
    lab.trouble.set("importer", "delay", seconds=60, name="gone", attempt=1)
    lab.api.create(lab.dv("gone", storageClassName="fast"))
    lab.until(lambda: any(claim.endswith("-scratch") for claim in lab.claims()) and lab.phase("gone") == "ImportInProgress")
    lab.remove("gone")
    lab.until(lambda: not lab.pods() and not lab.claims())
    lab.until(lambda: not list(lab.cluster.volumes.directory.glob("*/*")))


def test_a_crash_in_the_middle(lab: CdiLab) -> None:
    """An importer that dies is started again in the same pod, and the disk is whole in the end."""
    lab.trouble.set("importer", "restart", after=MIB, code=137, name="crash", attempt=1)
    lab.api.create(lab.dv("crash", storageClassName="slow-legacy"))
    lab.until(lab.done("crash"))
    assert restarts(lab, "crash") == 1
    assert lab.content("crash") == DISK
    assert [path.name for path in volume_path(lab, "crash").iterdir()] == ["disk.img"]
    lab.remove("crash")


def test_another_pod_on_the_claim(lab: CdiLab) -> None:
    """While somebody else uses a legacy claim, no importer is made."""
    lab.trouble.set("node", "refuse", name="importer-*")
    lab.api.create(lab.dv("used", storageClassName="slow-legacy"))
    lab.until(lambda: lab.bound("used"))
    volumes = [{"name": "disk", "persistentVolumeClaim": {"claimName": "used"}}]
    user = {"containers": [{"name": "c", "image": "none", "volumeMounts": [{"name": "disk", "mountPath": "/disk"}]}], "volumes": volumes}
    lab.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"}, "spec": user})
    lab.api.delete(POD, "importer-used")
    lab.until(lambda: any(reason == "ImportTargetInUse" for reason, _ in lab.events("used")))
    lab.trouble.clear()
    lab.clock.sleep(20)
    assert not lab.pods("importer-")
    lab.api.delete(POD, "user", grace_s=0)
    lab.until(lab.done("used"))
    claim = lab.api.get(PVC, "used")
    assert claim is not None
    lab.remove("used")
