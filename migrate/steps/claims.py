"""The two claims of a migration, each a Lease: on the source VM, and on the name of the target VM.

The first keeps two runners from moving one VM, the second keeps two VMs from becoming one. A holder is alive while the renewTime of its
Lease changes; wall clocks are never compared, since every machine has its own. A holder that was a process of this very machine and is no
more is known to be dead at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import LEASE
from migrate.model import labels
from migrate.model.errors import Conflict, Held, MigrateError, Problem, Taken, Unreachable
from migrate.model.objects import Object, dig, moment, uid_of
from migrate.model.observation import Observation, State, blocked, done, needed, waiting
from migrate.reading.common import taken
from migrate.rendering import frames
from migrate.steps import stamping, stamps
from migrate.steps.base import Crossing
from migrate.steps.runner import Runner, read_runner, surely_alive, surely_dead
from migrate.steps.work import Works

log = logging.getLogger("migrate.claims")

DURATION_S = 60
"""How long a claim outlives its last renewal."""
RENEW_S = 15.0


@dataclass(frozen=True, slots=True)
class Claim:
    """One of the two claims: what it is on, and where its Lease lies."""

    on: str
    cluster: Callable[[Crossing], Cluster]
    name: Callable[[Crossing], str]


SOURCE = Claim("the source VM", lambda x: x.source, lambda x: x.migration.names.claim)
TARGET = Claim("the target's name", lambda x: x.target, lambda x: x.migration.names.target_claim)


@dataclass(slots=True)
class _Memory:
    """What this process knows of a claim beside what the cluster says."""

    renewed_at: float | None = None
    """Monotonic time of our last write; None = we do not hold it."""
    seen: dict[str, tuple[str, float]] = field(default_factory=dict)
    """By uid of the Lease: the renewTime that we saw first, and when."""
    judged: Object | None = None
    """The Lease as the last look found it; None = there was none."""


_memories: WeakKeyDictionary[Works, dict[Claim, _Memory]] = WeakKeyDictionary()


def look(x: Crossing, claim: Claim = SOURCE) -> Observation:
    """Say whether this runner holds the claim, may take it, or who holds it."""
    name, memory = claim.name(x), _memory(x, claim)
    lease = memory.judged = claim.cluster(x).get(LEASE, name)
    if lease is None:
        return needed("ClaimMissing", f"nobody has claimed {claim.on}")
    if not labels.is_ours(lease):
        return blocked("NameTaken", taken("Lease", name, lease))
    identity = _holder(lease)
    if identity == str(x.runner) and labels.is_ours(lease, x.migration.id):
        return done("Claimed", f"{claim.on} is claimed by this run")
    if claim is TARGET and holds(x) and labels.is_ours(lease, x.migration.id):
        return needed("HolderDead", "a runner of this migration holds it that has lost the claim on the source to this one")
    holder = read_runner(identity)
    if not identity or (holder is not None and surely_dead(holder, x.runner)):
        return needed("HolderDead", "the claim's holder was a process of this machine and is gone" if identity else "the claim was let go")
    words = f"{holder.person if holder is not None else identity} holds the claim on {claim.on}"
    if holder is not None and surely_alive(holder, x.runner):
        return blocked("Held", _told(x, claim, lease, holder, words))
    renewed, since = memory.seen.setdefault(uid_of(lease), (_renewed(lease), x.clock.monotonic()))
    if renewed != _renewed(lease):
        return blocked("Held", _told(x, claim, lease, holder, words))
    patience_s = float(dig(lease, "spec", "leaseDurationSeconds", default=DURATION_S))
    silent_s = x.clock.monotonic() - since
    if silent_s >= patience_s:
        return needed("HolderSilent", f"{words}, but has not renewed it for {silent_s:.0f} s")
    return waiting("HolderMaybeDead", f"{words}; looking for {patience_s:.0f} s whether it is alive")


def take(x: Crossing, claim: Claim = SOURCE) -> None:
    """Write our name on the claim as the last look found it. Raises Conflict when somebody else was quicker; then look again."""
    memory = _memory(x, claim)
    memory.judged = _made(x, claim) if memory.judged is None else _replaced(x, claim, memory.judged)
    memory.renewed_at = x.clock.monotonic()
    if claim is SOURCE:
        stamps.take(x, _number(memory.judged))


def stamp(x: Crossing) -> None:
    """Write the number of our claim on everything that lacks it. Raises Conflict where something changed, Held if the claim is lost.

    The Lease is read between the look at the objects and the writes, which test what was looked at: who was frozen anywhere in between
    and has lost the claim writes nothing, since the next holder changed every object.
    """
    lacking = stamping.lacking(x)
    if lacking:
        _confirm(x)
        stamping.put(x, lacking)


def renew(x: Crossing) -> None:
    """Renew what this process holds if it is due (every 15 s, or when a write met somebody else's number).

    Raises Held when somebody else has a claim by now, or it is gone. No contact is borne until the claim has run out; then it is raised,
    since somebody else may have taken it.
    """
    for claim in (SOURCE, TARGET):
        _renew(x, claim, now=claim is SOURCE and stamps.doubted(x))


def holds(x: Crossing) -> bool:
    """Tell whether this process took the claim on the source and has neither lost it nor given it up, as far as it knows."""
    return _memory(x, SOURCE).renewed_at is not None


def left(x: Crossing) -> list[str]:
    """Name the claims of this migration that are still there."""
    return [f"Lease {claim.name(x)}" for claim, _ in _ours(x)]


def give_up(x: Crossing) -> None:
    """Give up both claims of this migration, whoever of its runners made them: the stamp on the source first, its Lease last."""
    stamping.take_off(x)
    for claim in (TARGET, SOURCE):
        _memory(x, claim).renewed_at = None
    for claim, lease in _ours(x):
        _delete(x, claim, lease)


def release(x: Crossing) -> None:
    """Give up what this process holds. Never raises: it is what a run does last, and a claim runs out by itself."""
    held = [claim for claim in (TARGET, SOURCE) if _memory(x, claim).renewed_at is not None]
    try:
        if SOURCE in held:
            stamping.take_off(x)
        for claim in held:
            _memory(x, claim).renewed_at = None
            lease = claim.cluster(x).get(LEASE, claim.name(x))
            if lease is not None and _holder(lease) == str(x.runner):
                _delete(x, claim, lease)
    except MigrateError as error:
        log.warning("a claim could not be given up (it runs out in %d s): %s", DURATION_S, error)


def _delete(x: Crossing, claim: Claim, lease: Object) -> None:
    """Delete a Lease as it was read: one that a next holder has written its name on is another version."""
    version = dig(lease, "metadata", "resourceVersion")
    claim.cluster(x).delete(LEASE, claim.name(x), uid=uid_of(lease), version=version)


def _renew(x: Crossing, claim: Claim, *, now: bool) -> None:
    memory = _memory(x, claim)
    renewed_at = memory.renewed_at
    due = renewed_at is not None and x.clock.monotonic() - renewed_at >= RENEW_S
    if renewed_at is None or not (due or now):
        return
    try:
        seen = look(x, claim)
        if seen.state is not State.DONE:
            memory.renewed_at = None
            raise Held.of(seen.problems or (_lost(x, claim, seen),))
        if due:
            take(x, claim)
        if now:
            stamp(x)
            stamps.doubted(x, False)
    except (Unreachable, Conflict) as error:
        if x.clock.monotonic() - renewed_at >= DURATION_S:
            raise
        log.warning("the claim could not be renewed yet: %s", error)


def _confirm(x: Crossing) -> None:
    """Look whether the claim that our number stands for is still ours. Raises Held if not."""
    seen = look(x)
    lease = _memory(x, SOURCE).judged
    if seen.state is not State.DONE or lease is None or _number(lease) != stamps.number(x):
        _memory(x, SOURCE).renewed_at = None
        raise Held.of(seen.problems or (_lost(x, SOURCE, seen),))


def _made(x: Crossing, claim: Claim) -> Object:
    """Make the Lease. One that is there by now was made by somebody else, for whatever migration, unless it names this very runner."""
    quicker = f"somebody else made the Lease {claim.name(x)} first"
    try:
        (made,) = claim.cluster(x).create(*_rendered(x, claim, None), ours_ok=True)
    except Taken as error:
        raise Conflict(quicker, where=error.where, why=error.why, status=error.status) from error
    if _holder(made) != str(x.runner):
        raise Conflict(quicker, where=claim.cluster(x).context, why=f"it names {_holder(made)}")
    return made


def _replaced(x: Crossing, claim: Claim, lease: Object) -> Object:
    (manifest,) = _rendered(x, claim, lease)
    manifest["metadata"] |= {key: lease["metadata"][key] for key in ("uid", "resourceVersion")}
    return claim.cluster(x).replace(manifest)


def _rendered(x: Crossing, claim: Claim, lease: Object | None) -> tuple[dict[str, Any], ...]:
    """Render the Lease with our name on it; the number of changes of holder goes up where another name was."""
    now, mine = x.clock.now(), lease is not None and _holder(lease) == str(x.runner)
    return x.render(
        "target/claim.yaml.j2",
        **frames.claim(
            x.migration,
            name=claim.name(x),
            namespace=claim.cluster(x).namespace,
            holder=str(x.runner),
            seconds=DURATION_S,
            acquired=(moment(dig(lease, "spec", "acquireTime")) if mine else None) or now,
            renewed=now,
            transitions=int(dig(lease, "spec", "leaseTransitions", default=0)) + (lease is not None and not mine),
        ),
    )


def _ours(x: Crossing) -> Iterator[tuple[Claim, Object]]:
    for claim in (TARGET, SOURCE):
        lease = claim.cluster(x).get(LEASE, claim.name(x))
        if lease is not None and labels.is_ours(lease, x.migration.id):
            yield claim, lease


def _memory(x: Crossing, claim: Claim) -> _Memory:
    return _memories.setdefault(x.works, {}).setdefault(claim, _Memory())


def _number(lease: Object) -> str:
    return f"{uid_of(lease)}/{dig(lease, 'spec', 'leaseTransitions', default=0)}"


def _holder(lease: Object) -> str:
    return str(dig(lease, "spec", "holderIdentity", default=""))


def _renewed(lease: Object) -> str:
    return str(dig(lease, "spec", "renewTime", default=""))


def _where(x: Crossing, claim: Claim) -> str:
    return f"{claim.cluster(x).context}, Lease {claim.cluster(x).namespace}/{claim.name(x)}"


def _told(x: Crossing, claim: Claim, lease: Object, holder: Runner | None, words: str) -> Problem:
    other = str(dig(lease, "metadata", "labels", labels.ID, default=""))
    since = dig(lease, "spec", "acquireTime", default="unknown")
    return Problem(
        what=words,
        where=_where(x, claim),
        why=f"since {since}, for the migration {other}; it is alive",
        now=f"wait for it, or end process {holder.pid} on {holder.host} and run the same again" if holder is not None else "wait for it",
    )


def _lost(x: Crossing, claim: Claim, seen: Observation) -> Problem:
    return Problem(
        what=f"this run has lost the claim on {claim.on}",
        where=_where(x, claim),
        why=f"{seen.message}: it was taken over or removed while this run was away",
        now="run the same command again: it looks how things stand",
    )
