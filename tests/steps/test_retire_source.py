"""retire-source: the source goes only while the target holds every proven byte of it and nobody else uses its disks, at every delete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from migrate.kube.kinds import DATAVOLUME, EXPORT, POD, PVC, VM
from migrate.model import labels
from migrate.model.errors import Conflict
from migrate.model.migration import Start
from migrate.model.objects import annotations_of, leaving
from migrate.model.observation import Observation, State
from migrate.steps.retire_source import RetireSource
from tests.flows.gate import Runner, Sent
from tests.machines import disk, machine, user_pod
from tests.steps.conftest import Stage
from tests.steps.scene import Scene, refill

STEP = RetireSource()


@pytest.fixture(scope="module")
def moved(shared_stage: Stage) -> Scene:
    """A finished move whose target was not started."""
    return shared_stage(disks=("a", "b", "c"), start=Start.NEVER).to("release-source")


@pytest.fixture
def pod(moved: Scene) -> Iterator[str]:
    """A pod of somebody's on the source's first disk."""
    moved.east.create(user_pod(moved.name, moved.disks[0]))
    yield f"{moved.name}-user"
    moved.east.delete(POD, f"{moved.name}-user")
    moved.until(lambda: moved.east.get(POD, f"{moved.name}-user") is None)


def said(seen: Observation) -> str:
    return "; ".join(f"{problem.what}: {problem.why}" for problem in seen.problems)


def refused(scene: Scene) -> str:
    """See it refused, by the look and by the act, which writes nothing; return what is said."""
    seen = STEP.observe(scene.x)
    assert (seen.state, seen.reason) == (State.BLOCKED, "NotRetirable")
    assert scene.writes(lambda: STEP.act(scene.x)) == []
    return said(seen)


def owned_by_the_vm(scene: Scene, name: str) -> None:
    """Make a disk one that KubeVirt made from a template of the source VM."""
    vm = scene.east.get(VM, scene.name)
    assert vm is not None
    owner = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": scene.name, "uid": vm["metadata"]["uid"]}
    owner |= {"controller": True, "blockOwnerDeletion": True}
    scene.east.merge(DATAVOLUME, name, {"metadata": {"ownerReferences": [owner]}})


def test_a_pod_of_somebody_on_a_disk_keeps_the_source(moved: Scene, pod: str) -> None:
    """It is named before the VM is deleted; afterwards its claim would be gone as soon as it lets go."""
    assert f"pod {pod} ({moved.disks[0]})" in refused(moved)


def test_a_disk_that_was_not_copied_keeps_the_source(moved: Scene) -> None:
    """What the source VM names and the move does not know has no copy anywhere; what it does not name is no disk of it."""
    asked, strange = moved.x, replace(moved.x.migration.disks[0], pvc="strange", target="strange")
    try:
        moved.x = replace(asked, migration=replace(asked.migration, disks=(*asked.migration.disks[1:], strange)))
        words = refused(moved)
    finally:
        moved.x = asked
    assert f"names the disk {moved.disks[0]}, which this move did not copy" in words
    assert "does not name the disk strange" in words


def test_marks_of_a_refused_retirement_are_taken_off(moved: Scene, pod: str) -> None:
    """A mark says what a run was about to delete, so it goes when the source is kept; somebody else's mark is left."""
    mine, other = moved.disks[1:]
    for name, mark in ((mine, f"{moved.x.migration.id}/7"), (other, "another/7")):
        moved.east.merge(PVC, name, {"metadata": {"annotations": {labels.RETIRED_BY: mark}}})
    seen = STEP.observe(moved.x)
    assert (seen.state, seen.reason) == (State.NEEDED, "SourceKept")
    assert pod in said(seen)
    STEP.act(moved.x)
    assert [annotations_of(moved.east.get(PVC, name)).get(labels.RETIRED_BY) for name in (mine, other)] == [None, "another/7"]
    refused(moved)
    moved.east.merge(PVC, other, {"metadata": {"annotations": {labels.RETIRED_BY: None}}})


def test_nothing_is_deleted_that_nobody_asked_for(moved: Scene) -> None:
    """Where only marks were to be taken off and the cause has gone meanwhile: nothing is written."""
    step = RetireSource(told=False)
    seen = step.observe(moved.x)
    assert (seen.state, seen.reason) == (State.BLOCKED, "NotRetirable")
    assert "nobody has said" in said(seen)
    assert moved.writes(lambda: step.act(moved.x)) == []


