"""Let the target pull every disk, several at once, each from its own link."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from weakref import WeakKeyDictionary

from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, POD, PVC, SECRET, STORAGECLASS, STORAGEPROFILE, VM, VMI
from migrate.model import labels
from migrate.model.errors import Blocked, Problem
from migrate.model.migration import Disk, Format
from migrate.model.objects import Object, annotations_of, condition, dig, labels_of, leaving, name_of, uid_of
from migrate.model.observation import DiskProgress, Observation, State, blocked, done, failed, needed, waiting
from migrate.model.quantity import to_bytes
from migrate.reading.datavolume import EVICTED, RECREATE, anew, read_disk, refitted
from migrate.reading.importing import read_import, to_create
from migrate.reading.users import instances_on, pods_on, vms_on
from migrate.rendering import frames
from migrate.rendering.mapping import place
from migrate.steps import claims, exporting, going_back, import_tools, looks, patches, same_claims, sending, stamps
from migrate.steps.base import Crossing, Limits
from migrate.steps.exporting import Export
from migrate.steps.work import Works

MOST_RECREATIONS = 5
"""How often one disk, or its dead importer pod, is thrown away and pulled anew before a person is asked."""


@dataclass(slots=True)
class _Memory:
    """What a run has seen of its disks that the cluster does not keep."""

    given_up: frozenset[str]
    """Uids of the DataVolumes that stood still for good when the run first looked. Whoever runs the same command again has cured what
    the last run told, so each is begun anew once."""
    kills: dict[str, set[object]] = field(default_factory=dict)
    """By disk: when its importers were seen killed for memory."""


_memories: WeakKeyDictionary[Works, _Memory] = WeakKeyDictionary()


class ImportDisks:
    """Ship CA and token, create the DataVolumes, and heal what CDI does not.

    Each disk is joined to its link by the name of its PVC in status.links, never by its place in a list. The requested size is the
    virtual size of the disk, not the source claim's request, which holds overhead (cdi-import 0, fact 9).
    """

    name = "import-disks"
    limits = Limits(quiet=timedelta(minutes=10), acts=3)
    until: str | None = None

    def observe(self, x: Crossing) -> Observation:
        stale = looks.unmoved(x)
        if stale is not None:
            return stale
        if not x.migration.disks:
            return done("NoDisks", "the VM has no disks to import")
        export = exporting.source_export(x)
        disks = _disks(x, export)
        seen = read_import(disks, parallel=x.migration.options.parallel_disks)
        if seen.state in (State.DONE, State.FAILED, State.BLOCKED):
            return seen
        return (_without_export(x, export, seen) or import_tools.lacking(x, export) or _worn_out(x, disks) or seen).but(
            disks=seen.disks, progress=seen.progress
        )

    def act(self, x: Crossing) -> None:
        export = exporting.source_export(x)
        if exporting.read(x, export, stopped=True).state is State.NEEDED:
            return exporting.make(x, export)
        if export.links is None:
            return None
        import_tools.ship(x, export)
        disks = _disks(x, export)
        for seen in disks:
            if seen.reason == EVICTED:
                _delete_importer(x, seen.name)
            elif seen.reason in RECREATE:
                _throw_away(x, seen.name)
        for disk, seen in zip(x.migration.disks, disks, strict=True):
            if seen.reason == sending.READY and seen.state is State.NEEDED:
                sending.carry(x, export, disk)
        wanted = to_create(disks, parallel=x.migration.options.parallel_disks)
        return _create(x, export, [disk for disk in x.migration.disks if disk.target in wanted]) if wanted else None

    def undo(self, x: Crossing) -> Observation:
        refusal = going_back.refuse_undo(x)
        if refusal is not None:
            return refusal
        used = _in_use(x)
        if used is not None:
            return used
        for disk in x.migration.disks:
            x.works.drop(sending.key_of(x, disk))
        names = x.migration.names
        gone = looks.remove_all(
            x,
            *((x.target, DATAVOLUME, name) for name in dict.fromkeys([*(disk.target for disk in x.migration.disks), *looks.copies(x)])),
            (x.target, CONFIGMAP, names.ca),
            (x.target, SECRET, names.header),
        )
        left = sorted(looks.made_by_cdi(x, PVC))
        if gone.state is State.DONE and left:
            return waiting("BeingDeleted", f"waiting until the claims {', '.join(left)} are gone")
        return gone


def _in_use(x: Crossing) -> Observation | None:
    """Say who uses a copy that an undo would delete; what CDI made for it, and the server of a proof that is ending, do not count."""
    doomed = {*looks.copies(x), *looks.made_by_cdi(x, PVC)}
    if not doomed:
        return None
    pods = [pod for pod in x.target.list(POD) if labels_of(pod).get(labels.ID) != x.migration.id]
    found = [*vms_on(doomed, x.target.list(VM)), *instances_on(doomed, x.target.list(VMI)), *pods_on(doomed, pods)]
    if not found:
        return None
    return blocked(
        "DiskInUse",
        Problem(
            what="a copy on the target is in use, so nothing of it is deleted",
            where="target",
            why=f"it is used by {', '.join(found)}",
            now="take the disk off it, or delete it if nobody needs it; then undo again",
        ),
    )


def _disks(x: Crossing, export: Export) -> list[DiskProgress]:
    """Read how every disk stands."""
    volumes = {name_of(found): found for found in looks.disks_there(x)}
    made = looks.made_by_cdi(x, PVC)
    pods = looks.made_by_cdi(x, POD)
    generation = looks.noted_version(x)
    read: list[DiskProgress] = []
    uids: list[str] = []
    for disk in x.migration.disks:
        volume = volumes.get(disk.target) or x.target.get(DATAVOLUME, disk.target)
        uids.append(uid_of(volume) if volume is not None else "")
        claim = made.get(disk.target) or (x.target.get(PVC, disk.target) if volume is None else None)
        read.append(
            read_disk(
                disk,
                volume,
                claim,
                _importer(pods, claim),
                migration_id=x.migration.id,
                generation=generation,
                now=x.clock.now(),
                total_bytes=_requested(volume) or disk.capacity_bytes,
                url=None if disk.archive else export.links.url(disk, export.format) if export.links is not None else None,
                kills=_kills(x, disk.target, volume),
            )
        )
    read = [sending.judged(x, disk, seen) for disk, seen in zip(x.migration.disks, read, strict=True)]
    stuck = frozenset(uid for uid, seen in zip(uids, read, strict=True) if uid and anew(seen) is not seen)
    given_up = _memories.setdefault(x.works, _Memory(stuck)).given_up
    read = [anew(seen) if uid in given_up else seen for uid, seen in zip(uids, read, strict=True)]
    spent = _spent(x, [seen for seen in read if seen.reason == "QuotaExceeded"])
    return read if spent else refitted(read)


def _kills(x: Crossing, name: str, volume: Object | None) -> int:
    """Count how often the importer of a disk was killed for memory, as far as this run saw it."""
    memory, said = _memories.get(x.works), condition(volume, "Running")
    if memory is None:
        return 0
    seen = memory.kills.setdefault(name, set())
    if said is not None and said.false and said.reason == "OOMKilled":
        seen.add(said.since)
    return len(seen)


def _importer(pods: Mapping[str, Object], claim: Object | None) -> Object | None:
    """Find the importer pod of a claim by its name (cdi-import 3.8)."""
    if claim is None:
        return None
    return pods.get(f"importer-prime-{uid_of(claim)}") or pods.get(f"importer-{name_of(claim)}")


def _requested(volume: Object | None) -> int | None:
    """Return the virtual size of a disk: what its DataVolume asks for, since that is what we wrote there. None before it is made."""
    text = dig(volume, "spec", "storage", "resources", "requests", "storage")
    return None if text is None else to_bytes(text)


def _without_export(x: Crossing, export: Export, seen: Observation) -> Observation | None:
    """Say what the pull lacks of its source: the export may expire, be deleted, or be away for a while in the middle of it."""
    offer = exporting.read(x, export, stopped=True)
    match offer.state:
        case State.NEEDED:
            return needed(offer.reason, offer.message)
        case State.DONE:
            return None
        case _ if seen.state is State.NEEDED:
            return offer if offer.state is State.BLOCKED else waiting("ExportAway", offer.message)
        case _:
            return None


def _worn_out(x: Crossing, disks: Sequence[DiskProgress]) -> Observation | None:
    mending = [disk for disk in disks if (disk.reason in RECREATE or disk.reason == EVICTED) and disk.reason != "BegunAnew"]
    if not mending:
        return None
    spent = _spent(x, mending)
    if not spent:
        return None
    return failed(
        "RecreatedTooOften",
        *(
            Problem(
                what=f"disk {disk.name} was begun anew {MOST_RECREATIONS} times and is not whole",
                where="target",
                why=disk.message,
                now="cure the cause on the target (memory of CDI's importer, storage), then run the same again after an undo",
            )
            for disk in spent
        ),
    )


def _spent(x: Crossing, disks: Sequence[DiskProgress]) -> list[DiskProgress]:
    """Return those that were begun anew too often."""
    counts = _recreations(x.target.get(CONFIGMAP, x.migration.names.ca)) if disks else {}
    return [disk for disk in disks if counts.get(disk.name, 0) >= MOST_RECREATIONS]


def _recreations(ca: Object | None) -> dict[str, int]:
    return dict(json.loads(annotations_of(ca).get(labels.RECREATED, "{}")))


def _throw_away(x: Crossing, name: str) -> None:
    """Delete a disk so that it is made anew."""
    volume = x.target.get(DATAVOLUME, name)
    if volume is not None and not leaving(volume) and labels.is_ours(volume, x.migration.id) and _counted(x, name):
        looks.remove(x, x.target, DATAVOLUME, name)


def _delete_importer(x: Crossing, name: str) -> None:
    """Delete a dead importer pod, so that CDI makes another."""
    pod = _importer(looks.made_by_cdi(x, POD), x.target.get(PVC, name))
    if pod is not None and dig(pod, "status", "phase") == "Failed" and not leaving(pod) and _counted(x, name):
        x.target.delete(POD, name_of(pod), uid=uid_of(pod))


def _counted(x: Crossing, name: str) -> bool:
    """Count a disk's new beginning before it is made, so that a crash in between counts once too often and never once less."""
    ca = x.target.get(CONFIGMAP, x.migration.names.ca)
    if ca is None:
        return False
    counts = _recreations(ca)
    counts[name] = counts.get(name, 0) + 1
    note = patches.annotate(ca, {labels.RECREATED: json.dumps(counts, sort_keys=True)})
    x.target.patch(CONFIGMAP, name_of(ca), patches.guarded(ca, note))
    return True


