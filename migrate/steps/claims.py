"""The claim on a source VM: one Lease, so that two runners never move the same VM at once.

A holder is alive while the renewTime of its Lease changes; wall clocks are never compared, since every machine has its own. A holder that
was a process of this very machine and is no more is known to be dead at once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from migrate.kube.kinds import LEASE
from migrate.model import labels
from migrate.model.errors import Conflict, Held, MigrateError, Problem, Taken, Unreachable
from migrate.model.objects import Object, dig, moment, uid_of
from migrate.model.observation import Observation, State, blocked, done, needed, waiting
from migrate.reading.common import taken
from migrate.rendering import frames
from migrate.steps.base import Crossing
from migrate.steps.runner import Runner, read_runner, surely_alive, surely_dead
from migrate.steps.work import Works

log = logging.getLogger("migrate.claims")

DURATION_S = 60
"""How long a claim outlives its last renewal."""
RENEW_S = 15.0


@dataclass(slots=True)
class _Memory:
    """What this process knows of a claim beside what the cluster says."""

    renewed_at: float | None = None
    """Monotonic time of our last write; None = we do not hold it."""
    seen: dict[str, tuple[str, float]] = field(default_factory=dict)
    """By uid of the Lease: the renewTime that we saw first, and when."""
    judged: Object | None = None
    """The Lease as the last look found it; None = there was none."""


_memories: WeakKeyDictionary[Works, _Memory] = WeakKeyDictionary()


def look(x: Crossing) -> Observation:
    """Say whether this runner holds the claim, may take it, or who holds it."""
    lease = _memory(x).judged = x.source.get(LEASE, x.migration.names.claim)
    if lease is None:
        return needed("ClaimMissing", "nobody has claimed the source VM")
    if not labels.is_ours(lease):
        return blocked("NameTaken", taken("Lease", x.migration.names.claim, lease))
    identity = str(dig(lease, "spec", "holderIdentity", default=""))
    if identity == str(x.runner) and labels.is_ours(lease, x.migration.id):
        return done("Claimed", "the source VM is claimed by this run")
    holder = read_runner(identity)
    if not identity or (holder is not None and surely_dead(holder, x.runner)):
        return needed("HolderDead", "the claim's holder was a process of this machine and is gone" if identity else "the claim was let go")
    words = f"{holder.person if holder is not None else identity} holds the claim on the source VM"
    if holder is not None and surely_alive(holder, x.runner):
        return blocked("Held", _held(x, lease, holder, words))
    renewed, since = _memory(x).seen.setdefault(uid_of(lease), (_renewed(lease), x.clock.monotonic()))
    if renewed != _renewed(lease):
        return blocked("Held", _held(x, lease, holder, words))
    patience_s = float(dig(lease, "spec", "leaseDurationSeconds", default=DURATION_S))
    silent_s = x.clock.monotonic() - since
    if silent_s >= patience_s:
        return needed("HolderSilent", f"{words}, but has not renewed it for {silent_s:.0f} s")
    return waiting("HolderMaybeDead", f"{words}; looking for {patience_s:.0f} s whether it is alive")


def take(x: Crossing) -> None:
    """Write our name on the claim as the last look found it. Raises Conflict when somebody else was quicker; then look again."""
    lease, now = _memory(x).judged, x.clock.now()
    if lease is None:
        _make(x)
    else:
        mine = str(dig(lease, "spec", "holderIdentity", default="")) == str(x.runner)
        acquired = moment(dig(lease, "spec", "acquireTime")) if mine else None
        transitions = int(dig(lease, "spec", "leaseTransitions", default=0)) + (0 if mine else 1)
        (manifest,) = x.render(
            "target/claim.yaml.j2",
            **frames.claim(
                x.migration, holder=str(x.runner), seconds=DURATION_S, acquired=acquired or now, renewed=now, transitions=transitions
            ),
        )
        manifest["metadata"] |= {key: lease["metadata"][key] for key in ("uid", "resourceVersion")}
        _memory(x).judged = x.source.replace(manifest)
    _memory(x).renewed_at = x.clock.monotonic()


def _make(x: Crossing) -> None:
    """Make the Lease. One that is there by now was made by somebody else, for whatever migration, unless it names this very runner."""
    quicker = f"somebody else made the Lease {x.migration.names.claim} first"
    try:
        (made,) = x.source.create(*_rendered(x, 0), ours_ok=True)
    except Taken as error:
        raise Conflict(quicker, where=error.where, why=error.why, status=error.status) from error
    if str(dig(made, "spec", "holderIdentity", default="")) != str(x.runner):
        raise Conflict(quicker, where=x.source.context, why=f"it names {dig(made, 'spec', 'holderIdentity')}")
    _memory(x).judged = made


def renew(x: Crossing) -> None:
    """Renew the claim if this process holds it and it is due (every 15 s). Raises Held when somebody else has it by now.

    No contact is borne until the claim has run out; then it is raised, since somebody else may have taken it.
    """
    memory = _memory(x)
    renewed_at = memory.renewed_at
    if renewed_at is None or x.clock.monotonic() - renewed_at < RENEW_S:
        return
    try:
        seen = look(x)
        if seen.state in (State.BLOCKED, State.WAITING):
            memory.renewed_at = None
            raise Held.of(seen.problems or (Problem("another runner has taken the claim on the source VM", why=seen.message),))
        take(x)
    except (Unreachable, Conflict) as error:
        if x.clock.monotonic() - renewed_at >= DURATION_S:
            raise
        log.warning("the claim could not be renewed yet: %s", error)


def holds(x: Crossing) -> bool:
    """Tell whether this process took the claim and has neither lost it nor given it up, as far as it knows."""
    return _memory(x).renewed_at is not None


def forget(x: Crossing) -> None:
    """Renew no more: the claim is given up."""
    _memory(x).renewed_at = None


def release(x: Crossing) -> None:
    """Give up the claim if this process holds it. Never raises: it is what a run does last, and a claim runs out by itself."""
    if not holds(x):
        return
    forget(x)
    try:
        lease = x.source.get(LEASE, x.migration.names.claim)
        if lease is not None and str(dig(lease, "spec", "holderIdentity", default="")) == str(x.runner):
            x.source.delete(LEASE, x.migration.names.claim, uid=uid_of(lease))
    except MigrateError as error:
        log.warning("the claim could not be given up (it runs out in %d s): %s", DURATION_S, error)


def _memory(x: Crossing) -> _Memory:
    return _memories.setdefault(x.works, _Memory())


def _renewed(lease: Object) -> str:
    return str(dig(lease, "spec", "renewTime", default=""))


def _rendered(x: Crossing, transitions: int) -> tuple[dict[str, object], ...]:
    now = x.clock.now()
    return x.render(
        "target/claim.yaml.j2",
        **frames.claim(x.migration, holder=str(x.runner), seconds=DURATION_S, acquired=now, renewed=now, transitions=transitions),
    )


def _held(x: Crossing, lease: Object, holder: Runner | None, words: str) -> Problem:
    other = str(dig(lease, "metadata", "labels", labels.ID, default=""))
    since = dig(lease, "spec", "acquireTime", default="unknown")
    return Problem(
        what=words,
        where=f"{x.source.context}, Lease {x.source.namespace}/{x.migration.names.claim}",
        why=f"since {since}, for the migration {other}; it is alive",
        now=f"wait for it, or end process {holder.pid} on {holder.host} and run the same again" if holder is not None else "wait for it",
    )
