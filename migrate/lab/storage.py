"""Storage of the lab: classes, and volumes as files with real bytes.

A volume is DIR/CLUSTER/volumes/PV/: the directory `fs` for Filesystem mode (disks are `disk.img` in it), the file `block`, as large as
the volume, for Block mode. Files are sparse. Nothing but these files holds what a guest wrote, and the snapshots of them, which are
copies in DIR/CLUSTER/snapshots/HANDLE/.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrate.kube.kinds import VOLUMESNAPSHOTCLASS
from migrate.lab.quantity import value

if TYPE_CHECKING:
    from migrate.lab.admission import Review

MIB = 1 << 20
PROTECTION = "kubernetes.io/pvc-protection"
DEFAULT = "storageclass.kubernetes.io/is-default-class"
SELECTED_NODE = "volume.kubernetes.io/selected-node"


@dataclass(frozen=True, slots=True)
class StorageClass:
    """One class. `csi` = a CSIDriver object of the provisioner's name exists, which makes CDI use populators."""

    name: str
    provisioner: str
    csi: bool = True
    default: bool = False
    wait_for_consumer: bool = False
    step_bytes: int = MIB
    """Sizes are rounded up to a multiple of this."""

    @property
    def snapshot_class(self) -> str:
        """Return the name of its VolumeSnapshotClass; empty for one whose volumes cannot be snapshotted."""
        return f"{self.name}-snapshots" if self.csi else ""


CLASSES = (
    StorageClass("fast", "fast.csi.lab", default=True),
    StorageClass("ceph", "ceph.csi.lab", step_bytes=4 * MIB),
    StorageClass("local", "local.csi.lab", wait_for_consumer=True),
    StorageClass("slow-legacy", "lab/slow-legacy", csi=False),
)


