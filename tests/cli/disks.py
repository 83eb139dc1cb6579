"""What really lies on a claim of the lab, and on this machine after a download."""

from __future__ import annotations

import hashlib
from pathlib import Path

from migrate.kube.kinds import PV, PVC
from migrate.lab.storage import disk_file
from migrate.lab.up import Lab
from tests.flows.flow import Flow

PLACE = ("--context", "east", "-n", "shop")
"""Where the exports of these tests are."""


def content(lab: Lab, claim: str, side: str = "east") -> Path:
    """Return where a claim's bytes lie."""
    cluster = lab.clusters[side]
    found = cluster.runtime.cache(PVC).get("shop", claim)
    assert found is not None
    volume = cluster.runtime.cache(PV).get("", found["spec"]["volumeName"])
    assert volume is not None
    return Path(cluster.volumes.path(volume))


def digest(lab: Lab, flow: Flow, disk: str = "root") -> str:
    """Return the digest of a disk of a VM."""
    return digest_of(disk_file(content(lab, f"{flow.name}-{disk}")))


def digest_of(path: Path) -> str:
    """Return the digest of a file."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
