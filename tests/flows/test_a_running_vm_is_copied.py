"""`migrate vm --method snapshot`: the source goes on, the copy is one moment of it, proven, and halted."""

from __future__ import annotations

import pytest

from migrate.cli.show_report import report_text
from migrate.lab.kubevirt_guest import read_guest_log
from migrate.model.report import Outcome
from migrate.model.snapshot import Consistency
from tests.flows.conftest import Begin
from tests.flows.flow import Flow

COPY = "snapshot-copy"


def agent_answers(flow: Flow) -> bool:
    conditions = ((flow.instance() or {}).get("status") or {}).get("conditions") or ()
    return any(one["type"] == "AgentConnected" and one["status"] == "True" for one in conditions)


@pytest.mark.parametrize(("agent", "worth"), [(True, Consistency.APPLICATION), (False, Consistency.CRASH)])
def test_a_busy_guest(begin: Begin, agent: bool, worth: Consistency) -> None:
    """It never stops; with an agent the copy is of one moment over all disks, and without one the report says crash-consistent."""
    flow = begin(disks=("root", "data"), strategy="Always", agent=agent, playbook=COPY)
    flow.until(flow.runs)
    if agent:
        flow.until(lambda: agent_answers(flow))
    flow.clock.sleep(30)
    before = flow.instance()
    ending = flow.move()
    report = ending.report
    assert (report.outcome, report.problems) == (Outcome.COPIED, ())
    assert flow.instance()["metadata"]["uid"] == before["metadata"]["uid"]  # type: ignore[index]
    assert flow.vm()["spec"]["runStrategy"] == "Always"  # type: ignore[index]
    assert not flow.runs("west")
    assert flow.vm("west")["spec"]["runStrategy"] == "Halted"  # type: ignore[index]
    assert report.snapshot is not None
    assert report.snapshot.consistency is worth
    assert worth in report_text(report)
    assert [disk.coverage for disk in report.disks] == ["sample", "sample"]
    copied = read_guest_log(flow.file("west", f"{flow.name}-root"))
    assert 0 < copied.last <= read_guest_log(flow.file("east", f"{flow.name}-root")).last
    assert flow.move().report.outcome is Outcome.NOTHING_LEFT
