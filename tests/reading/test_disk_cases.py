"""Disks on their way: the export that offers them, the import of each, and all imports together."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from migrate.model.migration import Disk, Format
from migrate.model.observation import DiskProgress, State
from migrate.reading.datavolume import CURABLE, anew, read_disk, refitted
from migrate.reading.disk_problems import problem_of
from migrate.reading.export import ended, links_of, read_export
from migrate.reading.importing import read_import, to_create
from tests.case_files import Case, cases, check_observation

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def disk(pvc: str) -> Disk:
    return Disk(volume=f"v-{pvc}", pvc=pvc, target=pvc, capacity_bytes=1000)


@pytest.mark.parametrize("case", cases("reading/export"))
def test_export(case: Case) -> None:
    """The export reads as its case file says, and only an expired one counts as ended."""
    given = case["given"]
    seen = read_export(
        given["export"],
        disks=[disk(name) for name in given.get("disks", ())],
        fmt=Format(given.get("fmt", "raw")),
        migration_id="m1",
        now=NOON,
        stopped=given.get("stopped", False),
    )
    check_observation(seen, case["expect"])
    assert ended(given["export"], now=NOON) is (case["expect"]["reason"] == "ExportExpired")


@pytest.mark.parametrize("case", cases("reading/disk"))
def test_disk(case: Case) -> None:
    """The import of a disk reads as its case file says; whatever blocks or fails says what to do."""
    given, expect = case["given"], case["expect"]
    seen = read_disk(
        disk("db"),
        given["dv"],
        given.get("pvc"),
        given.get("pod"),
        migration_id="m1",
        now=NOON,
        total_bytes=1000,
        url=given.get("url"),
        kills=given.get("kills", 0),
    )
    assert (seen.state.value, seen.reason) == (expect["state"], expect["reason"]), seen
    assert all(word in seen.message for word in expect.get("says", ())), seen.message
    assert "done" not in expect or seen.bytes_done == expect["done"]
    assert seen.name == "db"
    assert seen.bytes_total == 1000
    if seen.state in {State.BLOCKED, State.FAILED}:
        problem = problem_of(seen)
        assert problem.why
        assert problem.now
        assert expect.get("now", "") in problem.now


@pytest.mark.parametrize("case", cases("reading/import"))
def test_import(case: Case) -> None:
    """Several disks fold into the one answer of the case file, and those may be begun that it names."""
    given, expect = case["given"], case["expect"]
    disks = [DiskProgress(name, State(state), reason, total, done, "as it is") for name, state, reason, total, done in given["disks"]]
    seen = read_import(disks, parallel=given["parallel"])
    check_observation(seen, expect)
    assert [one.name for one in seen.disks] == [one.name for one in disks]
    assert list(to_create(disks, parallel=given["parallel"])) == expect["create"]


def test_links_are_joined_by_claim_name() -> None:
    """A link is found by the name of the claim, wherever it stands in the list, and taken verbatim."""
    names = ["disk", "disk-2", "disk-22", *(f"data-{n}" for n in range(12))]
    volumes = [{"name": name, "formats": [{"format": "raw", "url": f"https://h/{name}?x=%20"}]} for name in reversed(names)]
    links = links_of({"status": {"links": {"external": {"cert": "PEM", "volumes": volumes}}}})
    assert links is not None
    disks = {name: Disk(name, name, name, 1) for name in (*names, "data")}
    assert [links.url(disks[name], Format.RAW) for name in names] == [f"https://h/{name}?x=%20" for name in names]
    assert links.url(disks["data"], Format.RAW) is None
    assert links.url(disks["disk"], Format.GZIP) is None
    assert links.url(replace(disks["disk"], archive=True), Format.RAW) is None
    assert links.cert == "PEM"


@pytest.mark.parametrize("status", [{}, {"links": {}}, {"links": {"internal": {"cert": "x"}}}, {"links": None}])
def test_no_external_links_are_none(status: Case) -> None:
    """Without external links there is nothing, not an empty set of links."""
    assert links_of({"status": status}) is None
    assert links_of(None) is None


@pytest.mark.parametrize("state", list(State))
def test_only_disks_that_were_given_up_are_begun_anew(state: State) -> None:
    """What a person may have cured is begun anew by the next run; what moves, is done, or belongs to somebody else is left alone."""
    for reason in (*CURABLE, "NameTaken", "StaleDisks", "Importing"):
        seen = DiskProgress("db", state, reason, 100, 10, "words")
        begun = anew(seen)
        if state in (State.FAILED, State.BLOCKED) and reason in CURABLE:
            assert (begun.state, begun.reason) == (State.NEEDED, "BegunAnew")
            assert reason in begun.message
        else:
            assert begun is seen


@pytest.mark.parametrize(
    ("others", "again"),
    [
        ([(State.DONE, "DiskCopied")], True),
        ([(State.DONE, "DiskCopied"), (State.WAITING, "Importing")], False),
        ([(State.BLOCKED, "QuotaExceeded")], False),
        ([], False),
    ],
)
def test_a_quota_is_tried_again_once_others_are_through(others: list[tuple[State, str]], again: bool) -> None:
    """CDI does not watch quotas: a refused disk is made anew when others have given back what they needed, and not before."""
    refused = DiskProgress("a", State.BLOCKED, "QuotaExceeded", 100, 0, "exceeded quota")
    disks = [refused, *(DiskProgress(f"o{number}", state, reason) for number, (state, reason) in enumerate(others))]
    assert [disk.reason for disk in refitted(disks)][:1] == ["QuotaMayFit" if again else "QuotaExceeded"]
    assert [disk.reason for disk in refitted(disks)][1:] == [reason for _, reason in others]
