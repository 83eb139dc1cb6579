"""The storage: claims, volumes and files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.kube.kinds import CSIDRIVER, EVENT, POD, PV, PVC, STORAGECLASS
from migrate.lab.disks import content, list_disks
from migrate.lab.pods import PROGRAMS, Container
from migrate.lab.seed import fill
from migrate.lab.storage import MIB
from migrate.lab.storage_binder import SELECTED_NODE, reference
from tests.lab.conftest import Bare


def claim(name: str, size: str = "10Mi", storage_class: str | None = "fast", **spec: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    if storage_class is not None:
        asked["storageClassName"] = storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "shop"}, "spec": asked}


def get(bare: Bare, name: str) -> dict[str, Any]:
    found = bare.api.get(PVC, name)
    assert found is not None
    return found


def bound(bare: Bare, name: str) -> dict[str, Any]:
    bare.until(lambda: get(bare, name)["status"]["phase"] == "Bound")
    return get(bare, name)


def volume_of(bare: Bare, name: str) -> dict[str, Any]:
    found = bare.api.get(PV, bound(bare, name)["spec"]["volumeName"])
    assert found is not None
    return found


def events(bare: Bare, name: str) -> dict[str, str]:
    return {event["reason"]: event["message"] for event in bare.api.list(EVENT) if event["involvedObject"]["name"] == name}


def test_the_classes_are_there(bare: Bare) -> None:
    """Four classes, one the default, one waiting for its consumer, one without a CSIDriver."""
    classes = {cls["metadata"]["name"]: cls for cls in bare.api.list(STORAGECLASS)}
    drivers = {driver["metadata"]["name"] for driver in bare.api.list(CSIDRIVER)}
    assert set(classes) == {"fast", "ceph", "local", "slow-legacy"}
    assert classes["local"]["volumeBindingMode"] == "WaitForFirstConsumer"
    assert {name for name, cls in classes.items() if cls["provisioner"] in drivers} == {"fast", "ceph", "local"}


@pytest.mark.parametrize(
    ("storage_class", "asked", "given"),
    [("fast", "10Mi", "10Mi"), ("fast", "10000001", "10Mi"), ("ceph", "9Mi", "12Mi"), ("slow-legacy", "1", "1Mi"), (None, "3Mi", "3Mi")],
)
def test_a_claim_gets_a_volume_of_its_size(bare: Bare, storage_class: str | None, asked: str, given: str) -> None:
    """Immediate classes bind at once; sizes are rounded up to the class's step; without a class the default one is taken."""
    name = f"size-{storage_class}-{asked}".lower()
    bare.api.create(claim(name, asked, storage_class))
    found, pv = bound(bare, name), volume_of(bare, name)
    assert found["status"]["capacity"]["storage"] == given
    assert found["status"]["accessModes"] == ["ReadWriteOnce"]
    assert found["spec"]["storageClassName"] == (storage_class or "fast")
    assert found["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] == "yes"
    assert pv["status"]["phase"] == "Bound"
    assert pv["spec"]["claimRef"]["uid"] == found["metadata"]["uid"]
    assert bare.cluster.volumes.path(pv).is_dir()


def test_a_block_volume_is_a_file_of_its_size(bare: Bare) -> None:
    """Block mode gives a device as large as the volume, without using the space."""
    bare.api.create(claim("device", "10Mi", "ceph", volumeMode="Block"))
    path = bare.cluster.volumes.path(volume_of(bare, "device"))
    assert path.stat().st_size == 12 * MIB
    assert path.stat().st_blocks == 0


def test_an_unknown_class_leaves_the_claim_pending(bare: Bare) -> None:
    """The event says which class is missing."""
    bare.api.create(claim("nowhere", storage_class="gold"))
    bare.until(lambda: "ProvisioningFailed" in events(bare, "nowhere"))
    assert events(bare, "nowhere")["ProvisioningFailed"] == 'storageclass.storage.k8s.io "gold" not found'
    assert get(bare, "nowhere")["status"]["phase"] == "Pending"


def test_the_first_consumer_chooses(bare: Bare) -> None:
    """A claim of a waiting class stays Pending until a pod that mounts it is scheduled; then it is bound to that node."""

    def program(container: Container) -> int:
        container.path("/data/x").write_bytes(b"x")
        return 0

    PROGRAMS["test/consumer"] = program
    bare.api.create(claim("later", storage_class="local"))
    bare.until(lambda: "WaitForFirstConsumer" in events(bare, "later"))
    assert get(bare, "later")["status"]["phase"] == "Pending"
    container = {"name": "c", "image": "test/consumer", "volumeMounts": [{"name": "v", "mountPath": "/data"}]}
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "later"}}]
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": volumes}
    bare.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "consumer"}, "spec": spec})
    bare.until(lambda: (bare.api.get(POD, "consumer") or {})["status"]["phase"] == "Succeeded")
    assert bound(bare, "later")["metadata"]["annotations"][SELECTED_NODE] == "east-node"
    assert "nodeAffinity" in volume_of(bare, "later")["spec"]


