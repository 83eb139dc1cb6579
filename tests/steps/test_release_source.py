"""release-source: the source says where it lives now, and keeps what it was."""

from __future__ import annotations

from migrate.kube.kinds import VM
from migrate.model import labels
from migrate.model.observation import State
from tests.steps.conftest import Stage

STEP = "release-source"


def test_the_source_is_marked_and_keeps_its_memory(stage: Stage) -> None:
    """From nothing: one patch; the marks of the halt stay; repeating writes nothing."""
    scene = stage(disks=()).to("start-target")
    assert scene.writes(lambda: scene.walk(STEP)) == ["patch virtualmachines"]
    notes = scene.vm(scene.east)["metadata"]["annotations"]
    assert notes[labels.MOVED_TO] == f"{scene.west.uid()}/shop/{scene.name}"
    assert {labels.WAS, labels.HALTED_BY, labels.HALTED_GENERATION} <= set(notes)
    assert scene.writes(lambda: scene.walk(STEP)) == []


def test_a_source_that_moved_on_is_not_marked(stage: Stage) -> None:
    """Started by somebody: BLOCKED, no write."""
    scene = stage(disks=()).to("start-target")
    scene.start(scene.east)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "SourceStartedAgain")


def test_a_source_that_is_gone_needs_no_mark(stage: Stage) -> None:
    """DONE, in words."""
    scene = stage(disks=()).to("start-target")
    scene.east.delete(VM, scene.name)
    scene.until(lambda: scene.east.get(VM, scene.name) is None)
    seen = scene.look(STEP)
    assert seen.state is State.DONE
    assert "gone" in seen.message


def test_a_released_source_is_no_longer_watched(stage: Stage) -> None:
    """Whoever starts it then does so on purpose: the steps before stay DONE."""
    scene = stage(disks=()).to(STEP)
    scene.start(scene.east)
    for step in ("check-both", "stop-source", "verify-disks", "start-target"):
        assert scene.look(step).state is State.DONE, step


def test_undo_takes_the_mark_off(stage: Stage) -> None:
    """Only when told: nobody watched the target since the source was marked."""
    scene = stage(disks=()).to(STEP)
    assert scene.undo(STEP).reason == "TargetStarted"
    scene.even_if_started()
    assert scene.undo(STEP).state is State.DONE
    assert labels.MOVED_TO not in scene.vm(scene.east)["metadata"]["annotations"]
    assert scene.writes(lambda: scene.undo(STEP)) == []
