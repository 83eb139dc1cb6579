"""Mark the source as moved, so that whoever finds it knows where it lives now."""

from __future__ import annotations

from datetime import timedelta

from migrate.kube.kinds import VM
from migrate.model import labels
from migrate.model.objects import annotations_of
from migrate.model.observation import Observation, done, needed
from migrate.steps import going_back, looks, onward, patches, stamps
from migrate.steps.base import Crossing, Limits


class ReleaseSource:
    """Write MOVED_TO on the source VM. What it was stays written there too: it is the way back, long after the move.

    A source that was itself moved there before is noted as moved on first: its own way back is closed from then on.
    """

    name = "release-source"
    limits = Limits(quiet=timedelta(minutes=5), acts=3)
    until: str | None = None

    def observe(self, x: Crossing) -> Observation:
        vm = x.source.get(VM, x.migration.source.name)
        if vm is None or looks.released(x, vm):
            return done("Released", "the source is marked as moved" if vm is not None else "the source VM is gone")
        return looks.unmoved(x) or needed("NotReleased", "the source is not marked as moved yet")

    def act(self, x: Crossing) -> None:
        vm = looks.judged(x.source, x.migration.source.name, lambda: self.observe(x))
        if vm is not None and annotations_of(vm).get(labels.HALTED_BY) == x.migration.id:
            onward.note(x, vm, to=x.migration.moved_to)
            x.source.patch(
                VM, x.migration.source.name, stamps.guarded(x, vm, patches.annotate(vm, {labels.MOVED_TO: x.migration.moved_to}))
            )

    def undo(self, x: Crossing) -> Observation:
        refusal = going_back.refuse_undo(x)
        if refusal is not None:
            return refusal
        vm = x.source.get(VM, x.migration.source.name)
        if vm is not None and looks.released(x, vm):
            x.source.patch(VM, x.migration.source.name, stamps.guarded(x, vm, patches.annotate(vm, {labels.MOVED_TO: None})))
        return done("Removed", "the source is not marked as moved")
