"""Checks of quotas: an import needs up to three times its disk for a while, and says so nowhere (cdi-import sections 4 and 6)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal

from migrate.model.errors import Problem
from migrate.model.facts import Facts, Side
from migrate.model.labels import is_ours
from migrate.model.migration import Disk, Migration
from migrate.model.objects import Object, dig, name_of
from migrate.model.quantity import human, parse
from migrate.rendering.checks_storage import disk_room, placed_disk, scratch_class
from migrate.rendering.findings import Finding, at, block, warn
from migrate.rendering.mapping import Placement
from migrate.rendering.sizes import Room

_WORKER = {"requests.cpu": "100m", "requests.memory": "60M", "limits.cpu": "750m", "limits.memory": "600M"}
"""What CDI's importer pods ask for unless its CDIConfig says otherwise."""
_EXPORTER = {"requests.cpu": "100m", "requests.memory": "200Mi", "limits.cpu": "1", "limits.memory": "1Gi"}
"""What KubeVirt's exporter pod asks for."""
_SNAPSHOTS = "count/volumesnapshots.snapshot.storage.k8s.io"
_PER_CLASS = ".storageclass.storage.k8s.io/"
_ALIAS = {
    "cpu": "requests.cpu",
    "memory": "requests.memory",
    "count/pods": "pods",
    "count/persistentvolumeclaims": "persistentvolumeclaims",
}

Needs = Mapping[str, Decimal]


def check_quota(facts: Facts, m: Migration) -> Iterator[Finding]:
    """Yield the quotas that are too small, with the arithmetic."""
    if not m.disks:
        return
    needs = _import_needs(facts, m)
    parts = f"up to {m.options.parallel_disks} disks at once: each its target, a hidden copy of it, scratch space, an importer pod"
    for problem in _short(facts.target, needs, parts):
        yield block(problem.what, where=at(facts.target), why=problem.why, now="raise the quota, or lower --parallel-disks")
    if m.copies:
        parts = "the claims that are restored from the snapshot, and the pod that offers them"
        for problem in _short(facts.source, _restore_needs(facts, m), parts):
            yield block(problem.what, where=at(facts.source), why=problem.why, now="raise the quota until the copy is finished")
        return
    running = bool(facts.was.instance)
    for problem in _short(facts.source, _pods(1, _EXPORTER), "the pod that offers the disks"):
        say = warn if running else block
        remedy = "the VM's own pod frees some when it stops; raise the quota to be sure" if running else "raise the quota"
        yield say(problem.what, where=at(facts.source), why=problem.why, now=remedy)


def _restore_needs(facts: Facts, m: Migration) -> Needs:
    """Sum up what an export of a snapshot takes on the source; what is there already of this copy is counted as used."""
    needs: dict[str, Decimal] = defaultdict(Decimal)
    wanted = (*m.disks, *facts.dumps)
    absent = [disk for disk in wanted if f"{m.names.export}-{disk.pvc}" not in facts.pvcs]
    for disk in absent:
        _claim(needs, disk.storage_class, disk.capacity_bytes)
    if dig(facts.vm, "status", "snapshotInProgress") != m.names.snapshot and len(absent) == len(wanted):
        needs[_SNAPSHOTS] += len(wanted)
    for key, amount in _pods(1, _EXPORTER).items() if absent else ():
        needs[key] += amount
    return needs


def _import_needs(facts: Facts, m: Migration) -> Needs:
    """Sum up the peak: every target for good, and on top the largest disks that may be on their way together."""
    rooms: list[tuple[Disk, Placement, Room]] = []
    for disk in m.disks:
        there = facts.there.get(("DataVolume", disk.target))
        placed = placed_disk(disk, facts, m)
        if not isinstance(placed, Problem) and not (there is not None and is_ours(dict(there), m.id)):
            rooms.append((disk, placed, disk_room(disk, placed, facts.target)))
    needs: dict[str, Decimal] = defaultdict(Decimal)
    for _, placed, taken in rooms:
        _claim(needs, placed.storage_class, taken.target_bytes)
    together = sorted(rooms, key=lambda entry: -entry[2].peak_bytes)[: m.options.parallel_disks]
    for _, placed, taken in together:
        if taken.prime_bytes:
            _claim(needs, placed.storage_class, taken.prime_bytes)
        _claim(needs, scratch_class(facts.target, placed.storage_class), taken.scratch_bytes)
    for key, amount in _pods(len(together), _worker(facts.target)).items():
        needs[key] += amount
    return needs


def _claim(needs: dict[str, Decimal], storage_class: str, size_bytes: int) -> None:
    needs["requests.storage"] += size_bytes
    needs["persistentvolumeclaims"] += 1
    needs[f"{storage_class}{_PER_CLASS}requests.storage"] += size_bytes
    needs[f"{storage_class}{_PER_CLASS}persistentvolumeclaims"] += 1


def _pods(count: int, each: Mapping[str, str]) -> Needs:
    return {"pods": Decimal(count)} | {key: count * parse(amount) for key, amount in each.items()}


def _worker(target: Side) -> Mapping[str, str]:
    said = dig(target.cdi_config, "status", "defaultPodResourceRequirements", default={})
    found = {f"{part}.{key}": dig(said, part, key) for part in ("requests", "limits") for key in ("cpu", "memory")}
    return {key: str(found[key] or plain) for key, plain in _WORKER.items()}


def _short(side: Side, needs: Needs, parts: str) -> Iterator[Problem]:
    for quota in side.quotas:
        if dig(quota, "spec", "scopes") or dig(quota, "spec", "scopeSelector"):
            continue
        for key, limit in sorted(_hard(quota).items()):
            need = needs.get(_ALIAS.get(key, key), Decimal(0))
            used = parse(dig(quota, "status", "used", key, default="0"))
            if need and need > parse(limit) - used:
                show = human if "storage" in key.rpartition("/")[2] or "memory" in key else _plain
                why = f"{key}: {show(parse(limit))} in all, {show(used)} used, {show(need)} needed at the peak ({parts})"
                yield Problem(f"the quota {name_of(quota)} is too small", why=why)


def _hard(quota: Object) -> Mapping[str, str]:
    return dig(quota, "status", "hard") or dig(quota, "spec", "hard", default={})  # type: ignore[no-any-return]


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
