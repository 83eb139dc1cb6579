"""import-disks: every disk from its own link, with the CA and token of the hour, and healed where CDI does not."""

from __future__ import annotations

import json

import pytest
import trustme

from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, EXPORT, POD, PVC, SECRET
from migrate.model import labels
from migrate.model.errors import Blocked
from migrate.model.migration import Format
from migrate.model.observation import State
from migrate.steps.exporting import secret_text
from tests.machines import disk
from tests.steps.conftest import Stage

STEP = "import-disks"


def test_every_disk_arrives_whole(stage: Stage) -> None:
    """From nothing: CA, header and a DataVolume per disk, joined by claim name; the bytes are the source's."""
    scene = stage(disks=("data", "data-2", "disk")).to("publish-disks")
    written = scene.writes(lambda: scene.walk(STEP))
    assert written == ["patch configmaps", "patch secrets", *["create datavolumes"] * 3]
    hashes = scene.lab.disks()
    for name in scene.disks:
        assert hashes["west", "shop", name] == hashes["east", "shop", name]
    assert len({hashes["west", "shop", name] for name in scene.disks}) == 3


def test_imported_disks_are_left_alone(stage: Stage) -> None:
    """Repeating writes nothing; undo removes the disks, their claims, CA and header, and then nothing more."""
    scene = stage().to(STEP)
    assert scene.writes(lambda: scene.walk(STEP)) == []
    assert scene.undo(STEP).state is State.DONE
    names = scene.x.migration.names
    for kind, name in ((DATAVOLUME, scene.disks[0]), (PVC, scene.disks[0]), (CONFIGMAP, names.ca), (SECRET, names.header)):
        assert scene.west.get(kind, name) is None
    assert scene.writes(lambda: scene.undo(STEP)) == []


def test_not_more_disks_at_once_than_asked(stage: Stage) -> None:
    """With --parallel-disks 1 the second disk is created when the first is through."""
    scene = stage(disks=("a", "b"), parallel_disks=1).to("publish-disks")
    scene.act(STEP)
    assert [found["metadata"]["name"] for found in scene.west.list(DATAVOLUME) if found["metadata"]["name"] in scene.disks] == scene.disks[
        :1
    ]
    scene.walk(STEP)
    assert scene.look(STEP).state is State.DONE


def test_the_virtual_size_is_asked_for(stage: Stage) -> None:
    """Not the source claim's request, which holds overhead: the guest disk must not grow at every hop."""
    scene = stage().to(STEP)
    asked = scene.west.get(DATAVOLUME, scene.disks[0])["spec"]["storage"]["resources"]["requests"]["storage"]
    assert int(asked) == scene.file("east", scene.disks[0]).stat().st_size
    assert scene.file("west", scene.disks[0]).stat().st_size == int(asked)


def test_a_rotated_token_is_shipped_in_place(stage: Stage) -> None:
    """Header Secret and CA ConfigMap change their content; the DataVolume, which cannot change, stays the same object."""
    scene = stage().to("publish-disks")
    scene.lab.west.trouble.set("importer", "delay", name=f"*{scene.disks[0]}*", seconds=5)
    scene.act(STEP)
    uid = scene.west.get(DATAVOLUME, scene.disks[0])["metadata"]["uid"]
    scene.east.merge(SECRET, scene.x.migration.names.token, {"stringData": {"token": "another0token"}})
    scene.west.merge(CONFIGMAP, scene.x.migration.names.ca, {"data": {"ca.pem": "stale"}})
    assert scene.look(STEP).reason in ("CaRotated", "TokenRotated")
    assert scene.writes(lambda: scene.act(STEP)) == ["patch configmaps", "patch secrets"]
    assert secret_text(scene.west.get(SECRET, scene.x.migration.names.header), "header").endswith("another0token")
    scene.walk(STEP)
    assert scene.west.get(DATAVOLUME, scene.disks[0])["metadata"]["uid"] == uid


def test_an_export_lost_on_the_way_is_made_again(stage: Stage) -> None:
    """Deleted or expired in the middle of an import, it comes back under the same name, and the import ends."""
    scene = stage().to("publish-disks")
    scene.east.delete(EXPORT, scene.x.migration.names.export)
    scene.walk(STEP)
    assert scene.look(STEP).state is State.DONE


def test_a_stale_source_blocks_and_names_the_disks(stage: Stage) -> None:
    """A source that somebody started makes every copy stale: BLOCKED with their names, and nothing more is created."""
    scene = stage(disks=("a", "b"), parallel_disks=1).to("publish-disks")
    scene.act(STEP)
    scene.start(scene.east)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "SourceStartedAgain")
    assert scene.disks[0] in seen.problems[0].what


