"""Take the fence of `--fence` off a source that was moved, so that its owner may start it again."""

from __future__ import annotations

from datetime import timedelta

from migrate.kube.kinds import VM
from migrate.model.objects import uid_of
from migrate.model.observation import Observation, done, needed
from migrate.reading.machine import written_was
from migrate.steps import fence, stamps
from migrate.steps.base import Crossing, Limits


class UnfenceSource:
    """Give the template its node selector back. The VM stays halted; from then on it counts as changed since its halt."""

    name = "unfence-source"
    limits = Limits(quiet=timedelta(minutes=5), acts=5)
    until: str | None = None

    def observe(self, x: Crossing) -> Observation:
        vm = x.source.get(VM, x.migration.source.name)
        if vm is None or uid_of(vm) != x.migration.source_uid or not fence.fenced(vm):
            return done("NotFenced", "the source is not fenced")
        return needed("Fenced", "the fence is to be taken off the source")

    def act(self, x: Crossing) -> None:
        vm = x.source.get(VM, x.migration.source.name)
        if vm is not None and fence.fenced(vm):
            x.source.patch(VM, x.migration.source.name, stamps.guarded(x, vm, fence.taken_down(vm, written_was(vm))))

    def undo(self, x: Crossing) -> Observation:  # noqa: ARG002 - an undo of the move takes the fence off as well
        return done("Nothing", "a fence is put up by a move only")
