"""What really lies on a claim of the lab, and on this machine after a download."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from migrate.kube.kinds import PV, PVC
from migrate.lab.storage import disk_file
from migrate.lab.up import Lab
from tests.flows.flow import Flow

PLACE = ("--context", "east", "-n", "shop")
"""Where the exports of these tests are."""


def content(lab: Lab, claim: str, side: str = "east") -> Path:
    """Return where a claim's bytes lie."""
    cluster = lab.clusters[side]
    name = lab.until(lambda: (cluster.runtime.cache(PVC).get("shop", claim) or {"spec": {}})["spec"].get("volumeName"))
    return Path(cluster.volumes.path(lab.until(lambda: cluster.runtime.cache(PV).get("", name))))


def digest(lab: Lab, flow: Flow, disk: str = "root") -> str:
    """Return the digest of a disk of a VM."""
    return digest_of(disk_file(content(lab, f"{flow.name}-{disk}")))


def digest_of(path: Path) -> str:
    """Return the digest of a file."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def make_claim(lab: Lab, name: str, **spec: Any) -> None:
    """Make a claim by hand, of which KubeVirt knows nothing. `spec` adds to it."""
    user = lab.east.client("lab/user").at("shop")
    body = {"storageClassName": "fast", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "4Mi"}}, **spec}
    user.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "shop"}, "spec": body})
    lab.until(lambda: (user.get(PVC, name) or {}).get("status", {}).get("phase") == "Bound")
    user.close()


def remove_claims(lab: Lab, *names: str) -> None:
    """Delete claims."""
    user = lab.east.client("lab/user").at("shop")
    for name in names:
        user.delete(PVC, name)
    user.close()


def fill(root: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a directory, by path."""
    for path, content_of_it in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content_of_it)


def files_in(root: Path) -> dict[str, bytes]:
    """Return the files of a directory, by path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def files_of(archive: Path) -> dict[str, bytes]:
    """Return the files of an archive, by path."""
    with tarfile.open(archive) as opened:
        inside = {member.name.removeprefix("./"): opened.extractfile(member) for member in opened if member.isfile()}
        return {name: file.read() for name, file in inside.items() if file is not None}
