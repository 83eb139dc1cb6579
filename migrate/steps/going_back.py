"""What forbids to go back: a target that was or may have been started, and copies that are all that is left. How a target is stopped."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from migrate.kube.kinds import CONFIGMAP, POD, PVC, VM, VMI
from migrate.model import labels
from migrate.model.errors import Problem
from migrate.model.migration import Migration
from migrate.model.objects import Object, annotations_of, dig, leaving, uid_of
from migrate.model.observation import Observation, blocked, done, waiting
from migrate.model.record import Record
from migrate.model.report import Outcome
from migrate.reading.inventory import claim_of, claims_of
from migrate.reading.machine import halted_by, instance_alive, launcher_pods, set_by, strategy_of
from migrate.reading.proof import copied_from
from migrate.steps import looks, onward, patches, stamps
from migrate.steps.base import Crossing
from migrate.steps.strategies import HALTED, STARTS_WHEN_SET


def refuse_undo(x: Crossing) -> Observation | None:
    """Return BLOCKED if the target was moved on, was started, is another machine that runs, or holds all that is left of the VM."""
    m = x.migration
    if on := onward.moved_on(x.target, m):
        now = f"take that one back first: migrate undo with {m.target} as its source; if nothing came of it, start {m.source} by hand"
        return blocked("MovedOn", Problem(f"{m.target} was moved on, so nothing is undone", where=str(m.target), why=on, now=now))
    problem = target_started(x)
    if problem is not None:
        return blocked("TargetStarted", problem)
    if another := _another_runs(x):
        return another
    lost = tuple(_lost(x)) if looks.made_anything(x) else ()
    if not lost:
        return None
    kept = ", ".join(looks.copies(x))
    return blocked(
        "LastCopies",
        Problem(
            what="the copies on the target are all that is left, so nothing is undone",
            where=str(x.migration.target),
            why=f"{'; '.join(lost)}; on the target are VM {x.migration.target}{f' and its disks {kept}' if kept else ''}",
            now="keep them: start the VM on the target, or bring the source back first; only by hand can they be deleted",
        ),
    )


def target_started(x: Crossing) -> Problem | None:
    """Say that the target was or may have been started, by us or by anybody: from then on nothing is undone, unless that was said.

    A VM of its name counts whoever labelled it, if it uses a disk of ours. One that runs no more, or is gone, may have run: once the source
    is marked as moved nobody watches, and before that a run leaves behind that somebody else wrote the run strategy.
    """
    if x.even_if_started:
        return None
    name = x.migration.target.name
    vm, vmi, made = x.target.get(VM, name), x.target.get(VMI, name), looks.copies(x)
    concerns = _concerns(x, vm, vmi)
    words, why = "was started", _running(vm, vmi) if concerns else ""
    if not why and (at := looks.started_at(x)):
        gone = "" if vm is not None and labels.is_ours(vm, x.migration.id) else ", and the VM is not there any more"
        words, why = "may have been started", f"its disks carry the note of a start at {at}{gone}"
    if not why and looks.deleted_by_another(x):
        words, why = "may have been started", looks.DELETED_BY_ANOTHER
    if not why and concerns and vm is not None and not set_by(vm, labels.OWNER):
        words, why = "may have been started", looks.SET_BY_ANOTHER
    if not why and concerns and vm is not None and strategy_of(vm) != HALTED:
        words, why = (
            "may have been started",
            f"its run strategy is {strategy_of(vm)}, with which it can be started and stopped without a trace",
        )
    if not why and (concerns or made) and looks.released(x, x.source.get(VM, x.migration.source.name)):
        words, why = "may have been started", "the move is finished: the source is marked as moved, and nobody watched the target since"
    if not why and (concerns or made) and _finished(x):
        word = "copy" if x.migration.copies else "move"
        words, why = "may have been started", f"the {word} is finished, says its record, and nobody watched the target since"
    if not why:
        return None
    return Problem(
        what=f"VM {x.migration.target} {words}, so nothing is undone",
        where=str(x.migration.target),
        why=f"{why}; an undo would lose whatever its guest wrote since to {', '.join(made) or 'its memory (it has no disks)'}",
        now="keep the target, or give that up and go back: migrate undo with --even-if-started stops the target and deletes its disks",
    )


def _finished(x: Crossing) -> bool:
    """Tell whether the record says that this migration came to its good end; it does so until the way back has come to its own."""
    known = _known(x)
    return known is not None and known.outcome in (Outcome.MOVED, Outcome.COPIED)


def _known(x: Crossing) -> Record | None:
    """Return the record of this migration; None where there is none of ours."""
    record = x.target.get(CONFIGMAP, x.migration.names.record)
    return Record.of_data(dig(record, "data", default={})) if record is not None and labels.is_ours(record, x.migration.id) else None


def half_undone(m: Migration, vm: Object | None) -> Problem | None:
    """Say of the source VM of a finished move that it is held and not marked as moved: an undo takes the mark off before all else."""
    if vm is None or uid_of(vm) != m.source_uid or halted_by(vm) != m.id or labels.MOVED_TO in annotations_of(vm):
        return None
    s = m.source
    mark = f"kubectl --context {shlex.quote(s.context)} -n {s.namespace} annotate vm {s.name} {labels.MOVED_TO}={m.moved_to}"
    return Problem(
        what=f"the move of {s} was finished, and its undo was begun and not ended",
        where="source",
        why=f"the source is halted by it and not marked as moved any more ({labels.MOVED_TO})",
        now=f"go on going back: migrate undo {m.words} --even-if-started; or keep the target, and mark the source again: {mark}",
    )


def _concerns(x: Crossing, vm: Object | None, vmi: Object | None) -> bool:
    """Tell whether the VM or the instance of the target's name is this migration's, or uses its disks, whoever made it."""
    used = {*claims_of(vm or {}), *(claim_of(volume) for volume in dig(vmi, "spec", "volumes", default=()))}
    return labels.is_ours(dict(vm or {}), x.migration.id) or bool(used & set(looks.copies(x)))


def _ever_made(x: Crossing) -> bool:
    """Tell whether there ever was a target VM, so that what has its name now may be the same guest.

    The mark on the source tells, notes of a start on its disks, and the record. Where there are no disks to carry notes, or no record, it
    counts as soon as anything was done.
    """
    m, source = x.migration, x.source.get(VM, x.migration.source.name)
    if looks.released(x, source) or looks.started_at(x) or looks.deleted_by_another(x):
        return True
    known = _known(x) if m.disks else None
    if known is None:
        return halted_by(source or {}) == m.id or looks.made_anything(x)
    made = any(tally.step in ("create-target", "start-target") and tally.acts for tally in known.steps)
    return made or known.ready is not None or known.outcome in (Outcome.MOVED, Outcome.COPIED)


def _running(vm: Object | None, vmi: Object | None) -> str:
    """Say what tells that a VM was started, "" if nothing does."""
    at = annotations_of(vm).get(labels.STARTED)
    if at is not None:
        return f"it was started at {at}"
    if instance_alive(vmi):
        return "its instance exists"
    if vm is not None and strategy_of(vm) in STARTS_WHEN_SET:
        return f"its run strategy is {strategy_of(vm)}"
    return ""


def target_stopped(x: Crossing) -> Observation:
    """Stop a target that may be taken back, one step at a time; DONE once nothing of it runs, BLOCKED if it may not be taken back.

    The VM is read before that is judged, and written at the version that was read: whoever starts it after the judging is not stopped.
    """
    vm, refusal = x.target.get(VM, x.migration.target.name), refuse_undo(x)
    return stopped(x, vm) if refusal is None else refusal


def stopped(x: Crossing, vm: Object | None) -> Observation:
    """Stop a target that was judged after its VM was read, as `target_stopped`."""
    name = x.migration.target.name
    if vm is None or not labels.is_ours(dict(vm), x.migration.id):
        return done("NotStarted", "the target is not there")
    if strategy_of(vm) != HALTED and not leaving(vm):
        x.target.patch(VM, name, stamps.guarded(x, vm, patches.strategy(vm, run_strategy=HALTED)))
        return waiting("TargetStopping", "the target is asked to stop")
    if _instance_left(x):
        return waiting("TargetStopping", "the target's guest is shutting down")
    return done("NotStarted", "nothing of the target runs")


def _instance_left(x: Crossing) -> bool:
    """Tell whether an instance of the target's name runs, or a pod of one that is gone still holds its disks."""
    name = x.migration.target.name
    return instance_alive(x.target.get(VMI, name)) or bool(launcher_pods(x.target.list(POD, labels=looks.VIRT_PODS), name))


