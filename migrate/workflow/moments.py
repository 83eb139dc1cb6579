"""When the source was halted and when the target was ready, the two moments that the downtime is made of; of a copy, its snapshot.

They stand in the clusters, since the runner that brought them about may die before it has written them into the record.
"""

from __future__ import annotations

from dataclasses import replace

from migrate.kube.kinds import VM, VMI
from migrate.model import labels
from migrate.model.objects import annotations_of, condition, moment
from migrate.model.record import Record
from migrate.model.snapshot import Taken
from migrate.reading.machine import halted_by
from migrate.steps import snapshots
from migrate.steps.base import Crossing
from migrate.workflow.engine import StepLog

STEPS = ("stop-source", "snapshot-source", "start-target")
"""Steps after which such a moment is noted, also when they had nothing to do."""


def note(x: Crossing, record: Record, entry: StepLog) -> Record:
    """Return the record with the moment that a finished step stands for, if it has none yet; with that of another snapshot in any case."""
    match entry.name:
        case "stop-source" if record.halted is None:
            vm = x.source.get(VM, x.migration.source.name)
            at = annotations_of(vm).get(labels.HALTED_AT) if halted_by(vm or {}) == x.migration.id else None
            return replace(record, halted=moment(at))
        case "snapshot-source":
            return replace(record, snapshot=_newest(record.snapshot, snapshots.taken(x)))
        case "start-target" if entry.acts and _ours(entry) and not x.migration.copies:
            return replace(record, ready=x.clock.now())
        case "start-target" if record.ready is None and not x.migration.copies:
            vmi = x.target.get(VMI, x.migration.target.name)
            ready = condition(vmi, "Ready")
            return replace(record, ready=ready.since if ready is not None and ready.true else None)
    return record


def _ours(entry: StepLog) -> bool:
    """Tell whether we started the target and saw it come up; a note about somebody else's start, or a halted target, is none."""
    return entry.last is not None and entry.last.reason == "Running"


def _newest(noted: Taken | None, there: Taken | None) -> Taken | None:
    """Choose what is known of the snapshot that is there; what was noted of that very one stays, as who noted it saw it being taken."""
    if there is None or (noted is not None and noted.uid == there.uid):
        return noted
    return there
