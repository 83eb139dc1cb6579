"""Snapshots: how far, with what in them, and what their disks are worth."""

from __future__ import annotations

import pytest

from migrate.model.migration import Disk
from migrate.model.snapshot import Taken
from migrate.reading.snapshot import foresee, read_snapshot, taken_of
from tests.case_files import Case, cases, check_observation, words_of

DISKS = (Disk("root", "db-root", "db-root", 2**30), Disk("data", "db-data", "db-data", 2**30))


@pytest.mark.parametrize("case", cases("reading/snapshot"))
def test_how_far_it_is(case: Case) -> None:
    """A snapshot of a VM with two disks reads as its case file says."""
    given = case["given"]
    seen = read_snapshot(given["snapshot"], given["content"], disks=DISKS, source_uid="vm-1", migration_id="m1")
    check_observation(seen, case["expect"])


@pytest.mark.parametrize("case", cases("reading/consistency"))
def test_what_it_is_worth(case: Case) -> None:
    """The indications decide, in the newer field as in the older."""
    taken = taken_of({"metadata": {"name": "s", "uid": "u"}, **case["given"]})
    worth, because = case["expect"]
    assert taken.consistency == worth
    assert because in taken.because
    assert Taken.of_json(taken.to_json()) == taken


@pytest.mark.parametrize(
    ("vm", "vmi", "pod", "reason"),
    [
        ({}, None, "", None),
        ({}, None, "backup", "DiskInUse"),
        ({}, {"status": {"phase": "Running"}}, "backup", None),
        ({}, None, "virt-launcher-db-abcde", None),
        ({"snapshotInProgress": "nightly"}, None, "", "SnapshotInProgress"),
        ({"restoreInProgress": "nightly"}, None, "", "SnapshotInProgress"),
        ({"snapshotInProgress": "own"}, None, "", None),
    ],
)
def test_what_would_hold_it_up(vm: dict[str, str], vmi: dict[str, object] | None, pod: str, reason: str | None) -> None:
    """Locks of others, and pods on the disks of a VM that is off; its own launcher ends by itself, and ours is no lock of others."""
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "db-root"}}]
    pods = [{"metadata": {"name": pod}, "spec": {"volumes": volumes}, "status": {"phase": "Running"}}] if pod else []
    seen = foresee({"metadata": {"name": "db"}, "status": vm}, vmi, pods, disks=DISKS, own="own")
    assert (seen.reason if seen is not None else None) == reason
    if reason == "DiskInUse":
        assert seen is not None
        assert "pod backup (db-root)" in words_of(seen.problems)
