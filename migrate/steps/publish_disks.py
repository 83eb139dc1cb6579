"""Offer the source disks over HTTPS, so that the target can pull them."""

from __future__ import annotations

from datetime import timedelta

from migrate.kube.kinds import EXPORT, SECRET
from migrate.model.observation import Observation, State, done, waiting
from migrate.steps import exporting, looks, snapshots
from migrate.steps.base import Crossing, Limits


class PublishDisks:
    """Make the export of the source VM and wait for a link of every disk."""

    name = "publish-disks"
    limits = Limits(quiet=timedelta(minutes=10), acts=3)
    until: str | None = "verify-disks"

    def observe(self, x: Crossing) -> Observation:
        stale = looks.unmoved(x)
        if stale is not None:
            return stale
        if not x.migration.disks:
            return done("NoDisks", "the VM has no disks to offer")
        if x.migration.copies and snapshots.found(x) is None:
            return done("SnapshotServed", "every disk is proven; there is no snapshot to offer any more")
        return exporting.read(x, exporting.source_export(x), stopped=True)

    def act(self, x: Crossing) -> None:
        exporting.make(x, exporting.source_export(x))

    def undo(self, x: Crossing) -> Observation:
        names = x.migration.names
        gone = looks.remove_all(x, (x.source, EXPORT, names.export), (x.source, SECRET, names.token))
        if gone.state is State.DONE and exporting.exporter_pods(x.source, names.export):
            return waiting("ExporterLeaving", "the export's server pod still holds the disks")
        if gone.state is State.DONE and (left := snapshots.restored(x)):
            return waiting("BeingDeleted", f"waiting until the claims {', '.join(left)} are gone")
        return gone
