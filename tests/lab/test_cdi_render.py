"""From a DataVolume to its claim: classes, modes, sizes, labels and annotations (reference/cdi-import.md sections 1.4 and 2.6)."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.lab import cdi_names as names
from migrate.lab.cdi_import_pod import importer_pod, scratch_claim
from migrate.lab.cdi_profiles import config_status, pick_class, profile_status
from migrate.lab.cdi_render import NotRenderable, Surroundings, claim, claim_spec, import_annotations

GIB = 1 << 30


def storage_class(name: str, provisioner: str, **annotations: str) -> dict[str, Any]:
    keys = {"default": names.DEFAULT_CLASS, "virt": names.DEFAULT_VIRT_CLASS}
    meta = {
        "name": name,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "annotations": {keys[key]: value for key, value in annotations.items()},
    }
    return {"metadata": meta, "provisioner": provisioner}


CLASSES = [
    storage_class("fast", "fast.csi.lab", default="true"),
    storage_class("ceph", "ceph.csi.lab"),
    storage_class("odd", "nobody.knows/it"),
]
CONFIG = {"status": config_status({"filesystemOverhead": {"storageClass": {"ceph": "0.1"}}}, CLASSES, upload_url="", upload_ca="")}
PROFILES = [{"metadata": {"name": cls["metadata"]["name"]}, "status": profile_status(cls, {})} for cls in CLASSES]
AROUND = Surroundings(classes=CLASSES, profiles=PROFILES, config=CONFIG)


def volume(**storage: Any) -> dict[str, Any]:
    source = {"http": {"url": "https://x/disk.img", "certConfigMap": "ca", "secretExtraHeaders": ["hdr"], "extraHeaders": ["A: b"]}}
    meta = {"name": "disk", "namespace": "shop", "uid": "u1", "labels": {"id": "42"}, "annotations": {names.IMMEDIATE: ""}}
    return {"metadata": meta, "spec": {"source": source, "storage": {"resources": {"requests": {"storage": "1Gi"}}, **storage}}}


@pytest.mark.parametrize(
    ("storage", "name", "mode", "access", "size"),
    [
        ({}, "fast", "Filesystem", "ReadWriteMany", 1138166334),
        ({"storageClassName": "ceph"}, "ceph", "Block", "ReadWriteMany", GIB),
        ({"storageClassName": "ceph", "volumeMode": "Filesystem"}, "ceph", "Filesystem", "ReadWriteOnce", 1181116007),
        ({"volumeMode": "Block"}, "fast", "Block", "ReadWriteMany", GIB),
        ({"accessModes": ["ReadWriteOnce"]}, "fast", "Filesystem", "ReadWriteOnce", 1138166334),
        ({"storageClassName": "odd", "accessModes": ["ReadWriteOnce"]}, "odd", None, "ReadWriteOnce", 1138166334),
    ],
)
def test_storage_is_completed_by_the_profile(storage: dict[str, Any], name: str, mode: str | None, access: str, size: int) -> None:
    """Class, modes and size follow the profile's order of preference; only file systems are inflated."""
    spec = claim_spec(volume(**storage), AROUND)
    assert (spec["storageClassName"], spec.get("volumeMode"), spec["accessModes"]) == (name, mode, [access])
    assert spec["resources"]["requests"]["storage"] == str(size)


def test_pvc_is_taken_verbatim() -> None:
    """A `pvc:` is neither completed nor inflated."""
    dv = volume()
    dv["spec"]["pvc"] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    del dv["spec"]["storage"]
    assert claim_spec(dv, AROUND) == dv["spec"]["pvc"]


@pytest.mark.parametrize(
    ("dv", "around", "words"),
    [
        (volume(storageClassName="odd"), AROUND, "no accessMode specified in StorageProfile odd"),
        (volume(storageClassName="absent"), AROUND, "PVC spec is missing accessMode and no storageClass to choose profile"),
        (volume(), Surroundings(), "PVC spec is missing accessMode and no storageClass to choose profile"),
        (volume(volumeMode="Block") | {}, Surroundings(classes=[CLASSES[2]], profiles=PROFILES), "no storageClass to choose profile"),
    ],
)
def test_what_cannot_be_rendered(dv: dict[str, Any], around: Surroundings, words: str) -> None:
    """Without modes to choose from there is no claim, and a sentence why."""
    with pytest.raises(NotRenderable, match=words):
        claim_spec(dv, around)


def test_archives_need_a_file_system() -> None:
    """An archive on a Block claim is an error; else it is put on a file system."""
    dv = volume(volumeMode="Block")
    dv["spec"]["contentType"] = "archive"
    with pytest.raises(NotRenderable, match="ContentType Archive cannot have block volumeMode"):
        claim_spec(dv, AROUND)


def test_an_available_volume_helps_out() -> None:
    """Without a class, a free volume of that class name gives the modes."""
    free = {"spec": {"storageClassName": "manual", "accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Available"}}
    spec = claim_spec(volume(storageClassName="manual"), Surroundings(volumes=[free]))
    assert (spec["accessModes"], spec["volumeMode"]) == (["ReadWriteOnce"], "Filesystem")