def test_a_copy_of_an_earlier_halt_is_stale(stage: Stage) -> None:
    """The generation of the halt is noted on each disk, and no claim is ever adopted; another one is BLOCKED StaleDisks with its name."""
    scene = stage().to(STEP)
    notes = scene.west.get(DATAVOLUME, scene.disks[0])["metadata"]["annotations"]
    assert notes[labels.SOURCE_GENERATION] == str(scene.vm(scene.east)["metadata"]["generation"])
    assert notes["cdi.kubevirt.io/allowClaimAdoption"] == "false"
    scene.west.merge(DATAVOLUME, scene.disks[0], {"metadata": {"annotations": {labels.SOURCE_GENERATION: "99"}}})
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "StaleDisks")
    assert scene.disks[0] in seen.problems[0].what


def test_a_disk_that_is_not_ours_is_not_adopted(stage: Stage) -> None:
    """A DataVolume or claim of the wanted name without our mark is BLOCKED NameTaken, and survives an undo."""
    scene = stage().to("publish-disks")
    scene.lab.plant([disk(scene.disks[0], cluster="west")])
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.BLOCKED, "NameTaken")
    assert scene.undo(STEP).state is State.DONE
    assert scene.west.get(DATAVOLUME, scene.disks[0]) is not None


@pytest.mark.slow
def test_an_evicted_importer_is_cleared_away(stage: Stage) -> None:
    """Nothing in CDI replaces a Failed importer pod: it is deleted, and the import goes on."""
    scene = stage().to("publish-disks")
    scene.lab.west.trouble.set("importer", "delay", name=f"*{scene.disks[0]}*", seconds=5)
    scene.act(STEP)
    pod = scene.until(lambda: next(iter(scene.west.list(POD, labels={labels.ID: scene.x.migration.id})), None))
    scene.until(lambda: (scene.west.get(POD, pod["metadata"]["name"]) or pod)["status"].get("phase") == "Running")
    scene.lab.west.trouble.set("node", "evict", name=pod["metadata"]["name"], times=1)
    seen = scene.until(lambda: (look := scene.look(STEP)).reason == "ImporterEvicted" and look)
    assert seen.state is State.NEEDED
    scene.walk(STEP)
    assert scene.lab.disks()["west", "shop", scene.disks[0]] == scene.lab.disks()["east", "shop", scene.disks[0]]


@pytest.mark.slow
def test_an_import_that_never_works_fails_with_the_importers_words(stage: Stage) -> None:
    """After its retries FAILED, naming the disk and what the importer said."""
    scene = stage().to("publish-disks")
    scene.lab.west.trouble.set("importer", "restart", code=1, after=10, name=f"*{scene.disks[0]}*")
    scene.act(STEP)
    while (seen := scene.look(STEP)).state is not State.FAILED:
        scene.lab.clock.sleep(60)
    assert scene.disks[0] in seen.problems[0].what


def test_a_disk_is_not_made_anew_for_ever(stage: Stage) -> None:
    """Recreations are counted in the cluster before they are made; the sixth is refused."""
    scene = stage().to("publish-disks")
    scene.lab.west.trouble.set("importer", "delay", name=f"*{scene.disks[0]}*", seconds=600)
    scene.act(STEP)
    scene.lab.clock.sleep(10)
    uid = scene.west.get(DATAVOLUME, scene.disks[0])["metadata"]["uid"]
    scene.options(format=Format.GZIP)
    assert scene.look(STEP).reason == "LinkChanged"
    written = [write for write in scene.writes(lambda: scene.act(STEP)) if write != "update leases"]
    assert written == ["patch configmaps", "delete datavolumes"]
    scene.until(lambda: scene.look(STEP).reason == "DiskMissing")
    scene.act(STEP)
    assert scene.west.get(DATAVOLUME, scene.disks[0])["metadata"]["uid"] != uid
    count = json.dumps({scene.disks[0]: 5})
    scene.west.merge(CONFIGMAP, scene.x.migration.names.ca, {"metadata": {"annotations": {labels.RECREATED: count}}})
    scene.options(format=Format.RAW)
    seen = scene.look(STEP)
    assert (seen.state, seen.reason) == (State.FAILED, "RecreatedTooOften")


def test_a_host_that_is_not_trusted_stops_before_a_disk_is_made(stage: Stage) -> None:
    """The link's certificate is tried with the CA that is shipped; what is wrong is told with the option, once."""
    scene = stage().to("publish-disks")
    scene.options(source_ca=trustme.CA().cert_pem.bytes().decode())
    with pytest.raises(Blocked, match="certificate") as caught:
        scene.act(STEP)
    assert "--source-ca" in caught.value.now
    assert scene.west.get(DATAVOLUME, scene.disks[0]) is None
