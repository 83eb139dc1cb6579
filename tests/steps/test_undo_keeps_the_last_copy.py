"""Undo deletes copies only while the source is whole and nothing ran on them or uses them."""

from __future__ import annotations

import pytest

from migrate.kube.kinds import DATAVOLUME, EXPORT, PVC, VM
from migrate.model import labels
from migrate.model.migration import Start
from migrate.model.objects import leaving
from migrate.model.observation import State
from tests.machines import disk, machine
from tests.steps.conftest import Stage
from tests.steps.scene import Scene

GONE = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}


def refused(scene: Scene, step: str, *, even: bool = True) -> str:
    """Check that nothing is written, also when told to go back all the same, and return reason and words."""
    for told in (False, True) if even else (False,):
        scene.even_if_started(told)
        seen = scene.undo(step)
        assert seen.state is State.BLOCKED, seen
    return f"{seen.reason}: {seen.problems[0].what} {seen.problems[0].why}"


@pytest.mark.parametrize("lost", ["vm", "claim", "claim made anew"])
def test_what_the_source_lost_is_kept_on_the_target(stage: Stage, lost: str) -> None:
    """With its VM or a disk deleted or made anew, undo answers LastCopies at every step that deletes, and deletes nothing."""
    scene = stage().to("create-target")
    if lost == "vm":
        scene.east.delete(VM, scene.name)
        scene.until(lambda: scene.east.get(VM, scene.name) is None)
    else:
        scene.east.delete(EXPORT, scene.x.migration.names.export)  # its server would hold the claim
        scene.east.delete(DATAVOLUME, scene.disks[0])
        scene.until(lambda: leaving(scene.east.get(PVC, scene.disks[0]) or GONE))
    if lost == "claim made anew":
        scene.until(lambda: scene.east.get(PVC, scene.disks[0]) is None)
        scene.lab.plant([disk(scene.disks[0], mib=1)])
    for step in ("start-target", "create-target", "import-disks"):
        said = refused(scene, step)
        assert said.startswith("LastCopies: the copies on the target are all that is left")
        assert scene.disks[0] in said
    assert scene.west.get(VM, scene.name) is not None
    assert scene.west.get(DATAVOLUME, scene.disks[0]) is not None


def test_a_target_that_ran_and_was_stopped_again_is_not_undone(stage: Stage) -> None:
    """Halted again, without our mark of a start: somebody set its run strategy, so its guest may have written."""
    scene = stage(start=Start.NEVER).to("create-target")
    scene.start(scene.west)
    scene.stop(scene.west)
    scene.until(lambda: scene.phase(scene.west) == "" and scene.vm(scene.west)["spec"]["runStrategy"] == "Halted")
    assert refused(scene, "create-target", even=False).startswith("TargetStarted")
    scene.even_if_started(True)
    assert scene.undo("create-target").state is State.DONE


def test_a_change_of_something_else_does_not_count_as_a_start(stage: Stage) -> None:
    """KubeVirt completes a spec after it was made; that is no reason to keep it."""
    scene = stage(disks=()).to("create-target")
    scene.west.merge(VM, scene.name, {"spec": {"template": {"spec": {"domain": {"firmware": {"serial": "written-later"}}}}}})
    assert scene.undo("create-target").state is State.DONE


@pytest.mark.parametrize("kept", [True, False])
def test_a_running_target_that_another_adopted_keeps_its_disks(stage: Stage, kept: bool) -> None:
    """Helm writes its own managed-by, GitOps may take every label off: the VM still counts as started, and its disks as used."""
    scene = stage().to("create-target")
    taken = {labels.MANAGED_BY: "Helm", **({} if kept else {labels.ID: None, labels.ROLE: None})}
    scene.west.merge(VM, scene.name, {"metadata": {"labels": taken}})
    scene.start(scene.west)
    assert refused(scene, "import-disks", even=False).startswith("TargetStarted")
    scene.even_if_started(True)
    seen = scene.undo("import-disks")
    assert (seen.state, seen.reason) == (State.BLOCKED, "DiskInUse" if kept else "TargetStarted")
    assert (f"VM {scene.name}" in seen.problems[0].why) if kept else ("is not ours to stop" in seen.problems[0].what)
    assert scene.west.get(DATAVOLUME, scene.disks[0]) is not None


def test_a_copy_that_another_vm_uses_is_kept(stage: Stage) -> None:
    """Whoever names it: BLOCKED DiskInUse with the user's name."""
    scene = stage().to("import-disks")
    other = machine(f"{scene.name}-other", scene.disks, cluster="west")
    scene.lab.plant([other])
    assert f"VM {scene.name}-other" in refused(scene, "import-disks")
    scene.west.delete(VM, f"{scene.name}-other")
    scene.until(lambda: scene.west.get(VM, f"{scene.name}-other") is None)
    assert scene.undo("import-disks").state is State.DONE


def test_a_finished_move_is_undone_only_when_told(stage: Stage) -> None:
    """Marked as moved, nobody watches any more whether the target ran: TargetStarted, unless it was said."""
    scene = stage(disks=(), start=Start.NEVER).to("release-source")
    assert refused(scene, "release-source", even=False).startswith("TargetStarted")
    scene.even_if_started(True)
    assert scene.undo("release-source").state is State.DONE
