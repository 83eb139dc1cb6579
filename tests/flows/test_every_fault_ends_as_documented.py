"""docs/faults.md is true: every fault of it is brought about, ends as its row says, and leaves a way on and a way back.

Nothing ends as moved with unequal bytes, and after a stop the target is never seen running.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from migrate.cli.show_report import report_text
from migrate.kube.kinds import CONFIGMAP, LEASE
from migrate.model import labels
from migrate.model.errors import MigrateError, UsageError
from migrate.model.report import Outcome
from migrate.workflow.playbook import STEPS
from migrate.workflow.reporting import unasked
from migrate.workflow.run import Ending
from tests.flows import faults_api, faults_credentials, faults_snapshot, faults_source, faults_target
from tests.flows.conftest import Begin
from tests.flows.fault_table import EVEN_IF_STARTED, Row, rows
from tests.flows.faults import FAULTS, Harm
from tests.flows.flow import Flow

pytestmark = pytest.mark.timeout(400)
ROWS = rows()
QUICK = ("proxy-502", "wrong-disk")
"""Rows that every run of the tests exercises; the others are in `make test-all`."""
GONE = "pid=4194304"
"""One more than the largest process number there can be."""
HERE = "kube" if os.environ.get("LAB_BACKEND") == "kube" else "embedded"


def cases(*, stops: bool) -> list[Any]:
    """Return one parameter for each row and step; for some faults one run meets all their steps."""
    found = [row for row in ROWS if row.stops is stops and (HERE == "embedded" or row.on_kube)]
    return [
        pytest.param(row, step, id=f"{row.id}@{step}" if "," not in step else row.id, marks=() if row.id in QUICK else pytest.mark.slow)
        for row in found
        for step in ((", ".join(row.at),) if row.id in FAULTS and FAULTS[row.id].one_run else row.at)
    ]


def test_the_page_and_the_injectors_are_the_same_faults() -> None:
    """No row without a function that brings it about, no function without a row, and no fewer than 45."""
    assert {row.id for row in ROWS} == set(FAULTS)
    assert len(ROWS) >= 45
    assert all(module.__name__ for module in (faults_api, faults_credentials, faults_snapshot, faults_source, faults_target))


@pytest.mark.parametrize(("row", "step"), cases(stops=False))
def test_a_fault_that_is_borne(begin: Begin, row: Row, step: str) -> None:
    """The move ends well in the one run, and the disks are equal."""
    flow, harm = harmed(begin, row, step)
    before = flow.ours()
    arrived(flow, row, move(flow), before)
    next(harm, None)


@pytest.mark.parametrize(("row", "step"), cases(stops=True))
def test_the_way_on(begin: Begin, row: Row, step: str) -> None:
    """The stop is told as the row says; once the fault is cured, the same command ends well (or an undo and a new move do)."""
    flow, harm = harmed(begin, row, step)
    before = flow.ours()
    stopped(flow, row, step, move(flow))
    if row.way_on != "again":
        next(harm, None)
    if row.way_on == "undo, anew":
        assert flow.undo().report.outcome is Outcome.UNDONE
    arrived(flow, row, move(flow, again=row.way_on == "undo, anew"), before)
    next(harm, None)


@pytest.mark.parametrize(("row", "step"), [case for case in cases(stops=True) if case.values[0].way_back != "–"])
def test_the_way_back(begin: Begin, row: Row, step: str) -> None:
    """After the stop an undo, for some faults once they are cured, leaves both sides as they were."""
    flow, harm = harmed(begin, row, step)
    before, made = flow.theirs(), flow.ours()
    stopped(flow, row, step, move(flow))
    if row.way_back.startswith("cure"):
        next(harm, None)
    assert undone(flow, even_if_started=row.way_back.endswith(EVEN_IF_STARTED))
    assert left(flow, made) == set()
    assert flow.theirs() == before
    if FAULTS[row.id].runs:
        flow.until(flow.runs)
    next(harm, None)


def harmed(begin: Begin, row: Row, step: str) -> tuple[Flow, Harm]:
    """Plant a VM, and do harm. The bytes are compared before the target starts, too: afterwards its guest writes."""
    fault = FAULTS[row.id]
    flow = begin(**fault.wishes)
    if fault.runs:
        flow.until(flow.runs)
    harm = fault.harm(flow, step)
    next(harm)
    return flow, harm


def move(flow: Flow, *, again: bool = False) -> Ending:
    """Move as the command line does; what stops it before the migration is known becomes a report, too."""
    at_start: list[list[str]] = []
    flow.when("start-target", "NotStarted", lambda: at_start.append(flow.unequal()))
    try:
        ending = flow.move(again=again)
    except MigrateError as error:
        ending = Ending(unasked(flow.source, flow.target, error, here=flow.east, there=flow.west), error)
    assert [unequal for unequal in at_start if unequal] == []
    return ending


def arrived(flow: Flow, row: Row, ending: Ending, before: list[str]) -> None:
    """Check that the move ended well: equal disks, a target that runs if the source did, nothing of ours left but what moved.

    A copy is halted, and its source runs if it did; one that runs has gone on writing.
    """
    runs, copies = FAULTS[row.id].runs, flow.playbook == "snapshot-copy"
    assert (ending.report.outcome, ending.report.problems) == (Outcome.COPIED if copies else Outcome.MOVED, ())
    if copies:
        assert runs or flow.unequal() == []
    elif runs:
        assert any(event.step == "start-target" and event.reason == "NotStarted" for event in flow.events)
    else:
        assert flow.unequal() == []
    assert flow.runs("west") is (runs and not copies)
    assert flow.runs() is (runs and copies)
    carried = {"Secret"} if "alter" in FAULTS[row.id].wishes else set()
    assert left(flow, before) == {"DataVolume", "PersistentVolumeClaim", "VirtualMachine"} | carried


def stopped(flow: Flow, row: Row, step: str, ending: Ending) -> None:
    """Check what was told (promise 7), and that the target did not start, unless starting it was what went wrong."""
    report = ending.report
    assert isinstance(ending.error, MigrateError)
    assert (report.outcome.value, ending.error.exit_code, report.reason) == (row.outcome, row.exit_code, row.reason), report.problems
    for problem in report.problems:
        assert all((problem.what, problem.where, problem.why, problem.now)), problem
    text = " ".join(report_text(report).split())
    for words in (*row.told, str(flow.source), str(flow.target), "go on: "):
        assert words in text, text
    assert all(stand.message for stand in (report.source, report.target))
    assert "go back: migrate undo" in text or "changed nothing" in text or "if an earlier run began it" in text
    if STEPS.index(step) < STEPS.index("start-target") if step in STEPS else True:
        assert flow.instance("west") is None
        assert "start-target" not in {event.step for event in flow.events}
    process_ends(flow)


def process_ends(flow: Flow) -> None:
    """Let the process of the run be gone, as it would be after the command: a claim that could not be given up names a dead one."""
    for cluster in (flow.east, flow.west):
        for lease in cluster.list(LEASE):
            words = [GONE if word == f"pid={os.getpid()}" else word for word in lease["spec"]["holderIdentity"].split(" ")]
            cluster.merge(LEASE, lease["metadata"]["name"], {"spec": {"holderIdentity": " ".join(words)}})


def undone(flow: Flow, *, even_if_started: bool) -> bool:
    """Take the move back; a refusal because nothing was begun is as good, since both sides are compared all the same."""
    try:
        return flow.undo(even_if_started=even_if_started).report.outcome is Outcome.UNDONE
    except UsageError:
        return True


def left(flow: Flow, before: list[str]) -> set[str]:
    """Return of what kinds there is more with our mark than before, records aside."""
    records = {f"west: {CONFIGMAP} {one['metadata']['name']}" for one in flow.west.list(CONFIGMAP, labels={labels.ROLE: "record"})}
    return {line.split()[1] for line in set(flow.ours()) - set(before) - records}
