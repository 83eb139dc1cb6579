"""A target that was moved on, or is being moved on, is the source of another migration: what becomes of it is that one's business.

That stands on its VM; once the source is marked as moved also on the record of the migration that brought it, since the VM may be retired.
"""

from __future__ import annotations

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONFIGMAP, VM
from migrate.model import labels
from migrate.model.migration import Migration, Names
from migrate.model.objects import Object, annotations_of, dig, labels_of
from migrate.model.record import Record
from migrate.reading.machine import halted_by
from migrate.steps import patches
from migrate.steps.base import Crossing


def moved_on(target: Cluster, m: Migration) -> str:
    """Say which other migration holds the target of this one, and where it went; "" if none does. The VM tells, as long as it is there."""
    vm = target.get(VM, m.target.name) if target.serves(VM) is not None else None
    there = vm if vm is not None and labels.is_ours(vm, m.id) else target.get(CONFIGMAP, m.names.record)
    by = halted_by(there) if there is not None and labels.is_ours(there, m.id) else ""
    if by in ("", m.id):
        return ""
    to = annotations_of(there).get(labels.MOVED_TO)
    return f"the migration {by} moved it on to {to}" if to else f"the migration {by} is moving it on"


def not_arrived(source: Cluster, vm: Object | None, m: Migration) -> str:
    """Say of a source VM that another migration made why that one is not through; "" if it is, or if there is no record of it."""
    record = _brought(source, vm)
    if record is None or labels.is_ours(dict(vm or {}), m.id):
        return ""
    try:
        known = Record.of_data(dig(record, "data", default={}))
    except ValueError as error:
        return f"its record cannot be read: {error}"
    return "" if known.finished is not None else f"its record says that it was begun, to move {known.migration.source}, and is not finished"


def note(x: Crossing, vm: Object) -> None:
    """Write on the record of the migration that made the source VM, if there is one, that this one moves it on, and where."""
    record = _brought(x.source, vm)
    if record is not None:
        _annotate(x, record, {labels.HALTED_BY: x.migration.id, labels.MOVED_TO: x.migration.moved_to})


def forget(x: Crossing, vm: Object) -> None:
    """Take that note off again."""
    record = _brought(x.source, vm)
    if record is not None and halted_by(record) == x.migration.id:
        _annotate(x, record, {labels.HALTED_BY: None, labels.MOVED_TO: None})


def _brought(source: Cluster, vm: Object | None) -> dict[str, object] | None:
    """Return the record of the migration that made a VM."""
    by = labels_of(vm).get(labels.ID, "")
    record = source.get(CONFIGMAP, Names.of(by, "").record) if by else None
    return record if record is not None and labels.is_ours(record, by) else None


def _annotate(x: Crossing, record: Object, notes: dict[str, str | None]) -> None:
    operations = patches.annotate(record, notes)
    if operations:
        x.source.patch(CONFIGMAP, str(dig(record, "metadata", "name")), patches.guarded(record, operations))
