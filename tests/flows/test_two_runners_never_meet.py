"""One VM, one runner: whoever comes second is told who holds the claim, and changes nothing."""

from __future__ import annotations

import os

from migrate.model.errors import Held
from migrate.model.report import Outcome
from migrate.workflow.run import Ending
from tests.flows.conftest import Begin
from tests.flows.flow import Flow


def test_a_second_runner_is_told_who_holds_the_claim(begin: Begin) -> None:
    """It ends with 5 at once, names the process, and the first one finishes as if nothing had been."""
    flow = begin()
    second: list[Ending] = []
    written: list[str] = []

    def another() -> None:
        written.extend(flow.writes(lambda: second.append(flow.move())))

    flow.when("import-disks", "", another)
    assert flow.move().report.outcome is Outcome.MOVED
    assert written == []
    (ending,) = second
    assert isinstance(ending.error, Held)
    assert (ending.error.exit_code, ending.report.outcome) == (5, Outcome.HELD)
    assert f"process {os.getpid()}" in ending.report.problems[0].what
    assert "Lease" in ending.report.problems[0].where


def test_another_question_about_the_same_vm_waits_too(begin: Begin) -> None:
    """The claim is on the source VM, not on the question: a move to another place is held as well."""
    flow = begin()
    other = Flow(flow.lab, flow.name, to_name=f"{flow.name}-b")
    second: list[Ending] = []
    flow.when("publish-disks", "", lambda: second.append(other.move()))
    assert flow.move().report.outcome is Outcome.MOVED
    other.close()
    assert second[0].report.outcome in (Outcome.HELD, Outcome.BLOCKED)
    assert second[0].error is not None


def test_undo_waits_for_the_runner(begin: Begin) -> None:
    """An undo beside a running move is held too, and takes nothing away from under it."""
    flow = begin()
    second: list[Ending] = []
    flow.when("import-disks", "", lambda: second.append(flow.undo()))
    assert flow.move().report.outcome is Outcome.MOVED
    assert isinstance(second[0].error, Held)
