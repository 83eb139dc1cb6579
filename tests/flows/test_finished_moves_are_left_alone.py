"""A finished record closes the case: the same command again tells what was, and touches nothing."""

from __future__ import annotations

import pytest

from migrate.kube.kinds import VM
from migrate.model import labels
from migrate.model.migration import Start
from migrate.model.report import Outcome
from migrate.workflow.run import Ending
from tests.flows.conftest import Begin
from tests.flows.flow import interrupt, status


def test_a_second_run_writes_nothing(begin: Begin) -> None:
    """The report of the second run has the proofs of the first, and the clusters counted no write, not even a dry one."""
    flow = begin(disks=("root", "data"))
    first = flow.move()
    endings: list[Ending] = []
    marks = [cluster.requests.count("dry-run", user_agent="kubevirt-migrate") for cluster in flow.lab.clusters.values()]
    assert flow.writes(lambda: endings.append(flow.move())) == []
    assert marks == [cluster.requests.count("dry-run", user_agent="kubevirt-migrate") for cluster in flow.lab.clusters.values()]
    report = endings[0].report
    assert (endings[0].error, report.outcome) == (None, Outcome.NOTHING_LEFT)
    once, twice = first.report.to_json(), report.to_json()
    assert [once[key] for key in ("migration", "started", "finished")] == [twice[key] for key in ("migration", "started", "finished")]
    assert [(disk.target, disk.digest, disk.coverage) for disk in report.disks] == [
        (disk.target, disk.digest, disk.coverage) for disk in first.report.disks
    ]
    assert all(disk.digest for disk in report.disks)
    assert report.downtime_s == first.report.downtime_s
    assert report.downtime_s


@pytest.mark.slow
@pytest.mark.anywhere
def test_a_source_started_on_purpose_stays_up(begin: Begin) -> None:
    """After a finished move somebody may start the source again: a second run leaves both machines as they are, whatever is asked."""
    flow = begin()
    flow.move(start=Start.NEVER)
    flow.set_strategy("Always")
    flow.until(flow.runs)
    assert flow.writes(lambda: flow.move(start=Start.ALWAYS)) == []
    assert flow.runs()
    assert not flow.runs("west")


@pytest.mark.anywhere
def test_a_source_that_was_deleted_still_has_its_report(begin: Begin) -> None:
    """When the owner removed the source after the move, the same command finds the record by its name."""
    flow = begin()
    first = flow.move()
    flow.east.delete(VM, flow.name)
    flow.until(lambda: flow.vm() is None)
    again = flow.move()
    assert (again.report.outcome, again.report.migration) == (Outcome.NOTHING_LEFT, first.report.migration)
    assert again.report.source.exists is False


@pytest.mark.slow
@pytest.mark.parametrize(("at", "reason"), [("start-target", "HalfUndone"), ("publish-disks", "TargetLost")])
def test_a_way_back_that_was_cut_is_told(begin: Begin, at: str, reason: str) -> None:
    """Told to go back all the same, it ends before the target is stopped, or after it is gone: that is not called finished, neither a start
    nor a retirement is offered, and the same undo goes on."""
    flow = begin()
    flow.move()
    flow.when(at, "", interrupt)
    assert flow.undo(even_if_started=True).report.outcome is Outcome.INTERRUPTED
    endings: list[Ending] = []
    assert flow.writes(lambda: endings.append(flow.move())) == []
    report = endings[0].report
    assert (report.outcome, report.reason) == (Outcome.BLOCKED, reason), report
    assert "migrate undo" in report.problems[0].now
    for now in (report.now, status(flow).now):
        assert [line for line in now if "migrate undo" in line]
        assert not [line for line in now if "migrate retire" in line or "start it when" in line or "run the same command" in line]
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    flow.until(flow.runs)
    assert flow.vm("west") is None


@pytest.mark.slow
def test_a_way_back_that_was_cut_can_be_given_up(begin: Begin) -> None:
    """Whoever keeps the target marks the source again, with the command that is named; then nothing is left to do."""
    flow = begin()
    flow.move()
    flow.east.merge(VM, flow.name, {"metadata": {"annotations": {labels.MOVED_TO: None}}})
    _, _, command = flow.move().report.problems[0].now.partition(" annotate vm ")
    name, note = command.split()
    key, _, value = note.partition("=")
    flow.east.merge(VM, name, {"metadata": {"annotations": {key: value}}})
    assert flow.move().report.outcome is Outcome.NOTHING_LEFT


@pytest.mark.slow
@pytest.mark.anywhere
def test_nothing_but_record_disks_and_vm_remains(begin: Begin) -> None:
    """Exports, tokens, CA, header and claim are gone; the source keeps only its notes."""
    flow = begin(disks=("root",))
    before = flow.ours()
    ending = flow.move()
    disk = f"{flow.name}-root"
    assert sorted(set(flow.ours()) - set(before)) == [
        f"west: ConfigMap migrate-{ending.report.migration}",
        f"west: DataVolume {disk}",
        f"west: PersistentVolumeClaim {disk}",
        f"west: VirtualMachine {flow.name}",
    ]
