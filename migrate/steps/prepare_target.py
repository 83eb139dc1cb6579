"""Prepare the target while the source still runs: namespace, record, and a dry run of everything that follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from migrate import __version__
from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONFIGMAP, NAMESPACE, PVC, STORAGECLASS, STORAGEPROFILE, VM, VMI
from migrate.model.errors import Problem
from migrate.model.objects import Object, dig, leaving, name_of
from migrate.model.observation import Observation, blocked, done, needed
from migrate.model.record import Record
from migrate.model.report import stamp
from migrate.reading.common import generic
from migrate.reading.machine import halted_by, was_of
from migrate.rendering import frames
from migrate.steps import looks, rehearsal, stamps
from migrate.steps.base import Crossing, Limits


class PrepareTarget:
    """Make the namespace if that was asked for, write the record, and rehearse the rest.

    The record and the namespace stay after an undo: the one tells what happened, the other may be in use by then.
    """

    name = "prepare-target"
    limits = Limits(quiet=timedelta(minutes=5), acts=3)
    until: str | None = None

    def observe(self, x: Crossing) -> Observation:
        namespace = look_at_namespace(x.target)
        if namespace is None:
            if not x.migration.options.create_namespace:
                return blocked("NamespaceMissing", _missing(x))
            return needed("NamespaceMissing", "the target's namespace is to be made")
        if leaving(namespace):
            return blocked("NamespaceLeaving", _going(x))
        record = x.target.get(CONFIGMAP, x.migration.names.record)
        if record is None:
            return needed("RecordMissing", "the request is to be recorded on the target")
        return generic(record, x.migration.id) or _closed(x, record) or _outdated(x, record) or _rehearsed(x)

    def act(self, x: Crossing) -> None:
        if look_at_namespace(x.target) is None:
            if x.migration.options.create_namespace:
                x.target.create(*x.render("target/namespace.yaml.j2", **frames.namespace(x.migration)), ours_ok=True)
            return
        there = x.target.get(CONFIGMAP, x.migration.names.record)
        if there is not None:
            known = _read(there)
            anew = replace(known, migration=replace(known.migration, disks=x.migration.disks)).to_data()
            x.target.patch(CONFIGMAP, name_of(there), [*stamps.record_test(x), {"op": "add", "path": "/data", "value": anew}])
            return
        record = Record(migration=x.migration, tool=__version__, who=f"{x.runner.user}@{x.runner.host}", started=x.clock.now())
        x.target.create(*x.render("target/record.yaml.j2", **frames.record(x.migration, record, stamp=stamps.written(x))), ours_ok=True)

    def undo(self, x: Crossing) -> Observation:  # noqa: ARG002 - what this step made stays
        return done("Kept", "the record and the namespace stay")


def _closed(x: Crossing, record: Object) -> Observation | None:
    """Say that another run has finished or undone this migration between our question and our claim."""
    known = _read(record)
    if known.finished is None:
        return None
    words = f"the migration {x.migration.id} is closed: {known.outcome}"
    why = f"another run closed it at {stamp(known.finished)}, after this one had begun"
    return blocked("CaseClosed", Problem(words, where="target", why=why, now="run the same command again: it tells what is left to do"))


def _outdated(x: Crossing, record: Object) -> Observation | None:
    """Say that the record names other disks than are to be moved: it is written anew as long as nothing was done for those."""
    disks = _read(record).migration.disks
    said = looks.differing(disks, (disk.pvc for disk in x.migration.disks if not disk.archive))
    known = {disk.pvc: disk.uid for disk in disks}
    anew = [disk.pvc for disk in x.migration.disks if known.get(disk.pvc, "") not in ("", disk.uid)]
    if not said and anew:
        said = f"made anew: {', '.join(anew)}"
    if not said:
        return None
    m = x.migration
    if halted_by(x.source.get(VM, m.source.name) or {}) != m.id and not looks.copies(x):
        return needed("RecordOutdated", f"the disks of the VM have changed since the request was recorded: {said}")
    return blocked(
        "DisksChanged",
        Problem(
            what=f"this migration was begun with other disks than {m.source} has now: {said}",
            where="source",
            why=f"it was begun with {', '.join(disk.pvc for disk in disks) or 'none'}, and something was done for those already",
            now=f"take it back (migrate undo {m.words}), then {'copy' if m.copies else 'move'} the VM anew",
        ),
    )


def _read(record: Object) -> Record:
    return Record.of_data(dig(record, "data", default={}))


def look_at_namespace(cluster: Cluster) -> Object | None:
    """Return the namespace, an empty object where we may not look at it (then every later call tells), None when it is not there."""
    if not cluster.can("get", NAMESPACE, name=cluster.namespace):
        return {}
    return cluster.get(NAMESPACE, cluster.namespace)


def _rehearsed(x: Crossing) -> Observation:
    vm = looks.original(x)
    if vm is None:
        return done("Prepared", "the target is prepared")
    refusals = rehearsal.rehearse_contents(
        x,
        vm,
        was_of(vm, x.source.get(VMI, x.migration.source.name)),
        classes=x.target.list(STORAGECLASS),
        profiles={name_of(found): found for found in x.target.list(STORAGEPROFILE)},
        claims={disk.pvc: found for disk in x.migration.disks if (found := x.source.get(PVC, disk.pvc)) is not None},
    )
    if not refusals:
        return done("Prepared", "the target is prepared, and takes what it will be given")
    return blocked(
        "DryRunRefused",
        *(
            Problem(f"the target refuses {what} (server-side dry run)", where="target", why=words, now="cure what it says, then run again")
            for what, words in refusals
        ),
    )


def _missing(x: Crossing) -> Problem:
    return Problem(f"there is no namespace {x.target.namespace} on the target", where="target", now="create it, or say --create-namespace")


def _going(x: Crossing) -> Problem:
    return Problem(
        f"the namespace {x.target.namespace} of the target is being deleted", where="target", now="wait until it is gone, run again"
    )
