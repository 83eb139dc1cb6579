"""DataVolumes in a whole cluster, when all goes well: both ways of filling, both modes, waiting for consumers, adoption, blanks."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.kube.kinds import CDI, CDICONFIG, DATAVOLUME, POD, PVC, STORAGEPROFILE, VOLUMEIMPORTSOURCE
from migrate.lab.cdi_golden import block
from migrate.model.errors import Refused
from tests.lab.cdi_lab import DISK, MIB, CdiLab, lab_fixture, shared_cdi_fixture  # noqa: F401


def test_a_populated_import(lab: CdiLab) -> None:
    """Two pods, a hidden claim with its scratch space, regressing phases, Succeeded before Bound; in the end only the disk is left."""
    seen: list[tuple[str, str, str]] = []
    claims: set[str] = set()

    def note(_: str, dv: dict[str, Any]) -> None:
        status = dv.get("status") or {}
        word = (
            status.get("phase", ""),
            status.get("progress", ""),
            next((c["status"] for c in status.get("conditions", ()) if c["type"] == "Bound"), ""),
        )
        if dv["metadata"]["name"] == "fs" and (not seen or seen[-1] != word):
            seen.append(word)

    dvs = lab.api.bell(DATAVOLUME, on_event=note)
    pvcs = lab.api.bell(PVC, on_event=lambda _, claim: claims.add(claim["metadata"]["name"]))
    lab.api.create(lab.dv("fs", storageClassName="fast", volumeMode="Filesystem"))
    lab.until(lab.done("fs"))
    lab.until(lambda: lab.claims() == {"fs"} and not lab.pods() and not lab.api.list(VOLUMEIMPORTSOURCE))
    dvs.close()
    pvcs.close()
    claim = lab.api.get(PVC, "fs")
    assert claim is not None
    uid = claim["metadata"]["uid"]
    phases = [phase for at, (phase, _, _) in enumerate(seen) if at == 0 or seen[at - 1][0] != phase]
    assert phases == ["", "Pending", "ImportScheduled", "ImportInProgress", "ImportScheduled", "ImportInProgress", "Succeeded"]
    assert ("Succeeded", "100.0%", "False") in seen
    assert seen[-1] == ("Succeeded", "100.0%", "True")
    assert claims == {"fs", f"prime-{uid}", f"prime-{uid}-scratch"}
    assert lab.content("fs") == DISK
    assert [method for method, _, _ in lab.server.requests] == ["HEAD", "GET"] * 2
    told = [reason for reason, _ in lab.events("fs")]
    assert {"ImportScheduled", "ImportInProgress", "ImportSucceeded", "Bound", "CreatedPVCPrimeSuccessfully", "importSucceeded"} <= set(
        told
    )
    assert lab.condition("fs", "Running") == ("False", "Completed", "Import Complete")
    lab.remove("fs")


@pytest.mark.parametrize(
    ("name", "storage"),
    [
        ("block", {"storageClassName": "ceph"}),
        ("node-local", {"storageClassName": "local"}),
        ("legacy", {"storageClassName": "slow-legacy"}),
        ("legacy-block", {"storageClassName": "slow-legacy", "volumeMode": "Block", "accessModes": ["ReadWriteOnce"]}),
    ],
)
def test_imports_into_every_kind_of_storage(lab: CdiLab, name: str, storage: dict[str, str]) -> None:
    """Block or file system, bound at once or by the importer, with a CSI driver or without: the disk is equal, the rest is zero."""
    lab.api.create(lab.dv(name, **storage))
    lab.until(lab.done(name))
    content = lab.content(name)
    assert content[: len(DISK)] == DISK
    assert not any(content[len(DISK) :])
    lab.remove(name)


def test_a_legacy_import_binds_first(lab: CdiLab) -> None:
    """Without populators the claim is bound before the data comes, and there is no hidden claim."""
    lab.trouble.set("importer", "delay", seconds=30, name="slow")
    lab.api.create(lab.dv("slow", storageClassName="slow-legacy"))
    lab.until(lambda: lab.phase("slow") == "ImportInProgress")
    assert lab.bound("slow")
    assert not any(claim.startswith("prime-") for claim in lab.claims())
    dv = lab.api.get(DATAVOLUME, "slow")
    assert dv is not None
    assert dv["metadata"]["annotations"]["cdi.kubevirt.io/storage.usePopulator"] == "false"
    lab.remove("slow")


def test_populators_can_be_refused(lab: CdiLab) -> None:
    """The annotation decides, also against a CSI driver."""
    forced = lab.dv("forced", storageClassName="fast")
    forced["metadata"]["annotations"]["cdi.kubevirt.io/storage.usePopulator"] = "false"
    lab.api.create(forced)
    lab.until(lab.done("forced"))
    assert not lab.api.list(VOLUMEIMPORTSOURCE)
    assert lab.content("forced") == DISK
    lab.remove("forced")


@pytest.mark.parametrize("cls", ["fast", "slow-legacy"])
def test_progress_is_seen_while_time_passes(lab: CdiLab, cls: str) -> None:
    """While a server is slow, lab time goes on, and the progress of the download shows within seconds."""
    lab.server.pause_after = len(DISK) // 2
    lab.api.create(lab.dv("half", storageClassName=cls))
    lab.until(lambda: lab.status("half").get("progress") == "50.00%", seconds=30)
    assert lab.phase("half") == "ImportInProgress"
    assert lab.condition("half", "Ready")[1] == "TransferRunning"
    lab.server.go_on.set()
    lab.until(lab.done("half"))
    assert lab.content("half") == DISK
    lab.remove("half")


def test_retained_workers(lab: CdiLab) -> None:
    """With the annotation, the hidden claim and the pod stay after success."""
    kept = lab.dv("kept", storageClassName="fast")
    kept["metadata"]["annotations"]["cdi.kubevirt.io/storage.pod.retainAfterCompletion"] = "true"
    lab.api.create(kept)
    lab.until(lab.done("kept"))
    lab.clock.sleep(30)
    assert any(claim.startswith("prime-") for claim in lab.claims())
    assert lab.pods("importer-prime-")
    lab.remove("kept")


def test_without_a_consumer_nothing_moves(lab: CdiLab) -> None:
    """On a class that waits for consumers, and without the annotation, a pod that mounts the claim starts the import."""
    lab.api.create(lab.dv("waiting", at_once=False, storageClassName="local"))
    lab.until(lambda: lab.phase("waiting") == "PendingPopulation")
    lab.clock.sleep(60)
    assert lab.phase("waiting") == "PendingPopulation"
    assert lab.claims() == {"waiting"}
    volumes = [{"name": "disk", "persistentVolumeClaim": {"claimName": "waiting"}}]
    container = {"name": "c", "image": "none", "volumeMounts": [{"name": "disk", "mountPath": "/disk"}]}
    consumer = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "consumer"},
        "spec": {"containers": [container], "volumes": volumes},
    }
    lab.api.create(consumer)
    lab.until(lab.done("waiting"))
    assert lab.content("waiting") == DISK
    lab.api.delete(POD, "consumer", grace_s=0)
    lab.remove("waiting")


def test_legacy_on_a_waiting_class(lab: CdiLab) -> None:
    """The legacy path has a phase of its own for it."""
    cls = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "late"}, "provisioner": "lab/slow-legacy"}
    lab.api.create(cls | {"volumeBindingMode": "WaitForFirstConsumer"})
    lab.until(lambda: lab.api.get(STORAGEPROFILE, "late"))
    lab.api.create(lab.dv("late", at_once=False, storageClassName="late"))
    lab.until(lambda: lab.phase("late") == "WaitForFirstConsumer")
    lab.remove("late")


def test_existing_claims_are_adopted_if_allowed(lab: CdiLab) -> None:
    """With the annotation the claim is taken as it is and nothing is imported; without, the webhook refuses."""
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "4Mi"}}}
    lab.api.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "old"}, "spec": spec})
    with pytest.raises(Refused) as refused:
        lab.api.create(lab.dv("old"))
    assert refused.value.status == 422
    assert (
        'admission webhook "datavolume-validate.cdi.kubevirt.io" denied the request:  Destination PVC shop/old already exists'
        in refused.value.why
    )
    before = len(lab.server.requests)
    willing = lab.dv("old")
    willing["metadata"]["annotations"]["cdi.kubevirt.io/allowClaimAdoption"] = "true"
    lab.api.create(willing)
    lab.until(lab.done("old"))
    assert len(lab.server.requests) == before
    claim = lab.api.get(PVC, "old")
    assert claim is not None
    assert claim["metadata"]["ownerReferences"][0]["kind"] == "DataVolume"
    lab.remove("old")


def test_claims_filled_by_others(lab: CdiLab) -> None:
    """A claim that says it was filled for this DataVolume makes it Succeeded, even before it is bound."""
    meta = {"name": "filled", "annotations": {"cdi.kubevirt.io/storage.populatedFor": "filled"}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "local", "resources": {"requests": {"storage": "4Mi"}}}
    willing = lab.dv("filled", storageClassName="local")
    willing["metadata"]["annotations"] |= {"cdi.kubevirt.io/storage.prePopulated": "filled", "cdi.kubevirt.io/allowClaimAdoption": "true"}
    lab.api.create(willing)
    lab.clock.sleep(5)
    assert lab.claims() == set()
    lab.api.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec})
    lab.until(lambda: lab.phase("filled") == "Succeeded")
    assert not lab.bound("filled")
    lab.remove("filled")


def test_blank_disks(lab: CdiLab) -> None:
    """A blank disk is as large as asked for and holds zeroes; no scratch space is used."""
    lab.api.create(lab.dv("blank", {"blank": {}}, storageClassName="fast"))
    lab.until(lab.done("blank"))
    assert lab.content("blank") == bytes(3 * MIB)
    lab.remove("blank")


def test_golden_images(lab: CdiLab) -> None:
    """A registry source is filled from its URL."""
    golden = lab.dv("golden", {"registry": {"url": "docker://fedora"}}, storageClassName="fast")
    golden["spec"]["storage"]["resources"]["requests"]["storage"] = "16Mi"
    lab.api.create(golden)
    lab.until(lab.done("golden"))
    assert lab.content("golden").startswith(block("docker://fedora", 0))
    lab.remove("golden")


def test_the_spec_cannot_be_changed(lab: CdiLab) -> None:
    """The webhook refuses another URL, and lets labels pass."""
    lab.api.create(lab.dv("fixed", {"blank": {}}, storageClassName="fast"))
    with pytest.raises(Refused, match="DataVolume") as refused:
        lab.api.merge(DATAVOLUME, "fixed", {"spec": {"storage": {"storageClassName": "ceph"}}})
    assert "denied the request:  Cannot update DataVolume Spec" in refused.value.why
    lab.api.merge(DATAVOLUME, "fixed", {"metadata": {"labels": {"more": "words"}}})
    lab.remove("fixed")


def test_a_class_without_profile(lab: CdiLab) -> None:
    """The claim is not valid until somebody fills the profile; then the import goes on by itself."""
    cls = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "odd"}, "provisioner": "odd/driver"}
    lab.api.create(cls)
    lab.api.create(lab.dv("odd", storageClassName="odd"))
    lab.until(lambda: lab.condition("odd", "Bound")[1] == "ErrClaimNotValid")
    assert lab.phase("odd") == ""
    lab.until(lambda: lab.api.get(STORAGEPROFILE, "odd"))
    sets = [{"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem"}]
    lab.api.merge(STORAGEPROFILE, "odd", {"spec": {"claimPropertySets": sets}})
    lab.until(lab.done("odd"))
    lab.remove("odd")


def test_settings_and_profiles(lab: CdiLab) -> None:
    """Every class has a profile and an overhead; the upload address is a bare host and port."""
    config = lab.until(lambda: (lab.api.get(CDICONFIG, "config") or {}).get("status"))
    assert config["filesystemOverhead"]["global"] == "0.06"
    assert {"fast", "ceph", "local", "slow-legacy"} <= set(config["filesystemOverhead"]["storageClass"])
    assert config["defaultPodResourceRequirements"]["limits"] == {"cpu": "750m", "memory": "600M"}
    host, _, port = config["uploadProxyURL"].partition(":")
    assert host == "localhost"
    assert port.isdigit()
    lab.api.merge(CDI, "cdi", {"spec": {"config": {"scratchSpaceStorageClass": "fast"}}})
    lab.until(lambda: (lab.api.get(CDICONFIG, "config") or {})["status"].get("scratchSpaceStorageClass") == "fast")
    lab.api.merge(CDI, "cdi", {"spec": {"config": {"scratchSpaceStorageClass": None}}})
    ceph = lab.until(lambda: lab.api.get(STORAGEPROFILE, "ceph"))
    assert ceph["status"]["claimPropertySets"][0] == {"accessModes": ["ReadWriteMany"], "volumeMode": "Block"}