def size_bytes(quantity: str | int) -> int:
    """Return a quantity in whole bytes, rounded up."""
    exact = value(quantity)
    return -(-exact.numerator // exact.denominator)


def spelled(size: int) -> str:
    """Return bytes as a quantity, in Mi where that is exact."""
    return f"{size // MIB}Mi" if size % MIB == 0 else str(size)


def manifests() -> list[dict[str, Any]]:
    """Return the StorageClasses and CSIDrivers that every lab cluster has."""
    found: list[dict[str, Any]] = []
    for cls in CLASSES:
        annotations = {DEFAULT: "true"} if cls.default else {}
        found.append(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": cls.name, "annotations": annotations},
                "provisioner": cls.provisioner,
                "reclaimPolicy": "Delete",
                "volumeBindingMode": "WaitForFirstConsumer" if cls.wait_for_consumer else "Immediate",
                "allowVolumeExpansion": False,
            }
        )
        if cls.csi:
            driver = {"name": cls.provisioner}
            spec = {"attachRequired": False, "podInfoOnMount": False, "volumeLifecycleModes": ["Persistent"]}
            found.append({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": driver, "spec": spec})
    return found


def snapshot_classes() -> list[dict[str, Any]]:
    """Return the VolumeSnapshotClasses of a cluster that has the snapshot controller."""
    return [
        {
            "apiVersion": VOLUMESNAPSHOTCLASS.api_version(),
            "kind": VOLUMESNAPSHOTCLASS.kind,
            "metadata": {"name": cls.snapshot_class},
            "driver": cls.provisioner,
            "deletionPolicy": "Delete",
        }
        for cls in CLASSES
        if cls.snapshot_class
    ]


class Volumes:
    """The files of one cluster's volumes, and of their snapshots."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.snapshots = directory.parent / "snapshots"

    def path(self, pv: dict[str, Any]) -> Path:
        """Return the directory (Filesystem) or the file (Block) of a PersistentVolume."""
        name: str = pv["metadata"]["name"]
        return self.directory / name / ("block" if is_block(pv) else "fs")

    def create(self, pv: dict[str, Any]) -> None:
        """Make the files of a new volume; existing ones stay."""
        path = self.path(pv)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not is_block(pv):
            path.mkdir(exist_ok=True)
        elif not path.exists():
            with path.open("wb") as file:
                file.truncate(capacity_bytes(pv))

    def remove(self, pv_name: str) -> None:
        """Remove the files of a volume."""
        shutil.rmtree(self.directory / pv_name, ignore_errors=True)

    def take(self, pv: dict[str, Any], handle: str) -> None:
        """Keep what a volume holds right now as a snapshot. Every disk in it is of one moment: no guest writes while it is read."""
        self.drop(handle)
        source = self.path(pv)
        copy_files(source, self.snapshots / handle / source.name)

    def restore(self, handle: str, pv: dict[str, Any]) -> None:
        """Fill a new volume from a snapshot. Raise FileNotFoundError for one that is not there or is of the other mode."""
        source = self.snapshots / handle / self.path(pv).name
        if not source.exists():
            raise FileNotFoundError(f"no snapshot {handle} of a {pv['spec'].get('volumeMode', 'Filesystem')} volume")
        copy_files(source, self.path(pv))

    def drop(self, handle: str) -> None:
        """Remove a snapshot."""
        shutil.rmtree(self.snapshots / handle, ignore_errors=True)


def copy_files(source: Path, target: Path) -> None:
    """Copy a volume's directory or device file, holes included; a larger device keeps its size and zeros behind the end."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            place = target / path.relative_to(source)
            if path.is_dir() and not path.is_symlink():
                place.mkdir(parents=True, exist_ok=True)
            elif path.is_symlink():
                place.symlink_to(path.readlink())
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                _copy_sparse(path, place)
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    _copy_sparse(source, target)


def _copy_sparse(source: Path, target: Path) -> None:
    with source.open("rb") as reading, target.open("r+b" if target.exists() else "w+b") as writing:
        fcntl.flock(reading, fcntl.LOCK_EX)
        size = os.fstat(reading.fileno()).st_size
        writing.truncate(max(size, os.fstat(writing.fileno()).st_size))
        place = 0
        while place < size:
            try:
                place = os.lseek(reading.fileno(), place, os.SEEK_DATA)
            except OSError:
                return  # ENXIO: no data from here to the end
            end = os.lseek(reading.fileno(), place, os.SEEK_HOLE)
            while place < end:
                place += os.copy_file_range(reading.fileno(), writing.fileno(), end - place, place, place)
    target.chmod(source.stat().st_mode & 0o777)


def is_block(volume: dict[str, Any]) -> bool:
    """Tell whether a PV or PVC is of Block mode."""
    return bool(volume["spec"].get("volumeMode") == "Block")


def capacity_bytes(pv: dict[str, Any]) -> int:
    """Return the size of a PersistentVolume."""
    return size_bytes(pv["spec"]["capacity"]["storage"])


def disk_file(volume_path: Path) -> Path:
    """Return the file that holds the guest's bytes: the block file, or `disk.img` in the directory."""
    return volume_path / "disk.img" if volume_path.name == "fs" else volume_path


def default_class(review: Review) -> str:
    """Return the class for a claim that names none: the newest one marked as default, or none."""
    marked = [
        cls
        for cls in review.list("storage.k8s.io", "storageclasses", "")
        if (cls["metadata"].get("annotations") or {}).get(DEFAULT) == "true"
    ]
    marked.sort(key=lambda cls: cls["metadata"]["name"])
    marked.sort(key=lambda cls: cls["metadata"].get("creationTimestamp", ""), reverse=True)
    return marked[0]["metadata"]["name"] if marked else ""


def admit_claim(review: Review) -> dict[str, Any] | None:
    """Do what the API server's own plugins do to a new claim: default class, default mode, protection finalizer."""
    if review.resource.plural != "persistentvolumeclaims" or review.operation != "CREATE" or review.subresource or review.new is None:
        return None
    claim = review.new
    spec = claim.setdefault("spec", {})
    if spec.get("storageClassName") is None and (name := default_class(review)):
        spec["storageClassName"] = name
    spec.setdefault("volumeMode", "Filesystem")
    finalizers = claim["metadata"].setdefault("finalizers", [])
    if PROTECTION not in finalizers:
        finalizers.append(PROTECTION)
    return claim
