"""One migration from question to report: asks, walks, records, tells how things stand, and goes back if that was asked for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import LEASE, SNAPSHOT, VM
from migrate.model import labels
from migrate.model.clock import Clock
from migrate.model.errors import Blocked, Conflict, MigrateError, Problem, Unreachable, UsageError
from migrate.model.migration import Migration, OnFailure
from migrate.model.observation import blocked
from migrate.model.record import Record
from migrate.model.report import Event, Outcome, Report, stamp
from migrate.reading.machine import halted_by
from migrate.steps import carrying, create_target, looks
from migrate.steps.base import Crossing
from migrate.steps.claim_source import ClaimSource, holds, release
from migrate.steps.clean_up import let_go
from migrate.workflow import moments, playbook, records, reporting
from migrate.workflow.ask import Asked, Question, ask
from migrate.workflow.crossing import crossing
from migrate.workflow.crossing import engine as engine_of
from migrate.workflow.dryrun import dry_run
from migrate.workflow.engine import Engine, StepLog
from migrate.workflow.holdings import holdings
from migrate.workflow.watches import watch

log = logging.getLogger("migrate.run")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: always a report, and the error if it did not end well."""

    report: Report
    error: BaseException | None = None


class Run:
    """One run of one question. Use once."""

    def __init__(
        self,
        question: Question,
        *,
        source: Cluster,
        target: Cluster,
        clock: Clock,
        show: Callable[[Event], None],
        templates: Sequence[Path] = (),
    ) -> None:
        """`source` and `target` are bound to the namespaces of the two references; `templates` are searched before ours."""
        self._question = question
        self._source, self._target = source, target
        self._clock = clock
        self._show = show
        self._templates = templates
        self._bell = threading.Event()
        self._record: Record | None = None

    def move(self) -> Ending:
        """Run the playbook to its end, or to the first thing that stops it.

        Errors from before the migration is known (no such VM, unreachable cluster, other options) are raised; later ones are in the ending.
        """
        asked = ask(self._question, self._source, self._target)
        self._record = asked.record
        if asked.closed:
            return self._closed(asked)
        x = self._crossing(asked.migration)
        engine = self._engine(x)
        try:
            return self._walk(x, engine)
        except KeyboardInterrupt as error:  # it came when the engine was through, or while another error was being dealt with
            return self._stopped(x, engine, error)

    def _walk(self, x: Crossing, engine: Engine) -> Ending:
        with watch(x, self._bell):
            try:
                engine.run()
            except (MigrateError, KeyboardInterrupt) as error:
                return self._stopped(x, engine, error)
            finally:
                x.works.cancel(x.migration.id)
        try:
            good = Outcome.COPIED if x.migration.copies else Outcome.MOVED
            self._close(x, good)
        except MigrateError as error:
            return Ending(self._report(x.migration, engine, reporting.outcome_of(error), error), error)
        return Ending(self._report(x.migration, engine, good))

    def plan(self) -> Ending:
        """Do a dry run: look at everything, write nothing, report what would be written. Errors as in `move`."""
        asked = ask(self._question, self._source, self._target)
        self._record = asked.record
        if asked.closed:
            return self._closed(asked)
        x = self._crossing(asked.migration)
        engine = self._engine(x)
        try:
            writes = dry_run(x, engine)
        except MigrateError as error:
            return Ending(self._report(x.migration, engine, reporting.outcome_of(error), error), error)
        return Ending(replace(self._report(x.migration, engine, Outcome.PLANNED), writes=writes))

    def undo(self, asked: Asked | None = None, *, even_if_started: bool = False) -> Ending:
        """Walk backwards from wherever the migration stands. Errors as in `move`.

        `asked`: the migration, where it was named by its id. `even_if_started` gives up what the target's guest wrote since its start.
        """
        asked = asked or ask(self._question, self._source, self._target, strict=False)
        self._record = asked.record
        if asked.record is None and not _begun(self._source, asked.migration):
            raise UsageError(
                "there is no such migration to undo",
                where=f"{asked.migration.source} → {asked.migration.target}",
                why="the target holds no record of it, and the source is neither halted nor claimed by it",
                now="see what there is: migrate status --target CONTEXT",
            )
        m = asked.record.migration if asked.record is not None else asked.migration
        x = replace(self._crossing(replace(asked.migration, options=m.options, disks=m.disks)), even_if_started=even_if_started)
        if asked.record is not None and asked.record.outcome is Outcome.UNDONE and not looks.made_anything(x) and not carrying.owed(x):
            return Ending(self._report(asked.migration, None, Outcome.UNDONE, stays=carrying.stays_replaced(x)))
        engine = self._engine(x)
        with watch(x, self._bell):
            try:
                stays = self._go_back(x, engine)
            except (MigrateError, KeyboardInterrupt) as error:
                stays = let_go(x) if holds(x) else ""
                release(x)
                return Ending(self._report(x.migration, engine, reporting.outcome_of(error), error, stays=stays), error)
        return Ending(self._report(x.migration, engine, Outcome.UNDONE, stays=stays))

    def _closed(self, asked: Asked) -> Ending:
        """Answer for a case that is closed: a finished move has nothing left to do, an undone one is begun anew only if that is said.

        A finished one whose target is not there any more is a question for a person: it may have been a rehearsal, or a loss. So is one
        whose undo was begun and not ended: neither way is taken unasked.
        """
        if asked.record is not None and asked.record.outcome is Outcome.UNDONE:
            words = Blocked(
                "this move was undone",
                where=f"migration {asked.migration.id}",
                why=f"at {stamp(asked.record.finished)}",
                now="say --again to move the VM anew",
            )
            return Ending(self._report(asked.migration, None, Outcome.UNDONE, words), words)
        x, held = self._crossing(asked.migration), holdings(self._target, asked.migration, self._source)
        seen = None
        if held.lost and not held.moved_on:
            seen = looks.moved_and_lost(x, self._source.get(VM, asked.migration.source.name), finished=True)
        elif held.half_undone is not None:
            seen = blocked("HalfUndone", held.half_undone)
        if seen is not None:
            error = Blocked.of(seen.problems, reason=seen.reason)
            return Ending(self._report(asked.migration, None, Outcome.BLOCKED, error), error)
        return Ending(self._report(asked.migration, None, Outcome.NOTHING_LEFT))

    def _crossing(self, migration: Migration) -> Crossing:
        return crossing(migration, source=self._source, target=self._target, clock=self._clock, bell=self._bell, templates=self._templates)

    def _engine(self, x: Crossing) -> Engine:
        steps = playbook.load(x.migration.playbook).steps
        return engine_of(x, steps, show=self._show, bell=self._bell, after_step=lambda entry: self._note(x, entry))

    def _stopped(self, x: Crossing, engine: Engine, error: MigrateError | KeyboardInterrupt) -> Ending:
        """End a run that stopped: go back if that was asked for, let go of the claim, say how things stand."""
        outcome = reporting.outcome_of(error)
        wanted = x.migration.options.on_failure is OnFailure.UNDO and outcome is not Outcome.HELD
        begun = holds(x) or self._record is not None
        if wanted and begun and isinstance(error, MigrateError):
            back = self._engine(x)
            try:
                stays = self._go_back(x, back)
                return Ending(self._report(x.migration, engine, Outcome.UNDONE, error, stays=stays), error)
            except MigrateError as second:
                log.warning("going back failed: %s", second)
                back_failed = Problem(f"going back failed: {second.what}", second.where, second.why, second.now)
                error = type(error).of([*error.problems, back_failed], reason=error.reason)
        stays = ""
        if holds(x):
            self._note_stop(x, outcome)
            stays = let_go(x)
        release(x)
        return Ending(self._report(x.migration, engine, outcome, error, stays=stays), error)

    def _go_back(self, x: Crossing, engine: Engine) -> str:
        """Walk backwards, and say what stays where it is."""
        replace(engine, steps=[ClaimSource()], logs={}).run()
        stays = create_target.kept(x)  # afterwards nothing tells that the VM owned it
        engine.undo()
        self._close(x, Outcome.UNDONE)
        return "; ".join(filter(None, (carrying.stays_replaced(x), stays)))

    def _note(self, x: Crossing, entry: StepLog) -> None:
        """Write down what a step took, and when source and target stood or ran, even if an earlier run did not live to note that.

        A closed record is closed. A note that is lost to a cluster that does not answer, or to somebody quicker, is no reason to stop.
        """
        if entry.acts == 0 and entry.name not in moments.STEPS:
            return
        try:
            self._tally(x, entry)
        except (Unreachable, Conflict) as error:
            log.warning("what %s took could not be recorded: %s", entry.name, error)

    def _tally(self, x: Crossing, entry: StepLog) -> None:
        record = records.read(x.target, x.migration.names.record)
        if record is None or record.finished is not None:
            return
        noted = moments.note(x, record, entry)
        if entry.acts:
            last = entry.last
            moved = sum(disk.bytes_done or 0 for disk in last.disks) if last is not None and last.disks else None
            noted = noted.tally(entry.name, seconds=entry.seconds, acts=entry.acts, bytes=moved)
        if noted != record:
            records.write(x, noted)
        self._record = noted

    def _note_stop(self, x: Crossing, outcome: Outcome) -> None:
        """Write down how this run ended. Only the holder of the claim may: the record of a running migration is its runner's."""
        try:
            record = records.read(x.target, x.migration.names.record)
            if record is not None and record.finished is None:
                self._record = replace(record, outcome=outcome)
                records.write(x, self._record)
        except MigrateError as error:
            log.warning("the stop could not be recorded: %s", error)

    def _close(self, x: Crossing, outcome: Outcome) -> None:
        record = records.read(x.target, x.migration.names.record)
        if record is None:
            return
        proofs = reporting.proofs(x.target, x.migration) or record.disks
        closed = replace(record, finished=self._clock.now(), outcome=outcome, disks=proofs)
        records.write(x, closed)
        self._record = closed

    def _report(
        self, migration: Migration, engine: Engine | None, outcome: Outcome, error: BaseException | None = None, *, stays: str = ""
    ) -> Report:
        return reporting.report(
            migration,
            outcome,
            record=self._record,
            logs=engine.logs if engine is not None else {},
            source=self._source,
            target=self._target,
            error=error,
            stopped_at=engine.current.name if engine is not None and engine.current is not None else "",
            stays=stays,
        )


def _begun(source: Cluster, m: Migration) -> bool:
    """Tell whether the source VM is halted, snapshotted or claimed by this very migration."""
    lease = source.get(LEASE, m.names.claim)
    claimed = lease is not None and labels.is_ours(lease, m.id)
    snapshot = source.get(SNAPSHOT, m.names.snapshot) if m.copies and source.serves(SNAPSHOT) is not None else None
    return claimed or labels.is_ours(snapshot or {}, m.id) or halted_by(source.get(VM, m.source.name) or {}) == m.id