def _another_runs(x: Crossing) -> Observation | None:
    """Return BLOCKED if an instance of the target's name runs that we may not stop, and may be what the target was: both would run.

    Where there never was a target, and it uses none of our disks, it is somebody's own.
    """
    m = x.migration
    vm = x.target.get(VM, m.target.name)
    if vm is not None and labels.is_ours(vm, m.id):
        return None
    comes_up = vm is not None and strategy_of(vm) in STARTS_WHEN_SET  # its instance may just be gone, and comes back by itself
    if not comes_up and not _instance_left(x):
        return None
    if not _concerns(x, vm, x.target.get(VMI, m.target.name)) and not _ever_made(x):
        return None
    return blocked(
        "TargetStarted",
        Problem(
            what=f"{m.target} runs or is to run, and is not ours to stop, so nothing is taken back",
            where=str(m.target),
            why="a VM of that name lost our label, or was made by somebody in place of ours; the same guest may run in it",
            now=f"stop it ({m.target.virtctl('stop')}) and undo again, or keep it, and never let both run",
        ),
    )


def _lost(x: Crossing) -> Iterator[str]:
    """Say what of the source is not there any more, or not for long."""
    m = x.migration
    vm = x.source.get(VM, m.source.name)
    if vm is None or uid_of(vm) != m.source_uid:
        yield f"the source VM {m.source} was deleted"
    elif leaving(vm):
        yield f"the source VM {m.source} is being deleted"
    copied = {annotations_of(volume).get(labels.DISK, ""): copied_from(volume) for volume in looks.disks_there(x)}
    for name in dict.fromkeys([*(disk.pvc for disk in m.disks), *filter(None, copied)]):
        claim = x.source.get(PVC, name)
        if claim is None or leaving(claim):
            yield f"the source's disk {name} {'was' if claim is None else 'is being'} deleted"
        elif copied.get(name, "") not in ("", uid_of(claim)):
            yield f"the source's disk {name} was made anew since it was copied"
        elif dig(claim, "status", "phase") != "Bound":
            yield f"the source's disk {name} is not bound"