@pytest.mark.slow
def test_what_is_left_of_a_retirement_is_judged_anew(stage: Stage) -> None:
    """The VM is gone, the disks are not: a user, a target VM or a copy that went meanwhile keeps them; without that they go."""
    scene = stage(disks=("a", "b"), start=Start.NEVER).to("release-source")
    STEP.act(scene.x)
    scene.until(lambda: scene.east.get(VM, scene.name) is None)
    heir = f"{scene.name}-heir"
    scene.east.create(machine(heir, [scene.disks[1]]))
    assert f"VM {heir} ({scene.disks[1]})" in refused(scene)
    scene.east.delete(VM, heir)
    scene.until(lambda: scene.east.get(VM, heir) is None)
    scene.east.create(user_pod(scene.name, scene.disks[0]))
    assert f"pod {scene.name}-user" in refused(scene)
    scene.east.delete(POD, f"{scene.name}-user")
    scene.until(lambda: scene.east.get(POD, f"{scene.name}-user") is None)
    assert STEP.observe(scene.x).reason == "SourceToRetire"
    scene.west.delete(VM, scene.name)
    scene.until(lambda: scene.west.get(VM, scene.name) is None)
    assert "the target VM" in refused(scene)
    scene.west.delete(DATAVOLUME, scene.disks[1])
    scene.until(lambda: scene.west.get(PVC, scene.disks[1]) is None)
    assert f"the copy {scene.disks[1]} of {scene.disks[1]} is not there" in refused(scene)
    assert not any(leaving(scene.east.get(PVC, name)) for name in scene.disks)


def test_a_copy_whose_bytes_are_gone_keeps_the_source(moved: Scene) -> None:
    """A claim on its way out, a claim that was filled anew under the same DataVolume, a proof that does not say of which claim it is."""
    first, second, third = moved.disks
    proof = json.loads(annotations_of(moved.west.get(DATAVOLUME, third))[labels.PROOF])
    del proof["claim"]
    moved.west.merge(DATAVOLUME, third, {"metadata": {"annotations": {labels.PROOF: json.dumps(proof)}}})
    moved.west.merge(PVC, first, {"metadata": {"finalizers": ["example.org/held"]}})
    moved.west.delete(PVC, first)
    refill(moved, second)
    words = refused(moved)
    moved.west.merge(PVC, first, {"metadata": {"finalizers": None}})
    assert f"the copy {first} of {first} is not there: its claim is being deleted" in words
    assert f"the copy {second} of {second} is not proven by its bytes" in words
    assert f"it is {moved.claim('west', second)} now" in words
    assert "and no claim was noted" in words


def test_a_disk_that_was_made_anew_keeps_the_source(stage: Stage) -> None:
    """What is on it was never copied: it may be a backup that somebody restored."""
    scene = stage(start=Start.NEVER).to("release-source")
    scene.east.delete(EXPORT, scene.x.migration.names.export)  # its server would hold the claim
    scene.east.delete(DATAVOLUME, scene.disks[0])
    scene.until(lambda: scene.east.get(PVC, scene.disks[0]) is None)
    scene.lab.plant([disk(scene.disks[0], mib=1)])
    assert f"the source's disk {scene.disks[0]} was made anew since it was copied" in refused(scene)


@pytest.mark.slow
def test_what_the_source_owns_does_not_go_with_it(stage: Stage) -> None:
    """A disk of a template that is named no more stays, and is named; a moved one stays until it is judged for itself, then goes."""
    scene = stage(start=Start.NEVER)
    (root,), old = scene.disks, f"{scene.name}-old"
    scene.lab.plant([disk(old)])
    scene.until(lambda: scene.claim("east", old))
    for name in (root, old):
        owned_by_the_vm(scene, name)
    scene.to("release-source")
    assert f"owned by the VM and not copied, so it stays: DataVolume {old}" in STEP.observe(scene.x).message
    STEP.act(scene.x)
    scene.until(lambda: scene.east.get(VM, scene.name) is None)
    scene.lab.clock.sleep(30)
    scene.east.create(user_pod(scene.name, root))
    assert f"pod {scene.name}-user ({root})" in refused(scene)
    scene.east.delete(POD, f"{scene.name}-user")
    scene.until(lambda: scene.east.get(POD, f"{scene.name}-user") is None)
    STEP.act(scene.x)
    scene.until(lambda: STEP.observe(scene.x).state is State.DONE)
    assert scene.east.get(PVC, root) is None
    assert scene.east.get(PVC, old) is not None
    scene.east.delete(DATAVOLUME, old)


@pytest.mark.slow
def test_a_disk_that_is_made_anew_while_it_is_judged_stays(stage: Stage) -> None:
    """Somebody replaces a disk between the judging and its delete: the one that is there now was never judged."""
    scene = stage(start=Start.NEVER).to("release-source")
    STEP.act(scene.x)
    scene.until(lambda: scene.east.get(VM, scene.name) is None)
    (root,), swapped = scene.disks, list[str]()

    def ask(sent: Sent) -> None:
        if sent.context == scene.east.context and sent.path.endswith("/pods") and not swapped:
            scene.east.delete(DATAVOLUME, root)
            scene.until(lambda: scene.east.get(PVC, root) is None)
            scene.lab.plant([disk(root, mib=1)])
            swapped.append(scene.claim("east", root))

    clusters = {cluster.context: cluster for cluster in (scene.x.source, scene.x.target)}
    source, target = Runner(scene.lab, clusters, ask).pair(scene.x.migration.source, scene.x.migration.target)
    with pytest.raises(Conflict):
        STEP.act(replace(scene.x, source=source, target=target))
    assert [scene.claim("east", root)] == swapped
    assert not leaving(scene.east.get(DATAVOLUME, root))
