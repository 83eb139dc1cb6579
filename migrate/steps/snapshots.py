"""The snapshot that a copy is made from: which one it is, whether the disks on the target belong to it, what it holds.

It stands for what the halted generation is in a move. It is needed until every disk is proven; after that the proofs tell by themselves
which snapshot they are of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from migrate.kube.kinds import PVC, SNAPSHOT, SNAPSHOT_CONTENT, VM
from migrate.model import labels
from migrate.model.errors import Problem
from migrate.model.migration import Verify
from migrate.model.objects import Object, annotations_of, dig, leaving, name_of, uid_of
from migrate.model.observation import Observation, blocked
from migrate.model.snapshot import Taken
from migrate.model.was import Was
from migrate.reading.machine import was_held, written_was
from migrate.reading.proof import claim_there, proof_of
from migrate.reading.snapshot import claims_in, is_frozen, machine_in, taken_of, usable
from migrate.steps.base import Crossing
from migrate.steps.work import Works


@dataclass(slots=True)
class _Seen:
    """What this run saw of the guest's file systems; no cluster keeps it."""

    frozen: datetime | None = None
    thawed: datetime | None = None


_seen: WeakKeyDictionary[Works, _Seen] = WeakKeyDictionary()


def found(x: Crossing) -> Object | None:
    """Return our snapshot; None when there is none, it is going, or what has its name is not ours."""
    if x.source.serves(SNAPSHOT) is None:
        return None
    snapshot = x.source.get(SNAPSHOT, x.migration.names.snapshot)
    ours = snapshot is not None and labels.is_ours(snapshot, x.migration.id) and not leaving(snapshot)
    return snapshot if ours else None


def content_of(x: Crossing, snapshot: Object | None) -> Object | None:
    """Return the content that a snapshot names, None while it names none."""
    name = str(dig(snapshot, "status", "virtualMachineSnapshotContentName", default=""))
    return x.source.get(SNAPSHOT_CONTENT, name) if name else None


def visible(x: Crossing) -> bool:
    """Tell whether the source takes snapshots at all, and lets us look at them."""
    return all(x.source.serves(kind) is not None and x.source.can("get", kind) for kind in (SNAPSHOT, SNAPSHOT_CONTENT))


def held(x: Crossing) -> dict[str, Any] | None:
    """Return the VM as our snapshot holds it, usable yet or not; None without one."""
    return machine_in(content_of(x, found(x)))


def machine(x: Crossing) -> dict[str, Any] | None:
    """Return the VM as our snapshot holds it; None without a usable snapshot."""
    snapshot = found(x)
    return machine_in(content_of(x, snapshot)) if usable(snapshot) else None


def was(x: Crossing, vm: Object) -> Was:
    """Return what the VM was that our snapshot holds; what only its instance told stands on the snapshot itself."""
    return was_held(vm, written_was(found(x) or {}))


def version(x: Crossing, made: Sequence[Object]) -> str | None:
    """Return the uid of the snapshot that counts: the one that is there, else the one that all disks made so far are of."""
    snapshot = found(x)
    if snapshot is not None:
        return uid_of(snapshot) if usable(snapshot) else None
    versions = {_version_of(disk) for disk in made}
    return versions.pop() if len(versions) == 1 else None


def lost(x: Crossing, made: Sequence[Object]) -> Observation | None:
    """Say BLOCKED when disks on the target are not of the snapshot that is there, or need one that is not; None if all is well."""
    snapshot = found(x)
    if snapshot is not None:
        stale = [name_of(disk) for disk in made if _version_of(disk) != uid_of(snapshot)]
        return blocked("StaleDisks", _stale(x, stale)) if stale else None
    return None if settled(x, made) else blocked("SnapshotGone", _gone(x, made))


def settled(x: Crossing, made: Sequence[Object]) -> bool:
    """Tell whether the snapshot has served: every disk is there with its bytes and proven, all of one and the same snapshot; and the VM.

    The VM is made from it after the disks, so a copy that asks for no proof has its disks whole before that.
    """
    there = {name_of(disk): disk for disk in made if not leaving(disk)}
    versions = {_version_of(disk) for disk in there.values()}
    if len(versions) > 1 or any(disk.target not in there for disk in x.migration.disks):
        return False
    return all(_whole(x, disk, versions) for disk in there.values()) and _made(x) is not None


def look_at_guest(x: Crossing, vmi: Object | None) -> None:
    """Note when the guest's file systems are first seen frozen, and when they are first seen going on."""
    seen = _seen.setdefault(x.works, _Seen())
    if is_frozen(vmi):
        seen.frozen = seen.frozen or x.clock.now()
    elif seen.frozen is not None:
        seen.thawed = seen.thawed or x.clock.now()


def taken(x: Crossing) -> Taken | None:
    """Return what is known of our snapshot, for the record; None while it is not usable."""
    snapshot = found(x)
    if snapshot is None or not usable(snapshot):
        return None
    seen = _seen.setdefault(x.works, _Seen())
    return replace(taken_of(snapshot), frozen=seen.frozen, thawed=seen.thawed)


def restored(x: Crossing) -> list[str]:
    """Name the claims that KubeVirt restored from the snapshot for our export and that are still there; they go with the export."""
    if not x.migration.copies:
        return []
    claims = dict.fromkeys((*(disk.pvc for disk in x.migration.disks), *claims_in(content_of(x, found(x)))))
    names = [restored_name(x, claim) for claim in claims]
    return [name for name in names if x.source.get(PVC, name) is not None]


def restored_name(x: Crossing, claim: str) -> str:
    """Return the name that KubeVirt gives a claim which it restores for an export (kubevirt-export section 2)."""
    return f"{x.migration.names.export}-{claim}"


def _whole(x: Crossing, disk: Object, versions: set[str]) -> bool:
    """Tell whether a disk needs the snapshot no more: its proof is of the bytes that are there; unasked for one, CDI is through with it."""
    claim = claim_there(x.target.get(PVC, name_of(disk)))
    if x.migration.options.verify is Verify.OFF:
        return bool(claim) and dig(disk, "status", "phase") == "Succeeded"
    proof = proof_of(disk)
    return proof is not None and {proof.source_generation} == versions and proof.claim == claim != ""


def _made(x: Crossing) -> Object | None:
    """Return the target VM, None while it is not made, or not ours."""
    vm = x.target.get(VM, x.migration.target.name)
    return vm if vm is not None and labels.is_ours(vm, x.migration.id) else None


def _version_of(disk: Object) -> str:
    return annotations_of(disk).get(labels.SOURCE_GENERATION, "none")


def _stale(x: Crossing, stale: Sequence[str]) -> Problem:
    return Problem(
        f"the copies on the target are of another snapshot than the one that is there: {', '.join(stale)}",
        where="source",
        why=f"snapshot {x.migration.names.snapshot} was made anew since; disks of two moments make no VM",
        now="take this migration back with `migrate undo` (it removes the stale copies), then copy the VM anew",
    )


def _gone(x: Crossing, made: Sequence[Object]) -> Problem:
    vm = _made(x)
    names = ", ".join(name_of(one) for one in (*made, *([vm] if vm is not None else [])))
    return Problem(
        f"the snapshot {x.migration.names.snapshot} is gone before every disk was copied and proven, and the VM made",
        where="source",
        why="somebody removed it" + (f"; what is on the target cannot be completed: {names}" if names else ""),
        now="take this migration back with `migrate undo` (it removes that), then copy the VM anew"
        if names
        else "run the same command again: it takes another one",
    )
