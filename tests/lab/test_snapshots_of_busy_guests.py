"""A guest that writes across its disks: what a copy of them is worth, with a freeze and without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import PV, PVC, VM, VMI, VOLUMESNAPSHOT
from migrate.lab.guest_journal import JOURNAL_AT, Consistency, Journal, consistency, read_block
from migrate.lab.up import Lab
from migrate.model.errors import MigrateError
from tests.lab.exports import make
from tests.lab.snapshots import Snapshot, connected, running, take
from tests.machines import disk

SIZE = 1 << 20
Images = list[bytes]


class Disks:
    """Disks in memory as a journal sees them, with all they ever looked like."""

    def __init__(self, root: Path, count: int) -> None:
        self.paths = [root / str(number) for number in range(count)]
        for path in self.paths:
            path.write_bytes(bytes(SIZE))
        self.past: list[Images] = []

    def write(self, path: Path, offset: int, data: bytes) -> None:
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(data)
        self.past.append([each.read_bytes() for each in self.paths])


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> list[Images]:
    """Three disks after every single write of twelve transactions."""
    disks = Disks(tmp_path_factory.mktemp("disks"), 3)
    journal = Journal(disks.paths, disks.write)
    assert journal.recover() is Consistency.UNWRITTEN
    disks.past.clear()
    for _ in range(48):
        journal.step()
    return disks.past


def test_every_moment_is_a_power_cut_or_better(history: list[Images]) -> None:
    """Whenever all disks are copied at one moment, the set is crash-consistent; between transactions it is better."""
    found = [consistency(images) for images in history]
    assert found[3::4] == [Consistency.APPLICATION] * 12
    assert {each for number, each in enumerate(found) if number % 4 != 3} == {Consistency.CRASH}


@given(first=st.integers(0, 47), later=st.integers(0, 47), which=st.integers(0, 2))
def test_a_copy_of_moments_that_are_a_transaction_apart_is_torn(history: list[Images], first: int, later: int, which: int) -> None:
    """One disk of another moment is noticed once a transaction and a write lie between; a set of one moment is never called torn."""
    mixed = [*history[first]]
    mixed[which] = history[later][which]
    if abs(later - first) > 4:
        assert consistency(mixed) is Consistency.TORN
    elif later == first:
        assert consistency(mixed) is not Consistency.TORN


def test_a_set_must_be_whole(history: list[Images]) -> None:
    """A disk too few, twice the same, and disks without a journal."""
    one, two, three = history[3]
    assert consistency([three, one, two]) is Consistency.APPLICATION
    assert consistency([one, two]) is Consistency.TORN
    assert consistency([one, two, two]) is Consistency.TORN
    assert consistency([one, two, bytes(SIZE)]) is Consistency.TORN
    assert consistency([bytes(SIZE)]) is Consistency.UNWRITTEN


def test_a_boot_replays_the_journal(tmp_path: Path) -> None:
    """What was under way is finished at the next boot; a torn set is taken up, too, and keeps a mark of it for ever."""
    disks = Disks(tmp_path, 2)
    journal = Journal(disks.paths, disks.write)
    journal.recover()
    for _ in range(7):
        journal.step()
    assert consistency(disks.paths) is Consistency.CRASH
    assert Journal(disks.paths, disks.write).recover() is Consistency.CRASH
    assert consistency(disks.paths) is Consistency.APPLICATION
    stale = disks.past[0][1]
    disks.paths[1].write_bytes(stale)
    assert Journal(disks.paths, disks.write).recover() is Consistency.TORN
    assert consistency(disks.paths) is Consistency.APPLICATION
    assert [(read_block(path) or {})["repaired"] for path in disks.paths] == [1, 1]


@pytest.fixture
def api(lab: Lab) -> Iterator[Cluster]:
    yield lab.east.client("lab/user").at("shop")
    lab.east.trouble.clear()


def file_of(lab: Lab, api: Cluster, claim: str) -> Path:
    found = api.get(PVC, claim)
    assert found is not None
    pv = api.get(PV, found["spec"]["volumeName"])
    assert pv is not None
    return lab.east.volumes.path(pv) / "disk.img"


def exported(lab: Lab, snapshot: str, claims: list[str]) -> Images:
    """Return the first MiB of what an export of a snapshot serves."""
    export = make(lab, f"{snapshot}-ex", snapshot, kind="VirtualMachineSnapshot")
    export.until("Ready")
    return [export.fetch(export.url(claim), range=f"bytes=0-{SIZE - 1}").body for claim in claims]


def cuts(lab: Lab, api: Cluster, snapshot: Snapshot) -> list[Path]:
    """Return the files that the storage keeps of a snapshot's volumes."""
    names = [backup["volumeSnapshotName"] for backup in (snapshot.content or {})["spec"]["volumeBackups"]]
    uids = [(api.get(VOLUMESNAPSHOT, name) or {})["metadata"]["uid"] for name in names]
    return [lab.east.volumes.snapshots / f"snapshot-{uid}" / "fs" / "disk.img" for uid in uids]


