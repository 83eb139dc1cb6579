"""Create the target VM, halted, on the disks that were imported."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from migrate.kube.kinds import DATAVOLUME, PVC, VM, VMI
from migrate.model import labels
from migrate.model.errors import Blocked
from migrate.model.objects import Object, annotations_of, leaving, name_of, owned_by, uid_of
from migrate.model.observation import Observation, State, done, needed, waiting
from migrate.model.was import Was
from migrate.reading.common import generic
from migrate.reading.machine import written_was
from migrate.rendering import frames
from migrate.steps import going_back, looks, owned, patches, same_claims, snapshots, stamps
from migrate.steps.base import Crossing, Limits
from migrate.steps.expanding import travelling


class CreateTarget:
    """Make the VM from the source's, or from the snapshot's, with what must not travel left out and what identifies the guest pinned.

    Then its disks are marked with it, until we delete it ourselves: whoever else does may have started it before.
    """

    name = "create-target"
    limits = Limits(quiet=timedelta(minutes=5), acts=3)
    until: str | None = None

    def observe(self, x: Crossing) -> Observation:
        vm = x.target.get(VM, x.migration.target.name)
        if vm is None:
            return looks.moved_and_lost(x, None) or needed("TargetMissing", "the target VM is not made yet")
        taken = generic(vm, x.migration.id)
        if taken is None and _unmarked(x):
            return needed("TargetToNote", "the target VM is there; which one it is is noted on its disks")
        return taken or done("TargetMade", f"VM {x.migration.target} is there")

    def act(self, x: Crossing) -> None:
        made = x.target.get(VM, x.migration.target.name)
        if made is not None:
            _mark(x, made)
            return
        if x.migration.copies:
            self._from_snapshot(x)
            return
        vm = x.source.get(VM, x.migration.source.name)
        was = written_was(vm) if vm is not None else None
        if vm is None or was is None:
            raise Blocked(
                f"what {x.migration.source} was cannot be read, so no target VM can be made from it",
                where=str(x.migration.source),
                why="the VM or its annotation is gone",
                now="see who changed it; then run the same again",
            )
        volumes = {name_of(volume): volume for volume in looks.disks_there(x)}
        for disk in x.migration.disks:
            same_claims.insist(x, disk, x.source.get(PVC, disk.pvc), volumes.get(disk.target))
        self._make(x, vm, was, stamps.written(x))

    def _from_snapshot(self, x: Crossing) -> None:
        """Make it from what the snapshot holds, and write on it what the source was: the snapshot goes before anybody may ask again."""
        vm = snapshots.machine(x)
        if vm is None:
            raise Blocked(
                f"the snapshot of {x.migration.source} holds no VM, so no target VM can be made from it",
                where=str(x.migration.source),
                why="the snapshot is gone, or its content is",
                now="take this migration back with `migrate undo`, then copy the VM anew",
            )
        was = snapshots.was(x, vm)
        self._make(x, vm, was, {labels.WAS: was.to_json()} | stamps.written(x))

    def _make(self, x: Crossing, vm: Object, was: Was, notes: Mapping[str, str]) -> None:
        shown = travelling(x, vm)
        if shown.problems:
            raise Blocked.of(shown.problems)
        x.target.create(*x.render("target/vm.yaml.j2", **frames.vm(x.migration, shown.vm, was=was, stamp=notes)), ours_ok=True)

    def undo(self, x: Crossing) -> Observation:
        """Delete the VM as one whose dependents stay: a disk that somebody gave it is his, and ours are removed by name (import-disks).

        An instance would stay as well, so there must be none; whoever starts one after the VM was read changes the version that is deleted.
        """
        vm, stopped = x.target.get(VM, x.migration.target.name), going_back.target_stopped(x)
        if stopped.state is not State.DONE:
            if vm is not None:  # somebody starts it just now, and the marks may be off already
                _mark(x, vm)
            return stopped
        if vm is None or not labels.is_ours(vm, x.migration.id):
            return done("Removed", "nothing of this step is left")
        if not leaving(vm):
            if owned_by(x.target.get(VMI, x.migration.target.name) or {}, uid_of(vm)):
                return waiting("TargetStopping", "waiting until the target's last instance is gone")
            _unmark(x, vm)
            stamps.delete(x, x.target, VM, vm, propagation="Orphan")
        return waiting("BeingDeleted", f"waiting until VM {x.migration.target.name} is gone")


def _unmarked(x: Crossing) -> list[dict[str, Any]]:
    """List the disks that do not say yet which VM was made on them."""
    return [volume for volume in looks.disks_there(x) if labels.GIVEN_TO not in annotations_of(volume) and not leaving(volume)]


def _mark(x: Crossing, vm: Object) -> None:
    """Write on the disks that lack it that this VM was made on them."""
    if labels.is_ours(dict(vm), x.migration.id):
        for volume in _unmarked(x):
            _note(x, volume, uid_of(vm))


def _unmark(x: Crossing, vm: Object) -> None:
    """Take that off again, since it is us who delete this VM."""
    for volume in looks.disks_there(x):
        if annotations_of(volume).get(labels.GIVEN_TO) == uid_of(vm):
            _note(x, volume, None)


def _note(x: Crossing, volume: Object, uid: str | None) -> None:
    x.target.patch(DATAVOLUME, name_of(volume), stamps.guarded(x, volume, patches.annotate(volume, {labels.GIVEN_TO: uid})))


def kept(x: Crossing) -> str:
    """Say which disks the target VM owns that this migration did not make: an undo leaves them. "" for none."""
    vm = x.target.get(VM, x.migration.target.name)
    if vm is None or not labels.is_ours(vm, x.migration.id):
        return ""
    stays = owned.disks_of(x.target, uid_of(vm), but={disk.target for disk in x.migration.disks})
    return f"owned by the target VM and not ours, so it stays: {stays}" if stays else ""
