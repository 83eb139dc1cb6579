"""`migrate vm --method snapshot`: the source goes on, the copy is one moment of it, proven, and halted."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest

from migrate.cli.show_report import report_text
from migrate.kube.kinds import DATAVOLUME, PVC, SECRET, SNAPSHOT, VM
from migrate.lab import guest_journal
from migrate.lab.kubevirt_guest import read_guest_log
from migrate.model import labels
from migrate.model.errors import Blocked
from migrate.model.migration import Identity, Names, Start, Verify
from migrate.model.observation import State
from migrate.model.report import Outcome
from migrate.model.snapshot import Consistency
from migrate.workflow.afterwards import Afterwards
from migrate.workflow.ask import Question
from migrate.workflow.cleanup import Leftovers, Rules, leftovers
from tests.case_files import words_of
from tests.flows.conftest import Begin
from tests.flows.crash import bury
from tests.flows.exhibits import secret, volume
from tests.flows.flow import Flow
from tests.machines import disk

COPY = "snapshot-copy"


def interrupt() -> None:
    raise KeyboardInterrupt


def die() -> None:
    raise SystemExit


def agent_answers(flow: Flow) -> bool:
    conditions = ((flow.instance() or {}).get("status") or {}).get("conditions") or ()
    return any(one["type"] == "AgentConnected" and one["status"] == "True" for one in conditions)


def snapshot_name(flow: Flow) -> str:
    return Names.of(flow.events[-1].migration, "").snapshot


def snapshot(flow: Flow) -> str:
    """Return the uid of the snapshot, "" if there is none."""
    found = flow.east.get(SNAPSHOT, snapshot_name(flow))
    return str(found["metadata"]["uid"]) if found is not None else ""


def found(flow: Flow, *, remove: bool = False) -> Leftovers:
    """Return what `migrate cleanup` finds, and remove it if that is said."""
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        left = leftovers(source, target, rules=Rules(timedelta(0)), clock=flow.clock, everywhere=(False, False))
        for one in left.found if remove else ():
            one.remove()
        return left


def doomed(left: Leftovers) -> list[str]:
    """Name the snapshots that would be removed."""
    return [str(one.object["metadata"]["name"]) for one in left.found if one.kind is SNAPSHOT]


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "worth"), [(True, Consistency.APPLICATION), (False, Consistency.CRASH)])
def test_a_busy_guest(begin: Begin, agent: bool, worth: Consistency) -> None:
    """It never stops; with an agent the copy is of one moment over all disks, and without one the report says crash-consistent."""
    flow = begin(disks=("root", "data"), strategy="Always", agent=agent, journal_s=1.0, playbook=COPY)
    flow.until(flow.runs)
    flow.until(lambda: read_guest_log(flow.file("east", f"{flow.name}-root")).last > 0)
    if agent:
        flow.until(lambda: agent_answers(flow))
    before = flow.instance()
    ending = flow.move()
    report = ending.report
    assert (report.outcome, report.problems) == (Outcome.COPIED, ())
    assert flow.instance()["metadata"]["uid"] == before["metadata"]["uid"]  # type: ignore[index]
    assert flow.vm()["spec"]["runStrategy"] == "Always"  # type: ignore[index]
    assert not [note for note in flow.vm()["metadata"]["annotations"] if note.startswith(labels.PREFIX)]  # type: ignore[index]
    assert not flow.runs("west")
    assert flow.vm("west")["spec"]["runStrategy"] == "Halted"  # type: ignore[index]
    assert report.snapshot is not None
    assert report.snapshot.consistency is worth
    assert worth in report_text(report)
    assert [one.coverage for one in report.disks] == ["sample", "sample"]
    copied = [flow.file("west", f"{flow.name}-{word}") for word in ("root", "data")]
    assert 0 < read_guest_log(copied[0]).last <= read_guest_log(flow.file("east", f"{flow.name}-root")).last
    if agent:
        assert guest_journal.consistency(copied) is guest_journal.Consistency.APPLICATION
    assert flow.move().report.outcome is Outcome.NOTHING_LEFT


@pytest.mark.slow
@pytest.mark.parametrize("identity", [Identity.AUTO, Identity.KEEP])
def test_a_copy_is_started_only_when_asked(begin: Begin, identity: Identity) -> None:
    """`--start always` sets it going as the source was; the source goes on, too, which is an alarm if both are one machine."""
    flow = begin(strategy="Always", playbook=COPY, identity=identity)
    flow.until(flow.runs)
    ending = flow.move(start=Start.ALWAYS)
    assert ending.report.outcome is Outcome.COPIED
    assert (flow.runs(), flow.runs("west")) == (True, True)
    assert any(line.startswith("BOTH RUN NOW") for line in ending.report.now) is (identity is Identity.KEEP)
    refused = flow.undo()
    assert (refused.report.outcome, refused.report.reason) == (Outcome.BLOCKED, "TargetStarted")


def test_a_vm_that_is_off(begin: Begin) -> None:
    """A dry run lists the snapshot and writes nothing; then every disk is equal, and nothing is left of what made the copy."""
    flow = begin(disks=("root", "data"), strategy="Halted", playbook=COPY)
    plan: list[str] = []
    assert flow.writes(lambda: plan.extend(flow.plan().report.writes)) == []
    assert any("create VirtualMachineSnapshot" in line for line in plan)
    assert any("delete VirtualMachineSnapshot" in line for line in plan)
    ending = flow.move()
    assert (ending.report.outcome, ending.report.problems) == (Outcome.COPIED, ())
    assert flow.unequal() == []
    assert "consistent (the VM did not run)" in report_text(ending.report)
    assert {line.split()[1] for line in flow.ours() if line.startswith("east")} == set()
    assert [one["metadata"]["name"] for one in flow.east.list(PVC) if one["metadata"]["name"].startswith("migrate-")] == []


def test_a_vm_without_disks(begin: Begin) -> None:
    """Its definition is copied, from the snapshot as well."""
    shown = [{"name": "root", "containerDisk": {"image": "quay.io/demo"}}]
    flow = begin(disks=(), strategy="Halted", volumes=shown, playbook=COPY)
    assert flow.move().report.outcome is Outcome.COPIED
    assert flow.vm("west") is not None
    assert snapshot(flow) == ""


@pytest.mark.slow
def test_a_stop_keeps_the_snapshot_that_disks_are_of(begin: Begin) -> None:
    """The next run goes on with the same one, whatever the source has become; an undo removes all, and leaves the source alone."""
    flow = begin(strategy="Halted", playbook=COPY)
    for reason in ("Importing", "ImportingBlind", "DiskPending", "DiskCopied"):
        flow.when("import-disks", reason, interrupt)
    ending = flow.move()
    assert ending.report.outcome is Outcome.INTERRUPTED
    assert any(line.startswith("stays: ") and "snapshot" in line for line in ending.report.now)
    before = snapshot(flow)
    assert before
    assert snapshot_name(flow) not in doomed(found(flow))
    assert "disks on the target are copies of it" in " ".join(found(flow).spared)
    flow.lab.plant([disk(f"{flow.name}-more")])
    more = [{"op": "add", "path": "/spec/template/spec/volumes/-", "value": {"name": "more", "dataVolume": {"name": f"{flow.name}-more"}}}]
    more += [{"op": "add", "path": "/spec/template/spec/domain/devices/disks/-", "value": {"name": "more", "disk": {"bus": "virtio"}}}]
    flow.east.patch(VM, flow.name, more)
    flow._meddles.clear()
    flow.when("verify-disks", State.NEEDED, interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    vm = flow.vm()
    assert snapshot(flow) == before
    assert flow.undo().report.outcome is Outcome.UNDONE
    assert (flow.vm("west"), snapshot(flow), flow.west.get(DATAVOLUME, f"{flow.name}-root")) == (None, "", None)
    assert flow.vm()["spec"] == vm["spec"]  # type: ignore[index]


@pytest.mark.slow
def test_what_the_vm_named_then_travels(begin: Begin) -> None:
    """The copy names, and the target gets, what the snapshot names, and not what the source names when the run goes on."""

    def alter(name: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
        volume(secret={"secretName": "NAME"})(spec, f"{name}-then")
        return [secret(f"{name}-{word}") for word in ("then", "now")]

    flow = begin(strategy="Halted", playbook=COPY, alter=alter)
    flow.when("verify-disks", State.NEEDED, interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    spec = flow.vm()["spec"]["template"]["spec"]  # type: ignore[index]
    volumes = [{**one, "secret": {"secretName": f"{flow.name}-now"}} if "secret" in one else one for one in spec["volumes"]]
    flow.east.merge(VM, flow.name, {"spec": {"template": {"spec": {"volumes": volumes}}}})
    ending = flow.move()
    assert (ending.report.outcome, ending.report.problems) == (Outcome.COPIED, ())
    assert f"'{flow.name}-then'" in str(flow.vm("west")["spec"])  # type: ignore[index]
    assert [flow.west.get(SECRET, f"{flow.name}-{word}") is not None for word in ("then", "now")] == [True, False]
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    assert flow.west.get(SECRET, f"{flow.name}-then") is None


@pytest.mark.slow
def test_a_snapshot_that_nothing_is_of_goes_with_the_run(begin: Begin) -> None:
    """The next run takes a fresh one."""
    flow = begin(strategy="Halted", playbook=COPY)
    flow.when("publish-disks", "ExportPending", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    flow.until(lambda: not snapshot(flow))
    assert flow.move().report.outcome is Outcome.COPIED


@pytest.mark.slow
def test_a_snapshot_that_is_kept(begin: Begin) -> None:
    """It is no leftover; the copy can be compared with it once more, and is not retired; an undo that was told to removes all."""
    flow = begin(strategy="Halted", playbook=COPY, keep_snapshot=True)
    ending = flow.move()
    kept = snapshot(flow)
    assert kept
    assert f"snapshot {snapshot_name(flow)} is kept" in " ".join(ending.report.now)
    assert snapshot_name(flow) not in doomed(found(flow))
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        question = Question(flow.source, flow.target, playbook=COPY)
        afterwards = Afterwards(question, source=source, target=target, clock=flow.clock)
        assert afterwards.prove(Verify.FULL, flow._show).report.outcome is Outcome.PROVEN
        with pytest.raises(Blocked, match="was copied, not moved"):
            afterwards.to_retire()
    assert snapshot(flow) == kept
    refused = flow.undo()
    assert (refused.report.outcome, refused.report.reason) == (Outcome.BLOCKED, "TargetStarted")
    assert "nobody watched the target since" in words_of(refused.report.problems)
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    assert (snapshot(flow), flow.vm("west")) == ("", None)


@pytest.mark.slow
def test_a_leftover_snapshot_is_cleaned_up(begin: Begin) -> None:
    """A runner that died before any disk was made leaves one that nobody needs."""
    flow = begin(strategy="Halted", playbook=COPY)
    flow.when("publish-disks", "TokenMissing", die)
    with pytest.raises(SystemExit):
        flow.move()
    assert snapshot(flow)
    bury((flow.east, flow.west))
    assert doomed(found(flow, remove=True)) == [snapshot_name(flow)]
    flow.until(lambda: not snapshot(flow))
    assert flow.move().report.outcome is Outcome.COPIED
