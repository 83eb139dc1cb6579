"""What the target holds of a migration at the end of a command, and which undo works from there: what a report must not guess."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import DATAVOLUME, PVC, VM, VMI, Kind
from migrate.model import labels
from migrate.model.clock import SystemClock
from migrate.model.errors import MigrateError, Problem
from migrate.model.migration import Migration
from migrate.model.objects import Object, dig, labels_of, name_of
from migrate.reading.inventory import claim_of, claims_of
from migrate.reading.machine import halted_by
from migrate.steps import going_back, looks, onward, proving
from migrate.workflow.crossing import crossing

GIVES_UP = " --even-if-started (what a guest wrote on the target is lost)"


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is there. Where nobody could look: as if the machine were ours, since two that run at once are worse than a word too much."""

    machine: bool = True
    """The VM, or the instance, of the target's name is this migration's, or uses its disks, whoever made it."""
    twin: bool = False
    """The VM of the target's name is what another migration has made of the source, by the source's own mark."""
    lost: tuple[str, ...] = ()
    """What the move makes and is not there, in words."""
    half_undone: Problem | None = None
    """Of a finished move: its source is halted by it and not marked as moved any more."""
    moved_on: str = ""
    """Which other migration moved the target on, and where to, in words."""
    differing: Mapping[str, Problem] = field(default_factory=dict)
    """Disks whose latest comparison found a difference, by name."""


def holdings(target: Cluster, m: Migration, source: Cluster | None) -> Holdings:
    """Look at what the target holds of a migration, and at the mark on the source if that is known here."""
    try:
        found = proving.Copies(_ours(target, DATAVOLUME, m), _ours(target, PVC, m))
        on = onward.moved_on(target, m)
        vm, vmi = (target.get(kind, m.target.name) if target.serves(kind) is not None else None for kind in (VM, VMI))
    except MigrateError:
        return Holdings()
    names = {*found.volumes, *found.claims}
    used = {*claims_of(vm or {}), *(claim_of(volume) for volume in dig(vmi, "spec", "volumes", default=()))}
    machine = labels.is_ours(dict(vm or {}), m.id) or bool(used & names)
    here = _source_vm(m, source)
    halted = halted_by(here) if here is not None else ""
    lost = [f"disk {disk.target}" for disk in m.disks if disk.target not in names]
    return Holdings(
        machine=machine,
        twin=halted != "" and labels_of(vm).get(labels.ID) == halted,
        lost=tuple(lost if machine else [f"VM {m.target}", *lost]),
        half_undone=going_back.half_undone(m, here),
        moved_on=on,
        differing={disk.target: problem for disk in m.disks if (problem := proving.differs(disk, found)) is not None},
    )


def way_home(m: Migration, source: Cluster | None, target: Cluster, *, running: bool) -> str:
    """Return the undo that works as things stand, "" where none does. `running`: the target runs; it decides where nobody can look."""
    plain = f"migrate undo {m.words}"
    blind = plain + (GIVES_UP if running else "")
    if source is None:
        return blind
    x = crossing(m, source=source, target=target, clock=SystemClock(), bell=threading.Event())
    try:
        if going_back.refuse_undo(x) is None:
            return plain
        return plain + GIVES_UP if going_back.refuse_undo(replace(x, even_if_started=True)) is None else ""
    except MigrateError:
        return blind


def _source_vm(m: Migration, source: Cluster | None) -> Object | None:
    try:
        return source.get(VM, m.source.name) if source is not None else None
    except MigrateError:
        return None


def _ours(target: Cluster, kind: Kind, m: Migration) -> dict[str, Object]:
    """Return what carries this migration's id, by name."""
    found = target.list(kind, labels=looks.OURS) if target.serves(kind) is not None else ()
    return {name_of(one): one for one in found if labels.is_ours(one, m.id)}
