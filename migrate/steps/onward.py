"""A target that was moved on, or is being moved on, is the source of another migration: what becomes of it is that one's business.

That stands on its VM, and on the record of the migration that brought it, since the VM may be retired, replaced, or lose its annotations.
"""

from __future__ import annotations

from collections.abc import Iterator

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONFIGMAP, PVC, VM
from migrate.model import labels
from migrate.model.migration import Migration, Names
from migrate.model.objects import Object, annotations_of, dig, labels_of
from migrate.model.record import Record
from migrate.reading.inventory import claims_of
from migrate.reading.machine import halted_by
from migrate.steps import patches
from migrate.steps.base import Crossing


def moved_on(target: Cluster, m: Migration) -> str:
    """Say which other migration holds the target of this one, and where it went; "" if none does. Its VM may tell, or the record."""
    vm = target.get(VM, m.target.name) if target.serves(VM) is not None else None
    for there in (vm, target.get(CONFIGMAP, m.names.record)):
        by = halted_by(there) if there is not None and labels.is_ours(there, m.id) else ""
        if by not in ("", m.id):
            to = annotations_of(there).get(labels.MOVED_TO)
            return f"the migration {by} moved it on to {to}" if to else f"the migration {by} is moving it on"
    return ""


def not_arrived(source: Cluster, vm: Object | None, m: Migration) -> str:
    """Say of a source VM that another migration made why that one is not through; "" if it is, or if there is no record of it."""
    record = _record(source, labels_of(vm).get(labels.ID, ""))
    if record is None or labels.is_ours(dict(vm or {}), m.id):
        return ""
    try:
        known = Record.of_data(dig(record, "data", default={}))
    except ValueError as error:
        return f"its record cannot be read: {error}"
    return "" if known.finished is not None else f"its record says that it was begun, to move {known.migration.source}, and is not finished"


def note(x: Crossing, vm: Object, *, to: str) -> None:
    """Write on the record of the migration that made the source VM, if there is one, that this one moves it on; where `to` once it has."""
    for record in _brought(x, vm):
        _annotate(x, record, {labels.HALTED_BY: x.migration.id, labels.MOVED_TO: to or None})


def forget(x: Crossing, vm: Object | None) -> None:
    """Take that note off again: the last thing that a way back does before the source is as it was."""
    for record in _brought(x, vm):
        if halted_by(record) == x.migration.id:
            _annotate(x, record, {labels.HALTED_BY: None, labels.MOVED_TO: None})


def _brought(x: Crossing, vm: Object | None) -> Iterator[Object]:
    """Yield the records of the migrations that made the source VM, or its disks: the label may have been taken off the VM alone."""
    made = [vm, *(x.source.get(PVC, name) for name in sorted(claims_of(vm or {})))]
    for by in sorted({labels_of(one).get(labels.ID, "") for one in made} - {"", x.migration.id}):
        record = _record(x.source, by)
        if record is not None:
            yield record


def _record(source: Cluster, by: str) -> Object | None:
    record = source.get(CONFIGMAP, Names.of(by, "").record) if by else None
    return record if record is not None and labels.is_ours(record, by) else None


def _annotate(x: Crossing, record: Object, notes: dict[str, str | None]) -> None:
    operations = patches.annotate(record, notes)
    if operations:
        x.source.patch(CONFIGMAP, str(dig(record, "metadata", "name")), patches.guarded(record, operations))
