"""A migration to render for."""

from __future__ import annotations

from migrate.model.migration import Disk, Migration, Options
from migrate.model.refs import VMRef


def migration(*disks: Disk, name: str = "db", namespace: str = "shop", options: Options | None = None) -> Migration:
    """Return east:shop/db to west:NAMESPACE/NAME with the id m1."""
    return Migration(
        id="m1",
        attempt=1,
        playbook="cold-move",
        source=VMRef("east", "shop", "db"),
        target=VMRef("west", namespace, name),
        source_uid="vm-uid",
        source_cluster_uid="east-uid",
        target_cluster_uid="west-uid",
        options=options or Options(),
        disks=disks,
    )


def disk(
    pvc: str,
    target: str = "",
    *,
    capacity_bytes: int = 2**30,
    storage_class: str = "fast",
    volume_mode: str = "Filesystem",
    archive: bool = False,
) -> Disk:
    """Return a disk of a volume named like its claim."""
    return Disk(pvc, pvc, target or pvc, capacity_bytes, storage_class, volume_mode, archive)
