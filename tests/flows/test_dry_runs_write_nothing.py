"""A dry run looks at everything, names every write, and makes none."""

from __future__ import annotations

from migrate.model.errors import Blocked
from migrate.model.report import Outcome
from migrate.workflow.run import Ending
from tests.flows.conftest import Begin
from tests.flows.flow import Flow


def planned(flow: Flow, **changes: object) -> Ending:
    """Do a dry run, and check that neither cluster counted a write."""
    endings: list[Ending] = []
    before = flow.ours()
    assert flow.writes(lambda: endings.append(flow.plan(**changes))) == []
    assert flow.ours() == before
    return endings[0]


def test_every_write_of_the_move_is_named(begin: Begin) -> None:
    """What a dry run names is what the move then creates, claim, record and the VMs included; the source still runs."""
    flow = begin(disks=("root", "data"))
    report = planned(flow).report
    assert report.outcome is Outcome.PLANNED
    assert report.problems == ()
    assert flow.runs()
    marks = {name: cluster.requests.mark for name, cluster in flow.lab.clusters.items()}
    flow.move()
    kinds = {
        "leases": "Lease",
        "configmaps": "ConfigMap",
        "secrets": "Secret",
        "virtualmachines": "VirtualMachine",
        "virtualmachineexports": "VirtualMachineExport",
        "datavolumes": "DataVolume",
    }
    named = {tuple(line.replace(":", "").split()[:3:2]) for line in report.writes}
    written = {
        (name, kinds[asked.resource])
        for name, cluster in flow.lab.clusters.items()
        for asked in cluster.requests.since(marks[name], user_agent="kubevirt-migrate", sort="write")
    }
    assert written - named == set()
    for disk in ("root", "data"):
        assert f"west: create DataVolume shop/{flow.name}-{disk}" in report.writes


def test_a_namespace_to_be_made_is_named_and_not_made(begin: Begin) -> None:
    """--create-namespace with --dry-run: the namespace is among the writes, and is not there afterwards."""
    from migrate.kube.kinds import NAMESPACE

    flow = begin(to="planned-only")
    report = planned(flow, create_namespace=True).report
    assert report.outcome is Outcome.PLANNED
    assert any("Namespace planned-only" in line for line in report.writes)
    assert flow.west.get(NAMESPACE, "planned-only") is None


def test_a_blocked_move_is_blocked_in_a_dry_run_too(begin: Begin) -> None:
    """What the check finds ends the dry run with the same exit code."""
    flow = begin(to="nowhere")
    ending = planned(flow)
    assert isinstance(ending.error, Blocked)
    assert any("nowhere" in problem.what for problem in ending.report.problems)


def test_a_finished_move_is_told_as_finished(begin: Begin) -> None:
    """A dry run of what was done before says so, and names no write."""
    flow = begin(disks=())
    flow.move()
    report = planned(flow).report
    assert (report.outcome, report.writes) == (Outcome.NOTHING_LEFT, ())
