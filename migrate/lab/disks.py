"""What really lies on the disks of a cluster, read from the storage itself and not through anything that is under test."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from migrate.kube.kinds import PV, PVC
from migrate.lab.storage import Volumes, disk_file

if TYPE_CHECKING:
    from migrate.kube.cluster import Cluster

CHUNK = 1 << 20
_ZEROS = bytes(CHUNK)


@dataclass(frozen=True, slots=True)
class DiskContent:
    """One bound claim: `bytes` is the size of its disk, `sha256` covers the content up to its last byte that is not zero.

    Of a claim that holds files and no disk, `bytes` is the sum of them, and the hash covers their paths and contents.
    """

    cluster: str
    namespace: str
    pvc: str
    bytes: int
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON."""
        return {"cluster": self.cluster, "namespace": self.namespace, "pvc": self.pvc, "bytes": self.bytes, "sha256": self.sha256}


def list_disks(api: Cluster, volumes: Volumes, cluster: str) -> list[DiskContent]:
    """Return every bound claim of a cluster with the hash of its content, by namespace and name."""
    pvs = {pv["metadata"]["name"]: pv for pv in api.list(PV)}
    found = []
    for claim in api.list(PVC, everywhere=True):
        pv = pvs.get(claim["spec"].get("volumeName", ""))
        if pv is None or (claim.get("status") or {}).get("phase") != "Bound":
            continue
        size, digest = content_of(volumes.path(pv))
        found.append(DiskContent(cluster, claim["metadata"]["namespace"], claim["metadata"]["name"], size, digest))
    return sorted(found, key=lambda row: (row.namespace, row.pvc))


def content_of(volume: Path) -> tuple[int, str]:
    """Return size and hash of what lies on a volume: its disk, or the files of one without a disk, by name and content."""
    disk = disk_file(volume)
    if disk.exists() or not volume.is_dir():
        return content(disk)
    digest, size = hashlib.sha256(), 0
    for path in sorted(path for path in volume.rglob("*") if not path.is_symlink()):
        inside = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.relative_to(volume)}\0{path.is_dir()}\0{hashlib.sha256(inside).hexdigest()}\n".encode())
        size += len(inside)
    return size, digest.hexdigest()


def content(path: Path) -> tuple[int, str]:
    """Return the size of a disk file and the SHA-256 of its content up to the last non-zero byte; (0, hash of nothing) if there is none."""
    digest = hashlib.sha256()
    if not path.exists():
        return 0, digest.hexdigest()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        end = content_end(file, size)
        file.seek(0)
        while end > 0:
            chunk = file.read(min(CHUNK, end))
            if not chunk:
                break
            digest.update(chunk)
            end -= len(chunk)
    return size, digest.hexdigest()


def content_end(file: BinaryIO, size: int) -> int:
    """Return the offset behind the last byte that is not zero. Trailing holes are skipped unread."""
    end = size
    while end > 0:
        start = max(0, end - CHUNK)
        if _is_hole(file, start, end):
            end = start
            continue
        file.seek(start)
        chunk = file.read(end - start)
        if chunk != _ZEROS[: len(chunk)]:
            return start + len(chunk.rstrip(b"\0"))
        end = start
    return 0


def _is_hole(file: BinaryIO, start: int, end: int) -> bool:
    try:
        return os.lseek(file.fileno(), start, os.SEEK_DATA) >= end
    except OSError:
        return True  # ENXIO: no data from here to the end
