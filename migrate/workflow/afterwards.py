"""What can be done with a finished move: prove its disks once more, retire its source, or take the fence off it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from migrate.kube.cluster import Cluster
from migrate.model.clock import Clock
from migrate.model.errors import Blocked, MigrateError
from migrate.model.migration import Migration, Verify
from migrate.model.observation import State
from migrate.model.record import DiskProof, Record
from migrate.model.report import Event, Outcome
from migrate.steps.base import Crossing, Step
from migrate.steps.claim_source import ClaimSource, release
from migrate.steps.clean_up import CleanUp, let_go
from migrate.steps.publish_disks import PublishDisks
from migrate.steps.retire_source import RetireSource, kept
from migrate.steps.unfence_source import UnfenceSource
from migrate.steps.verify_disks import VerifyDisks
from migrate.workflow import records, reporting
from migrate.workflow.ask import Question, ask
from migrate.workflow.crossing import crossing, engine
from migrate.workflow.possible import impossible
from migrate.workflow.run import Ending
from migrate.workflow.watches import watch

log = logging.getLogger("migrate.afterwards")


class Afterwards:
    """One command about a finished move. Use once."""

    def __init__(self, question: Question, *, source: Cluster, target: Cluster, clock: Clock) -> None:
        self._clock = clock
        self._source, self._target = source, target
        self._bell = threading.Event()
        asked = ask(question, source, target, strict=False)
        self.record = _finished(asked.record, asked.migration)
        options = replace(
            self.record.migration.options,
            source_ca=question.options.source_ca or self.record.migration.options.source_ca,
            target_ca=question.options.target_ca or self.record.migration.options.target_ca,
        )
        self.migration = replace(self.record.migration, source=question.source, target=question.target, options=options)
        """As it was recorded, by the names that contexts have on this machine."""

    def prove(self, depth: Verify, show: Callable[[Event], None]) -> Ending:
        """Compare all disks anew, `depth` deep, and write the new proofs. Raises Blocked when no proof is possible any more."""
        x = self._crossing(replace(self.migration, options=replace(self.migration.options, verify=depth)))
        problems = impossible(x)
        if problems:
            raise Blocked.of(problems)
        ending = self._walk(x, [ClaimSource(), PublishDisks(), VerifyDisks(since=self._clock.now()), CleanUp()], Outcome.PROVEN, show)
        if ending.error is None:
            try:
                records.write(x, replace(self.record, disks=self._proofs(x)))
            except MigrateError as error:
                log.warning("the new proofs could not be recorded: %s", error)
                line = f"the new proofs stand on the disks, but not in the record, which could not be written: {error}"
                return replace(ending, report=replace(ending.report, now=(*ending.report.now, line)))
        return ending

    def retire(self, show: Callable[[Event], None], *, told: bool = True) -> Ending:
        """Delete the source VM and its disks; what forbids it is in the ending's error.

        `told`: the user was asked. If not, only the marks of a retirement that did not come about are taken off.
        """
        self._moved()
        x = self._crossing(self.migration)
        stays = kept(x)  # afterwards nothing tells that the VM owned it
        return self._walk(x, [ClaimSource(), RetireSource(told=told), CleanUp()], Outcome.RETIRED, show, stays=stays)

    def unfence(self, show: Callable[[Event], None]) -> Ending:
        """Take the fence off the source, which stays halted."""
        x = self._crossing(self.migration)
        return self._walk(x, [ClaimSource(), UnfenceSource(), CleanUp()], Outcome.UNFENCED, show)

    def to_retire(self) -> str:
        """Say what `retire` would delete; "" where all that is left for it is to take its marks off. Raises Blocked for what forbids it."""
        self._moved()
        seen = RetireSource().observe(self._crossing(self.migration))
        if seen.state is State.BLOCKED:
            raise Blocked.of(seen.problems)
        return "" if seen.reason == "SourceKept" else seen.message

    def _moved(self) -> None:
        """Raise Blocked for a copy: its source goes on, and is nobody's to delete."""
        if self.migration.copies:
            raise Blocked(
                f"{self.migration.source} was copied, not moved, so it is not retired",
                where=f"migration {self.migration.id}",
                why="it goes on, and its disks hold what the copy never saw",
                now="move it first, if it is to go: migrate vm",
            )

    def _crossing(self, migration: Migration) -> Crossing:
        return crossing(migration, source=self._source, target=self._target, clock=self._clock, bell=self._bell)

    def _proofs(self, x: Crossing) -> tuple[DiskProof, ...]:
        """Read the proofs from the disks; where they cannot be read, tell of those that are recorded: what was done is done."""
        try:
            return reporting.proofs(x.target, x.migration)
        except MigrateError as error:
            log.warning("the proofs could not be read: %s", error)
            return self.record.disks

    def _walk(self, x: Crossing, steps: list[Step], good: Outcome, show: Callable[[Event], None], *, stays: str = "") -> Ending:
        """Run the steps; whatever happens, works are ended, and exports, tokens and claim are given up."""
        walk = engine(x, steps, show=show, bell=self._bell)
        error: BaseException | None = None
        with watch(x, self._bell):
            try:
                walk.run()
            except (MigrateError, KeyboardInterrupt) as caught:
                error = caught
            finally:
                x.works.cancel(x.migration.id)
        outcome = good if error is None else reporting.outcome_of(error)
        if error is not None and outcome is not Outcome.HELD:
            let_go(x)
            release(x)
        record = self.record if error is not None else replace(self.record, disks=self._proofs(x))
        report = reporting.report(
            x.migration,
            outcome,
            record=record,
            logs=walk.logs,
            source=self._source,
            target=self._target,
            error=error,
            stopped_at=walk.current.name if walk.current is not None else "",
            stays=stays,
        )
        return Ending(report, error)


def _finished(record: Record | None, migration: Migration) -> Record:
    pair = f"{migration.source} {migration.target}"
    if record is not None and record.finished is not None and record.outcome in (Outcome.MOVED, Outcome.COPIED):
        return record
    if record is not None and record.outcome is Outcome.UNDONE:
        raise Blocked("this move was undone", where=f"migration {record.migration.id}", now=f"move the VM anew: migrate vm {pair} --again")
    why = "it was begun and is not finished" if record is not None else "it was never begun"
    raise Blocked("this move is not finished", where=pair.replace(" ", " → "), why=why, now=f"go on with: migrate vm {pair}")
