"""The engine walks scripted steps: what it does with every kind of answer, on simulated time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest

from migrate.lab.clock import SimClock
from migrate.model.errors import Blocked, Conflict, Problem, Stalled, StepFailed, Taken, Unreachable
from migrate.model.observation import DiskProgress, Observation, State, blocked, done, failed, needed, waiting
from migrate.steps.base import Crossing, Limits
from migrate.workflow.engine import Engine


class Nowhere:
    """A cluster that scripted steps never ask anything."""

    def cached(self) -> Nowhere:
        return self


@dataclass
class Scripted:
    """A step that answers from a list; the last answer is given for ever. Errors in the list are raised."""

    name: str
    answers: list[Observation | Exception]
    limits: Limits = field(default_factory=lambda: Limits(quiet=timedelta(minutes=10), acts=3))
    until: str | None = None
    act_errors: list[Exception] = field(default_factory=list)
    looks: int = 0
    acts: int = 0

    def observe(self, x: Crossing) -> Observation:
        self.looks += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def act(self, x: Crossing) -> None:
        self.acts += 1
        if self.act_errors:
            raise self.act_errors.pop(0)

    def undo(self, x: Crossing) -> Observation:
        return self.observe(x)


@pytest.fixture
def clock() -> Iterator[SimClock]:
    made = SimClock()
    yield made
    made.close()


def engine(clock: SimClock, *steps: Scripted, shown: list[tuple[str, Observation]] | None = None) -> Engine:
    nowhere = cast(Any, Nowhere())
    x = Crossing(
        migration=cast(Any, None),
        source=nowhere,
        target=nowhere,
        render=cast(Any, None),
        clock=clock,
        works=cast(Any, None),
        runner=cast(Any, None),
        connect=cast(Any, None),
    )
    seen = shown if shown is not None else []
    return Engine(steps=steps, x=x, show=lambda step, one: seen.append((step.name, one)), bell=threading.Event())


DONE = done("Done", "it is done")
NEEDED = needed("Missing", "it is not there")


def test_a_done_step_is_left_alone(clock: SimClock) -> None:
    """A step that is done is looked at once and never acted on."""
    step = Scripted("one", [DONE])
    engine(clock, step).run()
    assert (step.looks, step.acts) == (1, 0)


def test_needed_then_waiting_then_done(clock: SimClock) -> None:
    """NEEDED is answered with one act; waiting goes on through the caches, and advancing takes a fresh look."""
    step = Scripted("one", [NEEDED, waiting("Working", "on its way"), waiting("Working", "on its way"), DONE])
    engine(clock, step).run()
    assert step.acts == 1
    assert step.looks == 5, "needed, waiting, a peek that waits, a peek that is done, the fresh look"


def test_acts_that_change_nothing_are_bounded(clock: SimClock) -> None:
    """A step that stays NEEDED after its limit of acts fails with the number of attempts."""
    step = Scripted("one", [NEEDED])
    with pytest.raises(StepFailed, match="3 attempts changed nothing"):
        engine(clock, step).run()
    assert step.acts == 3


def test_acts_that_move_something_are_not_counted(clock: SimClock) -> None:
    """The limit of acts counts those in a row that changed nothing, so many disks may need many acts."""
    step = Scripted("one", [needed("Missing", f"{n} to go").but(progress=n / 10) for n in range(9)] + [DONE])
    engine(clock, step).run()
    assert step.acts == 9


def test_standing_still_is_a_stall(clock: SimClock) -> None:
    """Ten minutes without a change stall, and the error says what was waited for."""
    began = clock.monotonic()
    with pytest.raises(Stalled, match="on its way"):
        engine(clock, Scripted("one", [waiting("Working", "on its way")])).run()
    assert 600 <= clock.monotonic() - began < 700


def test_a_stall_has_the_reason_that_its_disks_share(clock: SimClock) -> None:
    """What all disks that are on their way wait for is why the step stands still; else the step's own word."""
    stuck, well = DiskProgress("a", State.WAITING, "ClaimUnbound"), DiskProgress("b", State.DONE, "DiskCopied")
    other = DiskProgress("c", State.WAITING, "ScratchSpace")
    for disks, reason in (((stuck, well), "ClaimUnbound"), ((stuck, other), "Importing"), ((), "Importing")):
        with pytest.raises(Stalled) as caught:
            engine(clock, Scripted("one", [waiting("Importing", "on its way", disks=disks)])).run()
        assert caught.value.reason == reason


