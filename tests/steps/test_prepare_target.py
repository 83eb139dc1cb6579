"""prepare-target: namespace, record and rehearsal, while the source still runs."""

from __future__ import annotations

from migrate.kube.kinds import CONFIGMAP, NAMESPACE
from migrate.model.observation import State
from migrate.model.record import Record
from tests.steps.conftest import Stage

STEP = "prepare-target"


def test_the_request_is_recorded_once(stage: Stage) -> None:
    """From nothing: one ConfigMap that holds what was asked; the dry runs leave nothing."""
    scene = stage()
    assert scene.writes(lambda: scene.walk(STEP)) == ["create configmaps"]
    record = Record.of_data(scene.west.get(CONFIGMAP, scene.x.migration.names.record)["data"])
    assert record.migration.id == scene.x.migration.id
    assert scene.writes(lambda: scene.walk(STEP)) == []


def test_a_missing_namespace_is_blocked_unless_it_may_be_made(stage: Stage) -> None:
    """Without --create-namespace BLOCKED with that remedy; with it the namespace is made, with our mark."""
    scene = stage(disks=(), target_namespace="made-for-it")
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "NamespaceMissing")
    assert "--create-namespace" in seen.problems[0].now
    scene.options(create_namespace=True)
    assert scene.writes(lambda: scene.walk(STEP)) == ["create namespaces", "create configmaps"]
    assert scene.west.get(NAMESPACE, "made-for-it") is not None


def test_what_the_target_refuses_is_said_in_its_words(stage: Stage) -> None:
    """A refused dry run is BLOCKED DryRunRefused."""
    scene = stage()
    scene.lab.west.trouble.set("api", "refuse", method="POST", resource="datavolumes", status="422", message="no disks on Fridays")
    scene.act(STEP)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "DryRunRefused")
    assert "no disks on Fridays" in seen.problems[0].why


def test_a_record_that_is_not_ours_is_not_touched(stage: Stage) -> None:
    """An object under our name without our mark is BLOCKED NameTaken."""
    scene = stage(disks=())
    name = scene.x.migration.names.record
    scene.west.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}})
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "NameTaken")
    assert scene.writes(lambda: scene.undo(STEP)) == []
