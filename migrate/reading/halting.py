"""Is the source fully stopped, and did it stay so since we halted it? (reference section 7, "Is it fully stopped?")"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from migrate.model.errors import Problem
from migrate.model.objects import Object, dig, generation_of, leaving, moment, name_of, uid_of
from migrate.model.observation import Observation, blocked, done, needed, waiting
from migrate.model.quantity import human_duration
from migrate.reading.machine import grace_s, halted_by, halted_generation, instance_alive, launcher_pods, strategy_of, written_was


def read_stopped(
    vm: Object | None, vmi: Object | None, pods: Iterable[Object], *, migration_id: str, now: datetime, copies: Sequence[str] = ()
) -> Observation:
    """Say how far the halt of the source is.

    NEEDED NotHalted: our halt is not written yet. WAITING GuestShuttingDown, LauncherLeaving, SnapshotInProgress, StatusLagging.
    DONE Stopped. BLOCKED SourceStartedAgain, SourceChanged (another generation than our halt left), SourceGone, SourceBeingDeleted.
    `pods`: pods of the namespace. `copies`: target disks made so far, which are named as stale when the source moved.
    """
    if vm is not None and not leaving(vm) and halted_by(vm) != migration_id:
        if snapshot := dig(vm, "status", "snapshotInProgress"):
            return waiting("SnapshotInProgress", f"the VM is locked while snapshot {snapshot} is taken")
        return needed("NotHalted", _as_it_is(vm, vmi))
    moved = read_unmoved(vm, vmi, migration_id=migration_id, copies=copies)
    if moved is not None:
        return moved
    assert vm is not None
    if vmi is not None and instance_alive(vmi):
        return waiting("GuestShuttingDown", _shutting_down(vm, vmi, now))
    pods = launcher_pods(pods, name_of(vm))
    if pods:
        return waiting("LauncherLeaving", f"the guest is down, its pod {name_of(pods[0])} is not gone yet")
    if vmi is None and dig(vm, "status", "created") is True:
        return waiting("StatusLagging", "the instance is gone, KubeVirt has not noted it yet")
    return done("Stopped", f"stopped, held at generation {generation_of(vm)}")


def read_unmoved(vm: Object | None, vmi: Object | None, *, migration_id: str, copies: Sequence[str] = ()) -> Observation | None:
    """Say BLOCKED when the halted source moved (started, changed, gone), None when it stands as our halt left it.

    For publish, proof and start: call it with a fresh look and return its answer if there is one. The instance that our halt is
    shutting down does not count as a start.
    """
    if vm is None:
        return blocked("SourceGone", _gone("the source VM is gone", copies))
    if leaving(vm):
        return blocked("SourceBeingDeleted", _gone("the source VM is being deleted", copies))
    name, generation = name_of(vm), generation_of(vm)
    if halted_by(vm) != migration_id:
        by = halted_by(vm)
        why = f"the migration {by} halted it since" if by else "our annotation is gone from it"
        return blocked("SourceChanged", _stale(f"{name} is no longer held by this migration", why, copies))
    held, was = halted_generation(vm), written_was(vm)
    if vmi is not None and instance_alive(vmi) and not (was is not None and was.instance == uid_of(vmi)):
        since = dig(vmi, "metadata", "creationTimestamp")
        why = "an instance of it is there" + (f" since {since}" if since else "")
        return blocked("SourceStartedAgain", _stale(f"somebody started {name} after we halted it", why, copies))
    if strategy_of(vm) != "Halted":
        why = f"its run strategy is {strategy_of(vm)} (generation {generation}, we left it Halted at {held})"
        return blocked("SourceStartedAgain", _stale(f"somebody started {name} after we halted it", why, copies))
    if generation != held:
        why = f"its generation is {generation}, our halt left it at {held}: it may have been started and stopped in between"
        return blocked("SourceChanged", _stale(f"somebody changed {name} after we halted it", why, copies))
    return None


def grace_spent(vm: Object, vmi: Object, now: datetime) -> float | None:
    """Return how much of its grace period a guest that shuts down has used, 0 to 1; None before it is asked to."""
    asked, grace = moment(dig(vmi, "metadata", "deletionTimestamp")), grace_s(vm, vmi)
    if asked is None or grace <= 0:
        return None
    return min(1.0, max(0.0, (now - asked).total_seconds() / grace))


def _as_it_is(vm: Object, vmi: Object | None) -> str:
    alive = "its guest runs" if instance_alive(vmi) else "no guest runs"
    return f"run strategy {strategy_of(vm)}, {alive}, not held by us yet"


def _shutting_down(vm: Object, vmi: Object, now: datetime) -> str:
    if dig(vmi, "status", "phase") == "Running" and any(
        entry.get("type") == "Paused" and entry.get("status") == "True" for entry in dig(vmi, "status", "conditions", default=())
    ):
        return "the guest is paused and cannot shut down; KubeVirt ends it when its grace period is over"
    grace = timedelta(seconds=grace_s(vm, vmi))
    asked = moment(dig(vmi, "metadata", "deletionTimestamp"))
    if asked is None:
        return f"waiting for KubeVirt to ask the guest to shut down (it has {human_duration(grace)})"
    left = asked + grace - now
    if left <= timedelta(0):
        return f"the guest did not shut down within its {human_duration(grace)}; KubeVirt ends it now"
    return f"the guest is shutting down, {human_duration(round(left.total_seconds()))} left of its {human_duration(grace)}"


def _stale(what: str, why: str, copies: Sequence[str]) -> Problem:
    disks = f"; the copies on the target are stale: {', '.join(copies)}" if copies else ""
    return Problem(
        what=what + disks,
        where="source",
        why=why,
        now="leave it as it is and take this migration back with `migrate undo`, or stop it again and ask anew with --again"
        if not copies
        else "take this migration back with `migrate undo` (it removes the stale copies), then move the VM anew",
    )


def _gone(what: str, copies: Sequence[str]) -> Problem:
    disks = f"; copies of its disks are on the target: {', '.join(copies)}" if copies else ""
    return Problem(
        what=what + disks, where="source", why="somebody deleted it", now="find out who; nothing was changed on the target since"
    )
