"""check-both: everything that is wrong, at once, and nothing changed."""

from __future__ import annotations

import trustme

from migrate.kube.kinds import POD, VM
from migrate.model.observation import State
from tests.machines import disk, machine, user_pod
from tests.steps.conftest import Stage

STEP = "check-both"


def test_a_move_that_can_be_made_passes_without_a_write(stage: Stage) -> None:
    """Reads and dry runs alone; DONE."""
    scene = stage()
    assert scene.writes(lambda: scene.walk(STEP)) == []
    assert scene.look(STEP).state is State.DONE


def test_our_own_objects_are_not_in_the_way(stage: Stage) -> None:
    """In the middle of a move, with disks and VM made by this very migration, the check passes as before."""
    scene = stage().to("create-target")
    seen = scene.look(STEP)
    assert (seen.state, [problem.what for problem in seen.problems if "taken" in problem.what]) == (State.DONE, [])


def test_all_problems_are_said_at_once(stage: Stage) -> None:
    """Names taken on the target, a class that is not there: BLOCKED with each of them, in four words."""
    scene = stage(storage_map=(("fast", "no-such-class"),))
    scene.lab.plant([disk(scene.disks[0], cluster="west"), machine(scene.name, cluster="west")])
    seen = scene.look(STEP)
    whats = [problem.what for problem in seen.problems]
    assert (seen.state, seen.reason) == (State.BLOCKED, "CheckFailed")
    for words in (f"VirtualMachine {scene.name}", f"DataVolume {scene.disks[0]}", "no-such-class"):
        assert any(words in what for what in whats), (words, whats)
    assert all(problem.now for problem in seen.problems)


def test_a_certificate_that_is_not_trusted_is_known_before_the_stop(stage: Stage) -> None:
    """The door is tried with the CA that will be shipped: a CA that did not sign the host's certificate is told with the option."""
    foreign = trustme.CA().cert_pem.bytes().decode()
    seen = stage(source_ca=foreign).look(STEP)
    assert seen.state is State.BLOCKED
    assert any("certificate" in problem.what and "--source-ca" in problem.now for problem in seen.problems)


def test_whoever_else_uses_a_disk_is_named(stage: Stage) -> None:
    """Another VM or a pod that uses a disk may write while it is copied: BLOCKED with its name; the VM's own pods do not count."""
    scene = stage(strategy="Always")
    assert scene.look(STEP).state is State.DONE
    scene.lab.plant([machine(f"{scene.name}-twin", scene.disks)])
    scene.east.create(user_pod(scene.name, scene.disks[0]))
    whats = [problem.what for problem in scene.look(STEP).problems]
    scene.east.delete(VM, f"{scene.name}-twin")
    scene.east.delete(POD, f"{scene.name}-user", grace_s=0)
    for words in (f"VM {scene.name}-twin", f"pod {scene.name}-user"):
        assert any(words in what and scene.disks[0] in what for what in whats), whats


def test_a_refusal_of_the_target_is_known_before_the_stop(stage: Stage) -> None:
    """What a webhook or quota of the target says to the VM is found by a dry run, in the cluster's words."""
    scene = stage()
    scene.lab.west.trouble.set("api", "refuse", method="POST", resource="virtualmachines", status="403", message="policy says no")
    seen = scene.look(STEP)
    assert seen.state is State.BLOCKED
    assert any("policy says no" in problem.why for problem in seen.problems)
    assert scene.west.get(VM, scene.name) is None
