"""A source that somebody starts around the end of a move is told in the first line, and never called halted."""

from __future__ import annotations

from migrate.model.migration import Start
from migrate.model.report import Outcome
from tests.flows.conftest import Begin
from tests.flows.flow import Flow


def start(flow: Flow) -> None:
    flow.set_strategy("Always")
    flow.until(flow.runs, what="the start of the source")


def test_a_start_before_the_release_is_no_good_end(begin: Begin) -> None:
    """Between the last look and the mark on the source: the mark is not written, and the run says that both run."""
    flow = begin()
    flow.when("release-source", "NotReleased", lambda: start(flow))
    ending = flow.move()
    assert ending.report.outcome is Outcome.BLOCKED
    assert "both may be running" in " ".join(problem.what for problem in ending.report.problems)


def test_a_start_after_the_move_is_said_by_the_next_look(begin: Begin) -> None:
    """The same command again: nothing is left to do, and the first line is that both run; of a halted source there is no word."""
    flow = begin()
    flow.move()
    start(flow)
    said = flow.move().report.now
    assert said[0].startswith(f"BOTH RUN NOW: {flow.source} and {flow.target}")
    assert not [line for line in said if "halted" in line or "retire" in line]


def test_a_target_is_not_offered_for_a_start_while_the_source_runs(begin: Begin) -> None:
    """Moved with --start never, and the owner went back to the source: nobody is told to start the target."""
    flow = begin(start=Start.NEVER)
    assert [line for line in flow.move().report.now if line.startswith("start it when you are ready")]
    start(flow)
    said = flow.move().report.now
    assert [line for line in said if line.startswith("the source runs, so do not start the target")]
    assert not [line for line in said if "start it when" in line]