def test_a_claim_with_a_foreign_source_is_left_to_its_populator(bare: Bare) -> None:
    """The provisioner makes no volume for a claim with a dataSourceRef."""
    source = {"apiGroup": "cdi.kubevirt.io", "kind": "VolumeImportSource", "name": "x"}
    bare.api.create(claim("populated", dataSourceRef=source))
    bare.clock.sleep(60)
    assert get(bare, "populated")["status"]["phase"] == "Pending"
    assert not get(bare, "populated")["spec"].get("volumeName")


def test_claims_follow_a_rewritten_claim_ref(bare: Bare) -> None:
    """When a populator hands a volume over, the new claim is Bound with the same bytes, the old one Lost, and its removal harms nothing."""
    source = {"apiGroup": "cdi.kubevirt.io", "kind": "VolumeImportSource", "name": "x"}
    bare.api.create(claim("prime"), claim("target", dataSourceRef=source))
    pv = volume_of(bare, "prime")
    (bare.cluster.volumes.path(pv) / "disk.img").write_bytes(b"content")
    bare.api.merge(PV, pv["metadata"]["name"], {"spec": {"claimRef": reference(get(bare, "target"))}})
    assert bound(bare, "target")["spec"]["volumeName"] == pv["metadata"]["name"]
    bare.until(lambda: get(bare, "prime")["status"]["phase"] == "Lost")
    bare.api.delete(PVC, "prime")
    bare.until(lambda: bare.api.get(PVC, "prime") is None)
    bare.clock.sleep(30)
    assert (bare.cluster.volumes.path(volume_of(bare, "target")) / "disk.img").read_bytes() == b"content"


def test_deleting_a_claim_removes_its_bytes(bare: Bare) -> None:
    """The volumes of these classes are reclaimed by deletion: object and files go."""
    bare.api.create(claim("short"))
    pv = volume_of(bare, "short")
    path = bare.cluster.volumes.path(pv)
    bare.api.delete(PVC, "short")
    bare.until(lambda: bare.api.get(PV, pv["metadata"]["name"]) is None)
    bare.until(lambda: not path.exists())


def test_storage_makes_trouble_when_told(bare: Bare) -> None:
    """An order refuses a claim with its words until it is used up, another one delays the volume."""
    bare.trouble.set("storage", "refuse", name="hard", message="pool is full", times=1)
    bare.trouble.set("storage", "delay", name="slow", seconds=40)
    began = bare.clock.monotonic()
    bare.api.create(claim("hard"), claim("slow"))
    bound(bare, "hard")
    assert events(bare, "hard")["ProvisioningFailed"] == "failed to provision volume: pool is full"
    bound(bare, "slow")
    assert 40 <= bare.clock.monotonic() - began < 60


def test_disks_are_listed_from_the_files(bare: Bare) -> None:
    """Every bound claim is listed with the size of its disk and the hash of its content; a claim without a disk has none."""
    bare.api.create(claim("with-disk"), claim("without-disk"))
    path = bare.cluster.volumes.path(volume_of(bare, "with-disk")) / "disk.img"
    path.write_bytes(b"abc" + bytes(3 * MIB))
    bound(bare, "without-disk")
    rows = {row.pvc: row for row in list_disks(bare.api, bare.cluster.volumes, "east")}
    assert rows["with-disk"].sha256 == hashlib.sha256(b"abc").hexdigest()
    assert rows["with-disk"].bytes == 3 * MIB + 3
    assert (rows["without-disk"].bytes, rows["without-disk"].sha256) == (0, hashlib.sha256().hexdigest())


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.integers(0, 6 * MIB), st.binary(min_size=1, max_size=50)), max_size=6),
    size=st.integers(0, 8 * MIB),
)
def test_the_hash_ends_at_the_last_byte_that_counts(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bytes]], size: int
) -> None:
    """Whatever holes and zeros a disk has, its hash is that of the content without the zeros at the end."""
    path = tmp_path_factory.mktemp("hash") / "disk"
    whole = bytearray(size)
    with path.open("wb") as file:
        file.truncate(size)
        for at, piece in pieces:
            if at + len(piece) <= size:
                os.pwrite(file.fileno(), piece, at)
                whole[at : at + len(piece)] = piece
    assert content(path) == (size, hashlib.sha256(bytes(whole).rstrip(b"\0")).hexdigest())


@given(mib=st.integers(1, 40), share=st.sampled_from([0.0, 0.25, 1.0]))
@settings(max_examples=10, deadline=None)
def test_seeded_disks_are_sparse_and_their_own(tmp_path_factory: pytest.TempPathFactory, mib: int, share: float) -> None:
    """A filled disk has its size, the wanted share of content with both ends, the same for the same word, another for another."""
    directory: Path = tmp_path_factory.mktemp("fill")
    for name in ("a", "b"):
        fill(directory / name, mib * MIB, share, word=name)
    fill(directory / "again", mib * MIB, share, word="a")
    a, b, again = ((directory / name).read_bytes() for name in ("a", "b", "again"))
    assert len(a) == mib * MIB
    assert a == again
    if share == 0:
        assert not any(a)
        return
    assert a != b
    assert any(a[:16])
    assert any(a[-16:])
    used = (directory / "a").stat().st_blocks * 512
    assert used <= max(share * mib, 2) * MIB + MIB
