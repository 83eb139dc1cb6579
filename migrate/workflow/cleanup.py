"""What earlier runs left behind, found on both sides by our label, and nothing else.

Leftovers are scaffolding: exports, their tokens, CA and header, claims. Disks and VMs are never among them (that is what `undo` is for),
and a migration that is not finished and whose claim may be alive is not touched at all. A claim is alive while its renewTime changes: it
is looked at twice, since wall clocks are never compared. Secrets are never listed: they are asked for by the names that ids give.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, EXPORT, LEASE, SECRET, VM, Kind
from migrate.model import labels
from migrate.model.clock import Clock
from migrate.model.migration import Names
from migrate.model.objects import Object, annotations_of, created_at, dig, labels_of, leaving, name_of, uid_of
from migrate.model.record import Record
from migrate.steps.runner import Runner, read_runner, surely_alive, surely_dead, this_runner
from migrate.workflow import records

OURS: Mapping[str, str | None] = {labels.MANAGED_BY: labels.OWNER}
SCAFFOLD = frozenset({"export", "proof", "token", "ca", "header", "claim"})
"""Roles of what only a running move needs."""
LOOK_S = 61.0
"""How long a claim is looked at: longer than it lives without being renewed."""


@dataclass(frozen=True, slots=True)
class Found:
    """One object of ours that can go."""

    cluster: Cluster
    kind: Kind
    object: Object
    why: str

    @property
    def words(self) -> str:
        space = dig(self.object, "metadata", "namespace", default="")
        return f"{self.cluster.context}: {self.kind} {space}/{name_of(self.object)}: {self.why}"

    def remove(self) -> None:
        """Delete it, if it is still the one that was found."""
        space = dig(self.object, "metadata", "namespace")
        self.cluster.delete(self.kind, name_of(self.object), space, uid=uid_of(self.object))


@dataclass(frozen=True, slots=True)
class Rules:
    """What is old enough. Records stay while their VM is on the target, or while they are young, or among the newest."""

    older_than: timedelta
    """Age of scaffolding."""
    record_age: timedelta = timedelta(days=90)
    records: int = 100


def leftovers(source: Cluster, target: Cluster, *, rules: Rules, clock: Clock, everywhere: tuple[bool, bool]) -> list[Found]:
    """Find what can go on both sides, by reads alone. `everywhere`: all namespaces of source, of target. May take a minute."""
    known = {record.migration.id: record for record in records.every(target, everywhere=everywhere[1])}
    alive = _alive(source, target, clock=clock, everywhere=everywhere)
    now, found = clock.now(), []
    sides = [(source, everywhere[0]), (target, everywhere[1])]
    for cluster, all_spaces in sides if source.uid() != target.uid() or source.namespace != target.namespace else sides[1:]:
        there = list(_ours(cluster, everywhere=all_spaces))
        there += list(_secrets(cluster, _places(cluster, there, known.values(), everywhere=all_spaces)))
        for kind, obj in there:
            role, owner = labels_of(obj).get(labels.ROLE, ""), labels_of(obj).get(labels.ID, "")
            if role not in SCAFFOLD or leaving(obj) or owner in alive or not _older(obj, rules.older_than, now):
                continue
            found.append(Found(cluster, kind, obj, _why(known.get(owner))))
    return [*found, *_old_records(target, known, alive, rules=rules, now=now, everywhere=everywhere[1])]


def _why(record: Record | None) -> str:
    if record is None:
        return "left by a migration without a record there, which nobody runs"
    if record.finished is not None:
        return f"left by migration {record.migration.id}, {record.outcome}"
    return f"left by migration {record.migration.id}, which nobody runs; it makes this anew when it goes on"


def _ours(cluster: Cluster, *, everywhere: bool) -> Iterator[tuple[Kind, Object]]:
    for kind in (EXPORT, CONFIGMAP, LEASE):
        if cluster.serves(kind) is not None:
            yield from ((kind, obj) for obj in cluster.list(kind, labels=OURS, everywhere=everywhere))


def _places(cluster: Cluster, there: Sequence[tuple[Kind, Object]], known: Iterable[Record], *, everywhere: bool) -> set[tuple[str, str]]:
    """Return (namespace, id) wherever a migration has been: it left an object, holds a VM or disk, or a record names the place."""
    seen = [(obj, labels_of(obj).get(labels.ID, "")) for _, obj in there]
    for kind in (VM, DATAVOLUME):
        if cluster.serves(kind) is not None:
            for obj in cluster.list(kind, everywhere=everywhere):
                seen += [(obj, labels_of(obj).get(labels.ID, "")), (obj, annotations_of(obj).get(labels.HALTED_BY, ""))]
    places = {(str(dig(obj, "metadata", "namespace")), owner) for obj, owner in seen if owner}
    for m in (record.migration for record in known):
        refs = ((m.source_cluster_uid, m.source), (m.target_cluster_uid, m.target))
        places |= {(ref.namespace, m.id) for uid, ref in refs if uid == cluster.uid()}
    return {(space, owner) for space, owner in places if everywhere or space == cluster.namespace}


def _secrets(cluster: Cluster, places: set[tuple[str, str]]) -> Iterator[tuple[Kind, Object]]:
    """Ask for the Secrets of migrations where they have been, by the names that their ids give."""
    for space, owner in sorted(places):
        names = Names.of(owner, "")
        for name in (names.token, names.proof_token, names.header):
            secret = cluster.get(SECRET, name, space)
            if secret is not None and labels.is_ours(secret, owner):
                yield SECRET, secret


def _alive(source: Cluster, target: Cluster, *, clock: Clock, everywhere: tuple[bool, bool]) -> set[str]:
    """Return the ids of migrations whose claim may be alive: those that are renewed while we look."""
    me = this_runner()
    first: dict[str, tuple[Cluster, Object]] = {}
    for cluster, all_spaces in ((source, everywhere[0]), (target, everywhere[1])):
        first |= {uid_of(lease): (cluster, lease) for lease in cluster.list(LEASE, labels=OURS, everywhere=all_spaces)}
    alive = {labels_of(lease).get(labels.ID, "") for _, lease in first.values() if _holder_lives(lease, me) is True}
    doubtful = [pair for pair in first.values() if _holder_lives(pair[1], me) is None]
    if doubtful:
        clock.wait(threading.Event(), LOOK_S)
    for cluster, lease in doubtful:
        again = cluster.get(LEASE, name_of(lease), dig(lease, "metadata", "namespace"))
        if again is not None and dig(again, "spec", "renewTime") != dig(lease, "spec", "renewTime"):
            alive |= {labels_of(lease).get(labels.ID, ""), labels_of(again).get(labels.ID, "")}
    return alive


def _holder_lives(lease: Object, me: Runner) -> bool | None:
    """Tell whether the holder of a claim lives; None = only looking longer tells."""
    identity = str(dig(lease, "spec", "holderIdentity", default=""))
    holder = read_runner(identity)
    if not identity or (holder is not None and surely_dead(holder, me)):
        return False
    return True if holder is not None and surely_alive(holder, me) else None


def _old_records(
    target: Cluster, known: Mapping[str, Record], alive: set[str], *, rules: Rules, now: datetime, everywhere: bool
) -> Iterator[Found]:
    """Choose records that are finished, old, beyond the number that is kept, and whose VM or disks are no longer on the target.

    Attempts at the same question are numbered without gaps, so a record stays as long as a later attempt's does.
    """
    manifests = {name_of(one): one for one in target.list(CONFIGMAP, labels={**OURS, labels.ROLE: "record"}, everywhere=everywhere)}
    newest = sorted(known.values(), key=lambda record: record.started, reverse=True)
    in_use = {labels_of(one).get(labels.ID) for kind in (VM, DATAVOLUME) for one in target.list(kind, labels=OURS, everywhere=everywhere)}
    kept: set[tuple[str, ...]] = set()
    for place, record in enumerate(newest):
        m = record.migration
        question = (m.source_uid, m.target_cluster_uid, m.target.namespace, m.target.name, m.playbook)
        ended = record.finished
        stays = ended is None or now - ended < rules.record_age or place < rules.records or m.id in in_use | alive
        manifest = manifests.get(m.names.record)
        if stays or question in kept or manifest is None:
            kept.add(question)
        else:
            yield Found(target, CONFIGMAP, manifest, f"record of a migration that ended on {ended:%Y-%m-%d}; nothing of it is left")


def _older(obj: Object, age: timedelta, now: datetime) -> bool:
    made = created_at(obj)
    return made is not None and now - made >= age
