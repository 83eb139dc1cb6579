"""create-target: the VM on the imported disks, halted, never on top of somebody else's."""

from __future__ import annotations

import pytest

from migrate.kube.kinds import DATAVOLUME, VM, VMI
from migrate.model import labels
from migrate.model.errors import Blocked
from migrate.model.objects import annotations_of, uid_of
from migrate.model.observation import State
from migrate.steps.create_target import kept
from tests.machines import disk, machine
from tests.steps.conftest import Stage
from tests.steps.scene import Scene

STEP = "create-target"


def test_the_target_is_made_halted_on_the_imported_disks(stage: Stage) -> None:
    """From nothing: one VM, Halted, whose volumes are the imported disks, which say that it was made on them; nothing runs."""
    scene = stage(strategy="Always").to("import-disks")
    assert scene.writes(lambda: scene.walk(STEP)) == ["create virtualmachines", "patch datavolumes"]
    vm = scene.vm(scene.west)
    assert annotations_of(scene.west.get(DATAVOLUME, scene.disks[0]))[labels.GIVEN_TO] == uid_of(vm)
    assert vm["spec"]["runStrategy"] == "Halted"
    assert labels.is_ours(vm, scene.x.migration.id)
    assert [volume["dataVolume"]["name"] for volume in vm["spec"]["template"]["spec"]["volumes"]] == scene.disks
    assert scene.phase(scene.west) == ""


def test_a_made_target_is_left_alone(stage: Stage) -> None:
    """Repeating writes nothing; undo removes the VM and leaves the disks; then nothing more."""
    scene = stage().to(STEP)
    assert scene.writes(lambda: scene.walk(STEP)) == []
    assert scene.undo(STEP).state is State.DONE
    assert scene.west.get(VM, scene.name) is None
    left = scene.west.get(DATAVOLUME, scene.disks[0])
    assert left is not None
    assert labels.GIVEN_TO not in annotations_of(left)
    assert scene.writes(lambda: scene.undo(STEP)) == []


def test_an_undo_leaves_what_somebody_gave_the_target(stage: Stage) -> None:
    """A disk that somebody let the target VM own (by a template of his) stays, bytes and all, when the VM is deleted."""
    scene = stage(disks=()).to(STEP)
    extra = f"{scene.name}-extra"
    scene.lab.plant([disk(extra, cluster="west")])
    given(scene, extra)
    assert kept(scene.x) == f"owned by the target VM and not ours, so it stays: DataVolume {extra}"
    assert scene.undo(STEP).state is State.DONE
    assert scene.west.get(VM, scene.name) is None
    scene.lab.clock.sleep(30)
    assert scene.west.get(DATAVOLUME, extra) is not None
    assert scene.claim("west", extra)
    scene.west.delete(DATAVOLUME, extra)


def given(scene: Scene, volume: str) -> None:
    """Let the target VM own a DataVolume, as one of a template is owned."""
    vm = scene.vm(scene.west)
    owner = {"apiVersion": vm["apiVersion"], "kind": "VirtualMachine", "name": scene.name, "uid": uid_of(vm), "controller": True}
    scene.west.merge(DATAVOLUME, volume, {"metadata": {"ownerReferences": [owner]}})


def test_an_undo_leaves_no_instance_behind(stage: Stage) -> None:
    """Told to go back although the target runs: its instance is gone before the VM is deleted, which would leave it running."""
    scene = stage(disks=()).to(STEP)
    scene.start(scene.west)
    scene.even_if_started()
    assert scene.undo(STEP).state is State.DONE
    assert scene.west.get(VM, scene.name) is None
    assert scene.west.get(VMI, scene.name) is None


def test_a_vm_that_is_not_ours_is_not_touched(stage: Stage) -> None:
    """BLOCKED NameTaken, and undo leaves it."""
    scene = stage(disks=()).to("stop-source")
    scene.lab.plant([machine(scene.name, cluster="west")])
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "NameTaken")
    scene.undo(STEP)
    assert scene.west.get(VM, scene.name) is not None


def test_without_the_memory_of_the_source_nothing_is_made(stage: Stage) -> None:
    """The target is made from what the source was; without that it is refused in words."""
    scene = stage(disks=()).to("stop-source")
    scene.east.merge(VM, scene.name, {"metadata": {"annotations": {labels.WAS: None}}})
    with pytest.raises(Blocked, match="cannot be read"):
        scene.act(STEP)


def test_a_started_target_is_not_undone(stage: Stage) -> None:
    """Its disks may hold new data: undo is BLOCKED TargetStarted."""
    scene = stage(disks=()).to(STEP)
    scene.start(scene.west)
    seen = scene.undo(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "TargetStarted")
    assert scene.phase(scene.west) == "Running"
