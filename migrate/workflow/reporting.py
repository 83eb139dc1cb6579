"""From records, logs and a last look to the report that a person reads at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from migrate.kube.cluster import Cluster
from migrate.kube.errors import place
from migrate.kube.kinds import DATAVOLUME, LEASE
from migrate.model.errors import MigrateError, Problem, Refused, Unreachable
from migrate.model.migration import Identity, Migration, Names
from migrate.model.objects import dig
from migrate.model.observation import State
from migrate.model.record import DiskProof, Record
from migrate.model.refs import VMRef
from migrate.model.report import DiskReport, Outcome, Report, Stand, StepReport
from migrate.reading.proof import proof_of
from migrate.steps.runner import read_runner, surely_dead, this_runner
from migrate.workflow.by_hand import way_back
from migrate.workflow.engine import StepLog
from migrate.workflow.holdings import Holdings, holdings, way_home
from migrate.workflow.possible import of_source
from migrate.workflow.stands import stand

STARTED = '{"spec":{"runStrategy":"Always"}}'
UNTOUCHED = "this command changed nothing on either side"
ENDS_THERE = ("TargetLost", "DiskDiffers", "MovedOn", "HalfUndone")
"""Reasons for which a command about a finished move stops, and would stop again."""
GO_ON_CURED = "go on: run the same command again when that is cured"


def outcome_of(error: BaseException) -> Outcome:
    """Return the word for how a run ended that stopped with this error."""
    return Outcome(error.word) if isinstance(error, MigrateError) else Outcome.INTERRUPTED


def proofs(target: Cluster, migration: Migration) -> tuple[DiskProof, ...]:
    """Read the proofs from the disks that carry them."""
    found = ((disk.target, target.get(DATAVOLUME, disk.target)) for disk in migration.disks)
    read = ((name, proof_of(volume)) for name, volume in found if volume is not None)
    return tuple(DiskProof(name, p.digest, p.coverage, p.bytes, p.source_generation, p.at) for name, p in read if p is not None)


def standing(record: Record, source: Cluster | None, target: Cluster) -> Report:
    """Make the report of a migration that this process does not run, from its record, a look at both VMs, and who claims the source."""
    seen = report(
        record.migration,
        record.outcome or Outcome.UNFINISHED,
        record=record,
        logs={},
        source=source,
        target=target,
        error=None,
        stopped_at="",
    )
    holder = _holder(record.migration, source) if record.outcome is None and source is not None else ""
    return replace(seen, now=(holder, *seen.now)) if holder else seen


def _holder(m: Migration, source: Cluster) -> str:
    """Say who claims the source VM, and whether that was renewed lately: the one who looks compares."""
    try:
        lease = source.get(LEASE, Names.of(m.id, m.source_uid).claim)
    except MigrateError:
        return ""
    holder = read_runner(str(dig(lease, "spec", "holderIdentity", default="")))
    if lease is None or holder is None:
        return "nobody runs it: the source VM is not claimed"
    since, renewed = (dig(lease, "spec", key, default="?") for key in ("acquireTime", "renewTime"))
    ended = "; that process is gone" if surely_dead(holder, this_runner()) else ""
    return f"claimed by {holder.person} since {since}, last renewed {renewed}{ended}"


def report(
    migration: Migration,
    outcome: Outcome,
    *,
    record: Record | None,
    logs: Mapping[str, StepLog],
    source: Cluster | None,
    target: Cluster,
    error: BaseException | None,
    stopped_at: str,
    stays: str = "",
) -> Report:
    """Put the report together; looks at both VMs once more. `stays`: what a stop left where it is, on purpose, in words."""
    here, there = stand(source, migration.source), stand(target, migration.target)
    held = holdings(target, migration, source) if there.exists is not None else Holdings()
    if there.exists and not held.machine:
        there = replace(there, message=f"another VM has that name: {there.message}")
    reason, seen = error.reason if isinstance(error, MigrateError) else "", here.exists is not None and there.exists is not None
    disks = _disks(migration, record, held)
    return Report(
        migration=migration.id,
        playbook=migration.playbook,
        attempt=migration.attempt,
        outcome=outcome,
        source=here,
        target=there,
        steps=_steps(record, logs),
        disks=disks,
        started=record.started if record else None,
        finished=record.finished if record else None,
        downtime_s=record.downtime_s if record else None,
        snapshot=record.snapshot if record else None,
        reason=reason,
        problems=_problems(error, stopped_at),
        now=(
            *_both(migration, here, there, held),
            *_now(
                migration,
                outcome,
                here,
                there,
                held=held,
                back=lambda: way_home(migration, source if seen else None, target, running=bool(there.running)),
                kept=lambda: _kept(here, of_source(migration, source, target, disks=disks) if source is not None else ""),
                touched=record is not None or any(entry.acts for entry in logs.values()),
                over=record is not None and record.finished is not None and reason in ENDS_THERE,
            ),
            *((stays,) if stays else ()),
            *_lost(here, there, source, migration.source),
        ),
    )


def _steps(record: Record | None, logs: Mapping[str, StepLog]) -> tuple[StepReport, ...]:
    """Tell what each step took: over all runs as far as the record knows, else in this run."""
    over_all = {tally.step: tally for tally in record.steps} if record else {}
    rows = []
    for name in dict.fromkeys([*logs, *over_all]):
        entry, tally = logs.get(name), over_all.get(name)
        last = entry.last if entry else None
        rows.append(
            StepReport(
                name,
                last.state if last else State.DONE,
                last.reason if last else "Recorded",
                last.message if last else "",
                seconds=tally.seconds if tally else entry.seconds if entry else 0.0,
                acts=tally.acts if tally else entry.acts if entry else 0,
                bytes=tally.bytes if tally else None,
            )
        )
    return tuple(rows)


def _disks(migration: Migration, record: Record | None, held: Holdings) -> tuple[DiskReport, ...]:
    """Tell of each disk what was proven; of one that was found to differ since, only that: an older proof counts no more."""
    proven = {proof.disk: proof for proof in record.disks} if record else {}
    names = [(disk.pvc, disk.target) for disk in migration.disks] or [("", name) for name in proven]
    rows = []
    for pvc, name in names:
        proof, problem = proven.get(name), held.differing.get(name)
        if problem is not None:
            rows.append(DiskReport(pvc, name, proof.bytes if proof else None, differs=problem.why))
        elif proof is not None:
            rows.append(DiskReport(pvc, name, proof.bytes, proof.coverage, proof.digest, proof.at))
        else:
            rows.append(DiskReport(pvc, name))
    return tuple(rows)


def _problems(error: BaseException | None, stopped_at: str) -> tuple[Problem, ...]:
    if isinstance(error, MigrateError):
        return error.problems
    if error is None:
        return ()
    return (Problem("stopped by you", where=stopped_at),)


def unasked(source: VMRef, target: VMRef, error: MigrateError, *, here: Cluster | None = None, there: Cluster | None = None) -> Report:
    """Make the report of a question that could not even be asked. A cluster that the error is about is not looked at again."""
    silent = {problem.where for problem in error.problems} if isinstance(error, Unreachable | Refused) else set()
    stands = [
        Stand(str(ref), message="we could not look") if cluster is None or place(cluster.context) in silent else stand(cluster, ref)
        for cluster, ref in ((here, source), (there, target))
    ]
    now = [UNTOUCHED, GO_ON_CURED, f"go back, if an earlier run began it: migrate undo {source} {target}"]
    now += _lost(stands[0], stands[1], here, source)
    return Report("", "", 0, outcome_of(error), stands[0], stands[1], reason=error.reason, problems=error.problems, now=tuple(now))


def _lost(here: Stand, there: Stand, source: Cluster | None, ref: VMRef) -> list[str]:
    """Say how to go back without the target, where that cannot be seen and the source can."""
    line = way_back(source, ref, even_moved=True) if there.exists is None and here.exists else ""
    return [line] if line else []


def _start_of_copy(migration: Migration) -> str:
    t = migration.target
    start = f"kubectl --context {t.context} -n {t.namespace} patch vm {t.name} --type merge -p '{STARTED}'"
    return f"the copy is halted: its guest may have names and addresses of {migration.source}, so see to those before you start it: {start}"


def _kept_snapshot(migration: Migration) -> tuple[str, ...]:
    if not migration.options.keep_snapshot:
        return ()
    s, name = migration.source, migration.names.snapshot
    remove = f"kubectl --context {s.context} -n {s.namespace} delete virtualmachinesnapshot {name}"
    return (f"the snapshot {name} is kept; delete it when you no longer need it: {remove}",)


def _kept(here: Stand, words: str) -> str:
    return f"the source VM and its disks are kept{', halted' if here.running is False else ''}; {words}"


def _both(migration: Migration, here: Stand, there: Stand, held: Holdings) -> tuple[str, ...]:
    """Say that both run, before all else. The source of a copy is meant to, unless its copy takes itself for the same machine."""
    meant = migration.copies and migration.identity is Identity.NEW
    wrong = here.running and there.running and (held.machine or held.twin) and not meant
    source, target = migration.source, migration.target
    stop = f"Stop the one that must not, at once: {source.virtctl('stop')} or {target.virtctl('stop')}"
    return (f"BOTH RUN NOW: {source} and {target}. {stop}",) if wrong else ()


def _now(
    migration: Migration,
    outcome: Outcome,
    here: Stand,
    there: Stand,
    *,
    held: Holdings,
    back: Callable[[], str],
    kept: Callable[[], str],
    touched: bool,
    over: bool,
) -> tuple[str, ...]:
    """Say how to go on and how to go back.

    `back`: the undo that works now; `kept`: how the source can go; `over`: the same command would only say the same again.
    """
    pair = migration.words
    match outcome:
        case Outcome.MOVED | Outcome.COPIED | Outcome.NOTHING_LEFT if words := _no_start(migration, held):
            return (*words, *_kept_snapshot(migration))
        case Outcome.COPIED | Outcome.NOTHING_LEFT if migration.copies and not (held.lost or held.differing):
            return (*(() if there.running else (_start_of_copy(migration),)), *_kept_snapshot(migration))
        case Outcome.MOVED | Outcome.COPIED | Outcome.NOTHING_LEFT if held.lost or held.differing:
            gone = (f"not there any more: {', '.join(held.lost)}",) if held.lost else ()
            other = tuple(f"{problem.what}: {problem.why}; do not work with it, and keep the source" for problem in held.differing.values())
            return (*gone, *other, *_back(here, back, "take the move back, if that is given up" if held.lost else "go back"))
        case Outcome.MOVED | Outcome.NOTHING_LEFT:
            kubectl = f"kubectl --context {migration.target.context} -n {migration.target.namespace}"
            patch = f"patch vm {migration.target.name} --type merge -p '{STARTED}'"
            start = f"start it when you are ready: {kubectl} {patch}"
            runs = f"the source runs, so do not start the target: {migration.source} {here.message}"
            to_start = () if there.running else (runs,) if here.running else (start,)
            return (*to_start, *((kept(),) if here.exists and not here.running else ()))
        case Outcome.PROVEN if migration.copies:
            return _kept_snapshot(migration)
        case Outcome.PROVEN:
            return (kept(),)
        case Outcome.RETIRED:
            return ()
        case Outcome.UNFENCED:
            return ("what a guest writes on the source from now on, the target never sees; never let both run",)
        case Outcome.UNDONE:
            return (f"ask anew with: migrate vm {pair} --again",)
        case Outcome.PLANNED:
            return (f"do it with: migrate vm {pair}",)
        case _ if not touched:
            return (UNTOUCHED, GO_ON_CURED)
        case _:
            go_on = "go on: run the same command again, with the same options; it resumes where it stopped"
            return (*(() if over else (go_on,)), *_back(here, back, "go back"))


def _no_start(migration: Migration, held: Holdings) -> tuple[str, ...]:
    """Say of a finished migration why its target is nobody's to start: it was moved on, or the way back was begun."""
    if held.moved_on:
        return (f"do not start {migration.target}: {held.moved_on}",)
    if held.half_undone is not None and not held.lost:
        return (f"{held.half_undone.what}: {held.half_undone.now}",)
    return ()


def _back(here: Stand, back: Callable[[], str], words: str) -> tuple[str, ...]:
    """Name the way back, if there is one: an undo keeps the last copies that there are."""
    line = back() if here.exists is not False else ""
    return (f"{words}: {line}",) if line else ()
