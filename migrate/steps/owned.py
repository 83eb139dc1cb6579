"""Disks that a VM owns and no migration copied or made: a VM is deleted without what it owns, so they stay, and somebody must be told."""

from __future__ import annotations

from collections.abc import Collection

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import DATAVOLUME, PVC
from migrate.model.objects import name_of, owned_by


def disks_of(cluster: Cluster, uid: str, *, but: Collection[str]) -> str:
    """Name the DataVolumes and claims that the VM with this uid owns, those named in `but` left out; "" where they may not be listed."""
    words = list[str]()
    for kind in (DATAVOLUME, PVC):
        if cluster.serves(kind) is not None and cluster.can("list", kind):
            words += [f"{kind} {name_of(found)}" for found in cluster.list(kind) if owned_by(found, uid) and name_of(found) not in but]
    return ", ".join(words)
