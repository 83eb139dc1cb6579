"""snapshot-source: a snapshot under our mark while the source goes on; what is not in it, and what it is worth, is said."""

from __future__ import annotations

import pytest

from migrate.kube.kinds import POD, PVC, SNAPSHOT, VM
from migrate.model import labels
from migrate.model.observation import Observation, State
from migrate.model.snapshot import Consistency
from migrate.steps import looks, snapshots
from tests.case_files import words_of
from tests.machines import user_pod
from tests.steps.conftest import Stage
from tests.steps.scene import Scene

STEP = "snapshot-source"
COPY = "snapshot-copy"
MADE = "create virtualmachinesnapshots"


def seen_until(scene: Scene, reason: str, *, seconds: int = 900) -> Observation:
    """Look every second until the step is seen with a reason."""
    end = scene.lab.clock.monotonic() + seconds
    while (seen := scene.look(STEP)).reason != reason:
        assert scene.lab.clock.monotonic() < end, seen
        scene.lab.clock.wait(scene.bell, 1)
        scene.bell.clear()
    return seen


def test_a_vm_that_is_off(stage: Stage) -> None:
    """From nothing: one write, our marks on it, and consistent disks; the source is not changed. Repeated it writes nothing."""
    scene = stage(disks=("root", "data"), method=COPY)
    before = scene.vm(scene.east)
    assert scene.writes(lambda: scene.walk(STEP)) == [MADE]
    made = scene.east.get(SNAPSHOT, scene.x.migration.names.snapshot)
    assert made is not None
    assert labels.is_ours(made, scene.x.migration.id)
    assert made["metadata"]["annotations"][labels.CLAIM]
    assert (made["spec"]["deletionPolicy"], made["spec"]["failureDeadline"]) == ("Delete", "0h5m0s")
    taken = snapshots.taken(scene.x)
    assert taken is not None
    assert (taken.consistency, taken.uid) == (Consistency.OFFLINE, made["metadata"]["uid"])
    after = scene.vm(scene.east)
    assert (after["spec"], after["metadata"]["generation"]) == (before["spec"], before["metadata"]["generation"])
    assert scene.writes(lambda: scene.walk(STEP)) == []


@pytest.mark.parametrize(
    ("agent", "worth"), [pytest.param(True, Consistency.APPLICATION, marks=pytest.mark.slow), (False, Consistency.CRASH)]
)
def test_a_vm_that_runs(stage: Stage, agent: bool, worth: Consistency) -> None:
    """It goes on; with an agent its file systems rest for that moment, which is seen, and without one that is said."""
    scene = stage(strategy="Always", agent=agent, method=COPY)
    scene.lab.east.trouble.set("snapshot", "lag", seconds=5, claim=f"{scene.name}-root", times=1)
    if agent:
        scene.until(lambda: scene.look("check-both").problems == () or "agent" not in words_of(scene.look("check-both").problems))
    scene.walk(STEP)
    taken = snapshots.taken(scene.x)
    assert taken is not None
    assert taken.consistency is worth
    assert (taken.frozen_s is not None) is agent
    assert ("no guest agent" in taken.words) is not agent
    assert scene.phase(scene.east) == "Running"


def test_an_undo_removes_it(stage: Stage) -> None:
    """Nothing is left, and a second undo writes nothing."""
    scene = stage(method=COPY).to(STEP)
    assert scene.undo(STEP).state is State.DONE
    assert scene.east.get(SNAPSHOT, scene.x.migration.names.snapshot) is None
    assert scene.writes(lambda: scene.undo(STEP)) == []


def test_a_memory_dump_is_restored_with_the_disks(stage: Stage) -> None:
    """KubeVirt snapshots its claim and restores it for the export, so it is among what goes with that."""
    scene = stage(disks=("root", "dump"), method=COPY)
    root, dump = scene.disks
    guest = {"volumes": [{"name": root, "dataVolume": {"name": root}}, {"name": dump, "memoryDump": {"claimName": dump}}]}
    devices = {"domain": {"devices": {"disks": [{"name": root, "disk": {"bus": "virtio"}}]}}}
    scene.east.merge(VM, scene.name, {"spec": {"template": {"spec": guest | devices}}})
    scene.ask_again()
    scene.to("publish-disks")
    assert snapshots.restored(scene.x) == [snapshots.restored_name(scene.x, name) for name in (root, dump)]


