"""create-target: the VM on the imported disks, halted, never on top of somebody else's."""

from __future__ import annotations

import pytest

from migrate.kube.kinds import DATAVOLUME, VM
from migrate.model import labels
from migrate.model.errors import Blocked
from migrate.model.observation import State
from tests.machines import machine
from tests.steps.conftest import Stage

STEP = "create-target"


def test_the_target_is_made_halted_on_the_imported_disks(stage: Stage) -> None:
    """From nothing: one VM, Halted, whose volumes are the imported disks; nothing runs."""
    scene = stage(strategy="Always").to("import-disks")
    assert scene.writes(lambda: scene.walk(STEP)) == ["create virtualmachines"]
    vm = scene.vm(scene.west)
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
    assert scene.west.get(DATAVOLUME, scene.disks[0]) is not None
    assert scene.writes(lambda: scene.undo(STEP)) == []


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
