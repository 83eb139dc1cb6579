"""release-source: the source says where it lives now, and keeps what it was."""

from __future__ import annotations

from dataclasses import replace

from migrate.kube.kinds import CONFIGMAP, VM
from migrate.model import labels
from migrate.model.objects import annotations_of
from migrate.model.observation import State
from migrate.model.record import Record
from migrate.model.report import Outcome
from tests.steps.conftest import Stage
from tests.steps.scene import Scene

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


def brought_by(scene: Scene, finished: bool = True) -> str:
    """Let the source be what another migration moved there, and return the name of its record."""
    x, id_ = scene.x, f"{scene.name}-hop"
    now = x.clock.now()
    known = Record(replace(x.migration, id=id_), "", "", now, now if finished else None, Outcome.MOVED if finished else None)
    name = known.migration.names.record
    metadata = {"name": name, "namespace": "shop", "labels": labels.ours(id_, "record")}
    scene.east.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": known.to_data()})
    scene.east.merge(VM, scene.name, {"metadata": {"labels": labels.ours(id_, "vm")}})
    return name


def test_who_brought_the_source_is_told_that_it_went_on(stage: Stage) -> None:
    """Noted on the record of the migration that made it from the halt on; taken off last by an undo, and only if it is ours."""
    scene = stage(disks=())
    name, by = brought_by(scene), {labels.HALTED_BY: scene.x.migration.id}
    scene.to("start-target")
    assert annotations_of(scene.east.get(CONFIGMAP, name)) == by
    assert scene.writes(lambda: scene.walk(STEP)) == ["patch configmaps", "patch virtualmachines"]
    gone = by | {labels.MOVED_TO: f"{scene.west.uid()}/shop/{scene.name}"}
    assert annotations_of(scene.east.get(CONFIGMAP, name)) == gone
    scene.even_if_started()
    scene.undo(STEP)
    assert annotations_of(scene.east.get(CONFIGMAP, name)) == gone
    scene.undo("stop-source")
    assert annotations_of(scene.east.get(CONFIGMAP, name)) == {}
    scene.east.merge(CONFIGMAP, name, {"metadata": {"annotations": {labels.HALTED_BY: "a-third"}}})
    assert scene.writes(lambda: scene.undo("stop-source")) == []


def test_a_source_that_has_not_arrived_is_refused(stage: Stage) -> None:
    """Its disks may be half, or be taken away: the check names the migration that is not through."""
    scene = stage(disks=())
    brought_by(scene, finished=False)
    seen = scene.look("check-both")
    assert (seen.state, seen.reason) == (State.BLOCKED, "CheckFailed")
    assert [problem.what for problem in seen.problems] == [f"the VM is the target of the migration {scene.name}-hop, which is not through"]
