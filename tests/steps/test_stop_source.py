"""stop-source: halts once, cleanly, remembers what was, and goes back to exactly that."""

from __future__ import annotations

import json
from typing import Any

import pytest

from migrate.kube.kinds import CONFIGMAP, POD, VM, VMI
from migrate.lab.admission import Review
from migrate.model import labels
from migrate.model.observation import State
from migrate.model.record import Record
from tests.machines import user_pod
from tests.steps.conftest import Stage

STEP = "stop-source"


def test_a_running_vm_is_halted_in_one_write_that_remembers(stage: Stage) -> None:
    """From nothing: one patch halts and writes what was, who halted it and the generation it leaves; then nothing of it runs."""
    scene = stage(strategy="Always")
    instance = scene.east.get(VMI, scene.name)["metadata"]["uid"]
    assert scene.writes(lambda: scene.walk(STEP)) == ["patch virtualmachines"]
    vm = scene.vm(scene.east)
    notes = vm["metadata"]["annotations"]
    assert vm["spec"]["runStrategy"] == "Halted"
    assert notes[labels.HALTED_BY] == scene.x.migration.id
    assert notes[labels.HALTED_GENERATION] == str(vm["metadata"]["generation"])
    was = json.loads(notes[labels.WAS])
    assert (was["runStrategy"], was["instance"]) == ("Always", instance)
    assert scene.east.get(VMI, scene.name) is None


def test_a_halted_vm_is_only_marked(stage: Stage) -> None:
    """A VM that does not run keeps its spec: the generation stays, the marks are written."""
    scene = stage()
    before = scene.vm(scene.east)["metadata"]["generation"]
    scene.walk(STEP)
    after = scene.vm(scene.east)["metadata"]
    assert after["generation"] == before
    assert after["annotations"][labels.HALTED_GENERATION] == str(before)


def test_a_webhook_that_fills_in_defaults_does_not_make_it_look_changed(stage: Stage) -> None:
    """KubeVirt completes old VMs with the first write after an upgrade, which moves the generation; a crash right after that write is no
    harm: what the halt leaves is noted by a later write, that finds nothing more to complete."""
    scene = stage()

    def complete(review: Review) -> dict[str, Any] | None:
        if review.operation != "UPDATE" or review.name != scene.name or review.resource.plural != "virtualmachines" or review.new is None:
            return None
        return {**review.new, "spec": {**review.new["spec"], "dataVolumeTemplates": []}}

    admissions = scene.lab.east.api.admission
    admissions.append(complete)
    try:
        before = scene.vm(scene.east)["metadata"]["generation"]
        scene.act(STEP)
        assert scene.vm(scene.east)["metadata"]["generation"] == before + 1
        assert scene.look(STEP).reason == "HaltAnnounced"
        scene.walk(STEP)
    finally:
        admissions.remove(complete)
    assert scene.vm(scene.east)["metadata"]["annotations"][labels.HALTED_GENERATION] == str(before + 1)


def test_what_happens_after_a_halt_was_announced_is_remembered(stage: Stage) -> None:
    """Somebody starts the VM between the announcement and the halt: what it was is written anew with the halt, and it is halted once."""
    scene = stage()
    scene.act(STEP)
    scene.start(scene.east)
    scene.walk(STEP)
    was = json.loads(scene.vm(scene.east)["metadata"]["annotations"][labels.WAS])
    assert (was["runStrategy"], bool(was["instance"])) == ("Always", True)
    assert scene.phase(scene.east) == ""


def test_an_announcement_is_taken_back(stage: Stage) -> None:
    """Undone before the halt itself: our annotations go, nothing else changes."""
    scene = stage(strategy="Always", grace_s=0)
    before = scene.vm(scene.east)
    scene.act(STEP)
    assert scene.undo(STEP).state is State.DONE
    after = scene.vm(scene.east)
    assert after["spec"] == before["spec"]
    assert after["metadata"].get("annotations", {}) == before["metadata"].get("annotations", {})
    assert scene.phase(scene.east) == "Running"


def test_what_was_judged_is_what_is_halted(stage: Stage) -> None:
    """Between look and act another VM came under the name: it is not halted, nor is one that another migration holds."""
    scene = stage(disks=(), strategy="Always")
    made = scene.vm(scene.east)
    assert scene.look(STEP).state is State.NEEDED
    scene.east.delete(VM, scene.name)
    scene.until(lambda: scene.east.get(VM, scene.name) is None)
    scene.east.create({**made, "metadata": {"name": scene.name, "namespace": "shop"}, "status": {}})
    assert scene.writes(lambda: scene.act(STEP)) == []


def test_a_stopped_source_is_left_alone(stage: Stage) -> None:
    """Repeating writes nothing."""
    scene = stage(strategy="Always").to(STEP)
    assert scene.look(STEP).state is State.DONE
    assert scene.writes(lambda: scene.walk(STEP)) == []


