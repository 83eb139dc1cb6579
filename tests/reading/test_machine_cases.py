"""Machines: stopped or not, running or not, managed by whom, and what they were."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from migrate.model.was import Was
from migrate.reading.halting import read_stopped
from migrate.reading.machine import was_held, was_of, was_snapshotted
from migrate.reading.managers import managed_by
from migrate.reading.starting import read_running
from tests.case_files import Case, cases, check_observation

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("case", cases("reading/stopped"))
def test_stopped(case: Case) -> None:
    """The halt of the source reads as its case file says."""
    given = case["given"]
    seen = read_stopped(given["vm"], given.get("vmi"), given.get("pods", ()), migration_id="m1", now=NOON, copies=given.get("copies", ()))
    check_observation(seen, case["expect"])


@pytest.mark.parametrize("case", cases("reading/running"))
def test_running(case: Case) -> None:
    """The start of the target reads as its case file says."""
    given = case["given"]
    seen = read_running(given["vm"], given.get("vmi"), strategy=given["strategy"], want_agent=given.get("want_agent", False))
    check_observation(seen, case["expect"])


@pytest.mark.parametrize("case", cases("reading/managers"))
def test_managers(case: Case) -> None:
    """Exactly the managers of the case file are found, each with its evidence and remedy."""
    found = {manager.name: "\n".join((*manager.evidence, manager.remedy)) for manager in managed_by(case["given"]["vm"])}
    assert set(found) == set(case["expect"])
    for name, words in case["expect"].items():
        assert all(word in found[name] for word in words), found[name]


@pytest.mark.parametrize("case", cases("reading/was"))
def test_was(case: Case) -> None:
    """What would be written into the WAS annotation is what the case file says, and it is read back as it was."""
    was = was_of(case["given"]["vm"], case["given"].get("vmi"))
    assert json.loads(was.to_json()) == case["expect"]
    assert Was.of_json(was.to_json()) == was


def test_was_held() -> None:
    """Of a VM that a snapshot holds, its spec tells first, then what its instance was then, whatever the live VM's newer spec says."""
    cards = [{"name": "a"}, {"name": "b", "macAddress": "02:00:00:00:00:0b"}]
    newer = {
        "domain": {"firmware": {"uuid": "newer", "serial": "newer"}, "devices": {"interfaces": [{"name": "a", "macAddress": "newer"}]}}
    }
    held = {"metadata": {"name": "db"}, "spec": {"template": {"spec": {"domain": {"devices": {"interfaces": cards}}}}}}
    live = {"metadata": {"name": "db"}, "spec": {"template": {"spec": newer}}}
    lived = {"firmware": {"uuid": "lived", "serial": "s"}, "devices": {"interfaces": [{"name": "a"}, {"name": "b", "macAddress": "other"}]}}
    status = {"phase": "Running", "interfaces": [{"name": "a", "mac": "02:00:00:00:00:0a"}, {"name": "b", "mac": "other"}]}
    vmi = {"metadata": {"uid": "i"}, "spec": {"domain": lived}, "status": status}
    was = was_held(held, was_snapshotted(live, vmi))
    assert (was.uuid, was.serial, was.macs) == ("lived", "s", {"a": "02:00:00:00:00:0a", "b": "02:00:00:00:00:0b"})
    assert was_held(held, None) == was_of(held, None)


@pytest.mark.parametrize("text", ["", "[]", "no", '{"macs": 3}', '{"gracePeriodSeconds": "x"}'])
def test_broken_memory_is_an_error_not_a_guess(text: str) -> None:
    """A WAS text that we did not write is a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 - any ValueError is what callers catch
        Was.of_json(text)


def test_newer_memory_is_read() -> None:
    """Fields of a newer version are passed over."""
    assert Was.of_json('{"running": true, "tpm": {"kept": true}}').strategy == "Always"
