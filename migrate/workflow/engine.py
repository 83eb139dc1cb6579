"""The engine: looks, decides, acts, waits; one thread and one order of requests for each migration.

It knows steps only by `observe`, `act`, `undo`, `limits` and `until`. All loops over time, all patience, and the only `except` around a
cluster call stand here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from migrate.model.errors import Blocked, Conflict, Held, MigrateError, Problem, Stalled, StepFailed, Taken, Unreachable
from migrate.model.observation import Observation, State, unknown
from migrate.model.reasons import NOTHING, REASONS, Reason
from migrate.steps.base import Crossing, Step
from migrate.workflow.decide import Tally, Verdict, decide

log = logging.getLogger("migrate.engine")

PACE_S = 2.0
"""How often a waiting step is looked at through the watch caches, if no bell rings."""
SETTLE_S = 0.1
"""What a bell announces rarely comes alone; in a busy namespace it never does."""
FRESH_S = 20.0
"""How often the truth is read afresh while a step waits: a watch may be dead without a word."""

Show = Callable[[Step, Observation], None]
"""Told of every observation that differs from the one before."""


@dataclass(slots=True)
class StepLog:
    """What one step took, for the record and the report."""

    name: str
    seconds: float = 0.0
    acts: int = 0
    last: Observation | None = None
    skipped: bool = False


@dataclass(slots=True)
class _Watch:
    """Counts standing still: acts, seconds and blocked seconds since something last moved."""

    clock_s: Callable[[], float]
    acts: int = 0
    moved_at: float = 0.0
    blocked_at: float | None = None
    print: tuple[object, ...] = ()
    trouble: MigrateError | None = None
    """What the last act met, if it met something; gone when something moves."""

    def see(self, seen: Observation) -> bool:
        """Take a new observation in; return whether it differs from the one before."""
        now = self.clock_s()
        now_print = (seen.state, seen.reason, seen.progress, seen.disks)
        moved = now_print != self.print
        if moved:
            self.print, self.moved_at, self.acts, self.trouble = now_print, now, 0, None
        if seen.state is not State.BLOCKED:
            self.blocked_at = None
        elif self.blocked_at is None:
            self.blocked_at = now
        return moved

    def tally(self) -> Tally:
        now = self.clock_s()
        return Tally(self.acts, now - self.moved_at, 0.0 if self.blocked_at is None else now - self.blocked_at)


@dataclass(slots=True)
class Engine:
    """Runs the steps of one playbook for one crossing."""

    steps: Sequence[Step]
    x: Crossing
    show: Show
    bell: threading.Event
    before_look: Callable[[], None] = lambda: None
    """Called before every look: renews the claim when it is due."""
    after_conflict: Callable[[], None] = lambda: None
    """Called when something changed between a look and its write."""
    after_step: Callable[[StepLog], None] = lambda _: None
    """Called when a step is through."""
    logs: dict[str, StepLog] = field(default_factory=dict)
    current: Step | None = None

    def run(self) -> None:
        """Walk all steps to their end. Raises an error of the family at the first that stops, after which nothing is left half sent."""
        for step in self.steps:
            self.current = step
            entry = self.logs.setdefault(step.name, StepLog(step.name))
            if step.until is not None and self._reached(step.until):
                entry.skipped = True
                continue
            began = self.x.clock.monotonic()
            try:
                self._walk(step, entry)
            finally:
                entry.seconds += self.x.clock.monotonic() - began
            self.after_step(entry)
        self.current = None

    def undo(self) -> None:
        """Walk backwards. Raises an error of the family at the first step that cannot be taken back."""
        for step in reversed(self.steps):
            self.current = step
            self._walk_back(step)
        self.current = None

    def _reached(self, name: str) -> bool:
        step = next(step for step in self.steps if step.name == name)
        return self._look(step, self.x).state is State.DONE

    def _walk(self, step: Step, entry: StepLog) -> None:
        watch = _Watch(self.x.clock.monotonic, moved_at=self.x.clock.monotonic())
        while True:
            self.before_look()
            self.bell.clear()
            seen = self._look(step, self.x)
            self._note(step, entry, watch, seen)
            match decide(seen, step.limits, watch.tally()):
                case Verdict.ADVANCE:
                    return
                case Verdict.ACT:
                    watch.acts += 1
                    entry.acts += 1
                    watch.trouble = self._act(step)
                case Verdict.WAIT:
                    self._wait(step, entry, watch, seen)
                case Verdict.GIVE_UP if seen.state is State.NEEDED and watch.trouble is not None:
                    raise watch.trouble
                case verdict:
                    raise stop_error(verdict, step, seen, watch.tally())

    def _walk_back(self, step: Step) -> None:
        watch = _Watch(self.x.clock.monotonic, moved_at=self.x.clock.monotonic())
        while True:
            self.before_look()
            self.bell.clear()
            try:
                seen = step.undo(self.x)
            except (Unreachable, Conflict) as error:
                if isinstance(error, Conflict):
                    self.after_conflict()
                seen = unknown(error.reason, str(error)).but(problems=error.problems)
            if watch.see(seen):
                self.show(step, seen)
            match decide(seen, replace(step.limits, acts=0), watch.tally()):
                case Verdict.ADVANCE:
                    return
                case Verdict.WAIT:
                    self.x.clock.wait(self.bell, PACE_S)
                case verdict:
                    raise stop_error(verdict, step, seen, watch.tally())

    def _look(self, step: Step, x: Crossing) -> Observation:
        try:
            return step.observe(x)
        except Unreachable as error:
            return unknown(error.reason, str(error)).but(problems=error.problems)

    def _note(self, step: Step, entry: StepLog, watch: _Watch, seen: Observation) -> None:
        if watch.see(seen) or entry.last is None or entry.last.message != seen.message:
            self.show(step, seen)
        entry.last = seen

    def _act(self, step: Step) -> MigrateError | None:
        """Act once. Return what it met, where a fresh look is the answer to it; it is raised if no look ever shows better."""
        log.info("act: %s", step.name)
        try:
            step.act(self.x)
        except Taken as error:
            raise Blocked.of(error.problems, reason=error.reason) from error
        except Conflict as error:
            self.after_conflict()
            log.info("%s: the object changed meanwhile, looking again: %s", step.name, error)
            self.x.clock.wait(threading.Event(), 0.2)
            return error
        except Unreachable as error:
            log.warning("%s: no answer to a write, looking again: %s", step.name, error)
            self.x.clock.wait(threading.Event(), 1.0)
            return error
        return None

    def _wait(self, step: Step, entry: StepLog, watch: _Watch, seen: Observation) -> None:
        """Wait through the watch caches; return when a fresh look is due.

        A cache may say "look" or "keep waiting", never "go" (design section 1, sentence 4).
        """
        cached = replace(self.x, source=self.x.source.cached(), target=self.x.target.cached())
        fresh_at = self.x.clock.monotonic() + FRESH_S
        while self.x.clock.monotonic() < fresh_at:
            if self.x.clock.wait(self.bell, PACE_S):
                self.x.clock.sleep(SETTLE_S)
            self.bell.clear()
            self.before_look()
            peek = self._look(step, cached)
            if peek.state is not seen.state or peek.reason != seen.reason or peek.state is State.UNKNOWN:
                return
            self._note(step, entry, watch, peek)
            if decide(peek, step.limits, watch.tally()) is not Verdict.WAIT:
                return


def stop_error(verdict: Verdict, step: Step, seen: Observation, tally: Tally = Tally()) -> MigrateError:  # noqa: B008 - frozen
    """Make the error that ends a run from the last observation of the step that stopped."""
    problems = seen.problems or (Problem(what=seen.message),)
    problems = tuple(replace(problem, where=problem.where or step.name) for problem in problems)
    match verdict:
        case Verdict.STOP if seen.reason == "Held":
            return Held.of(_whole(problems, seen.reason), reason=seen.reason)
        case Verdict.STOP:
            return Blocked.of(_whole(problems, seen.reason), reason=seen.reason)
        case Verdict.STALL if seen.state is State.UNKNOWN:
            return Unreachable.of(problems, reason=seen.reason)
        case Verdict.STALL:
            first = replace(
                problems[0],
                why=problems[0].why or f"nothing moved for {tally.still_s / 60:.0f} minutes ({seen.reason})",
                now=problems[0].now
                or "find out what it waits for (the pods and events of the object named), then run the same command again",
            )
            return Stalled.of((first, *problems[1:]), reason=_held_up(seen))
        case _ if seen.state is State.NEEDED:
            first = replace(problems[0], why=f"{tally.acts} attempts changed nothing ({seen.reason})")
            return StepFailed.of(_whole((first, *problems[1:]), seen.reason), reason=seen.reason)
        case _:
            return StepFailed.of(_whole(problems, seen.reason), reason=seen.reason)


def _whole(problems: tuple[Problem, ...], reason: str) -> tuple[Problem, ...]:
    """Fill in why and what to do, where a step left them out: the reason's meaning and remedy."""
    known = REASONS.get(reason, Reason(""))
    remedy = known.remedy if known.remedy != NOTHING else "run the same command again; --verbose tells every request"
    return tuple(replace(problem, why=problem.why or known.meaning, now=problem.now or remedy) for problem in problems)


def _held_up(seen: Observation) -> str:
    """Return why a step stands still: the reason of its disks that are on their way, if they have one in common."""
    reasons = {disk.reason for disk in seen.disks if disk.state is State.WAITING}
    return reasons.pop() if len(reasons) == 1 else seen.reason
