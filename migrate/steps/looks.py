"""Fresh looks that several steps need, and the one way in which anything of ours is removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import DATAVOLUME, POD, PVC, SNAPSHOT, VM, VMI, Kind
from migrate.model import labels
from migrate.model.errors import Problem
from migrate.model.migration import Disk, SourceVersion
from migrate.model.objects import Object, annotations_of, dig, labels_of, leaving, name_of, uid_of
from migrate.model.observation import Observation, State, blocked, done, waiting
from migrate.reading.halting import read_unmoved
from migrate.reading.inventory import claims_of
from migrate.reading.machine import halted_by, halted_generation, instance_alive, set_by
from migrate.reading.proof import claim_there
from migrate.reading.started import orphaned, started_of
from migrate.reading.users import pods_on
from migrate.steps import snapshots, stamps
from migrate.steps.base import Crossing

OURS: Mapping[str, str | None] = {labels.ID: None}
"""Selector of what we made, for every migration the same, so that one watch serves them all."""
SERVER_OF = "kubevirt.io.virt-export-service"  # label of an export's server pod: the name of the export
VIRT_PODS: Mapping[str, str | None] = {"kubevirt.io": None}
"""Selector of the pods that KubeVirt makes for instances: launchers and hotplug pods."""
SET_BY_ANOTHER = "somebody else set its run strategy since we made it"
DELETED_BY_ANOTHER = "somebody deleted the VM that was made on its disks, and may have started it before"
FENCED = frozenset({VM, DATAVOLUME, SNAPSHOT})
"""Kinds whose loss would lose bytes: deleted only under the claim that stands on them."""


def unmoved(x: Crossing, *, even_released: bool = False) -> Observation | None:
    """Look whether the source stands as our halt left it: None if so, else BLOCKED with every disk made so far named as stale.

    What a copy stands on is its snapshot instead: whether that is there, and the one that the disks are of.

    A source that we have released (MOVED_TO is written: the target's disks were proven before) is no longer our concern as long as what
    it became is there, unless `even_released` asks for it: a proof that is made now is about the source as it is now.
    """
    if x.migration.copies:
        return moved_and_lost(x, None) or snapshots.lost(x, disks_there(x))
    vm = x.source.get(VM, x.migration.source.name)
    if (lost := moved_and_lost(x, vm)) is not None or (released(x, vm) and not even_released):
        return lost
    vmi = x.source.get(VMI, x.migration.source.name)
    if read_unmoved(vm, vmi, migration_id=x.migration.id) is None:
        return other_disks(x, vm)
    return once_started(x, read_unmoved(vm, vmi, migration_id=x.migration.id, copies=copies(x)))


def original(x: Crossing) -> Object | None:
    """Return the VM that the target's is made from: the source as it is now; of a copy what its snapshot holds, once there is one.

    None if it is not there any more. A copy that is through with its snapshot needs none: its source went on, and may be another one now.
    """
    if x.migration.copies:
        held = snapshots.held(x)
        if held is not None or served(x):
            return held
    return x.source.get(VM, x.migration.source.name)


def served(x: Crossing) -> bool:
    """Tell whether this is a copy that is through with its snapshot: that is gone, and nothing more is to be made or proven from it.

    Of a VM without disks nobody can tell; its snapshot is taken anew.
    """
    made = disks_there(x) if x.migration.copies and snapshots.found(x) is None else []
    return bool(made) and snapshots.settled(x, made)


def stands(x: Crossing, vm: Object | None) -> bool:
    """Tell whether the source VM was as our halt left it when it was read: whoever starts it changes that before there is an instance."""
    return read_unmoved(vm, None, migration_id=x.migration.id) is None


def once_started(x: Crossing, seen: Observation | None) -> Observation | None:
    """Where the source moved after we started the target, say that both may run: an undo would be the wrong advice then."""
    if seen is None or seen.reason not in ("SourceStartedAgain", "SourceChanged"):
        return seen
    at = started_at(x)
    if not at:
        return seen
    now = f"stop the source at once ({x.migration.source.virtctl('stop')}); the target goes on with what its guest wrote since its start"
    what = f"{x.migration.source} was started or changed after {x.migration.target} was started at {at}: both may be running now"
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
    return notes.get(labels.MOVED_TO) == x.migration.moved_to and notes.get(labels.HALTED_BY) == x.migration.id


def moved_and_lost(x: Crossing, vm: Object | None, *, finished: bool = False) -> Observation | None:
    """Return BLOCKED if the target was or may have been started, or the source is marked as moved, and what is there is not that any more.

    `finished`: the record says that it was through, which counts like the mark. Nobody knows why: what its guest wrote would be mixed
    with the source's old disks, or lost. The same question has the same id, so whoever rehearsed a move, threw the target away and asks
    again meets his own marks.
    """
    m, moved, (at, given) = x.migration, released(x, vm), _traces(x)
    lost = list(_lost(x)) if moved or at or given or finished else []
    if not lost:
        return None
    by = f"the source's annotation {labels.MOVED_TO}" if moved else "the record"
    why = f"the target carries the note of a start at {at}" if at else DELETED_BY_ANOTHER if given else f"{by} says that it was through"
    undo = f"migrate undo {m.words} --even-if-started"
    again = "" if m.copies else ", and lets the source run again if it ran before"
    return blocked(
        "TargetLost",
        Problem(
            what=f"{m.source} was {'copied' if m.copies else 'moved'} to {m.target} before, and {'; '.join(lost)}",
            where="target",
            why=f"{why}; what its guest wrote since is on what is left there, or lost",
            now=f"if that was a rehearsal, or is given up: {undo} removes what is left{again}; then run the same "
            f"again. If not, bring the target back: a VM of that name is taken for it once it has the label {labels.ID}={m.id}",
        ),
    )


def _lost(x: Crossing) -> Iterator[str]:
    """Say what of a target that was started is not there, or is another: its VM, its disks, and the claims that its guest wrote to.

    TPM and EFI state may get another claim in a live migration.
    """
    m, vm = x.migration, _target(x)
    if vm is None:
        yield f"VM {m.target} is not there any more"
    elif not labels.is_ours(vm, m.id):
        yield f"the VM {m.target} that is there now is another, or lost our label"
    volumes, claims = {name_of(found): found for found in disks_there(x)}, made_by_cdi(x, PVC)
    for disk in m.disks:
        noted = started_of(volumes.get(disk.target))
        if disk.target not in volumes:
            yield f"disk {disk.target} is not there any more"
        elif noted is not None and not disk.archive and claim_there(claims.get(disk.target)) != noted.claim:
            yield f"the claim of disk {disk.target} is gone, or is another one than its guest wrote to"


def started_at(x: Crossing) -> str:
    """Return when the target was started, by us or by anybody we saw, as its VM or any of its disks says; "" if nothing does.

    Our own note on the disks comes before our start: as long as the VM is there, nobody but us set its strategy and it has no instance,
    nothing came of it. A VM that another migration made tells of that one's start.
    """
    return _traces(x)[0]


def deleted_by_another(x: Crossing) -> bool:
    """Tell whether somebody else deleted the VM that was made on the target's disks, so that nobody knows whether it was started."""
    return _traces(x)[1]


def _traces(x: Crossing) -> tuple[str, bool]:
    """Look for both of that at once."""
    vm, volumes = _target(x), disks_there(x)
    given = orphaned(volumes, vm)
    if labels_of(vm).get(labels.ID) not in (None, x.migration.id):
        vm = None
    notes = [note for volume in volumes if (note := started_of(volume)) is not None]
    noted = min((note.at for note in notes), default="")
    at = annotations_of(vm).get(labels.STARTED)
    if at or not noted:
        return at or "", given
    waits = vm is not None and labels.is_ours(vm, x.migration.id) and set_by(vm, labels.OWNER)
    idle = waits and not any(note.seen for note in notes) and not instance_alive(x.target.get(VMI, x.migration.target.name))
    return "" if idle else noted, given


def _target(x: Crossing) -> dict[str, Any] | None:
    return x.target.get(VM, x.migration.target.name) if x.target.serves(VM) is not None else None


def other_disks(x: Crossing, vm: Object | None) -> Observation | None:
    """Return BLOCKED if the VM names other disks than those that this migration copies.

    Once a copy has its snapshot, what counts is what that holds (reading/snapshot.py), and not the VM.
    """
    said = differing(x.migration.disks, claims_of(vm)) if vm is not None else ""
    if not said:
        return None
    m, begun = x.migration, halted_by(vm or {}) == x.migration.id or made_anything(x)
    undo = f"take this migration back (migrate undo {m.words}), then {'copy' if m.copies else 'move'} the VM anew"
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
    """Say which claims came and went since these disks were chosen, "" if none did. That of TPM and EFI state is not named by the VM."""
    old, new = {disk.pvc for disk in disks if not disk.archive}, set(claims)
    return "; ".join(f"{', '.join(sorted(names))} {word}" for word, names in (("came", new - old), ("went", old - new)) if names)


def in_use(x: Crossing) -> Observation | None:
    """Return BLOCKED if a pod holds a disk of the stopped source, the server of our own export left out.

    The source of a copy goes on, and what is copied is its snapshot.
    """
    if x.migration.copies:
        return None
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


def noted_version(x: Crossing) -> SourceVersion | None:
    """Read what the disks are copies of: the generation that our halt left the source at, or the uid of our snapshot; None without."""
    if x.migration.copies:
        return snapshots.version(x, disks_there(x))
    vm = x.source.get(VM, x.migration.source.name)
    if vm is None or annotations_of(vm).get(labels.HALTED_BY) != x.migration.id:
        return None
    return halted_generation(vm)


def made_anything(x: Crossing) -> bool:
    """Tell whether a VM or disks of this migration are on the target."""
    vm = x.target.get(VM, x.migration.target.name)
    return bool(disks_there(x)) or (vm is not None and labels.is_ours(vm, x.migration.id))


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
