"""Which storage class a disk gets on the target, and which network an interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from migrate.model.errors import Problem, UsageError
from migrate.model.migration import Disk, Migration
from migrate.model.objects import Object, annotations_of, dig, name_of

StorageMap = tuple[tuple[str, str], ...]
ANY = "*"

_VM_DEFAULT = "storageclass.kubevirt.io/is-default-virt-class"
_DEFAULT = "storageclass.kubernetes.io/is-default-class"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a disk is put. Empty mode and access modes = CDI chooses by the StorageProfile."""

    storage_class: str
    volume_mode: str = ""
    access_modes: tuple[str, ...] = ()
    why: str = ""
    """mapped, same name, or default."""
    effective_mode: str = "Filesystem"
    """The volume mode it will have, for the arithmetic of sizes."""


def parse_map(words: Sequence[str], *, option: str = "--map-storage", what: str = "storage class") -> StorageMap:
    """Read `SOURCE=TARGET` words, several to a word with commas; `*` as SOURCE means every other one. Raises UsageError."""
    found: dict[str, str] = {}
    for word in (part.strip() for text in words for part in text.split(",")):
        source, sign, target = word.partition("=")
        if not sign or not source or not target or "=" in target:
            raise UsageError(f'"{word}" maps no {what}', where=option, now="write SOURCE=TARGET, for example fast=ceph or *=ceph")
        if found.get(source, target) != target:
            why = f"it is mapped to {found[source]} and to {target}"
            raise UsageError(f"the {what} {source} is mapped twice", where=option, why=why, now="keep one of them")
        found[source] = target
    return tuple(sorted(found.items()))


def place(
    disk: Disk, storage_map: StorageMap, *, classes: Sequence[Object], profiles: Mapping[str, Object], source_pvc: Object | None = None
) -> Placement | Problem:
    """Choose the target's class: the mapped one, else the one of the same name, else the default for VMs, else the default.

    `classes` and `profiles`: StorageClasses and StorageProfiles (by name) of the target. Modes are CDI's choice; only where CDI does not
    know the class are they copied from `source_pvc`.
    """
    known = {name_of(entry) for entry in classes}
    offer = ", ".join(sorted(known)) or "none"
    chosen, why = _choose(disk, dict(storage_map), classes)
    if not chosen:
        return Problem(
            f"disk {disk.pvc} has no storage class on the target",
            why=f"there is none named {disk.storage_class or '(none)'} and no default; the target has: {offer}",
            now=f"name one with --map-storage {disk.storage_class or ANY}=CLASS",
        )
    if chosen not in known:
        return Problem(
            f"the storage class {chosen} that disk {disk.pvc} is mapped to does not exist on the target",
            why=f"the target has: {offer}",
            now=f"map {disk.storage_class or ANY} to one of them with --map-storage",
        )
    sets = dig(profiles.get(chosen), "status", "claimPropertySets", default=())
    if disk.archive:
        if sets and all(entry.get("volumeMode", "Filesystem") != "Filesystem" for entry in sets):
            why = f"the StorageProfile of {chosen} knows Block only, and TPM and EFI state are files"
            return Problem(f"the storage class {chosen} cannot hold {disk.pvc}", why=why, now=f"map {disk.storage_class or ANY} to another")
        modes = () if sets else tuple(dig(source_pvc, "spec", "accessModes", default=("ReadWriteOnce",)))
        return Placement(chosen, "Filesystem", modes, why)
    if sets:
        return Placement(chosen, why=why, effective_mode=str(sets[0].get("volumeMode", "Filesystem")))
    modes = tuple(dig(source_pvc, "spec", "accessModes", default=("ReadWriteOnce",)))
    return Placement(chosen, disk.volume_mode, modes, why, effective_mode=disk.volume_mode)


def network_on_target(named: str, m: Migration) -> str:
    """Return what a network that is called `[NAMESPACE/]NAME` on the source is called on the target.

    As it is mapped; else by the same name, in the target's namespace where the source's own was named.
    """
    mapped, own = dict(m.options.network_map), m.source.namespace
    namespace, _, name = named.rpartition("/")
    for key in (f"{namespace or own}/{name}", name if namespace in ("", own) else "", ANY):
        if key in mapped:
            return mapped[key]
    return f"{m.target.namespace}/{name}" if namespace == own else named


def default_class(classes: Sequence[Object]) -> str:
    """Return the class that CDI takes for a VM's disk without one: the newest default for VMs, else the newest default (cdi-import 1.4)."""
    for mark in (_VM_DEFAULT, _DEFAULT):
        marked = [entry for entry in classes if annotations_of(entry).get(mark) == "true"]
        if marked:
            newest = max(str(dig(entry, "metadata", "creationTimestamp", default="")) for entry in marked)
            return min(name_of(entry) for entry in marked if dig(entry, "metadata", "creationTimestamp", default="") == newest)
    return ""


def _choose(disk: Disk, mapped: Mapping[str, str], classes: Sequence[Object]) -> tuple[str, str]:
    for key in (disk.storage_class, ANY):
        if key in mapped:
            return mapped[key], "mapped"
    if any(name_of(entry) == disk.storage_class for entry in classes):
        return disk.storage_class, "same name"
    return default_class(classes), "default"
