"""What earlier runs left behind, found on both sides by our label, and nothing else.

Leftovers are scaffolding: exports, their tokens, CA and header, claims, snapshots that no copy needs. Disks, VMs and what was copied for
them are never among them (that is what `undo` is for), and a migration that is not finished and whose claim may be alive is not touched at
all. A claim is alive while its renewTime changes: it is looked at twice, since wall clocks are never compared. Secrets are never listed:
they are asked for by the names that ids give.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, EXPORT, LEASE, SECRET, SNAPSHOT, VM, Kind
from migrate.model import labels
from migrate.model.clock import Clock
from migrate.model.migration import Migration, Names
from migrate.model.objects import Object, annotations_of, created_at, dig, labels_of, leaving, name_of, uid_of
from migrate.model.record import Record
from migrate.model.refs import VMRef
from migrate.model.report import Outcome
from migrate.steps.runner import Runner, read_runner, surely_alive, surely_dead, this_runner
from migrate.workflow import records, replaced
from migrate.workflow.old_records import old_records, owner_of

OURS: Mapping[str, str | None] = {labels.ID: None}
LOOK_S = 61.0
"""How long a claim is looked at: longer than it lives without being renewed."""


@dataclass(frozen=True, slots=True)
class _Side:
    """What only a running move needs on one side: kinds and roles of what is listed, names of what is asked for."""

    cluster: Cluster
    everywhere: bool
    kinds: tuple[Kind, ...]
    roles: frozenset[str]
    secrets: Callable[[Names], tuple[str, ...]]
    trace: Mapping[Kind, str]
    """Kinds that tell where a migration has been, and the label or annotation that names it."""
    place: Callable[[Migration], tuple[str, VMRef]]
    """Where a migration is on this side: the cluster's UID and the VM."""

    def sees(self, m: Migration) -> bool:
        """Tell whether what this migration has on this side was looked at."""
        uid, ref = self.place(m)
        return uid == self.cluster.uid() and (self.everywhere or ref.namespace == self.cluster.namespace)


@dataclass(frozen=True, slots=True)
class _Claims:
    """The claims that were there when they were looked at last, by what they say of their holders."""

    sides: tuple[_Side, ...]
    seen: frozenset[tuple[str, ...]]

    def stand(self, owner: str) -> bool:
        """Look once more, and tell whether nobody has claimed this migration since."""
        mine = {labels.ID: owner}
        found = (
            _said(side.cluster, lease)
            for side in self.sides
            if side.cluster.serves(LEASE) is not None
            for lease in side.cluster.list(LEASE, labels=mine, everywhere=side.everywhere)
        )
        return self.seen.issuperset(found)


def _said(cluster: Cluster, lease: Object) -> tuple[str, ...]:
    return (cluster.context, uid_of(lease), *(str(dig(lease, "spec", key)) for key in ("holderIdentity", "renewTime")))


@dataclass(frozen=True, slots=True)
class Found:
    """One object of ours that can go."""

    cluster: Cluster
    kind: Kind
    object: Object
    why: str
    claims: _Claims
    after: tuple[Found, ...] = ()
    """What must be gone before."""

    @property
    def words(self) -> str:
        space = dig(self.object, "metadata", "namespace", default="")
        return f"{self.cluster.context}: {self.kind} {space}/{name_of(self.object)}: {self.why}"

    def remove(self) -> str:
        """Delete it, if it is still the one that was found; return why it stays, "" if it does not."""
        if not self.claims.stand(owner_of(self.object)):
            return "somebody has taken its migration up meanwhile"
        for one in self.after:
            if one.cluster.get(one.kind, name_of(one.object), dig(one.object, "metadata", "namespace")) is not None:
                return f"{one.kind} {name_of(one.object)}, of which it tells, is still there"
        space = dig(self.object, "metadata", "namespace")
        version = dig(self.object, "metadata", "resourceVersion") if self.kind == LEASE else None
        self.cluster.delete(self.kind, name_of(self.object), space, uid=uid_of(self.object), version=version)
        return ""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is old enough. Records stay while their VM is on the target, or while they are young, or among the newest."""

    older_than: timedelta
    """Age of scaffolding."""
    record_age: timedelta = timedelta(days=90)
    records: int = 100


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What can go, and what was left alone although it looks like a leftover, in words."""

    found: list[Found]
    spared: list[str]


