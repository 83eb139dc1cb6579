"""Stop the source VM cleanly, once, and write on it what it was.

One JSON patch halts and remembers: whoever loses the target loses nothing. The patch tests uid and resourceVersion, so what it remembers
is what it halts.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from migrate.kube.kinds import CONFIGMAP, POD, VM, VMI
from migrate.model import labels
from migrate.model.errors import Problem
from migrate.model.objects import Object, annotations_of, dig, generation_of, leaving, uid_of
from migrate.model.observation import Observation, State, blocked, done, needed, waiting
from migrate.model.record import Record
from migrate.model.report import stamp
from migrate.model.was import Was
from migrate.reading.halting import grace_spent, read_stopped
from migrate.reading.inventory import only_in_instance
from migrate.reading.machine import (
    DEFAULT_GRACE_S,
    grace_s,
    halted_by,
    halted_generation,
    instance_alive,
    strategy_of,
    was_of,
    written_was,
)
from migrate.steps import fence, going_back, looks, onward, patches, stamps, strategies
from migrate.steps.base import Crossing, Limits
from migrate.steps.strategies import ALWAYS, HALTED, MANUAL, Going


class StopSource:
    """Halt the source VM and wait until nothing of it runs.

    A guest with a grace period of 0 would be killed in the middle of its writes. KubeVirt takes another period only in its `stop` call,
    before the VM is halted (a halted VM accepts but a shorter one: kubevirt-export section 7). So there the halt follows the write that
    notes the generation which it will leave, and until that is reached it is merely announced.

    A write of ours that leaves the spec as it is may move the generation all the same: KubeVirt completes old VMs with whatever write comes
    first. So where the note and the halt are not one write, and where there is nothing to halt, one write goes before the note, to
    announce it.
    """

    name = "stop-source"
    limits = Limits(quiet=timedelta(minutes=15), acts=5)
    until: str | None = None

    def observe(self, x: Crossing) -> Observation:
        m = x.migration
        vm = x.source.get(VM, m.source.name)
        if looks.released(x, vm):
            return looks.moved_and_lost(x, vm) or done("Released", "the source is marked as moved; it is no longer watched")
        problem = _not_ours_to_halt(x, vm)
        if problem is not None:
            return blocked("HaltedByAnother", problem)
        vmi = x.source.get(VMI, m.source.name)
        if vm is not None and _announced(x, vm):
            changed = looks.other_disks(x, vm) or _hot_added(vm, vmi)
            return changed or needed("HaltAnnounced", "what the source was is written on it; the halt follows")
        pods = [] if instance_alive(vmi) else x.source.list(POD, labels=looks.VIRT_PODS)
        copies = looks.copies(x) if _halted(x, vm) else ()
        seen = read_stopped(vm, vmi, pods, migration_id=m.id, now=x.clock.now(), copies=copies)
        if seen.state is State.NEEDED and (before := _halted_before(x)):
            seen = blocked("SourceStartedAgain", _asked_again(x, before))
        if seen.state is State.BLOCKED:
            return looks.once_started(x, seen) or seen
        if seen.state in (State.NEEDED, State.DONE) and (other := looks.other_disks(x, vm)) is not None:
            return other
        if seen.state is State.NEEDED and vm is not None and (hot := _hot_added(vm, vmi)) is not None:
            return hot
        if seen.state is State.DONE:
            return looks.in_use(x) or seen
        if seen.state is State.WAITING and vm is not None and vmi is not None:
            seen = seen.but(message=f"{seen.message}{_grace_words(vm, vmi)}", progress=grace_spent(vm, vmi, x.clock.now()))
        return seen

    def act(self, x: Crossing) -> None:
        name = x.migration.source.name
        vm, vmi = looks.judged(x.source, name, lambda: self.observe(x)), x.source.get(VMI, name)
        if vm is None:
            return
        onward.note(x, vm, to="")
        halt, killed = halting(vm), _killed_at_once(vmi)
        noted = _halted(x, vm) and halted_generation(vm) is not None
        if noted and killed:
            _stop_gently(x)
        elif noted:
            x.source.patch(VM, name, stamps.guarded(x, vm, halt))
        elif (killed or not halt) and not _halted(x, vm):
            x.source.patch(VM, name, stamps.guarded(x, vm, _notes(x, vm, vmi, generation=None)))
        else:
            fenced = fence.put_up(vm, x.migration.id) if x.migration.options.fence else []
            spec, to_come = [*fenced, *([] if killed else halt)], bool(killed and halt)
            note = _notes(x, vm, vmi, generation=generation_of(vm) + bool(spec) + to_come)
            x.source.patch(VM, name, stamps.guarded(x, vm, note, spec))

    def undo(self, x: Crossing) -> Observation:
        """Set the source going again exactly as it was, and take our annotations off. A target that somebody made anew is stopped first."""
        stopped = going_back.target_stopped(x)
        if stopped.state is not State.DONE:
            return stopped
        vm = x.source.get(VM, x.migration.source.name)
        if vm is None or annotations_of(vm).get(labels.HALTED_BY) != x.migration.id:
            onward.forget(x, vm)
            return done("Removed", "the source carries nothing of this migration")
        was = written_was(vm)
        if was is None:
            return blocked("WasUnreadable", _unreadable(x))
        vmi = x.source.get(VMI, x.migration.source.name)
        return _set_going(x, vm, vmi, was)


def _set_going(x: Crossing, vm: Object, vmi: Object | None, was: Was) -> Observation:
    """Take one step back towards what the source was. Our annotations go last, so that a crash on the way forgets nothing."""
    going, name = strategies.on_source(was), x.migration.source.name
    strategy, alive = strategy_of(vm), instance_alive(vmi)
    if alive and fence.fenced(vmi):
        if strategy != HALTED:
            x.source.patch(VM, name, stamps.guarded(x, vm, halting(vm)))
        return waiting("Restoring", "an instance that the fence held back is removed first")
    unfenced = fence.taken_down(vm, was)
    if going.request and strategy in (HALTED, MANUAL, ALWAYS) and (strategy == HALTED or not alive or leaving(vmi)):
        if strategy != ALWAYS or unfenced:
            x.source.patch(VM, name, stamps.guarded(x, vm, unfenced, patches.strategy(vm, run_strategy=ALWAYS)))
        return waiting("Restoring", f"the source is set going; its run strategy {going.run_strategy} follows once its instance is there")
    ours = strategy == HALTED or (going.request and strategy == ALWAYS)
    onward.forget(x, vm)
    x.source.patch(VM, name, stamps.guarded(x, vm, unfenced, spelled(vm, going, was) if ours else [], _clearing(vm)))
    return done("Restored", going.note or f"the source has run strategy {going.run_strategy if ours else strategy}")


def _notes(x: Crossing, vm: Object, vmi: Object | None, *, generation: int | None) -> patches.Operations:
    """Return what is written on the VM: what it is, who halts it, when, and the generation that the halt leaves; None = announced only."""
    return patches.annotate(
        vm,
        {
            labels.WAS: was_of(vm, vmi).to_json(),
            labels.HALTED_BY: x.migration.id,
            labels.HALTED_GENERATION: None if generation is None else str(generation),
            labels.HALTED_AT: None if generation is None else stamp(x.clock.now()),
            labels.MOVED_TO: None,
        },
    )


def halting(vm: Object) -> patches.Operations:
    """Return what halts a VM: nothing if it is halted, however that is spelled."""
    return patches.strategy(vm, run_strategy=HALTED) if strategy_of(vm) != HALTED else []


def spelled(vm: Object, going: Going, was: Was) -> patches.Operations:
    """Spell the strategy as the user had spelled it, the legacy `running` included."""
    if going.run_strategy != was.strategy:
        return patches.strategy(vm, run_strategy=going.run_strategy)
    return patches.strategy(vm, run_strategy=was.run_strategy, running=was.running)


def _clearing(vm: Object) -> patches.Operations:
    return patches.annotate(vm, dict.fromkeys((labels.WAS, labels.HALTED_BY, labels.HALTED_GENERATION, labels.HALTED_AT, labels.MOVED_TO)))


def _announced(x: Crossing, vm: Object) -> bool:
    """Tell whether our annotations stand but the halt is still to come: no generation is noted, or it is one before the one that is."""
    if not _halted(x, vm):
        return False
    noted = halted_generation(vm)
    return noted is None or (generation_of(vm) == noted - 1 and strategy_of(vm) != HALTED)


def _halted(x: Crossing, vm: Object | None) -> bool:
    return annotations_of(vm).get(labels.HALTED_BY) == x.migration.id


def _hot_added(vm: Object, vmi: Object | None) -> Observation | None:
    """Return BLOCKED if disks were hot-added to the instance alone since the check: no export carries them, and a halt forgets them."""
    problems = tuple(replace(problem, where="source") for problem in only_in_instance(vm, vmi))
    return blocked("DisksChanged", *problems) if problems else None


def _killed_at_once(vmi: Object | None) -> bool:
    """Tell whether a guest runs that would be killed without any time to shut down."""
    return vmi is not None and instance_alive(vmi) and not leaving(vmi) and dig(vmi, "spec", "terminationGracePeriodSeconds") == 0


def _stop_gently(x: Crossing) -> None:
    """Ask KubeVirt to stop the VM with a longer grace period than the template's. The one write to a VM that takes no precondition."""
    space, name = x.source.namespace, x.migration.source.name
    path = f"/apis/subresources.kubevirt.io/v1/namespaces/{space}/virtualmachines/{name}/stop"
    x.source.call("PUT", path, {"gracePeriod": DEFAULT_GRACE_S})


