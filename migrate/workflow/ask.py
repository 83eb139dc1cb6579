"""From words to a migration: which VM this is, where it shall go, whether that was asked before."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import DATAVOLUME, PVC, SNAPSHOT, VM, VMI
from migrate.model import labels
from migrate.model.errors import Blocked, MigrateError, UsageError
from migrate.model.migration import COPIES, Migration, Names, Options, migration_id
from migrate.model.objects import Object, leaving, uid_of
from migrate.model.record import Record, differences
from migrate.model.refs import VMRef
from migrate.reading.inventory import claims_of, disks_of
from migrate.reading.machine import halted_by
from migrate.reading.references import copied
from migrate.steps.gathering import states
from migrate.workflow import records


@dataclass(frozen=True, slots=True)
class Question:
    """What the user asked for."""

    source: VMRef
    target: VMRef
    options: Options = field(default_factory=Options)
    playbook: str = "cold-move"
    again: bool = False
    """Ask anew after a finished or undone run."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The migration that a question means, and the record if it has one."""

    migration: Migration
    record: Record | None

    @property
    def closed(self) -> bool:
        """Tell whether the record says that nothing is left to do."""
        return self.record is not None and self.record.finished is not None


def ask(question: Question, source: Cluster, target: Cluster, *, strict: bool = True) -> Asked:
    """Find out which migration a question means, by reads alone.

    Its disks are those that the VM has now; once it is halted or snapshotted by this migration, those that were recorded
    then: what is copied.
    `strict` refuses other options than a migration was begun with. Raises Unreachable, Refused, Blocked (no such VM) or UsageError (one VM
    as source and target; other options than were begun), with the problems of both sides at once.
    """
    source_uid, target_uid = _both(source, target)
    if source_uid == target_uid and (question.source.namespace, question.source.name) == (question.target.namespace, question.target.name):
        raise UsageError(
            "source and target are the same VM",
            where=f"{question.source} and {question.target}",
            why="both contexts lead to the cluster whose kube-system namespace has the UID " + source_uid
            if question.source.context != question.target.context
            else "",
            now="name another target namespace, name, or context",
        )
    vm = source.get(VM, question.source.name)
    if vm is None:
        return _gone(question, source, target, (source_uid, target_uid), strict=strict)
    attempt, record = _latest(question, vm["metadata"]["uid"], target_uid, target)
    if record is not None and record.finished is not None and question.again:
        attempt, record = attempt + 1, None
    id_ = _id(question, vm["metadata"]["uid"], target_uid, attempt)
    claims = claims_of(vm)
    pvcs = {name: found for name in claims if (found := source.get(PVC, name)) is not None}
    cdi = source.serves(DATAVOLUME) is not None
    volumes = {name: found for name in claims if cdi and (found := source.get(DATAVOLUME, name)) is not None}
    vmi = source.get(VMI, question.source.name)
    inventory = disks_of(
        vm,
        pvcs,
        vmi=vmi,
        data_volumes=volumes,
        states=states(source, vm, vmi),
        target_vm=question.target.name,
        same_place=source_uid == target_uid and question.source.namespace == question.target.namespace,
    )
    migration = Migration(
        id=id_,
        attempt=attempt,
        playbook=question.playbook,
        source=question.source,
        target=question.target,
        source_uid=vm["metadata"]["uid"],
        source_cluster_uid=source_uid,
        target_cluster_uid=target_uid,
        options=_with_recorded_cas(question.options, record),
        disks=record.migration.disks if record is not None and _begun(vm, id_, question, source, target) else inventory.disks,
        references=tuple(dict.fromkeys((*copied(vm), *(record.migration.references if record is not None else ())))),
    )
    if strict and record is not None and record.finished is None:
        _same_options(migration, record)
    return Asked(migration, record)


