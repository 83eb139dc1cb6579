"""publish-disks: an export with a link for every disk, made again under the same name and token when it expires."""

from __future__ import annotations

from migrate.kube.kinds import EXPORT, SECRET
from migrate.model.observation import State
from migrate.steps.exporting import secret_text, time_to_live
from tests.steps.conftest import Stage

STEP = "publish-disks"


def test_disks_are_offered(stage: Stage) -> None:
    """From nothing: a random token, then the export; links for every disk."""
    scene = stage(disks=("root", "data")).to("stop-source")
    assert scene.writes(lambda: scene.walk(STEP)) == ["create secrets", "create virtualmachineexports"]
    export = scene.east.get(EXPORT, scene.x.migration.names.export)
    assert [volume["name"] for volume in export["status"]["links"]["external"]["volumes"]] == scene.disks
    assert len(secret_text(scene.east.get(SECRET, scene.x.migration.names.token))) == 40


def test_an_offer_that_stands_is_left_alone(stage: Stage) -> None:
    """Repeating writes nothing; undo removes export and token and nothing else."""
    scene = stage().to(STEP)
    assert scene.writes(lambda: scene.walk(STEP)) == []
    assert scene.undo(STEP).state is State.DONE
    assert scene.east.get(EXPORT, scene.x.migration.names.export) is None
    assert scene.east.get(SECRET, scene.x.migration.names.token) is None
    assert scene.writes(lambda: scene.undo(STEP)) == []


def test_an_expired_export_is_made_again_with_the_same_token(stage: Stage) -> None:
    """Its links stay valid: same name, same token."""
    scene = stage().to(STEP)
    names = scene.x.migration.names
    token, uid = secret_text(scene.east.get(SECRET, names.token)), scene.east.get(EXPORT, names.export)["metadata"]["uid"]
    links = scene.east.get(EXPORT, names.export)["status"]["links"]["external"]["volumes"]
    scene.east.delete(EXPORT, names.export)
    scene.walk(STEP)
    export = scene.east.get(EXPORT, names.export)
    assert export["metadata"]["uid"] != uid
    assert export["status"]["links"]["external"]["volumes"] == links
    assert secret_text(scene.east.get(SECRET, names.token)) == token


def test_a_source_that_was_started_blocks_the_offer(stage: Stage) -> None:
    """BLOCKED SourceStartedAgain, before anything is offered."""
    scene = stage().to("stop-source")
    scene.start(scene.east)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "SourceStartedAgain")


def test_no_external_link_is_said_with_the_remedy(stage: Stage) -> None:
    """An export that is ready without external links would be waited for for ever: BLOCKED NoExternalLink."""
    scene = stage().to("stop-source")
    scene.lab.east.trouble.set("links", "refuse", export=scene.x.migration.names.export)
    scene.act(STEP)
    seen = scene.until(lambda: (look := scene.look(STEP)).state is State.BLOCKED and look)
    assert seen.reason == "NoExternalLink"
    assert "Ingress" in seen.problems[0].now


def test_time_to_live_grows_with_the_disks(stage: Stage) -> None:
    """24 h at least, three times a slow copy for more; whole hours."""
    disks = stage(disks=("root",)).x.migration.disks
    big = tuple(type(disks[0])(volume="v", pvc="p", target="p", capacity_bytes=4 << 40) for _ in range(2))
    assert time_to_live(disks).total_seconds() == 24 * 3600
    hours = time_to_live(big).total_seconds() / 3600
    assert hours == int(hours)
    assert hours > 300
