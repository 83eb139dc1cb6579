"""What a snapshot says of its source, release by release, and which of several snapshot classes is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from migrate.kube.kinds import KUBEVIRT
from migrate.lab.kubevirt_release import release
from migrate.lab.kubevirt_snapshot_source import NoClass, Storage, View, indications, snapshot_statuses, volumes_of
from migrate.model.errors import Refused
from tests.lab.exports import alone, make
from tests.lab.snapshots import manifest, running, take
from tests.machines import disk, machine

Object = dict[str, Any]
LIMIT = "couldn't hold writes: fsfreeze is limited up to 10 seconds"


def view(*conditions: str, online: bool = True) -> View:
    instance = {"status": {"conditions": [{"type": word, "status": "True"} for word in conditions]}}
    return View(machine("vm"), instance if online else None, {}, {})


@pytest.mark.parametrize(
    ("source", "error", "v13", "v16", "v19"),
    [
        (view(online=False), "", [], [], []),
        (view(), "", ["NoGuestAgent", "Online"], ["NoGuestAgent", "Online"], ["NoGuestAgent", "Online"]),
        (view("AgentConnected"), "", ["GuestAgent", "Online"], ["GuestAgent", "Online"], ["GuestAgent", "Online"]),
        (view("Paused"), "", ["NoGuestAgent", "Online"], ["NoGuestAgent", "Online"], ["Online", "Paused"]),
        (
            view("AgentConnected"),
            LIMIT,
            ["GuestAgent", "Online"],
            ["GuestAgent", "Online", "QuiesceFailed"],
            ["GuestAgent", "Online", "QuiesceTimeout"],
        ),
    ],
)
def test_indications_by_release(source: View, error: str, v13: list[str], v16: list[str], v19: list[str]) -> None:
    """A failed freeze was not told at first and changed its name; a paused VM is told since the words have messages."""
    assert [indications(source, (), error=error, release=release(name)) for name in ("v1.3", "v1.6", "v1.9")] == [v13, v16, v19]


def test_indications_stay() -> None:
    """What was said once is said to the end, even if the agent is gone meanwhile."""
    assert indications(view(), ["GuestAgent", "Online"], error="", release=release("v1.9")) == ["GuestAgent", "NoGuestAgent", "Online"]


def test_backend_storage_is_a_volume_from_1_5_on() -> None:
    """Before that it was left out of snapshots as of exports."""
    vm = machine("vm", ["one"])
    vm["spec"]["template"]["spec"]["domain"]["devices"]["tpm"] = {"persistent": True}
    claim = {"metadata": {"name": "persistent-state-for-vm-x", "labels": {"persistent-state-for": "vm"}}}
    found = [[volume["name"] for volume in volumes_of(vm, [claim], release(name))] for name in ("v1.3", "v1.6")]
    assert found == [["one"], ["one", "persistent-state-for-vm"]]


def snapshot_class(name: str, driver: str = "d", **annotations: str) -> Object:
    return {"metadata": {"name": name, "annotations": annotations}, "driver": driver}


CLASSES: dict[str, Object] = {"gold": {"metadata": {"name": "gold"}, "provisioner": "d"}}
DEFAULT = {"snapshot.storage.kubernetes.io/is-default-class": "true"}


@pytest.mark.parametrize(
    ("chosen", "there", "expected"),
    [
        (None, [], ""),
        (None, [snapshot_class("other", "e")], ""),
        (None, [snapshot_class("one")], "one"),
        (None, [snapshot_class("one"), snapshot_class("two", **DEFAULT)], "two"),
        ("two", [snapshot_class("one", **DEFAULT), snapshot_class("two")], "two"),
        ("gone", [snapshot_class("one")], ""),
    ],
)
def test_the_class_of_a_volume(chosen: str | None, there: list[Object], expected: str) -> None:
    """The profile's class if it has one, else the only one of the driver, else the one marked as default."""
    profiles = {"gold": {"status": {"snapshotClass": chosen}}} if chosen else {}
    assert Storage(CLASSES, profiles, tuple(there)).snapshot_class("gold") == expected


def test_two_classes_without_a_default_are_one_too_many() -> None:
    """The VM's status says so for the volume."""
    storage = Storage(CLASSES, {}, (snapshot_class("one"), snapshot_class("two")))
    with pytest.raises(NoClass, match="2 matching VolumeSnapshotClasses for gold"):
        storage.snapshot_class("gold")
    claims = {"one": {"metadata": {"name": "one"}, "spec": {"storageClassName": "gold"}}}
    words = "2 matching VolumeSnapshotClasses for gold"
    assert snapshot_statuses(machine("vm", ["one"]), claims, storage, release("v1.9")) == [
        {"name": "one", "enabled": False, "reason": words}
    ]


def test_on_1_3_the_gate_is_listed_and_words_have_no_messages(tmp_path: Path) -> None:
    """A snapshot of a running VM on the oldest release is exported as on the newest, through the older API."""
    with alone(tmp_path / "lab", "v1.3") as lab:
        api = lab.east.client("lab/user").at("shop")
        lab.east.plant([disk("data"), disk("old", storage_class="slow-legacy"), running("vm", ["data", "old"])])
        status = take(lab, "snap", "vm").until_ready()
        assert (status["indications"], status.get("sourceIndications")) == (["NoGuestAgent", "Online"], None)
        assert status["snapshotVolumes"] == {"includedVolumes": ["data"], "excludedVolumes": ["old"]}
        export = make(lab, "ex", "snap", kind="VirtualMachineSnapshot", version="v1beta1")
        assert "/v1beta1/" in (export.until("Ready"), export.url("data"))[1]
        kubevirt = api.get(KUBEVIRT, "kubevirt", "kubevirt")
        assert kubevirt is not None
        assert kubevirt["spec"]["configuration"]["developerConfiguration"]["featureGates"] == ["Snapshot", "VMExport"]
        api.merge(KUBEVIRT, "kubevirt", {"spec": {"configuration": {"developerConfiguration": {"featureGates": ["VMExport"]}}}}, "kubevirt")
        with pytest.raises(Refused, match="snapshot feature gate not enabled"):
            api.create(manifest("shut", "vm"))