def test_a_source_that_somebody_started_is_never_halted_twice(stage: Stage) -> None:
    """A start after our halt is BLOCKED SourceStartedAgain, and nothing is written."""
    scene = stage(strategy="Always").to(STEP)
    scene.start(scene.east)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "SourceStartedAgain")
    assert scene.phase(scene.east) == "Running"


def test_started_and_stopped_again_between_two_looks_is_seen(stage: Stage) -> None:
    """The generation tells what nobody saw."""
    scene = stage(strategy="Always").to(STEP)
    scene.start(scene.east)
    scene.stop(scene.east)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "SourceChanged")


def test_a_vm_halted_by_another_migration_is_not_touched(stage: Stage) -> None:
    """BLOCKED HaltedByAnother names the migration that holds it."""
    scene = stage().to(STEP)
    other = {labels.HALTED_BY: "0123456789ab"}
    scene.east.merge(VM, scene.name, {"metadata": {"annotations": other}})
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "HaltedByAnother")
    assert "0123456789ab" in seen.problems[0].what


def test_another_vm_of_the_same_name_is_not_touched(stage: Stage) -> None:
    """A VM that was deleted and made again is another one, whatever its name."""
    scene = stage(disks=())
    made = scene.vm(scene.east)
    scene.east.delete(VM, scene.name)
    scene.until(lambda: scene.east.get(VM, scene.name) is None)
    scene.east.create({**made, "metadata": {"name": scene.name, "namespace": "shop"}, "status": {}})
    seen = scene.look(STEP)
    assert seen.state is State.BLOCKED
    assert "another VM" in seen.problems[0].what


def test_a_grace_of_zero_is_raised_for_the_stop_and_said(stage: Stage) -> None:
    """The guest gets 30 s: what the VM was is written first, then KubeVirt's stop carries the period."""
    scene = stage(strategy="Always", grace_s=0)
    for _ in range(2):
        scene.act(STEP)
        assert scene.look(STEP).reason == "HaltAnnounced"
        assert scene.vm(scene.east)["spec"]["runStrategy"] == "Always"
    scene.act(STEP)
    assert scene.east.get(VMI, scene.name)["spec"]["terminationGracePeriodSeconds"] == 30
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.WAITING, "GuestShuttingDown")
    assert "raised to 30 s" in seen.message
    scene.walk(STEP)
    assert json.loads(scene.vm(scene.east)["metadata"]["annotations"][labels.WAS])["gracePeriodSeconds"] == 0


def test_a_grace_of_zero_under_manual_ends_halted(stage: Stage) -> None:
    """Manual keeps its strategy when it is asked to stop, so the halt follows as a write of its own."""
    scene = stage(strategy="Manual", grace_s=0)
    scene.start(scene.east)
    written = scene.writes(lambda: scene.walk(STEP))
    assert written[:3] == ["patch virtualmachines", "patch virtualmachines", "update virtualmachines/stop"]
    assert set(written[3:]) == {"patch virtualmachines"}
    assert scene.vm(scene.east)["spec"]["runStrategy"] == "Halted"


@pytest.mark.parametrize("strategy", ["Always", "running", "Manual", "RerunOnFailure", "Once", "Halted"])
def test_undo_restores_exactly_what_was(stage: Stage, strategy: str) -> None:
    """Spec, spelling, instance and annotations are as before; asking again changes nothing."""
    scene = stage(strategy=strategy)
    if strategy == "Manual":
        scene.start(scene.east)
    before = scene.vm(scene.east)
    ran = scene.phase(scene.east) == "Running"
    scene.to(STEP)
    assert scene.undo(STEP).state is State.DONE
    after = scene.vm(scene.east)
    assert {key: after["spec"].get(key) for key in ("running", "runStrategy")} == {
        key: before["spec"].get(key) for key in ("running", "runStrategy")
    }
    ours = [key for key in after["metadata"].get("annotations", {}) if key.startswith("kubevirt-migrate.io/")]
    assert ours == [labels.CLAIM], "the claim is given up by its own step"
    if ran:
        scene.until(lambda: scene.phase(scene.east) == "Running")
    assert scene.writes(lambda: scene.undo(STEP)) == []


def test_no_source_is_given_back_beside_a_stranger(stage: Stage) -> None:
    """Who goes back although the target was started may have lost it to somebody: what runs in its place is looked for until the end."""
    scene = stage(disks=(), strategy="Always").to("start-target")
    vm = scene.vm(scene.west)
    vm["metadata"] = {"name": scene.name, "namespace": "shop"}
    vm.pop("status")
    scene.west.delete(VM, scene.name)
    scene.until(lambda: scene.west.get(VM, scene.name) is None and scene.west.get(VMI, scene.name) is None)
    scene.west.create(vm)
    scene.even_if_started()
    refused = scene.undo(STEP)
    assert (refused.state, refused.reason) == (State.BLOCKED, "TargetStarted")
    assert "is not ours to stop" in refused.problems[0].what
    assert scene.vm(scene.east)["spec"]["runStrategy"] == "Halted"


