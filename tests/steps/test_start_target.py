"""start-target: as the source was, in any case, or not at all; never with a stale disk, never twice."""

from __future__ import annotations

import pytest

from migrate.kube.kinds import DATAVOLUME, VMI
from migrate.model import labels
from migrate.model.migration import Start, Verify
from migrate.model.observation import State
from migrate.workflow.possible import impossible
from tests.steps.conftest import Stage

STEP = "start-target"
BEFORE = "verify-disks"


def test_a_target_is_started_as_its_source_ran_but_never_unproven(stage: Stage) -> None:
    """A disk without proof: BLOCKED DisksNotProven. With it: disks are marked, then one write starts; DONE when it runs; then no write."""
    scene = stage(strategy="Always", verify=Verify.SIZE).to(BEFORE)
    proof = scene.west.get(DATAVOLUME, scene.disks[0])["metadata"]["annotations"][labels.PROOF]
    for text, reason in ((None, "DisksNotProven"), (proof, "StartToNote")):
        scene.west.merge(DATAVOLUME, scene.disks[0], {"metadata": {"annotations": {labels.PROOF: text}}})
        seen = scene.look(STEP)
        assert seen.reason == reason
        assert seen.state is State.NEEDED or scene.disks[0] in seen.problems[0].what
    assert scene.writes(lambda: scene.walk(STEP)) == ["patch datavolumes", "patch virtualmachines"]
    vm = scene.vm(scene.west)
    assert vm["spec"]["runStrategy"] == "Always"
    assert labels.STARTED in vm["metadata"]["annotations"]
    assert scene.phase(scene.west) == "Running"
    assert scene.writes(lambda: scene.walk(STEP)) == []


def test_manual_comes_after_always(stage: Stage) -> None:
    """Manual alone starts nothing and a start request takes no precondition, so Always brings the instance up and Manual follows."""
    scene = stage(disks=(), strategy="Manual")
    scene.start(scene.east)
    scene.to(BEFORE)
    assert scene.writes(lambda: scene.walk(STEP)) == ["patch virtualmachines", "patch virtualmachines"]
    assert scene.vm(scene.west)["spec"]["runStrategy"] == "Manual"
    assert scene.phase(scene.west) == "Running"


@pytest.mark.parametrize(
    ("strategy", "start", "wanted"),
    [
        ("Always", Start.NEVER, "Halted"),
        ("Halted", Start.AUTO, "Halted"),
        ("Manual", Start.AUTO, "Manual"),
        ("Halted", Start.ALWAYS, "Always"),
    ],
)
def test_the_wish_decides(stage: Stage, strategy: str, start: Start, wanted: str) -> None:
    """auto: as it was; always: started in any case; never: left halted."""
    scene = stage(disks=(), strategy=strategy, start=start).to(STEP)
    assert scene.vm(scene.west)["spec"]["runStrategy"] == wanted
    assert (scene.phase(scene.west) == "Running") == (wanted == "Always")


def test_a_start_that_was_seen_is_not_forgotten(stage: Stage) -> None:
    """Manual: neither a start request nor a stop changes its run strategy; who looked in between has noted it on the disks."""
    scene = stage(strategy="Manual", verify=Verify.SIZE).to(STEP)
    scene.start(scene.west)
    assert scene.look(STEP).reason == "StartToNote"
    assert scene.writes(lambda: scene.walk(STEP)) == ["patch datavolumes"]
    scene.stop(scene.west)
    refused = scene.undo(STEP)
    assert (refused.state, refused.reason) == (State.BLOCKED, "TargetStarted")
    assert "note of a start" in refused.problems[0].why
    assert "was started, so its disks cannot be compared" in " ".join(problem.what for problem in impossible(scene.x))
    scene.west.merge(DATAVOLUME, scene.disks[0], {"metadata": {"annotations": {labels.PROOF: None}}})
    assert scene.look("verify-disks").reason == "TargetStarted"


def test_a_source_started_by_somebody_is_never_joined(stage: Stage) -> None:
    """BLOCKED, and no instance on the target."""
    scene = stage(disks=(), strategy="Always").to(BEFORE)
    scene.start(scene.east)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "SourceStartedAgain")
    assert scene.writes(lambda: scene.act(STEP)) == []
    assert scene.west.get(VMI, scene.name) is None


def test_a_source_started_after_the_start_is_said_at_once(stage: Stage) -> None:
    """Both run, by no act of ours: BLOCKED, not DONE."""
    scene = stage(disks=(), strategy="Always").to(STEP)
    scene.start(scene.east)
    assert scene.look(STEP).reason == "SourceStartedAgain"


def test_what_somebody_stopped_is_not_started_again(stage: Stage) -> None:
    """A target that was started and then halted by a person is BLOCKED, never started twice by us."""
    scene = stage(disks=(), strategy="Always").to(STEP)
    scene.stop(scene.west)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "TargetStoppedAgain")


def test_a_started_target_cannot_be_undone(stage: Stage) -> None:
    """Even stopped again its disks may hold new data: undo says so, for this step and those before."""
    scene = stage(disks=(), strategy="Always").to(STEP)
    scene.stop(scene.west)
    for step in (STEP, "verify-disks", "create-target", "import-disks", "stop-source"):
        seen = scene.undo(step)
        assert (step, seen.state, seen.reason) == (step, State.BLOCKED, "TargetStarted")


def test_a_manual_target_that_was_stopped_is_not_started_again(stage: Stage) -> None:
    """Its start was asked once; whoever stopped it since decides: BLOCKED TargetStoppedAgain, and nothing is written."""
    scene = stage(disks=(), strategy="Manual")
    scene.start(scene.east)
    scene.to(STEP)
    scene.stop(scene.west)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "TargetStoppedAgain")
    assert scene.writes(lambda: scene.act(STEP)) == []


@pytest.mark.parametrize("step", ["start-target", "release-source", "stop-source"])
def test_a_source_started_after_the_target_must_be_stopped_at_once(stage: Stage, step: str) -> None:
    """Both may run: that is said, and an undo is not advised, since the target's guest writes already."""
    scene = stage(disks=(), strategy="Always").to(STEP)
    scene.start(scene.east)
    seen = scene.look(step)
    assert (seen.state, seen.reason) == (State.BLOCKED, "SourceStartedAgain")
    said = seen.problems[0]
    assert "both may be running" in said.what
    assert "stop the source at once" in said.now
    assert "undo" not in said.now
