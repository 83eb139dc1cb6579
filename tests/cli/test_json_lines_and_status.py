"""What scripts read: `-o json` of a move, and `migrate status` in both forms."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from migrate.model.observation import State
from migrate.model.report import EVENT_SCHEMA, REPORT_SCHEMA, Event, Outcome, Report, Stand
from tests.cli.conftest import Plant
from tests.cli.shell import Shell
from tests.flows.flow import Flow

EVENT_KEYS = list(Event(datetime.now(UTC), "", "", State.DONE, "", "").to_json())
REPORT_KEYS = list(Report("", "", 1, Outcome.MOVED, Stand(""), Stand("")).to_json())


@pytest.fixture
def moved(shell: Shell, plant: Plant) -> tuple[Flow, list[str]]:
    """Move a VM with two disks, and return the lines that were written."""
    flow = plant(disks=("root", "data"), strategy="Always")
    return flow, shell("vm", str(flow.source), "west:shop", "-o", "json").stdout.splitlines()


def test_a_move_and_what_status_says_of_it(shell: Shell, moved: tuple[Flow, list[str]]) -> None:
    """Every line is an object with a schema and always the same keys in the same order, the report last; status agrees with it."""
    flow, lines = moved
    *events, report = [json.loads(line) for line in lines]
    assert [list(event) for event in events] == [EVENT_KEYS] * len(events)
    assert {event["schema"] for event in events} == {EVENT_SCHEMA}
    assert (list(report), report["schema"]) == (REPORT_KEYS, REPORT_SCHEMA)
    assert report["outcome"] == "moved"
    assert {event["migration"] for event in events} == {report["migration"]}
    assert list(dict.fromkeys(event["step"] for event in events))[:4] == ["check-both", "claim-source", "prepare-target", "claim-target"]
    disks = {event["disk"] for event in events if event["step"] == "import-disks" and event["bytesTotal"]}
    assert disks == {"", f"{flow.name}-root", f"{flow.name}-data"}
    assert report["downtimeSeconds"] > 0
    check_one(shell, flow, report)
    check_list(shell, flow, report)


@pytest.mark.slow
def test_a_copy_and_what_is_said_of_it(shell: Shell, plant: Plant) -> None:
    """The report tells the snapshot and what it is worth; status and undo find it by its method, or by its id."""
    flow = plant()
    *events, report = shell.json("vm", str(flow.source), "west:shop", "--method", "snapshot")
    assert "snapshot-source" in {event["step"] for event in events}
    assert (report["outcome"], report["snapshot"]["consistency"], report["downtimeSeconds"]) == ("copied", "consistent", None)
    (found,) = shell.json("status", str(flow.source), "west:shop", "--method", "snapshot")
    assert (found["migration"], found["snapshot"]) == (report["migration"], report["snapshot"])
    text = shell("status", report["migration"], "--target", "west:shop").stdout
    assert "copied; the source goes on as it was" in text
    assert "consistent (the VM did not run)" in text
    shell("undo", str(flow.source), "west:shop", code=2)
    shell("undo", str(flow.source), "west:shop", "--method", "snapshot", "--even-if-started")
    assert flow.vm("west") is None


def check_one(shell: Shell, flow: Flow, report: dict[str, Any]) -> None:
    """SRC DST and ID name the same migration, in both forms."""
    asked = [[str(flow.source), "west:shop"], [report["migration"], "--target", "west:shop"], [report["migration"], "--target", "west"]]
    for words in asked:
        (found,) = shell.json("status", *words)
        same = ("schema", "migration", "outcome", "started", "finished", "downtimeSeconds", "disks")
        assert [found[key] for key in same] == [report[key] for key in same]
        assert found["target"]["running"] is True
    text = shell("status", *asked[0]).stdout
    for part in (report["migration"], "2 of 2 sampled, equal", f"{flow.name}-data", "halted", "running since", "downtime"):
        assert part in text


def check_list(shell: Shell, flow: Flow, report: dict[str, Any]) -> None:
    """Without a migration named, all of the target are listed, or those of a namespace."""
    (found,) = shell.json("status", "--target", "west")
    assert found["schema"] == "kubevirt-migrate.io/migrations/v1"
    (row,) = [row for row in found["migrations"] if row["id"] == report["migration"]]
    assert (row["source"], row["target"], row["outcome"], row["proven"]) == (str(flow.source), str(flow.target), "moved", 2)
    text = shell("status", "--target", "west:shop").stdout.splitlines()
    assert text[0].split() == ["ID", "SOURCE", "TARGET", "OUTCOME", "STARTED", "PROVEN"]
    assert any(report["migration"] in line and str(flow.source) in line for line in text)
    assert "no migrations" in shell("status", "--target", "west:default").stdout


def test_a_blocked_move_in_json(shell: Shell, plant: Plant) -> None:
    """A move that is blocked ends with a report on stdout that carries the problems, and says nothing on stderr."""
    flow = plant()
    done = shell("vm", str(flow.source), "west:nowhere", "-o", "json", code=3)
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["schema"], report["outcome"]) == (REPORT_SCHEMA, "blocked")
    assert all(problem["what"] and problem["where"] and problem["now"] for problem in report["problems"])
    assert done.stderr == ""


def test_a_dry_run_in_json(shell: Shell, plant: Plant) -> None:
    """--dry-run: the report is planned and lists the writes; nothing was written."""
    flow = plant()
    said: list[dict[str, Any]] = []
    assert shell.writes(lambda: said.extend(shell.json("vm", str(flow.source), "west:shop", "--dry-run"))) == []
    assert said[-1]["outcome"] == "planned"
    assert f"west: create DataVolume shop/{flow.name}-root" in said[-1]["writes"]


def test_errors_before_a_migration_is_known_are_json_too(shell: Shell, plant: Plant) -> None:
    """A script that asked for JSON gets its error in words on stderr, an exit code, and nothing on stdout that is not JSON."""
    done = shell("vm", "norht:shop/x", "west", "-o", "json", code=2)
    assert all(json.loads(line)["schema"] for line in done.stdout.splitlines())
    assert "norht" in done.stderr


def test_status_of_what_never_was(shell: Shell, plant: Plant) -> None:
    """Neither a pair without a record nor an unknown id is a migration: exit code 2, with what to do."""
    flow = plant()
    assert "begin it" in shell("status", str(flow.source), "west:shop", code=2).stderr
    assert 'no migration "0123"' in shell("status", "0123", "--target", "west", code=2).stderr
    assert "no context" in shell("status", "--target", "wets", code=2).stderr
