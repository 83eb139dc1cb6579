"""Start the target, if the source ran or it was asked for, and watch it come up.

This is the step after which nothing can be undone, so it looks at everything once more: the source halted as we left it, no instance of
it, every disk proven.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, timedelta

from migrate.kube.kinds import DATAVOLUME, PVC, VM, VMI
from migrate.model import labels
from migrate.model.errors import Problem
from migrate.model.migration import Disk
from migrate.model.objects import Object, annotations_of, name_of
from migrate.model.observation import Observation, State, blocked, done, needed, waiting
from migrate.model.was import Was
from migrate.reading.common import generic
from migrate.reading.machine import instance_alive, set_by, strategy_of, written_was
from migrate.reading.proof import claim_there
from migrate.reading.started import Started, started_of
from migrate.reading.starting import read_running
from migrate.steps import going_back, looks, patches, proving, stamps, strategies
from migrate.steps.base import Crossing, Limits
from migrate.steps.strategies import HALTED, Going


class StartTarget:
    """Set the target going as the source was (`auto`), in any case, or not at all; docs/start-and-stop.md has the table."""

    name = "start-target"
    limits = Limits(quiet=timedelta(minutes=15), acts=3, blocked=timedelta(0))
    until: str | None = None

    def observe(self, x: Crossing) -> Observation:
        vm = x.target.get(VM, x.migration.target.name)
        if vm is None:
            return waiting("TargetMissing", "the target VM is not made yet")
        taken = generic(vm, x.migration.id)
        if taken is not None:
            return taken
        was = _was(x, vm, x.source.get(VM, x.migration.source.name))
        if was is None:
            return blocked("WasUnreadable", _forgotten(x))
        going = strategies.on_target(was, x.migration.start)
        danger = looks.unmoved(x)
        if labels.STARTED in annotations_of(vm):
            return danger or _watched(x, vm, was, going)
        if danger is not None:
            return danger
        if _taken_over(x, vm, going):
            return _theirs(x, vm)
        if strategy_of(vm) == going.run_strategy and not going.starts:
            return done("LeftHalted", going.note or f"run strategy {going.run_strategy}, not started ({_wish(x, was)})")
        not_yet = _not_ready(x) if going.starts else None
        if not_yet is None and going.starts and _unmarked(x, seen=False):
            return needed("StartToNote", "the disks are marked as written to by a guest, then the target is started")
        return not_yet or needed("NotStarted", f"run strategy {strategy_of(vm)}, to be {going.run_strategy}")

    def act(self, x: Crossing) -> None:
        name = x.migration.target.name
        vm, source = looks.judged(x.target, name, lambda: self.observe(x)), x.source.get(VM, x.migration.source.name)
        was = _was(x, vm, source)
        stands = x.migration.copies or looks.released(x, source) or looks.stands(x, source)
        if vm is None or was is None or not stands:
            return
        going, at = strategies.on_target(was, x.migration.start), _now(x)
        begun = labels.STARTED in annotations_of(vm)
        theirs = not begun and _taken_over(x, vm, going)
        marked = (going.starts or theirs) and _mark(x, at, seen=theirs)
        if marked or theirs:
            return
        if begun:
            strategy, note = going.run_strategy, patches.annotate(vm, {labels.START_ASKED: at})
        else:
            strategy, note = going.first, patches.annotate(vm, {labels.STARTED: at if going.starts else None})
        x.target.patch(VM, name, stamps.guarded(x, vm, patches.strategy(vm, run_strategy=strategy), note))

    def undo(self, x: Crossing) -> Observation:
        """Refuse once it was started, unless the undo was told to go back all the same: then stop it first, so that never both run."""
        vm, refusal = x.target.get(VM, x.migration.target.name), going_back.refuse_undo(x)
        if refusal is not None:
            return refusal
        if x.even_if_started and going_back.target_started(replace(x, even_if_started=False)) is not None:
            _mark(x, _now(x), seen=True)  # the halt takes away what tells of it, and this undo may be cut
        stopped = going_back.stopped(x, vm)
        if stopped.state is State.DONE and not x.even_if_started:  # what a guest wrote to keeps its note until it is deleted
            for volume in looks.disks_there(x):
                if labels.STARTED in annotations_of(volume):
                    x.target.patch(DATAVOLUME, name_of(volume), stamps.guarded(x, volume, patches.annotate(volume, {labels.STARTED: None})))
        return stopped


def _now(x: Crossing) -> str:
    return x.clock.now().astimezone(UTC).isoformat(timespec="seconds")


def _mark(x: Crossing, at: str, *, seen: bool) -> bool:
    """Note on the disks that lack it that a guest may write to them from now on, or did; tell whether any lacked it."""
    unmarked = _unmarked(x, seen=seen)
    for volume, claim in unmarked:
        note = patches.annotate(volume, {labels.STARTED: Started(at, claim, seen=seen).to_json()})
        x.target.patch(DATAVOLUME, name_of(volume), stamps.guarded(x, volume, note))
    return bool(unmarked)


def _was(x: Crossing, target: Object | None, source: Object | None) -> Was | None:
    """Return what the source was, from where it is written: on the halted source, or on the copy of one that goes on."""
    noted = target if x.migration.copies else source
    return written_was(noted) if noted is not None else None


def _taken_over(x: Crossing, vm: Object, going: Going) -> bool:
    """Tell whether somebody started a target that we were not to start, or chose its run strategy: it is theirs from then on.

    So is one that runs without our word on it, once its disks say that it was started: the VM was made anew.
    """
    alive = instance_alive(x.target.get(VMI, x.migration.target.name))
    return bool(alive and looks.started_at(x)) if going.starts else alive or not set_by(vm, labels.OWNER)


def _unmarked(x: Crossing, *, seen: bool) -> list[tuple[Object, str]]:
    """List the disks that do not say yet that a guest may write to the claim they have now, each with the uid of that claim.

    `seen`: that it did, since somebody else's start was seen.
    """
    claims, wanted = looks.made_by_cdi(x, PVC), {disk.target for disk in x.migration.disks}
    found = ((one, claim_there(claims.get(name_of(one)))) for one in looks.disks_there(x) if name_of(one) in wanted)
    return [(one, claim) for one, claim in found if (note := started_of(one)) is None or note.claim != claim or seen > note.seen]


def _theirs(x: Crossing, vm: Object) -> Observation:
    """Leave a target to whoever took it over; what remains to be done is to note on its disks that a guest may have written to them."""
    found = proving.copies(x)
    unproven = proving.unproven(x, found)
    if unproven:
        return _unproven(f"somebody started {x.migration.target} before its disks were proven", unproven, "not proven")
    if _unmarked(x, seen=True):
        return needed("StartToNote", f"somebody started {x.migration.target} or changed its run strategy; that is noted on its disks")
    return done("StartedByAnother", f"somebody set {x.migration.target} to run strategy {strategy_of(vm)}; it is left as they wish")


def _not_ready(x: Crossing) -> Observation | None:
    """Say what forbids a start, if anything does. Called only while the target was not started."""
    if not x.migration.copies and instance_alive(x.source.get(VMI, x.migration.source.name)):
        return waiting("GuestShuttingDown", "the guest still runs on the source")
    if instance_alive(x.target.get(VMI, x.migration.target.name)):
        return blocked("TargetStarted", _started_by_another(x))
    found = proving.copies(x)
    unproven = proving.unproven(x, found)
    missing = [disk for disk in x.migration.disks if disk.target not in found.volumes]
    if not unproven and not missing:
        return looks.in_use(x)
    return _unproven("the target is not started", missing or unproven, "missing" if missing else "not proven")


def _unproven(what: str, disks: Sequence[Disk], word: str) -> Observation:
    return blocked(
        "DisksNotProven",
        Problem(
            what=f"{what}: {word}: {', '.join(disk.target for disk in disks)}",
            where="target",
            why="a disk without proof of identity is not a copy",
            now="run the same again: what is missing is made anew and proven",
        ),
    )


def _watched(x: Crossing, vm: Object, was: Was, going: Going) -> Observation:
    """Say how far the start is. A strategy that somebody chose since then is theirs; a halt of theirs is not undone by us."""
    strategy, vmi = strategy_of(vm), x.target.get(VMI, x.migration.target.name)
    if going.request and strategy == going.first and labels.START_ASKED not in annotations_of(vm) and instance_alive(vmi):
        return needed("StrategyToRestore", f"its instance is there; its run strategy {going.run_strategy} is written now")
    seen = read_running(vm, vmi, strategy=strategy, want_agent=was.guest_agent)
    asked_once = seen.state is State.NEEDED and labels.START_ASKED in annotations_of(vm)
    now = "has no instance" if asked_once else "is Halted"
    if strategy == HALTED or asked_once:
        return blocked(
            "TargetStoppedAgain",
            Problem(
                what=f"somebody stopped {x.migration.target} after we started it",
                where="target",
                why=f"it was started at {annotations_of(vm)[labels.STARTED]} with run strategy {going.run_strategy}, now it {now}",
                now="start it when it may run, then run the same again",
            ),
        )
    return seen


def _wish(x: Crossing, was: Was) -> str:
    start = x.migration.options.start
    if x.migration.copies and start == "auto":
        return "a copy is started only when it is asked for: --start always"
    return f"--start {start}" if start != "auto" else f"the source had run strategy {was.strategy} and did not run"


def _forgotten(x: Crossing) -> Problem:
    return Problem(
        what=f"what {x.migration.source} was before its halt cannot be read",
        where="source",
        why="the VM is gone, or its annotation is missing or broken",
        now="the disks are on the target: start the VM there by hand if the source is certain not to run",
    )


def _started_by_another(x: Crossing) -> Problem:
    return Problem(
        what=f"somebody started {x.migration.target} before us",
        where="target",
        why="it has an instance and does not carry our mark of a start",
        now="stop it if its disks were not proven yet, and run the same again",
    )
