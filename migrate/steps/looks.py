"""Fresh looks that several steps need, and the one way in which anything of ours is removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import DATAVOLUME, POD, PVC, VM, VMI, Kind
from migrate.model import labels
from migrate.model.errors import Problem
from migrate.model.migration import Disk
from migrate.model.objects import Object, annotations_of, dig, labels_of, leaving, name_of, uid_of
from migrate.model.observation import Observation, State, blocked, done, waiting
from migrate.reading.halting import read_unmoved
from migrate.reading.inventory import claims_of
from migrate.reading.machine import halted_by, halted_generation, instance_alive, launcher_pods, set_by, strategy_of
from migrate.reading.users import pods_on
from migrate.steps import patches, stamps
from migrate.steps.base import Crossing
from migrate.steps.strategies import HALTED, STARTS_WHEN_SET

OURS: Mapping[str, str | None] = {labels.ID: None}
"""Selector of what we made, for every migration the same, so that one watch serves them all."""
SERVER_OF = "kubevirt.io.virt-export-service"  # label of an export's server pod: the name of the export
VIRT_PODS: Mapping[str, str | None] = {"kubevirt.io": None}
"""Selector of the pods that KubeVirt makes for instances: launchers and hotplug pods."""
SET_BY_ANOTHER = "somebody else set its run strategy since we made it"
FENCED = frozenset({VM, DATAVOLUME})
"""Kinds whose loss would lose bytes: deleted only under the claim that stands on them."""


def unmoved(x: Crossing, *, even_released: bool = False) -> Observation | None:
    """Look whether the source stands as our halt left it: None if so, else BLOCKED with every disk made so far named as stale.

    A source that we have released (MOVED_TO is written: the target's disks were proven before) is no longer our concern as long as what
    it became is there, unless `even_released` asks for it: a proof that is made now is about the source as it is now.
    """
    vm = x.source.get(VM, x.migration.source.name)
    if not even_released and released(x, vm) and not _thrown_away(x):
        return None
    vmi = x.source.get(VMI, x.migration.source.name)
    if read_unmoved(vm, vmi, migration_id=x.migration.id) is None:
        return other_disks(x, vm)
    return once_started(x, read_unmoved(vm, vmi, migration_id=x.migration.id, copies=copies(x)))


def stands(x: Crossing, vm: Object | None) -> bool:
    """Tell whether the source VM was as our halt left it when it was read: whoever starts it changes that before there is an instance."""
    return read_unmoved(vm, None, migration_id=x.migration.id) is None


def once_started(x: Crossing, seen: Observation | None) -> Observation | None:
    """Where the source moved after we started the target, say that both may run: an undo would be the wrong advice then."""
    at = annotations_of(x.target.get(VM, x.migration.target.name)).get(labels.STARTED)
    if seen is None or at is None or seen.reason not in ("SourceStartedAgain", "SourceChanged"):
        return seen
    now = f"stop the source at once (virtctl stop {x.migration.source.name}); the target goes on with what its guest wrote since its start"
    what = f"{x.migration.source} was started or changed while {x.migration.target} runs since {at}: both may be running now"
    return seen.but(problems=tuple(Problem(what, problem.where, problem.why, now) for problem in seen.problems))


def judged(cluster: Cluster, name: str, judge: Callable[[], Observation]) -> Object | None:
    """Return a VM that is about to be changed, as it is after it was judged once more; None if nothing is needed, or it changed meanwhile.

    Status does not count: KubeVirt writes it all the time, and a patch that tests the version from before the judging would rarely pass.
    """
    before, seen, after = cluster.get(VM, name), judge(), cluster.get(VM, name)
    if before is None or after is None or seen.state is not State.NEEDED:
        return None
    same = all(dig(before, "metadata", key) == dig(after, "metadata", key) for key in ("uid", "generation", "labels", "annotations"))
    return after if same else None


def released(x: Crossing, vm: Object | None) -> bool:
    """Tell whether this migration has marked the source as moved."""
    notes = annotations_of(vm)
    return notes.get(labels.MOVED_TO) == moved_to(x) and notes.get(labels.HALTED_BY) == x.migration.id


def moved_and_lost(x: Crossing, vm: Object | None) -> Observation | None:
    """Return BLOCKED if the source is marked as moved by this migration, and what it became is not there: nobody knows why.

    The same question has the same id, so whoever rehearsed a move, threw the target away and asks again meets his own marks.
    """
    lost = _thrown_away(x) if released(x, vm) else []
    if not lost:
        return None
    m = x.migration
    return blocked(
        "TargetLost",
        Problem(
            what=f"{m.source} was moved to {m.target} before, and {', '.join(lost)} {'is' if len(lost) == 1 else 'are'} not there any more",
            where="target",
            why=f"the source's annotation {labels.MOVED_TO} says that this very migration was through; what ran there since may be lost",
            now=f"if that was a rehearsal, or is given up: migrate undo {m.source} {m.target} takes our notes off the source and lets it "
            "run again if it ran before that move; then run the same again. If not, bring the target back",
        ),
    )


def _thrown_away(x: Crossing) -> list[str]:
    """Name what a finished move has left on the target, as far as it is not there: its VM and its disks."""
    m = x.migration
    vm = x.target.get(VM, m.target.name) if x.target.serves(VM) is not None else None
    here = copies(x)
    lost = [f"disk {disk.target}" for disk in m.disks if disk.target not in here]
    return lost if vm is not None and labels.is_ours(vm, m.id) else [f"VM {m.target}", *lost]


def other_disks(x: Crossing, vm: Object | None) -> Observation | None:
    """Return BLOCKED if the VM names other disks than those that this migration copies."""
    said = differing(x.migration.disks, claims_of(vm)) if vm is not None else ""
    if not said:
        return None
    m, begun = x.migration, halted_by(vm or {}) == x.migration.id or made_anything(x)
    undo = f"take this migration back (migrate undo {m.source} {m.target}), then move the VM anew"
    return blocked(
        "DisksChanged",
        Problem(
            what=f"{m.source} has other disks than those that this migration copies: {said}",
            where="source",
            why="somebody changed the VM since it was looked at",
            now=undo if begun else "run the same again: it takes the disks that the VM has then",
        ),
    )


def differing(disks: Sequence[Disk], claims: Iterable[str]) -> str:
    """Say which claims came and went since these disks were chosen, "" if none did."""
    old, new = {disk.pvc for disk in disks}, set(claims)
    return "; ".join(f"{', '.join(sorted(names))} {word}" for word, names in (("came", new - old), ("went", old - new)) if names)


def in_use(x: Crossing) -> Observation | None:
    """Return BLOCKED if a pod holds a disk of the stopped source, the server of our own export left out."""
    disks, export = {disk.pvc for disk in x.migration.disks}, x.migration.names.export
    pods = (pod for pod in x.source.list(POD) if labels_of(pod).get(SERVER_OF) != export) if disks else ()
    users = list(pods_on(disks, pods))
    if not users:
        return None
    return blocked(
        "DiskInUse",
        Problem(
            what="a disk of the source is in use although its VM is stopped",
            where="source",
            why=f"it is used by {', '.join(users)}; whatever that writes would make the copy a broken one",
            now="let it end, or remove it; then run the same again",
        ),
    )


def moved_to(x: Crossing) -> str:
    """Return the value of the MOVED_TO annotation."""
    m = x.migration
    return f"{m.target_cluster_uid}/{m.target.namespace}/{m.target.name}"


def copies(x: Crossing) -> tuple[str, ...]:
    """Name the target disks that exist so far."""
    return tuple(name_of(found) for found in disks_there(x))


def disks_there(x: Crossing) -> list[dict[str, Any]]:
    """List the DataVolumes of this migration."""
    if x.target.serves(DATAVOLUME) is None:
        return []
    return [found for found in x.target.list(DATAVOLUME, labels=OURS) if labels.is_ours(found, x.migration.id)]


def made_by_cdi(x: Crossing, kind: Kind) -> dict[str, dict[str, Any]]:
    """Return, by name, the claims or pods that CDI made for this migration's DataVolumes.

    They inherit its labels (cdi-import 1.4 and 3.8), all but managed-by, which names CDI.
    """
    return {name_of(found): found for found in x.target.list(kind, labels=OURS) if labels_of(found).get(labels.ID) == x.migration.id}


def noted_generation(x: Crossing) -> int | None:
    """Read which generation our halt left the source at; None when it is not halted by this migration."""
    vm = x.source.get(VM, x.migration.source.name)
    if vm is None or annotations_of(vm).get(labels.HALTED_BY) != x.migration.id:
        return None
    return halted_generation(vm)


def target_started(x: Crossing) -> Problem | None:
    """Say that the target was or may have been started, by us or by anybody: from then on nothing is undone, unless that was said.

    A VM of its name counts whoever labelled it, if it runs or names a disk of ours. One that runs no more, or is gone, may have run: once
    the source is marked as moved nobody watches, and before that a run leaves behind that somebody else wrote the run strategy.
    """
    name = x.migration.target.name
    if x.even_if_started:
        return None
    vm, made = x.target.get(VM, name), copies(x)
    concerns = vm is not None and (labels.is_ours(vm, x.migration.id) or bool(set(claims_of(vm)) & set(made)))
    words, why = "was started", running(vm, x.target.get(VMI, name), concerns=concerns)
    if not why and concerns and not set_by(vm or {}, labels.OWNER):
        words, why = "may have been started", SET_BY_ANOTHER
    if not why and (concerns or made) and released(x, x.source.get(VM, x.migration.source.name)):
        words, why = "may have been started", "the move is finished: the source is marked as moved, and nobody watched the target since"
    if not why:
        return None
    return Problem(
        what=f"VM {x.migration.target} {words}, so nothing is undone",
        where=str(x.migration.target),
        why=f"{why}; an undo would lose whatever its guest wrote since to {', '.join(made) or 'its memory (it has no disks)'}",
        now="keep the target, or give that up and go back: migrate undo with --even-if-started stops the target and deletes its disks",
    )


def running(vm: Object | None, vmi: Object | None, *, concerns: bool = True) -> str:
    """Say what tells that a VM was started, "" if nothing does. `concerns`: its run strategy counts."""
    at = annotations_of(vm).get(labels.STARTED)
    if at is not None:
        return f"it was started at {at}"
    if instance_alive(vmi):
        return "its instance exists"
    if vm is not None and concerns and strategy_of(vm) in STARTS_WHEN_SET:
        return f"its run strategy is {strategy_of(vm)}"
    return ""


def target_stopped(x: Crossing) -> Observation:
    """Stop a target of ours that was started, one step at a time, after an undo was told to; DONE once nothing of it runs."""
    name = x.migration.target.name
    vm = x.target.get(VM, name)
    if vm is None or not labels.is_ours(vm, x.migration.id):
        return done("NotStarted", "the target is not there")
    if strategy_of(vm) != HALTED and not leaving(vm):
        x.target.patch(VM, name, stamps.guarded(x, vm, patches.strategy(vm, run_strategy=HALTED)))
        return waiting("TargetStopping", "the target is asked to stop")
    if instance_alive(x.target.get(VMI, name)) or launcher_pods(x.target.list(POD, labels=VIRT_PODS), name):
        return waiting("TargetStopping", "the target's guest is shutting down")
    return done("NotStarted", "nothing of the target runs")


def refuse_undo(x: Crossing) -> Observation | None:
    """Return BLOCKED if the target was started, or holds all that is left of the VM."""
    problem = target_started(x)
    if problem is not None:
        return blocked("TargetStarted", problem)
    lost = tuple(_lost(x)) if made_anything(x) else ()
    if not lost:
        return None
    kept = ", ".join(copies(x))
    return blocked(
        "LastCopies",
        Problem(
            what="the copies on the target are all that is left, so nothing is undone",
            where=str(x.migration.target),
            why=f"{'; '.join(lost)}; on the target are VM {x.migration.target}{f' and its disks {kept}' if kept else ''}",
            now="keep them: start the VM on the target, or bring the source back first; only by hand can they be deleted",
        ),
    )


def made_anything(x: Crossing) -> bool:
    """Tell whether a VM or disks of this migration are on the target."""
    vm = x.target.get(VM, x.migration.target.name)
    return bool(disks_there(x)) or (vm is not None and labels.is_ours(vm, x.migration.id))


def _lost(x: Crossing) -> Iterator[str]:
    """Say what of the source is not there any more, or not for long."""
    m = x.migration
    vm = x.source.get(VM, m.source.name)
    if vm is None or uid_of(vm) != m.source_uid:
        yield f"the source VM {m.source} was deleted"
    elif leaving(vm):
        yield f"the source VM {m.source} is being deleted"
    copied = (annotations_of(volume).get(labels.DISK, "") for volume in disks_there(x))
    for name in dict.fromkeys([*(disk.pvc for disk in m.disks), *filter(None, copied)]):
        claim = x.source.get(PVC, name)
        if claim is None or leaving(claim):
            yield f"the source's disk {name} {'was' if claim is None else 'is being'} deleted"
        elif dig(claim, "status", "phase") != "Bound":
            yield f"the source's disk {name} is not bound"


def remove(x: Crossing, cluster: Cluster, kind: Kind, name: str) -> bool:
    """Delete an object of this migration, and tell whether it is gone. What does not carry the migration's mark is left alone."""
    found = cluster.get(kind, name)
    if found is None or not labels.is_ours(found, x.migration.id):
        return True
    if not leaving(found):
        if kind in FENCED:
            stamps.delete(x, cluster, kind, found)
        else:
            cluster.delete(kind, name, uid=uid_of(found))
    return False


def remove_all(x: Crossing, *things: tuple[Cluster, Kind, str]) -> Observation:
    """Delete all these objects of this migration; DONE once a look finds none of them."""
    left = [f"{kind} {name}" for cluster, kind, name in things if not remove(x, cluster, kind, name)]
    if left:
        return waiting("BeingDeleted", f"waiting until {', '.join(left)} {'is' if len(left) == 1 else 'are'} gone")
    return done("Removed", "nothing of this step is left")
