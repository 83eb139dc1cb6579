"""One VM, one runner: whoever comes second is told who holds the claim, and changes nothing."""

from __future__ import annotations

import os

from migrate.kube.kinds import LEASE
from migrate.model import labels
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


def test_two_sources_never_become_one_machine(begin: Begin) -> None:
    """The name of the target is claimed before the first source is halted: who wants it too is told by whom, and goes on running."""
    first, second = begin(disks=(), to_name="one"), begin(disks=(), to_name="one")
    for flow in (first, second):
        flow.until(flow.runs)
    others: list[Ending] = []
    first.when("stop-source", "NotHalted", lambda: others.append(second.move()))
    assert first.move().report.outcome is Outcome.MOVED
    (ending,) = others
    assert isinstance(ending.error, Held)
    assert "claim on the target's name" in ending.report.problems[0].what
    assert f"process {os.getpid()}" in ending.report.problems[0].what
    assert "since" in ending.report.problems[0].why
    assert second.runs()
    assert not [note for note in (second.vm() or {})["metadata"].get("annotations") or {} if note.startswith(labels.PREFIX)]
    second_try = second.move()
    assert second_try.report.outcome is Outcome.BLOCKED
    assert second.runs()


def test_a_runner_whose_claim_was_removed_stops(begin: Begin) -> None:
    """Whoever deletes the Lease of a running move ends it: it is told, nothing more is written to a VM, and the next run goes on."""
    flow = begin()
    flow.lab.west.trouble.set("importer", "delay", seconds=60, times=1)

    def remove() -> None:
        for lease in flow.east.list(LEASE):
            flow.east.delete(LEASE, lease["metadata"]["name"])

    flow.when("import-disks", "Importing", remove)
    ending = flow.move()
    assert isinstance(ending.error, Held)
    assert "lost the claim on the source VM" in ending.report.problems[0].what
    assert flow.move().report.outcome is Outcome.MOVED