def _grace_words(vm: Object, vmi: Object) -> str:
    asked, given = dig(vm, "spec", "template", "spec", "terminationGracePeriodSeconds"), grace_s(vm, vmi)
    return f" (its grace period of 0 s was raised to {given} s for this stop)" if asked == 0 and given > 0 else ""


def _not_ours_to_halt(x: Crossing, vm: Object | None) -> Problem | None:
    """Say why this VM must not be halted by this migration: it is another VM of the same name, or held by another migration."""
    if vm is None:
        return None
    if uid_of(vm) != x.migration.source_uid:
        return Problem(
            what=f"{x.migration.source} is another VM than the one that was asked for",
            why=f"its uid is {uid_of(vm)}, the migration was begun with {x.migration.source_uid}",
            now="move the new VM with a command of its own; this migration has lost its source",
        )
    other = halted_by(vm)
    done_with = annotations_of(vm).get(labels.MOVED_TO) or strategy_of(vm) != HALTED or halted_generation(vm) != generation_of(vm)
    if other in ("", x.migration.id) or done_with:
        return None
    return Problem(
        what=f"{x.migration.source} is halted by the migration {other}",
        why=f"its annotation {labels.HALTED_BY} says so, and that migration has not released it",
        now=f"finish or undo the migration {other} first",
    )


def _halted_before(x: Crossing) -> str:
    """Say what tells that this migration halted the source already, "" if nothing does."""
    made = looks.copies(x)
    if made:
        return f"copies of an earlier halt are on the target: {', '.join(made)}"
    record = x.target.get(CONFIGMAP, x.migration.names.record)
    if record is None or not labels.is_ours(record, x.migration.id):
        return ""
    halted = Record.of_data(dig(record, "data", default={})).halted
    return f"the record says that it was halted at {stamp(halted)}" if halted is not None else ""


def _asked_again(x: Crossing, why: str) -> Problem:
    return Problem(
        what=f"{x.migration.source} was halted by this migration before and is not held by it any more; it is never halted twice unasked",
        where="source",
        why=f"{why}; our annotation is gone from the VM",
        now="take this migration back with `migrate undo`, then move the VM anew",
    )


def _unreadable(x: Crossing) -> Problem:
    return Problem(
        what=f"what {x.migration.source} was before its halt cannot be read",
        why=f"its annotation {labels.WAS} is missing or broken",
        now=f"set its run strategy by hand and remove the annotations {labels.HALTED_BY}, {labels.HALTED_GENERATION} and {labels.WAS}",
    )