def leftovers(source: Cluster, target: Cluster, *, rules: Rules, clock: Clock, everywhere: tuple[bool, bool]) -> Leftovers:
    """Find what can go on both sides, by reads alone. `everywhere`: all namespaces of source, of target. May take a minute.

    Whether somebody runs a migration is told by its claims, of which every command holds the one beside its source. So what the target
    holds of an unfinished migration whose source was not looked at is spared.
    """
    here = _Side(
        source,
        everywhere[0],
        (EXPORT, LEASE, SNAPSHOT),
        frozenset({"export", "token", "claim", "snapshot"}),
        lambda names: (names.token,),
        {VM: labels.HALTED_BY},
        lambda m: (m.source_cluster_uid, m.source),
    )
    there = _Side(
        target,
        everywhere[1],
        (EXPORT, CONFIGMAP, LEASE),
        frozenset({"proof", "token", "ca", "header", "claim", "before"}),
        lambda names: (names.proof_token, names.header),
        {VM: labels.ID, DATAVOLUME: labels.ID},
        lambda m: (m.target_cluster_uid, m.target),
    )
    manifests = records.manifests(target, everywhere=there.everywhere)
    known = {record.migration.id: record for record in records.of_manifests(manifests, target)}
    unread = {owner_of(one) for one in manifests} - set(known)
    alive, claims = _alive((here, there), clock=clock)
    now, found, spared, befores = clock.now(), dict[str, Found](), dict[str, str](), dict[str, str]()
    copied = {owner_of(disk) for disk in target.list(DATAVOLUME, labels=OURS, everywhere=there.everywhere)}
    old = list(
        old_records(target, manifests, known, alive, older_than=now - rules.record_age, most=rules.records, everywhere=there.everywhere)
    )
    closed = {owner_of(manifest) for manifest, _ in old}
    for side in (here, there):
        listed = list(_ours(side))
        secrets = replaced.kept_secrets(target, known.values(), everywhere=there.everywhere) if side is there else ()
        for kind, obj in (*listed, *_secrets(side, _places(side, listed, known.values())), *secrets):
            owner = owner_of(obj)
            role = labels_of(obj).get(labels.ROLE)
            if role == "before":
                befores[uid_of(obj)] = owner
            if role not in side.roles or leaving(obj) or owner in alive or not _older(obj, rules.older_than, now):
                continue
            was = replaced.held_by(target, obj) if role == "before" else ""
            if role == "before" and owner in known and known[owner].finished is None:
                continue  # an undo brings it back
            if was and owner not in closed:
                spared[uid_of(obj)] = replaced.spared(obj, was, place=side.cluster.context, known=owner in known or owner in unread)
                continue
            if kind is SNAPSHOT:
                words = _needed(known.get(owner), there, copied=owner in copied)
                if words is None:
                    continue
                if words:
                    spared[owner] = f"snapshot {name_of(obj)} of migration {owner} on {side.cluster.context}: {words}"
                    continue
            words = _may_run(known.get(owner), here) if side is there and owner not in unread else _UNREAD if owner in unread else ""
            if words:
                spared[owner] = f"what {side.cluster.context} holds of migration {owner}: {words}"
            else:
                found[uid_of(obj)] = Found(side.cluster, kind, obj, _why(known.get(owner), was), claims)
    gone = [one for manifest, why in old for one in _last(Found(target, CONFIGMAP, manifest, why, claims), found, befores)]
    return Leftovers([*sorted(found.values(), key=lambda one: one.kind == LEASE), *gone], list(spared.values()))


def _last(record: Found, found: Mapping[str, Found], befores: Mapping[str, str]) -> Iterator[Found]:
    """Yield a record that can go, after what its migration kept of objects that it replaced; nothing if any of that stays."""
    first = [uid for uid, owner in befores.items() if owner == owner_of(record.object)]
    if all(uid in found for uid in first):
        yield replace(record, after=tuple(found[uid] for uid in first))


_UNREAD = "its record cannot be read, so nobody knows whether it is finished"


def _may_run(record: Record | None, here: _Side) -> str:
    """Say why a migration may be running although no claim of it was seen, "" if it does not."""
    if record is None or record.finished is not None or here.sees(record.migration):
        return ""
    source = record.migration.source
    place = f"{source.context}:{source.namespace}"
    return f"it is not finished, and its source {source} was not looked at, so it may be running; say --source {place}"