def _create(x: Crossing, export: Export, wanted: Sequence[Disk]) -> None:
    links, generation = export.links, looks.noted_version(x)
    assert links is not None
    if generation is None:
        return
    classes = x.target.list(STORAGECLASS)
    profiles = {name_of(found): found for found in x.target.list(STORAGEPROFILE)}
    client = x.connect(export.ca_pem, export.token)
    try:
        for disk in wanted:
            url, raw = links.url(disk, export.format), links.url(disk, Format.RAW)
            if url is None or raw is None:
                continue
            claim = x.source.get(PVC, disk.pvc)
            same_claims.insist(x, disk, claim)
            placed = place(disk, x.migration.options.storage_map, classes=classes, profiles=profiles, source_pvc=claim)
            noted = stamps.written(x) | ({labels.DISK_UID: uid_of(claim)} if claim is not None else {})
            if isinstance(placed, Problem):
                raise Blocked.of([placed])
            if disk.archive:
                claims.renew(x)
                frame = frames.state(x.migration, disk, placement=placed, generation=generation, stamp=noted)
                x.target.create(*x.render("target/state.yaml.j2", **frame), ours_ok=True)
                continue
            size = client.size(raw)
            frame = frames.datavolume(x.migration, disk, url=url, size_bytes=size, placement=placed, generation=generation, stamp=noted)
            claims.renew(x)
            x.target.create(*x.render("target/datavolume.yaml.j2", **frame), ours_ok=True)
    finally:
        client.close()
