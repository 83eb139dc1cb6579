"""carry-references: copies of what the VM names, made before the source is stopped, never on top of what differs."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.kube.kinds import CONFIGMAP, SECRET, VM
from migrate.model import labels
from migrate.model.errors import Conflict
from migrate.model.migration import References
from migrate.model.observation import State
from tests.steps.conftest import Stage
from tests.steps.scene import Scene

STEP = "carry-references"


def naming(stage: Stage, **wishes: Any) -> Scene:
    """Build a VM that names a Secret and a ConfigMap of its own name."""
    scene = stage(disks=(), claim=False, **wishes)
    metadata = {"name": scene.name, "namespace": "shop"}
    scene.east.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": "hunter2"}})
    scene.east.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}})
    volumes = [{"name": "key", "secret": {"secretName": scene.name}}, {"name": "conf", "configMap": {"name": scene.name}}]
    disks = [{"name": volume["name"], "disk": {"bus": "virtio"}} for volume in volumes]
    guest = {"volumes": volumes, "domain": {"devices": {"disks": disks}}}
    scene.east.merge(VM, scene.name, {"spec": {"template": {"spec": guest}}})
    scene.ask_again()
    scene.walk("claim-source")
    return scene


def other(scene: Scene, **body: Any) -> None:
    """Put a Secret of that name on the target."""
    scene.west.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": scene.name, "namespace": "shop"},
            "stringData": {"password": "swordfish"},
        }
        | body
    )


def test_what_is_missing_is_copied_with_our_mark(stage: Stage) -> None:
    """From nothing: a Secret and a ConfigMap, with our mark and the number of the claim; repeating writes nothing; undo removes both."""
    scene = naming(stage)
    assert scene.writes(lambda: scene.walk(STEP)) == ["create secrets", "create configmaps"]
    for kind in (SECRET, CONFIGMAP):
        copy = scene.west.get(kind, scene.name)
        assert copy is not None
        assert labels.is_ours(copy, scene.x.migration.id)
        assert copy["metadata"]["annotations"][labels.CLAIM]
    assert scene.writes(lambda: scene.walk(STEP)) == []
    assert scene.undo(STEP).state is State.DONE
    assert (scene.west.get(SECRET, scene.name), scene.west.get(CONFIGMAP, scene.name)) == (None, None)
    assert scene.writes(lambda: scene.undo(STEP)) == []


def test_what_differs_blocks_in_words_without_values(stage: Stage) -> None:
    """BLOCKED ReferenceDiffers: what, where, in which key, what to do; undo leaves what is not ours."""
    scene = naming(stage)
    other(scene)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "ReferenceDiffers")
    (problem,) = seen.problems
    assert (problem.what, problem.why) == (f"Secret {scene.name} of the target differs from the source's", "key password differs")
    assert "--references replace" in problem.now
    assert "swordfish" not in str(seen)
    scene.undo(STEP)
    assert scene.west.get(SECRET, scene.name) is not None


def test_replacing_survives_a_death_in_the_middle(stage: Stage) -> None:
    """Noted but not kept, or kept but not overwritten: the next act goes on, and what was kept is what was there first."""
    scene = naming(stage, references=References.REPLACE)
    other(scene)
    before = scene.west.get(SECRET, scene.name)
    assert before is not None
    scene.west.merge(SECRET, scene.name, {"metadata": {"annotations": {labels.REPLACED_BY: scene.x.migration.id}}})
    scene.walk("claim-source", STEP)
    kept = scene.west.get(SECRET, scene.x.migration.names.before_of("Secret", scene.name))
    assert kept is not None
    assert kept["data"] == before["data"]
    scene.west.merge(SECRET, scene.name, {"data": {"password": "YWdhaW4="}})  # a third content, under our note
    scene.walk(STEP)
    again = scene.west.get(SECRET, scene.x.migration.names.before_of("Secret", scene.name))
    assert again is not None
    assert again["data"] == before["data"]
    assert scene.undo(STEP).state is State.DONE
    after = scene.west.get(SECRET, scene.name)
    assert after is not None
    assert after["data"] == before["data"]
    assert labels.REPLACED_BY not in (after["metadata"].get("annotations") or {})


def test_what_another_move_replaced_since_is_not_replaced_in_turn(stage: Stage) -> None:
    """Two moves that overwrite each other would lose what was there first: BLOCKED, with the other one named; undo keeps what it keeps."""
    scene = naming(stage, references=References.REPLACE)
    other(scene)
    scene.walk(STEP)
    name, mine = scene.x.migration.names.before_of("Secret", scene.name), scene.x.migration.id
    note = {"metadata": {"annotations": {labels.REPLACED_BY: f"another/{mine}"}}, "data": {"password": "dGhpcmQ="}}
    scene.west.merge(SECRET, scene.name, note)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "ReferenceDiffers")
    assert "migration another replaced it after this one" in seen.problems[0].why
    assert "--references replace" not in seen.problems[0].now
    assert "by migration another" in scene.undo(STEP).message
    assert scene.west.get(SECRET, name) is not None
    scene.west.merge(SECRET, scene.name, {"metadata": {"annotations": {labels.REPLACED_BY: mine}}})  # the other one was taken back
    scene.walk("claim-source")
    assert scene.undo(STEP).message == "nothing of this step is left"
    assert scene.west.get(SECRET, name) is None
    assert (scene.west.get(SECRET, scene.name) or {})["data"] == {"password": "c3dvcmRmaXNo"}


def test_nothing_is_overwritten_without_the_claim(stage: Stage) -> None:
    """A runner whose number does not stand on the object any more writes nothing over it."""
    scene = naming(stage, references=References.REPLACE)
    other(scene)
    scene.west.merge(
        SECRET, scene.name, {"metadata": {"annotations": {labels.REPLACED_BY: scene.x.migration.id, labels.CLAIM: "another/7"}}}
    )
    before = scene.west.get(SECRET, scene.name)
    assert before is not None
    with pytest.raises(Conflict):
        scene.act(STEP)
    after = scene.west.get(SECRET, scene.name)
    assert after is not None
    assert after["data"] == before["data"]
