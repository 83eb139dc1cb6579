"""claim-source: one runner at a time; the dead are known at once on the same machine, and by silence from elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrate.kube.kinds import LEASE
from migrate.model.errors import Conflict, Held
from migrate.model.observation import State
from migrate.steps import claims
from migrate.steps.runner import Runner
from tests.steps.conftest import Stage
from tests.steps.scene import Scene

STEP = "claim-source"
ELSEWHERE = Runner(user="eve", host="elsewhere", machine="m/b/p", pid=7, started="1", nonce="aa")


def held_by(scene: Scene, runner: Runner) -> None:
    """Let somebody else hold the claim."""
    other = replace(scene.x, runner=runner, works=type(scene.x.works)())
    claims.look(other)
    claims.take(other)


def lease(scene: Scene) -> dict[str, object]:
    return scene.east.get(LEASE, scene.x.migration.names.claim)["spec"]


def test_an_unclaimed_source_is_claimed(stage: Stage) -> None:
    """From nothing: one Lease that names who, where and which process."""
    scene = stage(disks=(), claim=False)
    assert scene.writes(lambda: scene.walk(STEP)) == ["create leases", "patch virtualmachines"]
    assert lease(scene)["holderIdentity"] == str(scene.x.runner)


def test_a_held_claim_is_left_alone_until_it_is_due(stage: Stage) -> None:
    """Repeating writes nothing; renewing writes once every 15 s."""
    scene = stage(disks=(), claim=False)
    scene.walk(STEP)
    assert scene.writes(lambda: (scene.walk(STEP), claims.renew(scene.x))) == []
    before = lease(scene)["renewTime"]
    scene.lab.clock.sleep(16)
    assert scene.writes(lambda: claims.renew(scene.x)) == ["update leases"]
    assert lease(scene)["renewTime"] != before


def test_a_live_holder_of_this_machine_is_told_at_once(stage: Stage) -> None:
    """BLOCKED Held: by whom, from where, since when."""
    scene = stage(disks=(), claim=False)
    held_by(scene, replace(scene.x.runner, user="anna", nonce="other"))
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "Held")
    assert "anna@" in seen.problems[0].what
    assert "since" in seen.problems[0].why


def test_a_dead_holder_of_this_machine_is_replaced_at_once(stage: Stage) -> None:
    """A process number that is gone, or whose process began at another time, holds nothing."""
    scene = stage(disks=(), claim=False)
    held_by(scene, replace(scene.x.runner, started="1", nonce="other"))
    began = scene.lab.clock.monotonic()
    scene.walk(STEP)
    assert lease(scene)["holderIdentity"] == str(scene.x.runner)
    assert lease(scene)["leaseTransitions"] == 1
    assert scene.lab.clock.monotonic() - began < 1


def test_a_silent_holder_elsewhere_is_replaced_after_its_time(stage: Stage) -> None:
    """Its renewTime did not change for 60 s of our own clock; its wall clock does not matter."""
    scene = stage(disks=(), claim=False)
    held_by(scene, ELSEWHERE)
    assert scene.look(STEP).state is State.WAITING
    began = scene.lab.clock.monotonic()
    scene.walk(STEP)
    assert 60 <= scene.lab.clock.monotonic() - began < 90
    assert lease(scene)["holderIdentity"] == str(scene.x.runner)


def test_a_holder_elsewhere_that_renews_is_alive(stage: Stage) -> None:
    """The first change of renewTime is a sign of life: BLOCKED Held."""
    scene = stage(disks=(), claim=False)
    held_by(scene, ELSEWHERE)
    assert scene.look(STEP).reason == "HolderMaybeDead"
    scene.lab.clock.sleep(2)
    held_by(scene, ELSEWHERE)
    assert scene.look(STEP).reason == "Held"


def test_who_lost_the_claim_stops(stage: Stage) -> None:
    """Renewing a claim that somebody else has by now raises Held, and writes nothing."""
    scene = stage(disks=(), claim=False)
    scene.walk(STEP)
    held_by(scene, replace(scene.x.runner, nonce="other"))
    scene.lab.clock.sleep(16)
    with pytest.raises(Held):
        claims.renew(scene.x)
    assert "other" in str(lease(scene)["holderIdentity"])


def test_a_claim_that_was_renewed_after_the_look_is_not_taken(stage: Stage) -> None:
    """What is replaced is the very Lease that was judged: Conflict, and the holder keeps it."""
    scene = stage(disks=(), claim=False)
    held_by(scene, ELSEWHERE)
    scene.look(STEP)
    scene.lab.clock.sleep(61)
    assert scene.look(STEP).reason == "HolderSilent"
    held_by(scene, ELSEWHERE)
    with pytest.raises(Conflict):
        scene.act(STEP)
    assert lease(scene)["holderIdentity"] == str(ELSEWHERE)
    assert not claims.holds(scene.x)


@pytest.mark.parametrize("other", [True, False])
def test_a_claim_that_somebody_made_first_is_his(stage: Stage, other: bool) -> None:
    """Made between our look and our write, for this migration or another: Conflict, and the next look says Held."""
    scene = stage(disks=(), claim=False)
    assert scene.look(STEP).reason == "ClaimMissing"
    quick = replace(scene.x, runner=replace(scene.x.runner, nonce="other"), works=type(scene.x.works)())
    claims.take(replace(quick, migration=replace(quick.migration, id="0123456789ab")) if other else quick)
    with pytest.raises(Conflict):
        scene.act(STEP)
    assert not claims.holds(scene.x)
    assert scene.look(STEP).reason == "Held"


def test_release_and_undo_leave_no_claim(stage: Stage) -> None:
    """Letting go removes the Lease; nobody else's is touched."""
    scene = stage(disks=(), claim=False)
    scene.walk(STEP)
    claims.release(scene.x)
    assert scene.east.get(LEASE, scene.x.migration.names.claim) is None
    held_by(scene, ELSEWHERE)
    claims.release(scene.x)
    assert lease(scene)["holderIdentity"] == str(ELSEWHERE)
    assert scene.undo(STEP).state is State.DONE