def _begun(vm: Object, id_: str, question: Question, source: Cluster, target: Cluster) -> bool:
    """Tell whether a migration is bound to the disks that were recorded: by its halt; a copy by its snapshot, or by disks made of one.

    A source that goes on may get other disks while it is copied; what its snapshot holds stays.
    """
    if halted_by(vm) == id_ or question.playbook not in COPIES:
        return halted_by(vm) == id_
    name = Names.of(id_, uid_of(vm)).snapshot
    snapshot = source.get(SNAPSHOT, name) if source.serves(SNAPSHOT) is not None else None
    if snapshot is not None and labels.is_ours(snapshot, id_) and not leaving(snapshot):
        return True
    made = target.list(DATAVOLUME, labels={labels.ID: id_}) if target.serves(DATAVOLUME) is not None else []
    return any(labels.is_ours(disk, id_) for disk in made)


def _with_recorded_cas(options: Options, record: Record | None) -> Options:
    """Keep the CAs that a migration was begun with where the repeated command names none."""
    if record is None:
        return options
    begun = record.migration.options
    return replace(options, source_ca=options.source_ca or begun.source_ca, target_ca=options.target_ca or begun.target_ca)


def _both(source: Cluster, target: Cluster) -> tuple[str, str]:
    """Return the UIDs of both clusters; what is wrong with either is said at once."""
    uids: list[str] = []
    errors: list[MigrateError] = []
    for cluster in (source, target):
        try:
            uids.append(cluster.uid())
        except MigrateError as error:
            errors.append(error)
    if errors:
        first = errors[0]
        raise type(first).of([problem for error in errors for problem in error.problems], reason=first.reason) from first
    return uids[0], uids[1]


def _id(question: Question, source_uid: str, target_uid: str, attempt: int) -> str:
    return migration_id(
        source_uid=source_uid, target_cluster_uid=target_uid, target=question.target, playbook=question.playbook, attempt=attempt
    )


def _latest(question: Question, source_uid: str, target_uid: str, target: Cluster) -> tuple[int, Record | None]:
    """Find the newest attempt at this question; attempts are numbered without gaps."""
    attempt, newest = 1, None
    while True:
        name = Names.of(_id(question, source_uid, target_uid, attempt), source_uid).record
        record = records.read(target, name)
        if record is None:
            return (attempt if newest is None else attempt - 1), newest
        attempt, newest = attempt + 1, record


def _gone(question: Question, source: Cluster, target: Cluster, uids: tuple[str, str], *, strict: bool) -> Asked:
    """Answer for a source VM that is not there: its record (a finished one if strict) if there is one, else what is there instead."""
    for record in records.every(target):
        m = record.migration
        asked = (question.playbook, uids[0], question.source.namespace, question.source.name, question.target.name)
        if (record.finished is not None or not strict) and asked == (
            m.playbook,
            m.source_cluster_uid,
            m.source.namespace,
            m.source.name,
            m.target.name,
        ):
            return Asked(replace(m, source=question.source, target=question.target), record)
    names = [vm["metadata"]["name"] for vm in source.list(VM)]
    near = difflib.get_close_matches(question.source.name, names, n=3, cutoff=0.5)
    raise Blocked(
        f'there is no VM "{question.source.name}" in namespace {question.source.namespace}',
        where=f"context {question.source.context}",
        why=f"the namespace holds {len(names)} VMs" if names else "the namespace holds no VM, or does not exist",
        now=f"did you mean {', '.join(near)}?" if near else _offer(names, question.source),
    )


def _offer(names: list[str], ref: VMRef) -> str:
    if not names:
        return f"list VMs with: kubectl --context {ref.context} get vm --all-namespaces"
    return f"the VMs there are {', '.join(sorted(names)[:10])}{', …' if len(names) > 10 else ''}"


def _same_options(migration: Migration, record: Record) -> None:
    other = differences(migration, record.migration)
    if other:
        raise UsageError(
            "this migration was begun with other options",
            where=f"migration {migration.id}",
            why="; ".join(other),
            now=f"repeat the command with the options it was begun with, or undo it first: migrate undo {migration.words}",
        )