def _needed(record: Record | None, there: _Side, *, copied: bool) -> str | None:
    """Say why a snapshot must stay, "" if nobody needs it, None if it was asked for to stay."""
    if record is None or not there.sees(record.migration):
        return "its record was not seen, so nobody knows what is copied from it"
    if record.outcome is Outcome.COPIED:
        return None if record.migration.options.keep_snapshot else ""
    if record.finished is None and copied:
        return "disks on the target are copies of it; go on with the migration, or undo it"
    return ""


def _why(record: Record | None, was: str = "") -> str:
    """Say why something can go. `was`: the object that held this before it was replaced."""
    if was and record is not None:
        return (
            f"{was} held this before migration {record.migration.id} replaced it; its record goes, too, so no undo brings it back any more"
        )
    if record is None:
        return "left by a migration without a record there, which nobody runs"
    if record.finished is not None:
        return f"left by migration {record.migration.id}, {record.outcome}"
    return f"left by migration {record.migration.id}, which nobody runs; it makes this anew when it goes on"


def _ours(side: _Side) -> Iterator[tuple[Kind, Object]]:
    for kind in side.kinds:
        allowed = kind is not SNAPSHOT or side.cluster.can("list", kind, "" if side.everywhere else None)
        if side.cluster.serves(kind) is not None and allowed:
            listed = side.cluster.list(kind, labels=OURS, everywhere=side.everywhere)
            yield from ((kind, obj) for obj in listed if labels.is_ours(obj))


def _places(side: _Side, there: Sequence[tuple[Kind, Object]], known: Iterable[Record]) -> set[tuple[str, str]]:
    """Return (namespace, id) wherever a migration has been: it left an object, holds a VM or disk, or a record names the place."""
    seen = [(obj, owner_of(obj)) for _, obj in there]
    for kind, mark in side.trace.items():
        if side.cluster.serves(kind) is not None:
            listed = side.cluster.list(kind, everywhere=side.everywhere)
            seen += [(obj, labels_of(obj).get(mark) or annotations_of(obj).get(mark, "")) for obj in listed]
    places = {(str(dig(obj, "metadata", "namespace")), owner) for obj, owner in seen if owner}
    return places | {(side.place(record.migration)[1].namespace, record.migration.id) for record in known if side.sees(record.migration)}


def _secrets(side: _Side, places: set[tuple[str, str]]) -> Iterator[tuple[Kind, Object]]:
    """Ask for the Secrets of migrations where they have been, by the names that their ids give."""
    for space, owner in sorted(places):
        for name in side.secrets(Names.of(owner, "")):
            secret = side.cluster.get(SECRET, name, space)
            if secret is not None and labels.is_ours(secret, owner):
                yield SECRET, secret


def _alive(sides: tuple[_Side, ...], *, clock: Clock) -> tuple[set[str], _Claims]:
    """Return the ids of migrations of which a claim may be alive: those that are renewed while we look; and all claims as they were."""
    me = this_runner()
    leases = [(side.cluster, lease) for side in sides for kind, lease in _ours(side) if kind == LEASE]
    alive = {owner_of(lease) for _, lease in leases if _holder_lives(lease, me) is True}
    doubtful = [(cluster, lease) for cluster, lease in leases if _holder_lives(lease, me) is None]
    if doubtful:
        clock.wait(threading.Event(), LOOK_S)
    for cluster, lease in doubtful:
        again = cluster.get(LEASE, name_of(lease), dig(lease, "metadata", "namespace"))
        if again is not None and dig(again, "spec", "renewTime") != dig(lease, "spec", "renewTime"):
            alive |= {owner_of(lease), owner_of(again)}
    return alive, _Claims(sides, frozenset(_said(cluster, lease) for cluster, lease in leases))


def _holder_lives(lease: Object, me: Runner) -> bool | None:
    """Tell whether the holder of a claim lives; None = only looking longer tells."""
    identity = str(dig(lease, "spec", "holderIdentity", default=""))
    holder = read_runner(identity)
    if not identity or (holder is not None and surely_dead(holder, me)):
        return False
    return True if holder is not None and surely_alive(holder, me) else None


def _older(obj: Object, age: timedelta, now: datetime) -> bool:
    made = created_at(obj)
    return made is not None and now - made >= age
