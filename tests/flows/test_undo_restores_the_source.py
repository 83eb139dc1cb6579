"""Going back: from wherever a move stopped, the source is as it was and nothing of ours is left but the record."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.kube.kinds import DATAVOLUME, PVC, VM
from migrate.model import labels
from migrate.model.errors import MigrateError, UsageError
from migrate.model.migration import OnFailure, Start
from migrate.model.objects import uid_of
from migrate.model.report import Outcome
from migrate.workflow import playbook
from tests.flows.conftest import Begin
from tests.flows.flow import Flow, interrupt
from tests.machines import disk

pytestmark = pytest.mark.slow

POINTS = [
    "check-both",
    "claim-source",
    "prepare-target",
    "claim-target",
    "carry-references",
    "stop-source",
    "publish-disks",
    "import-disks",
    "create-target",
    "verify-disks",
    "start-target",
]


def spelled(flow: Flow) -> dict[str, Any]:
    """Return how the source spells whether it runs."""
    vm = flow.vm()
    assert vm is not None
    return {key: vm["spec"][key] for key in ("running", "runStrategy") if key in vm["spec"]}


def as_it_was(flow: Flow, before: list[str]) -> None:
    """Check that nothing of a migration is left but its record, and that the source carries no note."""
    vm = flow.vm()
    assert vm is not None
    assert not [note for note in vm["metadata"].get("annotations") or {} if note.startswith(labels.PREFIX)]
    left = {line for line in flow.ours() if flow.name in line or "ConfigMap" not in line} - set(before)
    assert left == set()
    assert flow.vm("west") is None


def refused(flow: Flow) -> None:
    """Ask for an undo where there is nothing to undo."""
    with pytest.raises(UsageError):
        flow.undo()


@pytest.mark.parametrize(
    "strategy",
    ["running", "RerunOnFailure", *(pytest.param(word, marks=pytest.mark.slow) for word in ("Always", "Manual", "Once", "Halted"))],
)
def test_a_failed_move_restores_every_strategy(begin: Begin, strategy: str) -> None:
    """--on-failure undo: spec and spelling are as before, the guest runs again if it ran, what we made is gone."""
    flow = begin(strategy=strategy, on_failure=OnFailure.UNDO)
    if strategy == "Manual":
        flow.east.call("PUT", f"/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines/{flow.name}/start", {})
        flow.until(flow.runs)
    before, ran, ours = spelled(flow), flow.runs(), flow.ours()
    flow.lab.east.trouble.set("links", "refuse")
    ending = flow.move()
    assert isinstance(ending.error, MigrateError)
    assert ending.report.outcome is Outcome.UNDONE
    assert ending.report.problems
    assert spelled(flow) == before
    if ran:
        flow.until(flow.runs)
    as_it_was(flow, ours)


@pytest.mark.parametrize(
    "point",
    [
        "import-disks",
        "start-target",
        *(pytest.param(word, marks=pytest.mark.slow) for word in POINTS if word not in ("import-disks", "start-target")),
    ],
)
@pytest.mark.anywhere
def test_undo_from_every_point(begin: Begin, point: str) -> None:
    """A run that was interrupted in a step is taken back by `undo`: all is as before, and a second undo changes nothing.

    Where nothing was begun yet, undo says so and writes nothing.
    """
    flow = begin(disks=("root", "data"))
    flow.until(flow.runs)
    ours, before = flow.ours(), flow.theirs()

    flow.when(point, "", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    if point in POINTS[:3]:
        assert flow.writes(lambda: refused(flow)) == []
    else:
        assert flow.undo().report.outcome is Outcome.UNDONE
        assert flow.writes(flow.undo) == []
    flow.until(flow.runs)
    as_it_was(flow, ours)
    assert flow.theirs() == before


def test_undo_of_a_copy_from_every_point(begin: Begin) -> None:
    """The source goes on, untouched; each attempt that was interrupted in another step leaves nothing once it is undone."""
    flow = begin(disks=("root", "data"), playbook="snapshot-copy")
    flow.until(flow.runs)
    ours, before, instance = flow.ours(), flow.theirs(), uid_of(flow.instance() or {})
    steps = [step.name for step in playbook.load("snapshot-copy").steps]
    for point in steps[steps.index("claim-target") :]:
        flow.when(point, "", interrupt)
        assert flow.move(again=point != "claim-target").report.outcome is Outcome.INTERRUPTED, point
        assert flow.undo().report.outcome is Outcome.UNDONE, point
        as_it_was(flow, ours)
        assert flow.theirs() == before, point
    assert uid_of(flow.instance() or {}) == instance


@pytest.mark.anywhere
def test_an_undone_move_can_be_asked_anew(begin: Begin) -> None:
    """`--again` after an undo is a new attempt with a new id, and arrives whole; without it the record is told."""
    flow = begin(start=Start.NEVER)

    flow.when("verify-disks", "", interrupt)
    first = flow.move().report
    flow.undo()
    assert flow.writes(flow.move) == []
    again = flow.move(again=True).report
    assert again.outcome is Outcome.MOVED
    assert (again.attempt, again.migration != first.migration) == (2, True)
    assert flow.unequal() == []


@pytest.mark.anywhere
def test_undo_is_refused_once_the_target_was_started(begin: Begin) -> None:
    """The target's disks hold what the source never saw, so nothing is undone, on either side."""
    flow = begin()

    flow.when("release-source", "", interrupt)
    flow.move()
    assert flow.runs("west")
    ending = flow.undo()
    assert ending.report.outcome is Outcome.BLOCKED
    assert "was started" in ending.report.problems[0].what
    assert flow.runs("west")
    assert not flow.runs()


