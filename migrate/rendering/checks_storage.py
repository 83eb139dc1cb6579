"""Checks of storage: has every disk a class on the target, and can CDI import into it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from migrate.model.errors import Problem
from migrate.model.facts import Facts, Side
from migrate.model.migration import Disk, Migration
from migrate.model.objects import dig, name_of
from migrate.rendering.findings import Finding, at, block, warn
from migrate.rendering.mapping import Placement, place
from migrate.rendering.sizes import Room, room

_OVERHEAD = "0.06"
"""CDI's default, where its CDIConfig tells nothing."""


def check_storage(facts: Facts, m: Migration) -> Iterator[Finding]:
    """Yield what is found about the storage classes of the target."""
    target, where = facts.target, at(facts.target)
    if "DataVolume" not in target.served:
        return
    chosen: dict[str, Placement] = {}
    for disk in m.disks:
        placed = placed_disk(disk, facts, m)
        if isinstance(placed, Problem):
            yield block(placed.what, where=where, why=placed.why, now=placed.now)
            continue
        chosen[disk.target] = placed
        if placed.why == "default" and disk.storage_class:
            why = f"the target has no class {disk.storage_class}; {placed.storage_class} is its default"
            now = f"say --map-storage {disk.storage_class}=CLASS if another is meant"
            yield warn(f"disk {disk.pvc} goes to the storage class {placed.storage_class}", where=where, why=why, now=now)
    for name in sorted({placement.storage_class for placement in chosen.values()}):
        yield from _class(name, target, sum(placement.storage_class == name for placement in chosen.values()), where)


def placed_disk(disk: Disk, facts: Facts, m: Migration) -> Placement | Problem:
    """Return where a disk goes, with everything that the facts know."""
    target = facts.target
    return place(disk, m.options.storage_map, classes=target.classes, profiles=target.profiles, source_pvc=facts.pvcs.get(disk.pvc))


def disk_room(disk: Disk, placement: Placement, target: Side) -> Room:
    """Return the room that a disk takes at most: its virtual size cannot be larger than its source PVC."""
    return room(
        disk.capacity_bytes,
        block=placement.effective_mode == "Block",
        overhead=overhead(target, placement.storage_class),
        scratch_overhead=overhead(target, scratch_class(target, placement.storage_class)),
        populator=_provisioner(target, placement.storage_class) in target.drivers,
    )


def overhead(target: Side, storage_class: str) -> Decimal:
    """Return the file system overhead that CDI reckons with for a class (cdi-import section 4)."""
    said = dig(target.cdi_config, "status", "filesystemOverhead", default={})
    return Decimal(str(dig(said, "storageClass", storage_class) or said.get("global") or _OVERHEAD))


def scratch_class(target: Side, storage_class: str) -> str:
    """Return the class of the scratch space of a disk: CDI's configured one, else the disk's own (cdi-import 2.6)."""
    return str(dig(target.cdi_config, "status", "scratchSpaceStorageClass") or storage_class)


def _class(name: str, target: Side, disks: int, where: str) -> Iterator[Finding]:
    scratch = scratch_class(target, name)
    sets = dig(target.profiles.get(scratch), "status", "claimPropertySets", default=())
    if sets and all(entry.get("volumeMode") == "Block" for entry in sets):
        yield block(
            f"the storage class {scratch} cannot hold the scratch space of an import",
            where=where,
            why="scratch space is a file system, and its StorageProfile knows Block only: the import would wait for ever",
            now="set spec.config.scratchSpaceStorageClass of the CDI object to a class with file systems",
        )
    if not dig(target.profiles.get(name), "status", "claimPropertySets", default=()):
        yield warn(
            f"CDI does not know the storage class {name}",
            where=where,
            why="its StorageProfile has no claimPropertySets, so access modes and volume mode are copied from the source",
            now="set claimPropertySets in the StorageProfile if the copies do not suit it",
        )
    mode = next((dig(entry, "volumeBindingMode") for entry in target.classes if name_of(entry) == name), None)
    if mode == "WaitForFirstConsumer" and disks > 1:
        yield warn(
            f"the storage class {name} binds where the first consumer runs",
            where=where,
            why=f"{disks} disks are bound at once, each may land in another zone or on another node",
            now="map them to network storage if its volumes are bound to nodes",
        )


def _provisioner(target: Side, storage_class: str) -> str:
    return next((str(dig(entry, "provisioner", default="")) for entry in target.classes if name_of(entry) == storage_class), "")
