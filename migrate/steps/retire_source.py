"""Delete the source VM and its disks, by name, once their copies are proven and a person has said so. Nothing else ever deletes a source.

The VM is deleted with propagation Orphan: what it owns, disks from templates first of all, would otherwise go with it, unjudged, named by
nobody, and copied or not. KubeVirt takes that for an order to leave an instance running, so there must be none.

The disks are marked before the VM goes, so that a run that was cut short in between knows afterwards which claims were meant, and of which
generation of the VM the proofs must be. The mark permits nothing: before every single delete it is looked anew whether the target still
has what it takes, and whether nobody else uses the source's disks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from migrate.kube.kinds import DATAVOLUME, EXPORT, POD, PVC, VM, VMI
from migrate.model import labels
from migrate.model.errors import Problem
from migrate.model.migration import Verify
from migrate.model.objects import Object, annotations_of, dig, labels_of, leaving, name_of, owned_by, uid_of
from migrate.model.observation import Observation, blocked, done, needed, waiting
from migrate.reading.halting import read_unmoved
from migrate.reading.inventory import claims_of
from migrate.reading.machine import halted_generation
from migrate.reading.proof import Proof, copied_from, proof_of
from migrate.reading.users import instances_on, pods_on, vms_on
from migrate.steps import looks, onward, owned, patches, permissions, proving, stamps
from migrate.steps.base import Crossing, Limits

_SWAPPED = (
    "keep the source; if KubeVirt put another claim in its place in a live migration, nothing proves that one: delete the source by hand "
    "once the guest has found its TPM and EFI variables"
)


class RetireSource:
    """Mark the disks, delete the VM, then the marked disks; look at everything once more before each."""

    name = "retire-source"
    limits = Limits(quiet=timedelta(minutes=10), acts=4)
    until: str | None = None

    def __init__(self, *, told: bool = True) -> None:
        """`told`: a person has said so. If not, marks of a retirement that did not come about are taken off, and nothing is deleted."""
        self._told = told

    def observe(self, x: Crossing) -> Observation:
        vm = _source(x)
        claims = _claims(x)
        marked = {name: claim for name, claim in claims.items() if _mark(x, claim) is not None}
        if vm is not None:
            if leaving(vm):
                return waiting("BeingDeleted", f"VM {name_of(vm)} is being deleted")
            against, denied = tuple(_against(x, vm)), tuple(_denied(x, vm))
            if against and marked and not denied:
                return needed("SourceKept", f"the source is kept, so our mark is taken off {', '.join(marked)}").but(problems=against)
            if against or denied:
                return blocked("NotRetirable", *against, *denied)
            words = [f"VM {name_of(vm)}", *(f"disk {name}" for name in claims)]
            if not self._told:
                return blocked("NotRetirable", _untold(x))
            stays = kept(x)
            return needed("SourceToRetire", f"to be deleted: {', '.join(words)}{f'; {stays}' if stays else ''}")
        left = [name for name, claim in marked.items() if not leaving(claim)]
        if left:
            problems = tuple(_against_deleting(x, marked))
            if problems or not self._told:
                return blocked("NotRetirable", *problems or (_untold(x),))
            return needed("SourceToRetire", f"to be deleted: {', '.join(f'disk {name}' for name in left)}")
        if marked:
            return waiting("BeingDeleted", f"waiting until {', '.join(marked)} {'is' if len(marked) == 1 else 'are'} gone")
        if claims:
            return done("Retired", f"the source VM is gone; not deleted by us, so left: {', '.join(f'disk {name}' for name in claims)}")
        return done("Retired", "the source VM and its disks are deleted")

    def act(self, x: Crossing) -> None:
        vm = _source(x)
        if vm is None and self._told:
            _delete_disks(x)
        if vm is None or leaving(vm):
            return
        claims = _claims(x)
        if any(True for _ in _against(x, vm)):
            _write_marks(x, claims, None)
            return
        if not self._told:
            return
        onward.note(x, vm, to=x.migration.moved_to)  # once the VM is gone only that keeps the move that brought it from being undone
        looks.remove(x, x.source, EXPORT, x.migration.names.export)  # what a killed proof left would hold the disks
        _write_marks(x, claims, f"{x.migration.id}/{halted_generation(vm)}")
        stamps.delete(x, x.source, VM, vm, propagation="Orphan")

    def undo(self, x: Crossing) -> Observation:  # noqa: ARG002 - what is deleted is deleted
        return done("Nothing", "a source that was retired is gone")


def kept(x: Crossing) -> str:
    """Say which disks the source VM owns that this move did not copy: they stay. "" for none, and where they may not be listed."""
    stays = owned.disks_of(x.source, x.migration.source_uid, but={disk.pvc for disk in x.migration.disks})
    return f"owned by the VM and not copied, so it stays: {stays}" if stays else ""


def _source(x: Crossing) -> Object | None:
    """Return the very VM that was moved, if it is there; another one of its name is none of ours."""
    vm = x.source.get(VM, x.migration.source.name)
    return vm if vm is not None and uid_of(vm) == x.migration.source_uid else None


def _delete_disks(x: Crossing) -> None:
    """Delete the marked disks one by one, each as it was when nothing spoke against that; none is left out of the judging."""
    for name in [disk.pvc for disk in x.migration.disks]:
        claims, volume = _claims(x), x.source.get(DATAVOLUME, name) if x.source.serves(DATAVOLUME) is not None else None
        marked = {one: claim for one, claim in claims.items() if _mark(x, claim) is not None}
        if name not in marked or leaving(marked[name]):
            continue
        if any(True for _ in _against_deleting(x, marked)):
            return
        _delete(x, marked[name], volume)


def _untold(x: Crossing) -> Problem:
    what, why = f"nobody has said that {x.migration.source} is to be deleted", "something forbade it when that was to be asked, and no more"
    return Problem(what, where="source", why=why, now="run the same again")


def _denied(x: Crossing, vm: Object) -> Iterator[Problem]:
    """Say which rights are missing: half a retirement is worse than none, so it is not begun."""
    denied = permissions.denied(x.source, permissions.of_retirement(x.migration, onwards=labels.is_ours(dict(vm))))
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


def _mark(x: Crossing, claim: Object) -> int | None:
    """Return which generation of the VM a claim was marked at, to be deleted by this migration; None for no mark."""
    migration, _, generation = annotations_of(claim).get(labels.RETIRED_BY, "").partition("/")
    return int(generation) if migration == x.migration.id and generation.isascii() and generation.isdecimal() else None


def _write_marks(x: Crossing, claims: Mapping[str, Object], mark: str | None) -> None:
    """Mark the claims, or take marks of ours off them."""
    for name, claim in claims.items():
        if annotations_of(claim).get(labels.RETIRED_BY) != mark and (mark is not None or _mark(x, claim) is not None):
            x.source.patch(PVC, name, patches.guarded(claim, patches.annotate(claim, {labels.RETIRED_BY: mark})))


def _delete(x: Crossing, claim: Object, volume: Object | None) -> None:
    """Delete a claim as it was judged: by its DataVolume if that owns it, since CDI would fill a new one otherwise.

    `volume`: the DataVolume of its name, read before the judging, too. One that was made anew since has a disk that nobody judged.
    """
    name = name_of(claim)
    if volume is not None and owned_by(claim, uid_of(volume)):
        if not leaving(volume):
            x.source.delete(DATAVOLUME, name, uid=uid_of(volume), version=dig(volume, "metadata", "resourceVersion"))
    else:
        x.source.delete(PVC, name, uid=uid_of(claim), version=dig(claim, "metadata", "resourceVersion"))


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
    elif (vmi := x.source.get(VMI, m.source.name)) is not None:
        now = "run the same again when it is gone"
        yield Problem(f"an instance of {m.source} is still there", "source", f"its phase is {dig(vmi, 'status', 'phase')}", now)
    named, copied = claims_of(vm), [disk.pvc for disk in m.disks]
    for claim in (claim for claim in named if claim not in copied):
        now = f"keep the source, or copy {claim} and take it off the VM by hand"
        yield Problem(f"the source VM names the disk {claim}, which this move did not copy", where="source", now=now)
    for claim in (disk.pvc for disk in m.disks if not disk.archive and disk.pvc not in named):  # no VM names that of its TPM and EFI state
        yield Problem(f"the source VM does not name the disk {claim}, which this move copied", where="source", now="keep the source")
    yield from _against_target(x, {disk.pvc: halted_generation(vm) for disk in m.disks})
    yield from _against_users(x)


def _against_deleting(x: Crossing, marked: Mapping[str, Object]) -> Iterator[Problem]:
    """Yield what forbids to delete the marked disks of a VM that is gone."""
    yield from _against_target(x, {name: _mark(x, claim) for name, claim in marked.items()})
    yield from _against_users(x)


def _against_target(x: Crossing, generations: Mapping[str, int | None]) -> Iterator[Problem]:
    """Yield what the target lacks: the VM, or a copy, as it was proven and there now, of each of these disks at these generations."""
    m = x.migration
    target, found = x.target.get(VM, m.target.name), proving.copies(x)
    if target is None or leaving(target) or not labels.is_ours(target, m.id):
        yield Problem(
            f"the target VM {m.target} is not there", where="target", why="nothing would be left of the machine", now="keep the source"
        )
    for disk in (disk for disk in m.disks if disk.pvc in generations):
        copy, volume, claim = f"the copy {disk.target} of {disk.pvc}", found.volumes.get(disk.target), found.claims.get(disk.target)
        proof, phase = proof_of(volume), dig(volume, "status", "phase")
        swapped = disk.archive and proof is not None and proof.claim != found.claim(disk)
        keep = _SWAPPED if swapped else "keep the source"
        if volume is None or leaving(volume) or claim is None or leaving(claim):
            gone = "DataVolume" if volume is None or leaving(volume) else "claim"
            why = f"its {gone} is {'being deleted' if leaving(volume) or leaving(claim) else 'gone'}"
            yield Problem(f"{copy} is not there", where="target", why=why, now=keep)
        elif (there := x.source.get(PVC, disk.pvc)) is not None and copied_from(volume) not in ("", uid_of(there)):
            yield Problem(
                f"the source's disk {disk.pvc} was made anew since it was copied",
                where="source",
                why=f"its uid is {uid_of(there)}, {copy} is of {copied_from(volume)}",
                now="look at what is on it, and delete it by hand if nobody needs it",
            )
        elif phase != "Succeeded" or not found.claim(disk):
            why = f"its DataVolume is {phase}, its claim {dig(claim, 'status', 'phase')}"
            yield Problem(f"{copy} is not whole", where="target", why=why, now=keep)
        elif proving.differs(disk, found) is not None:
            yield Problem(f"{copy} was found to differ", where="target", now="keep the source")
        elif not proving.holds(proof, Verify.SAMPLE, generations[disk.pvc], found.claim(disk)):
            yield Problem(
                f"{copy} is not proven by its bytes",
                where="target",
                why=_proven_otherwise(proof, found.claim(disk)),
                now=keep if swapped else f"prove it while the target was never started: migrate verify {m.source} {m.target}",
            )


def _proven_otherwise(proof: Proof | None, claim: str) -> str:
    if proof is None:
        return "it has no proof"
    of = "" if proof.claim == claim else f", of the claim {proof.claim}; it is {claim} now" if proof.claim else ", and no claim was noted"
    return f"it was proven by {proof.coverage} at generation {proof.source_generation}{of}"


def _against_users(x: Crossing) -> Iterator[Problem]:
    """Yield who else uses the source's disks. Servers of our own export let go of them by themselves."""
    claims, m = {disk.pvc for disk in x.migration.disks}, x.migration
    vms = [vm for vm in x.source.list(VM) if uid_of(vm) != m.source_uid]
    pods = [pod for pod in x.source.list(POD) if labels_of(pod).get(looks.SERVER_OF) != m.names.export]
    users = [*vms_on(claims, vms), *instances_on(claims, x.source.list(VMI)), *pods_on(claims, pods)]
    if users:
        now = "take its disks off it, or keep the source"
        yield Problem("somebody else uses a disk of the source", where="source", why=f"used by {', '.join(users)}", now=now)
