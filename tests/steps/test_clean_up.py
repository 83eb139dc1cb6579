"""clean-up: what only the move needed is gone, the claim last; what is not ours stays."""

from __future__ import annotations

from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, EXPORT, LEASE, SECRET, VM
from migrate.model.migration import Verify
from migrate.model.observation import State
from migrate.rendering import frames
from migrate.steps import claims
from tests.steps.conftest import Stage

STEP = "clean-up"


def test_everything_that_was_only_needed_is_gone(stage: Stage) -> None:
    """Export, tokens, CA, header; then the claim; disks, VMs and record stay; repeating writes nothing."""
    scene = stage(verify=Verify.SIZE)
    scene.walk("claim-source")
    scene.to("release-source")
    written = scene.writes(lambda: scene.walk(STEP))
    assert written == [
        *("delete virtualmachineexports", "delete secrets", "patch virtualmachines", "delete leases"),
        *("delete secrets", "delete configmaps", "delete leases"),
    ]
    names = scene.x.migration.names
    for cluster, kind, name in (
        (scene.east, EXPORT, names.export),
        (scene.east, SECRET, names.token),
        (scene.east, LEASE, names.claim),
        (scene.west, EXPORT, names.proof),
        (scene.west, SECRET, names.proof_token),
        (scene.west, SECRET, names.header),
        (scene.west, CONFIGMAP, names.ca),
    ):
        assert cluster.get(kind, name) is None
    for kind, name in ((DATAVOLUME, scene.disks[0]), (VM, scene.name), (CONFIGMAP, names.record)):
        assert scene.west.get(kind, name) is not None
    assert scene.writes(lambda: scene.walk(STEP)) == []


def test_what_is_not_ours_stays(stage: Stage) -> None:
    """An object under one of our names without our mark is left, and does not keep the step from its end."""
    scene = stage(disks=()).to("release-source")
    claims.give_up(scene.x)
    name = scene.x.migration.names.header
    scene.west.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"}})
    assert scene.writes(lambda: scene.walk(STEP)) == []
    assert scene.west.get(SECRET, name) is not None


def test_an_object_that_will_not_go_is_waited_for_by_name(stage: Stage) -> None:
    """A finalizer of somebody holds it: WAITING, with the name; then DONE."""
    scene = stage(disks=()).to("stop-source")
    name = scene.x.migration.names.ca
    scene.west.create(*scene.x.render("target/ca.yaml.j2", **frames.ca(scene.x.migration, pem="x")))
    scene.west.merge(CONFIGMAP, name, {"metadata": {"finalizers": ["example.com/held"]}})
    scene.act(STEP)
    seen = scene.look(STEP)
    assert seen.state is State.WAITING
    assert name in seen.message
    scene.west.merge(CONFIGMAP, name, {"metadata": {"finalizers": None}})
    scene.walk(STEP)