def plant(lab: Lab, name: str, count: int, *, agent: bool) -> list[str]:
    claims = [f"{name}{number}" for number in range(count)]
    lab.plant([*(disk(claim) for claim in claims), running(name, claims, agent=agent, journal_seconds="0.3")])
    if agent:
        connected(lab, name)
    lab.clock.sleep(3)
    return claims


@pytest.mark.slow
def test_with_an_agent_the_copy_is_whole_and_the_guest_goes_on(lab: Lab, api: Cluster) -> None:
    """The freeze finishes what is under way and lasts until every disk is cut; the guest is the same one before and after.

    An agent that refuses is no failure: it stands in the error, nothing is cut, and it is asked again every five seconds. One that
    cannot hold the freeze, as on Windows, lets the snapshot succeed, with an indication that tells of it: that copy is torn.
    """
    claims = plant(lab, "a", 3, agent=True)
    before = api.get(VMI, "a") or {}
    snapshot = take(lab, "a-snap", "a")
    lab.until(lambda: (api.get(VMI, "a") or {})["status"].get("fsFreezeStatus") == "frozen")
    status = snapshot.until_ready()
    assert set(status["indications"]) == {"GuestAgent", "Online"}
    images = exported(lab, "a-snap", claims)
    assert consistency(images) is Consistency.APPLICATION
    live = read_block(file_of(lab, api, "a0")) or {}
    assert live["commit"] > (read_block(images[0]) or {})["commit"] + 20
    after = api.get(VMI, "a") or {}
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert "fsFreezeStatus" not in after["status"]

    order = lab.east.trouble.set("freeze", "refuse", name="a", message="guest-fsfreeze-freeze: Timeout")
    refused = take(lab, "a-late", "a")
    lab.until(lambda: "Timeout" in ((refused.status.get("error") or {}).get("message", "")))
    assert (refused.phase, refused.said("Progressing")) == ("InProgress", ("False", "In error state"))
    assert (api.get(VM, "a") or {})["status"]["snapshotInProgress"] == "a-late"
    assert len(api.list(VOLUMESNAPSHOT, labels={"snapshot.kubevirt.io/source-vm-name": "a"})) == len(claims)
    lab.east.trouble.clear(order)
    assert "error" not in refused.until_ready()
    assert consistency(cuts(lab, api, refused)) is Consistency.APPLICATION

    lab.east.trouble.set("freeze", "expire", name="a", times=1)
    limited = take(lab, "a-limited", "a")
    status = limited.until_ready()
    assert status["indications"] == ["GuestAgent", "Online", "QuiesceTimeout"]
    assert "error" not in status
    assert consistency(cuts(lab, api, limited)) is Consistency.TORN


@pytest.mark.slow
def test_without_an_agent_the_copy_is_torn(lab: Lab, api: Cluster) -> None:
    """Nothing holds the guest still, and the volumes are cut one after the other; each of them alone is of one moment."""
    plant(lab, "b", 2, agent=False)
    snapshot = take(lab, "b-snap", "b")
    assert set(snapshot.until_ready()["indications"]) == {"NoGuestAgent", "Online"}
    assert consistency(cuts(lab, api, snapshot)) is Consistency.TORN
    with pytest.raises(MigrateError, match="QEMU guest agent is not connected"):
        api.call("PUT", "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachineinstances/b/freeze", {})


@pytest.mark.slow
def test_one_disk_needs_no_freeze(lab: Lab, api: Cluster) -> None:
    """A VM with one disk gives a crash-consistent copy at the least."""
    plant(lab, "c", 1, agent=False)
    snapshot = take(lab, "c-snap", "c")
    snapshot.until_ready()
    assert consistency(cuts(lab, api, snapshot)) in {Consistency.CRASH, Consistency.APPLICATION}


@pytest.mark.slow
def test_a_journal_survives_its_guest(lab: Lab, api: Cluster) -> None:
    """A clean stop leaves nothing open, and the journal lies inside the guest's own window."""
    plant(lab, "f", 3, agent=False)
    api.merge(VM, "f", {"spec": {"runStrategy": "Halted"}})
    lab.until(lambda: (api.get(VM, "f") or {})["status"]["printableStatus"] == "Stopped")
    paths = [file_of(lab, api, claim) for claim in ("f0", "f1", "f2")]
    assert consistency(paths) is Consistency.APPLICATION
    assert JOURNAL_AT + 4096 == SIZE
