"""Delete the source VM and its disks, by name, once their copies are proven and a person has said so. Nothing else ever deletes a source.

The disks are marked before the VM goes, so that a run that was cut short in between knows afterwards which claims were meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from migrate.kube.kinds import DATAVOLUME, PVC, VM, VMI
from migrate.model import labels
from migrate.model.errors import Problem
from migrate.model.migration import Verify
from migrate.model.objects import Object, annotations_of, controller_of, leaving, name_of, uid_of
from migrate.model.observation import Observation, blocked, done, needed, waiting
from migrate.reading.halting import read_unmoved
from migrate.reading.inventory import claims_of
from migrate.reading.machine import halted_generation
from migrate.reading.proof import proof_of
from migrate.steps import looks, patches, permissions, proving, stamps
from migrate.steps.base import Crossing, Limits


class RetireSource:
    """Mark the disks, delete the VM, then the marked disks; look at everything once more before each."""

    name = "retire-source"
    limits = Limits(quiet=timedelta(minutes=10), acts=4)
    until: str | None = None

    def observe(self, x: Crossing) -> Observation:
        vm = x.source.get(VM, x.migration.source.name)
        claims = _claims(x)
        if vm is not None and uid_of(vm) == x.migration.source_uid:
            if leaving(vm):
                return waiting("BeingDeleted", f"VM {name_of(vm)} is being deleted")
            problems = (*_against(x, vm), *_denied(x))
            if problems:
                return blocked("NotRetirable", *problems)
            words = [f"VM {name_of(vm)}", *(f"disk {name}" for name in claims)]
            return needed("SourceToRetire", f"to be deleted: {', '.join(words)}")
        marked = {name: claim for name, claim in claims.items() if _is_marked(x, claim)}
        if all(leaving(claim) for claim in marked.values()) and marked:
            return waiting("BeingDeleted", f"waiting until {', '.join(marked)} {'is' if len(marked) == 1 else 'are'} gone")
        if marked:
            return needed("SourceToRetire", f"to be deleted: {', '.join(f'disk {name}' for name in marked)}")
        kept = f"; not deleted by us, so left: {', '.join(f'disk {name}' for name in claims)}" if claims else ""
        return done("Retired", f"the source VM is gone{kept or ', and so are its disks'}")

    def act(self, x: Crossing) -> None:
        vm = x.source.get(VM, x.migration.source.name)
        claims = _claims(x)
        if vm is None or uid_of(vm) != x.migration.source_uid:
            for claim in claims.values():
                if _is_marked(x, claim) and not leaving(claim):
                    _delete(x, claim)
            return
        if leaving(vm) or any(True for _ in _against(x, vm)):
            return
        for name, claim in claims.items():
            if not _is_marked(x, claim):
                x.source.patch(PVC, name, patches.guarded(claim, patches.annotate(claim, {labels.RETIRED_BY: x.migration.id})))
        stamps.delete(x, x.source, VM, vm)

    def undo(self, x: Crossing) -> Observation:  # noqa: ARG002 - what is deleted is deleted
        return done("Nothing", "a source that was retired is gone")


def _denied(x: Crossing) -> Iterator[Problem]:
    """Say which rights are missing: half a retirement is worse than none, so it is not begun."""
    denied = permissions.denied(x.source, permissions.of_retirement(x.migration))
    if denied:
        yield Problem(
            f"permissions are missing: {', '.join(denied)}",
            where="source",
            why=f"context {x.source.context} may not",
            now=f"ask for these verbs; migrate rbac source --for retire --namespace {x.source.namespace} prints roles that have them",
        )


def _claims(x: Crossing) -> dict[str, Object]:
    """Return the source's claims that are there."""
    return {disk.pvc: claim for disk in x.migration.disks if (claim := x.source.get(PVC, disk.pvc)) is not None}


def _is_marked(x: Crossing, claim: Object) -> bool:
    return annotations_of(claim).get(labels.RETIRED_BY) == x.migration.id


def _delete(x: Crossing, claim: Object) -> None:
    """Delete a claim: by its DataVolume if that owns it, since CDI would fill a new one otherwise."""
    name = name_of(claim)
    if controller_of(claim) == ("DataVolume", name) and (volume := x.source.get(DATAVOLUME, name)) is not None:
        x.source.delete(DATAVOLUME, name, uid=uid_of(volume))
    else:
        x.source.delete(PVC, name, uid=uid_of(claim))


def _against(x: Crossing, vm: Object) -> Iterator[Problem]:
    """Yield what forbids it: the move is not finished, the source or the target is not what was proven, somebody else uses a disk."""
    m = x.migration
    if not looks.released(x, vm):
        yield Problem(
            f"{m.source} is not marked as moved to {m.target}",
            where="source",
            why=f"its annotation {labels.MOVED_TO} does not say so",
            now=f"finish the move first: migrate vm {m.source} {m.target}",
        )
        return
    moved = read_unmoved(vm, x.source.get(VMI, m.source.name), migration_id=m.id)
    if moved is not None:
        now = "its disks are not what was proven any more: keep it, or delete it by hand if you know better"
        yield from (Problem(problem.what, "source", problem.why, now) for problem in moved.problems)
    target = x.target.get(VM, m.target.name)
    if target is None or leaving(target) or not labels.is_ours(target, m.id):
        yield Problem(
            f"the target VM {m.target} is not there", where="target", why="nothing would be left of the machine", now="keep the source"
        )
    yield from _against_disks(x, vm)
    for other in x.source.list(VM):
        shared = sorted(set(claims_of(other)) & {disk.pvc for disk in m.disks}) if uid_of(other) != uid_of(vm) else []
        if shared:
            why = f"VM {name_of(other)} uses {', '.join(shared)} too"
            yield Problem(
                "a disk of the source belongs to another VM as well", where="source", why=why, now="give that VM a disk of its own"
            )


def _against_disks(x: Crossing, vm: Object) -> Iterator[Problem]:
    volumes = {name_of(found): found for found in looks.disks_there(x)}
    for disk in x.migration.disks:
        volume = volumes.get(disk.target)
        if volume is None or leaving(volume):
            yield Problem(f"the copy {disk.target} of {disk.pvc} is not there", where="target", now="keep the source")
        elif proving.differs(disk, volume) is not None:
            yield Problem(f"the copy {disk.target} of {disk.pvc} was found to differ", where="target", now="keep the source")
        elif not proving.holds(proof := proof_of(volume), Verify.SAMPLE, halted_generation(vm)):
            had = f"it was proven by {proof.coverage} at generation {proof.source_generation}" if proof is not None else "it has no proof"
            yield Problem(
                f"the copy {disk.target} of {disk.pvc} is not proven by its bytes",
                where="target",
                why=had,
                now=f"prove it while the target was never started: migrate verify {x.migration.source} {x.migration.target}",
            )