@pytest.mark.anywhere
def test_undo_goes_back_even_if_started_when_told(begin: Begin) -> None:
    """With that said, the target is stopped before its disks go and before the source starts; the refusal had named what is lost."""
    flow = begin(disks=("root", "data"))
    flow.until(flow.runs)
    ours, before = flow.ours(), flow.theirs()
    flow.move()
    assert flow.runs("west")
    refused = flow.undo()
    assert refused.report.outcome is Outcome.BLOCKED
    said = refused.report.problems[0]
    assert all(f"{flow.name}-{disk}" in said.why for disk in ("root", "data"))
    assert "--even-if-started" in said.now
    flow.when("create-target", "", lambda: never_both(flow))
    flow.when("stop-source", "", lambda: never_both(flow))
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    flow.until(flow.runs)
    as_it_was(flow, ours)
    assert flow.theirs() == before


def test_a_disk_that_somebody_gave_the_target_stays(begin: Begin) -> None:
    """The target VM owns a disk that is none of ours, from a template: an undo that was told to leaves it, and names it at the end."""
    flow = begin(start=Start.NEVER)
    assert flow.move().report.outcome is Outcome.MOVED
    vm, extra = flow.vm("west"), f"{flow.name}-extra"
    assert vm is not None
    guest = vm["spec"]["template"]["spec"]
    guest["volumes"].append({"name": "extra", "dataVolume": {"name": extra}})
    guest["domain"]["devices"]["disks"].append({"name": "extra", "disk": {"bus": "virtio"}})
    made_of = [{"metadata": {"name": extra}, "spec": disk(extra)["spec"]}]
    flow.west.merge(VM, flow.name, {"spec": {"dataVolumeTemplates": made_of, "template": {"spec": guest}}})
    flow.until(lambda: (flow.west.get(PVC, extra) or {}).get("status", {}).get("phase") == "Bound")
    report = flow.undo(even_if_started=True).report
    assert report.outcome is Outcome.UNDONE
    assert f"owned by the target VM and not ours, so it stays: DataVolume {extra}" in report.now
    flow.lab.clock.sleep(30)
    assert flow.west.get(PVC, extra) is not None
    flow.west.delete(DATAVOLUME, extra)


def never_both(flow: Flow) -> None:
    assert flow.instance("west") is None
    assert flow.instance() is None


def test_a_finished_move_that_started_nothing_is_undone_when_told(begin: Begin) -> None:
    """Nobody watched the target since the move was finished, so it may have run: undo is refused, and done when told."""
    flow = begin(start=Start.NEVER)
    flow.until(flow.runs)
    ours, before = flow.ours(), flow.theirs()
    assert flow.move().report.outcome is Outcome.MOVED
    assert flow.undo().report.outcome is Outcome.BLOCKED
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    flow.until(flow.runs)
    as_it_was(flow, ours)
    assert flow.theirs() == before


@pytest.mark.anywhere
def test_undo_before_anything_began(begin: Begin) -> None:
    """Taking back a move that nobody began is refused, writes nothing and leaves the source running as it is."""
    flow = begin()
    assert flow.writes(lambda: refused(flow)) == []
    assert flow.runs()
    assert spelled(flow) == {"runStrategy": "Always"}


@pytest.mark.anywhere
def test_the_last_copies_are_never_undone(begin: Begin) -> None:
    """With the source deleted in the middle of its move, undo deletes none of the copies, told or not."""
    flow = begin()

    def delete() -> None:
        flow.east.delete(VM, flow.name)
        flow.until(lambda: flow.vm() is None)

    flow.when("create-target", "", delete)
    assert flow.move().report.outcome is Outcome.BLOCKED
    for told in (False, True):
        ending = flow.undo(even_if_started=told)
        assert ending.report.outcome is Outcome.BLOCKED
        assert "all that is left" in ending.report.problems[0].what
    assert flow.west.get(DATAVOLUME, f"{flow.name}-root") is not None


def test_a_disk_that_the_source_lost_meanwhile_is_removed_too(begin: Begin) -> None:
    """Undo goes by the disks that were recorded, not by those that the VM has now."""
    flow = begin(disks=("root", "data"))
    ours = flow.ours()

    def unplug() -> None:
        vm = flow.vm()
        assert vm is not None
        spec = vm["spec"]["template"]["spec"]
        kept = {"volumes": spec["volumes"][:1], "domain": {"devices": {"disks": spec["domain"]["devices"]["disks"][:1]}}}
        flow.east.merge(VM, flow.name, {"spec": {"template": {"spec": kept}}})

    flow.when("create-target", "", unplug)
    assert flow.move().report.outcome is Outcome.BLOCKED
    assert flow.undo().report.outcome is Outcome.UNDONE
    assert {line for line in set(flow.ours()) - set(ours) if "ConfigMap" not in line} == set()
