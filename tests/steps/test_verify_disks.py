"""verify-disks: every disk proven through one export of the halted target, which is gone again before the step is done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

import pytest
import trustme

from migrate.kube.kinds import DATAVOLUME, EXPORT, POD, PVC, SECRET, VM
from migrate.model import labels
from migrate.model.migration import Start, Verify
from migrate.model.objects import annotations_of
from migrate.model.observation import State
from migrate.reading.export import links_of
from migrate.reading.proof import proof_of
from tests.steps.conftest import Stage
from tests.steps.scene import Scene, refill, until_refilled

STEP = "verify-disks"


@pytest.fixture(scope="module")
def copied(shared_stage: Stage) -> Scene:
    """A target made on two imported disks, one of them a block device, of which nothing is proven yet."""
    return shared_stage(disks=("a", "b"), modes=("Filesystem", "Block")).to("create-target")


@pytest.fixture
def scene(copied: Scene) -> Iterator[Scene]:
    """The copied scene; what a test proved or broke is forgotten after it."""
    asked = copied.x
    yield copied
    copied.x = asked
    copied.undo(STEP)
    for name in copied.disks:
        copied.west.merge(DATAVOLUME, name, {"metadata": {"annotations": {labels.PROOF: None, labels.DIFFERS: None}}})


def test_every_disk_is_proven_and_the_scaffold_is_gone(scene: Scene) -> None:
    """From nothing, at every depth: a proof on every disk, of this halt's generation; what proved it is no more; repeating writes nothing.

    A proof that is less deep than what is asked is none.
    """
    generation = scene.vm(scene.east)["metadata"]["generation"]
    names = scene.x.migration.names
    for verify in (Verify.SIZE, Verify.SAMPLE, Verify.FULL):
        scene.options(verify=verify)
        assert scene.look(STEP).state is not State.DONE
        scene.walk(STEP)
        for name in scene.disks:
            proof = proof_of(scene.west.get(DATAVOLUME, name))
            assert proof is not None
            assert (proof.coverage, proof.source_generation, bool(proof.digest)) == (verify, generation, verify is not Verify.SIZE)
            assert proof.bytes == scene.file("east", name).stat().st_size
        assert scene.west.get(EXPORT, names.proof) is None
        assert scene.west.get(SECRET, names.proof_token) is None
        assert scene.west.list(POD, labels={"kubevirt.io.virt-export-service": names.proof}) == []
        assert scene.writes(lambda: scene.walk(STEP)) == []


def test_off_asks_for_nothing(scene: Scene, stage: Stage) -> None:
    """With --verify off no export is made, and DONE says that nothing was compared; the disks must be there all the same."""
    scene.options(verify=Verify.OFF)
    assert scene.writes(lambda: scene.walk(STEP)) == []
    assert scene.look(STEP).reason == "NotAsked"
    assert stage(verify=Verify.OFF).to("stop-source").look(STEP).state is State.WAITING


def test_one_wrong_byte_fails_with_disk_and_place(scene: Scene) -> None:
    """FAILED DiskDiffers names the disk and the byte, the disk is marked, and never proven by asking again."""
    scene.options(verify=Verify.FULL)
    with scene.file("west", scene.disks[1]).open("r+b") as file:
        spoil(file)
        with pytest.raises(AssertionError, match="DiskDiffers"):
            scene.walk(STEP)
        spoil(file)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.FAILED, "DiskDiffers")
    assert [problem.what.split()[1] for problem in seen.problems] == [scene.disks[1]]
    assert "byte 777 differs" in seen.problems[0].why
    marked = scene.west.get(DATAVOLUME, scene.disks[1])
    assert json.loads(marked["metadata"]["annotations"][labels.DIFFERS])["places"] == ["byte 777 differs"]
    assert proof_of(marked) is None


def test_a_host_that_is_not_trusted_blocks_the_proof(scene: Scene) -> None:
    """A wrong --target-ca is BLOCKED HostNotTrusted, not a failure of the disk."""
    scene.options(target_ca=trustme.CA().cert_pem.bytes().decode())
    with pytest.raises(AssertionError, match="HostNotTrusted"):
        scene.walk(STEP)


def test_a_comparison_that_breaks_is_begun_again(scene: Scene) -> None:
    """A proxy that is away and a stream that breaks cost time, nothing else."""
    scene.options(verify=Verify.FULL)
    scene.lab.east.trouble.set("proxy", "refuse", export=scene.x.migration.names.export, status=503, times=3)
    scene.lab.west.trouble.set("proxy", "drop", export=scene.x.migration.names.proof, after="64Ki", times=2)
    scene.walk(STEP)
    assert scene.look(STEP).reason == "Proven"


def test_a_comparison_that_never_works_fails_with_its_cause(scene: Scene) -> None:
    """Begun three times, then FAILED with what the host answered; the disk is neither proven nor called different."""
    scene.lab.west.trouble.set("export", "refuse", export=scene.x.migration.names.proof, method="GET", format="raw", status=418)
    with pytest.raises(AssertionError, match="ProofBroken"):
        scene.walk(STEP)
    seen = scene.look(STEP)
    assert scene.name in seen.problems[0].what
    assert "418" in seen.problems[0].why
    assert not {labels.PROOF, labels.DIFFERS} & set(scene.west.get(DATAVOLUME, scene.disks[0])["metadata"]["annotations"])


def test_undo_stops_the_comparison_and_leaves_no_scaffold(scene: Scene) -> None:
    """Export and token of the proof are removed, works end; asking again writes nothing."""
    scene.act(STEP)
    assert scene.undo(STEP).state is State.DONE
    assert scene.west.get(EXPORT, scene.x.migration.names.proof) is None
    assert scene.west.get(VM, scene.name) is not None
    assert scene.writes(lambda: scene.undo(STEP)) == []


def test_who_starts_one_of_them_ends_the_proof(stage: Stage) -> None:
    """A target that runs changes under the comparison: TargetStarted. A source that ran in between makes stale disks, which are named."""
    scene = stage().to("create-target")
    scene.start(scene.west)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "TargetStarted")
    scene.start(scene.east)
    scene.stop(scene.east)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "SourceChanged")
    assert scene.disks[0] in seen.problems[0].what


def spoil(file: BinaryIO) -> None:
    """Flip one bit; twice is as before."""
    file.seek(777)
    byte = file.read(1)[0]
    file.seek(777)
    file.write(bytes([byte ^ 1]))
    file.flush()


def until_compared(scene: Scene) -> None:
    """Walk until a comparison is through and its result is not written yet."""
    while (seen := scene.look(STEP)).state is not State.NEEDED or not any(disk.reason == "ProofToWrite" for disk in seen.disks):
        if seen.state is State.NEEDED:
            scene.act(STEP)
        scene.lab.clock.sleep(1)


def test_a_result_of_a_target_that_ran_meanwhile_is_not_written(stage: Stage) -> None:
    """Started and stopped by somebody while it was compared: neither proof nor difference is written, and the next look says why."""
    scene = stage().to("create-target")
    until_compared(scene)
    scene.start(scene.west)
    scene.stop(scene.west)
    assert scene.writes(lambda: scene.act(STEP)) == []
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "TargetStarted")
    assert "run strategy" in seen.problems[0].why


def test_a_broken_note_of_a_difference_is_told_as_it_stands(stage: Stage) -> None:
    """Whatever the annotation holds, the disk is not called copied."""
    scene = stage().to("create-target")
    scene.west.merge(DATAVOLUME, scene.disks[0], {"metadata": {"annotations": {labels.DIFFERS: "{"}}})
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.FAILED, "DiskDiffers")


def test_a_proof_is_of_the_claim_that_was_read(scene: Scene) -> None:
    """Filled anew under the same DataVolume, a disk is unproven and nothing starts on it; a difference of the old claim is forgotten."""
    scene.options(verify=Verify.SIZE, start=Start.ALWAYS)
    scene.walk(STEP)
    assert scene.look("start-target").reason == "StartToNote"
    name = scene.disks[0]
    note = {"places": ["byte 1 differs"], "claim": scene.claim("west", name)}
    refill(scene, name)
    scene.west.merge(DATAVOLUME, name, {"metadata": {"annotations": {labels.DIFFERS: json.dumps(note)}}})
    seen = scene.look("start-target")
    assert (seen.state, seen.reason) == (State.BLOCKED, "DisksNotProven")
    assert scene.look(STEP).state is State.NEEDED
    scene.walk(STEP)
    notes = annotations_of(scene.west.get(DATAVOLUME, name))
    assert json.loads(notes[labels.PROOF])["claim"] == scene.claim("west", name)
    assert labels.DIFFERS not in notes


def test_a_disk_that_is_being_deleted_is_not_compared(scene: Scene) -> None:
    """BLOCKED DisksMissing at once: our own export would hold the claim as long as we wait; what was read by then is not written."""
    scene.options(verify=Verify.SIZE)
    until_compared(scene)
    name = scene.disks[0]
    uid = scene.claim("west", name)
    scene.west.delete(PVC, name)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "DisksMissing")
    assert [problem.what for problem in seen.problems] == [f"disk {name} is being deleted"]
    scene.act(STEP)
    assert labels.PROOF not in annotations_of(scene.west.get(DATAVOLUME, name))
    scene.undo(STEP)
    until_refilled(scene, name, uid)


def test_a_proof_that_could_not_be_written_is_not_begun(scene: Scene) -> None:
    """A source that is marked as moved and was touched since: BLOCKED, in place of comparisons without end that nobody writes down."""
    vm = scene.vm(scene.east)
    held = vm["metadata"]["annotations"][labels.HALTED_GENERATION]
    there = f"{scene.x.migration.target_cluster_uid}/shop/{scene.name}"
    for moved_to, generation in ((there, "77"), (None, held)):
        note = {labels.MOVED_TO: moved_to, labels.HALTED_GENERATION: generation}
        scene.east.merge(VM, scene.name, {"metadata": {"annotations": note}})
        assert scene.look(STEP).reason == ("SourceChanged" if moved_to else "TokenMissing")


def test_a_source_that_is_started_right_before_a_comparison(stage: Stage) -> None:
    """Its export loses its links between look and act: nothing is begun, and the next look says who took the disk."""
    scene = stage(verify=Verify.FULL).to("create-target")
    while (seen := scene.look(STEP)).reason != "ProofToBegin":
        if seen.state is State.NEEDED:
            scene.act(STEP)
        else:
            scene.lab.clock.sleep(1)
    scene.start(scene.east)
    scene.until(lambda: links_of(scene.east.get(EXPORT, scene.x.migration.names.export)) is None)
    assert scene.writes(lambda: scene.act(STEP)) == []
    assert scene.look(STEP).reason == "SourceStartedAgain"