def test_a_copy_that_needs_it_no_more(stage: Stage) -> None:
    """Once every disk is proven it may go; not if the bytes went that were proven. Nothing is read from the source then."""
    scene = stage(method=COPY).to("verify-disks")
    assert looks.original(scene.x) == snapshots.machine(scene.x)
    scene.east.delete(SNAPSHOT, scene.x.migration.names.snapshot)
    scene.until(lambda: scene.east.get(SNAPSHOT, scene.x.migration.names.snapshot) is None)
    assert looks.unmoved(scene.x) is None
    assert (scene.look("check-both").reason, scene.look(STEP).reason) == ("SnapshotServed", "SnapshotServed")
    assert looks.original(scene.x) is None
    scene.west.delete(PVC, f"{scene.name}-root")
    seen = looks.unmoved(scene.x)
    assert seen is not None
    assert (seen.state, seen.reason) == (State.BLOCKED, "SnapshotGone")


def test_a_pod_on_a_disk_of_a_vm_that_is_off(stage: Stage) -> None:
    """KubeVirt would wait for it until the deadline; it is foreseen, before anything is written."""
    scene = stage(method=COPY)
    scene.east.create(user_pod(scene.name, f"{scene.name}-root"))
    seen = scene.look(STEP)
    scene.east.delete(POD, f"{scene.name}-user")
    assert (seen.state, seen.reason) == (State.BLOCKED, "DiskInUse")
    assert f"pod {scene.name}-user ({scene.name}-root)" in words_of(seen.problems)


def test_a_volume_that_is_left_out(stage: Stage) -> None:
    """The snapshot succeeds without it; it is named before anything is copied."""
    scene = stage(storage_class="slow-legacy", method=COPY)
    scene.act(STEP)
    seen = seen_until(scene, "VolumeExcluded")
    assert seen.state is State.BLOCKED
    assert f"disk {scene.name}-root is not in the snapshot" in words_of(seen.problems)


@pytest.mark.slow
def test_a_freeze_that_fails(stage: Stage) -> None:
    """KubeVirt tries again until its deadline, and gives up; its words are told, and the run is over."""
    scene = stage(strategy="Always", agent=True, method=COPY)
    scene.lab.east.trouble.set("freeze", "refuse", name=scene.name, message="guest-fsfreeze-freeze: Timeout")
    scene.until(lambda: "agent" not in words_of(scene.look("check-both").problems))
    scene.act(STEP)
    assert "guest-fsfreeze-freeze: Timeout" in seen_until(scene, "SnapshotTroubled").message
    seen = seen_until(scene, "SnapshotFailed")
    assert seen.state is State.FAILED
    assert "snapshot deadline exceeded" in words_of(seen.problems)
    assert "Timeout" in words_of(seen.problems)


def test_a_freeze_that_does_not_last(stage: Stage) -> None:
    """The snapshot is taken all the same, and what it is worth is told as less than hoped."""
    scene = stage(strategy="Always", agent=True, method=COPY)
    scene.lab.east.trouble.set("freeze", "expire", name=scene.name)
    scene.until(lambda: "agent" not in words_of(scene.look("check-both").problems))
    scene.act(STEP)
    seen = seen_until(scene, "SnapshotTaken")
    assert "only crash-consistent although a guest agent answers" in words_of(seen.problems)
    taken = snapshots.taken(scene.x)
    assert taken is not None
    assert taken.consistency is Consistency.CRASH


def test_a_snapshot_that_never_becomes_usable(stage: Stage) -> None:
    """Succeeded is not enough: it is waited for, for hours, since storage may carry everything elsewhere first."""
    scene = stage(method=COPY)
    scene.lab.east.trouble.set("snapshot", "hang", claim=f"{scene.name}-root")
    scene.act(STEP)
    seen = seen_until(scene, "SnapshotNotReady")
    assert seen.state is State.WAITING
    assert seen.patience_s >= 3600
    assert "readyToUse" in words_of(seen.problems)