def test_the_default_class() -> None:
    """The default for virtual machines wins over the default; among several, the newest, then the first by name."""
    old, new = storage_class("b", "x", default="true"), storage_class("c", "x", default="true")
    new["metadata"]["creationTimestamp"] = "2026-02-01T00:00:00Z"
    same = storage_class("a", "x", default="true")
    virt = storage_class("v", "x", virt="true")
    assert [pick_class(found, None, virtual=True)["metadata"]["name"] for found in ([old, new, same], [old, same], [old, virt])] == [  # type: ignore[index]
        "c",
        "a",
        "v",
    ]
    assert pick_class([old, virt], None, virtual=False) is old


def test_the_claim_of_a_populated_volume() -> None:
    """The claim has the DataVolume's name, labels and annotations, refers to the volume source, and holds no import annotations."""
    found = claim(volume(), claim_spec(volume(), AROUND), populated=True, preallocate=False)
    meta = found["metadata"]
    assert (meta["name"], meta["namespace"], meta["ownerReferences"][0]["uid"]) == ("disk", "shop", "u1")
    assert meta["labels"]["id"] == "42"
    assert meta["labels"]["app"] == "containerized-data-importer"
    assert meta["labels"]["alerts.k8s.io/KubePersistentVolumeFillingUp"] == "disabled"
    assert meta["annotations"] == {
        names.IMMEDIATE: "",
        names.POD_RESTARTS: "0",
        names.CONTENT_TYPE: "kubevirt",
        names.PREALLOCATION: "false",
        names.CREATED_FOR: "u1",
    }
    assert found["spec"]["dataSourceRef"] == {
        "apiGroup": "cdi.kubevirt.io",
        "kind": "VolumeImportSource",
        "name": "volume-import-source-u1",
    }


def test_the_claim_of_a_legacy_import_carries_its_order() -> None:
    """Without populators the claim itself says what to import."""
    found = claim(volume(), claim_spec(volume(), AROUND), populated=False, preallocate=True)
    said = found["metadata"]["annotations"]
    assert "dataSourceRef" not in found["spec"]
    assert (said[names.SOURCE], said[names.ENDPOINT], said[names.CERT_CONFIG_MAP]) == ("http", "https://x/disk.img", "ca")
    assert (said[names.SECRET_HEADERS + "0"], said[names.EXTRA_HEADERS + "0"], said[names.PREALLOCATION]) == ("hdr", "A: b", "true")


def test_the_importer_pod() -> None:
    """The pod has the target's labels and gets certificates, header Secrets, size and owner as the importer expects them."""
    target = claim(volume(), claim_spec(volume(), AROUND), populated=True, preallocate=False)
    target["metadata"]["uid"] = "t1"
    hidden = {
        "metadata": {"name": "prime-t1", "namespace": "shop", "uid": "h1", "annotations": import_annotations(volume()["spec"]["source"])},
        "spec": target["spec"],
    }
    pod = importer_pod(hidden, target, CONFIG, owner_uid="t1", with_scratch=True)
    container = pod["spec"]["containers"][0]
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert pod["metadata"]["name"] == "importer-prime-t1"
    assert pod["metadata"]["labels"]["id"] == "42"
    assert pod["metadata"]["labels"]["cdi.kubevirt.io"] == "importer"
    assert (env["IMPORTER_IMAGE_SIZE"], env["FILESYSTEM_OVERHEAD"], env["OWNER_UID"]) == ("1138166334", "0.06", "t1")
    assert env["IMPORTER_EXTRA_HEADER_0"] == "A: b"
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/scratch", "/certs", "/extraheaders/0"}
    assert container["resources"]["limits"] == {"cpu": "750m", "memory": "600M"}


def test_the_scratch_claim() -> None:
    """Scratch space is a file system in the claim's own class, or in the configured one, and dies with the pod."""
    target = {"metadata": {"name": "disk", "namespace": "shop"}, "spec": claim_spec(volume(storageClassName="ceph"), AROUND)}
    pod = {"metadata": {"name": "importer-disk", "uid": "p1"}}
    found = scratch_claim(target, pod, CONFIG)
    assert found["metadata"]["name"] == "disk-scratch"
    assert found["metadata"]["ownerReferences"][0]["uid"] == "p1"
    assert "volumeMode" not in found["spec"]
    assert (found["spec"]["storageClassName"], found["spec"]["accessModes"]) == ("ceph", ["ReadWriteOnce"])
    assert found["spec"]["resources"]["requests"]["storage"] == str(1127 << 20)
    chosen = {"status": {**CONFIG["status"], "scratchSpaceStorageClass": "fast"}}
    assert scratch_claim(target, pod, chosen)["spec"]["storageClassName"] == "fast"


def test_the_config_lists_every_class() -> None:
    """The CDIConfig says the overhead of every class, and takes a scratch class only if it exists."""
    status = config_status({"scratchSpaceStorageClass": "absent"}, CLASSES, upload_url="localhost:1", upload_ca="PEM")
    assert status["filesystemOverhead"] == {"global": "0.06", "storageClass": {"ceph": "0.06", "fast": "0.06", "odd": "0.06"}}
    assert "scratchSpaceStorageClass" not in status
    assert (status["uploadProxyURL"], status["uploadProxyCA"]) == ("localhost:1", "PEM")
    assert config_status({"scratchSpaceStorageClass": "fast"}, CLASSES, upload_url="", upload_ca="")["scratchSpaceStorageClass"] == "fast"


def test_an_unknown_provisioner_has_an_empty_profile() -> None:
    """Such a profile is not recognized and has no property sets."""
    status = profile_status(CLASSES[2], {})
    assert status["claimPropertySets"] == []
    assert status["conditions"][0]["status"] == "False"
