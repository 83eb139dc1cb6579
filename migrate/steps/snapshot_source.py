"""Have a snapshot of the source taken, while it goes on as it is: nothing of it is halted or changed."""

from __future__ import annotations

from datetime import timedelta

from migrate.kube.kinds import POD, SNAPSHOT, VM, VMI
from migrate.model import labels
from migrate.model.errors import Problem
from migrate.model.objects import uid_of
from migrate.model.observation import Observation, State, blocked, done
from migrate.reading.machine import was_snapshotted
from migrate.reading.snapshot import foresee, read_snapshot
from migrate.rendering import frames
from migrate.steps import claims, going_back, looks, snapshots, stamps
from migrate.steps.base import Crossing, Limits

DEADLINE = timedelta(minutes=5)
"""After this KubeVirt gives a snapshot up that is not taken, and a frozen guest goes on by itself (its own default)."""


class SnapshotSource:
    """Make a VirtualMachineSnapshot under our mark and wait until storage has made it usable; name what is not in it.

    A snapshot that failed, or that no disk on the target is of, goes when the run stops (clean_up.py), so that the next one takes another.
    """

    name = "snapshot-source"
    limits = Limits(quiet=timedelta(minutes=15), acts=3)
    until: str | None = "verify-disks"

    def observe(self, x: Crossing) -> Observation:
        m = x.migration
        snapshot = x.source.get(SNAPSHOT, m.names.snapshot)
        vmi = x.source.get(VMI, m.source.name)
        snapshots.look_at_guest(x, vmi)
        content = snapshots.content_of(x, snapshot)
        seen = read_snapshot(snapshot, content, disks=m.disks, source_uid=m.source_uid, migration_id=m.id)
        if seen.state in (State.NEEDED, State.DONE) and looks.copies(x):
            return looks.unmoved(x) or (seen if snapshot is not None else done("SnapshotServed", "every disk is proven without it"))
        if seen.state is not State.NEEDED:
            return seen
        vm = x.source.get(VM, m.source.name)
        if vm is None or uid_of(vm) != m.source_uid:
            return blocked("SourceReplaced", _replaced(x, found=None if vm is None else uid_of(vm)))
        pods = x.source.list(POD) if m.disks else []
        return foresee(vm, vmi, pods, disks=m.disks, own=m.names.snapshot) or seen

    def act(self, x: Crossing) -> None:
        claims.renew(x)
        version = x.source.serves(SNAPSHOT) or SNAPSHOT.versions[0]
        vm, vmi = (x.source.get(kind, x.migration.source.name) for kind in (VM, VMI))
        noted = {labels.WAS: was_snapshotted(vm, vmi).to_json()} if vm is not None else {}
        frame = frames.snapshot(x.migration, version=version, deadline=DEADLINE, stamp=noted | stamps.written(x))
        x.source.create(*x.render("source/snapshot.yaml.j2", **frame), ours_ok=True)

    def undo(self, x: Crossing) -> Observation:
        refusal = going_back.refuse_undo(x)
        if refusal is not None:
            return refusal
        return looks.remove_all(x, (x.source, SNAPSHOT, x.migration.names.snapshot))


def _replaced(x: Crossing, *, found: str | None) -> Problem:
    return Problem(
        f"{x.migration.source} is {'gone' if found is None else 'another VM than the one that was asked for'}",
        where="source",
        why="somebody deleted it" if found is None else f"its uid is {found}, the migration was begun with {x.migration.source_uid}",
        now="this migration has lost its source: take it back with `migrate undo`",
    )