def test_slow_progress_is_no_stall(clock: SimClock) -> None:
    """A step may take hours as long as something moves."""
    steps = [waiting("Working", "on its way", progress=n / 2000) for n in range(2000)]
    engine(clock, Scripted("one", [*steps, DONE])).run()


def test_silence_of_a_cluster_ends_as_unreachable(clock: SimClock) -> None:
    """Losing contact is not failure: it is waited out, and named for what it is when it lasts."""
    step = Scripted("one", [Unreachable("no answer", where="east", why="refused", now="mend the network")])
    with pytest.raises(Unreachable) as caught:
        engine(clock, step).run()
    assert caught.value.problems == (Problem("no answer", "east", "refused", "mend the network"),)
    assert caught.value.reason == "Unreachable"
    step = Scripted("one", [Unreachable("no answer"), Unreachable("no answer"), DONE])
    engine(clock, step).run()


def test_blocked_stops_at_once_with_every_problem(clock: SimClock) -> None:
    """BLOCKED ends the run with all problems, unless the step is willing to keep looking."""
    both = blocked("Two", Problem("first", now="do this"), Problem("second", now="do that"))
    with pytest.raises(Blocked) as caught:
        engine(clock, Scripted("one", [both])).run()
    assert [problem.what for problem in caught.value.problems] == ["first", "second"]
    patient = Limits(quiet=timedelta(minutes=10), acts=1, blocked=timedelta(minutes=5))
    engine(clock, Scripted("one", [both, both, DONE], limits=patient)).run()


def test_failed_gives_up_with_the_words_of_the_step(clock: SimClock) -> None:
    """FAILED ends the run with the step's own problem."""
    with pytest.raises(StepFailed, match="the disk is bad"):
        engine(clock, Scripted("one", [failed("Bad", Problem("the disk is bad"))])).run()


def test_a_conflict_or_a_lost_answer_is_looked_at_again(clock: SimClock) -> None:
    """A write that met a conflict, or whose answer was lost, is followed by a fresh look, never by a blind repeat."""
    step = Scripted("one", [NEEDED, NEEDED, DONE], act_errors=[Conflict("changed"), Unreachable("lost")])
    engine(clock, step).run()
    assert step.acts == 2


def test_what_an_act_met_is_said_when_no_look_shows_better(clock: SimClock) -> None:
    """A write that is never answered ends with the words of its error and its exit code, not with "attempts changed nothing"."""
    lost = [Unreachable("the export host does not answer", where="localhost")] * 3
    with pytest.raises(Unreachable, match="export host"):
        engine(clock, Scripted("one", [NEEDED], act_errors=list(lost))).run()


def test_a_taken_name_is_blocked(clock: SimClock) -> None:
    """A name that is taken by an object that is not ours needs a person."""
    with pytest.raises(Blocked, match="name is taken"):
        engine(clock, Scripted("one", [NEEDED], act_errors=[Taken("the name is taken")])).run()


def test_scaffolding_is_not_rebuilt_after_its_purpose(clock: SimClock) -> None:
    """A step that holds until another is done is skipped once that one is done, even if its own objects are gone."""
    scaffold = Scripted("publish", [NEEDED], until="prove")
    engine(clock, scaffold, Scripted("prove", [DONE])).run()
    assert scaffold.acts == 0


def test_undo_walks_backwards_until_every_step_is_gone(clock: SimClock) -> None:
    """Undo asks the last step first, waits for each, and stops at one that must not be undone."""
    shown: list[tuple[str, Observation]] = []
    engine(clock, Scripted("one", [DONE]), Scripted("two", [waiting("Deleting", "going"), DONE]), shown=shown).undo()
    assert [name for name, _ in shown] == ["two", "two", "one"]
    with pytest.raises(Blocked, match="started"):
        engine(clock, Scripted("one", [DONE]), Scripted("two", [blocked("TargetStarted", Problem("it was started"))])).undo()