def test_undo_gives_a_receiver_back(stage: Stage) -> None:
    """A VM that became WaitAsReceiver after the check gets that back, and with it the instance that waits."""
    scene = stage()
    scene.east.merge(VM, scene.name, {"spec": {"runStrategy": "WaitAsReceiver"}})
    scene.until(lambda: scene.east.get(VMI, scene.name))
    scene.to(STEP)
    assert scene.undo(STEP).state is State.DONE
    assert scene.vm(scene.east)["spec"]["runStrategy"] == "WaitAsReceiver"
    scene.until(lambda: scene.east.get(VMI, scene.name))


@pytest.mark.parametrize("strategy", ["Always", "Manual"])
def test_undo_does_not_start_what_somebody_was_stopping(stage: Stage, strategy: str) -> None:
    """Stopped by its owner a moment before our halt, its guest still on the way down: it did not run, so it stays down."""
    scene = stage(disks=(), strategy=strategy, grace_s=60)
    if strategy == "Manual":
        scene.start(scene.east)
    scene.lab.east.trouble.set("guest", "delay", name=scene.name, seconds=20)
    scene.call(scene.east, "stop")
    scene.until(lambda: "deletionTimestamp" in scene.east.get(VMI, scene.name)["metadata"])
    before = scene.vm(scene.east)["spec"]
    scene.walk(STEP)
    assert scene.undo(STEP).state is State.DONE
    assert scene.vm(scene.east)["spec"] == before
    scene.lab.clock.sleep(60)
    assert scene.east.get(VMI, scene.name) is None


def test_undo_does_not_start_what_had_ended(stage: Stage) -> None:
    """RerunOnFailure without an instance would start as soon as it is set, so the VM stays Halted and that is said."""
    scene = stage(strategy="RerunOnFailure")
    scene.stop(scene.east)
    scene.to(STEP)
    seen = scene.undo(STEP)
    assert "stays Halted" in seen.message
    assert scene.vm(scene.east)["spec"]["runStrategy"] == "Halted"


def test_what_was_unreadable_is_said(stage: Stage) -> None:
    """Without the memory of what it was the undo fails with the remedy, and changes nothing."""
    scene = stage(strategy="Always").to(STEP)
    scene.east.merge(VM, scene.name, {"metadata": {"annotations": {labels.WAS: "{"}}})
    seen = scene.undo(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "WasUnreadable")
    assert labels.HALTED_BY in seen.problems[0].now


def test_a_source_is_never_halted_twice_unasked(stage: Stage) -> None:
    """Without our annotation but with copies of an earlier halt it is not halted anew: BLOCKED, and nothing is written."""
    scene = stage().to("import-disks")
    notes = dict.fromkeys((labels.HALTED_BY, labels.HALTED_GENERATION, labels.WAS))
    scene.east.merge(VM, scene.name, {"metadata": {"annotations": notes}, "spec": {"runStrategy": "Always"}})
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "SourceStartedAgain")
    assert scene.disks[0] in seen.problems[0].why


def test_a_record_of_a_halt_forbids_another(stage: Stage) -> None:
    """The copies may be gone: what the record says is enough."""
    scene = stage(disks=()).to("prepare-target")
    record = Record(scene.x.migration, "test", "me", scene.lab.clock.now(), halted=scene.lab.clock.now())
    scene.west.merge(CONFIGMAP, scene.x.migration.names.record, {"data": record.to_data()})
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "SourceStartedAgain")
    assert "the record" in seen.problems[0].why


@pytest.mark.slow
def test_a_long_grace_is_progress_and_no_stall(stage: Stage) -> None:
    """A guest that uses more than the limit of standing still moves on, as long as its time is not over."""
    scene = stage(strategy="Always", grace_s=3600)
    scene.lab.east.trouble.set("guest", "refuse", name=scene.name)
    scene.act(STEP)
    shares = []
    for _ in range(3):
        scene.lab.clock.sleep(600)
        seen = scene.look(STEP)
        assert seen.reason == "GuestShuttingDown", seen
        shares.append(seen.progress or 0.0)
    assert 0 < shares[0] < shares[1] < shares[2] < 1


def test_a_pod_that_uses_a_disk_of_the_stopped_source_blocks(stage: Stage) -> None:
    """Whatever it writes would make the copy a broken one: BLOCKED DiskInUse naming it, until it is gone."""
    scene = stage().to(STEP)
    scene.east.create(user_pod(scene.name, scene.disks[0]))
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "DiskInUse")
    assert f"pod {scene.name}-user" in seen.problems[0].why
    scene.east.delete(POD, f"{scene.name}-user", grace_s=0)
    scene.until(lambda: scene.look(STEP).state is State.DONE)
