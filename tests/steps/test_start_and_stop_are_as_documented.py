"""docs/start-and-stop.md has a table of what stop, start and undo do for every run strategy; the code must do just that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from migrate.model.migration import Start
from migrate.model.was import Was
from migrate.steps import patches, strategies
from migrate.steps.stop_source import halting, spelled

PAGE = (Path(__file__).parents[2] / "docs" / "start-and-stop.md").read_text(encoding="utf-8")


def rows(header: str) -> list[list[str]]:
    """Return the cells of the table whose header line begins so."""
    lines = PAGE.split(header, 1)[1].splitlines()[2:]
    table = []
    for line in lines:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


STOPS = rows("| source | stop writes |")
GOINGS = rows("| source | ran |")


def spec_of(cell: str) -> dict[str, Any]:
    """Read `runStrategy: Always`, `running: true` or neither."""
    found = re.search(r"`(\w+): (\w+)`", cell)
    if found is None:
        return {}
    return {found[1]: {"true": True, "false": False}.get(found[2], found[2])}


def was_of(cell: str, ran: str) -> Was:
    spec = spec_of(cell)
    return Was(run_strategy=spec.get("runStrategy"), running=spec.get("running"), instance="uid" if ran == "yes" else "")


def after(spec: dict[str, Any], operations: patches.Operations) -> dict[str, Any]:
    """Apply the operations on a spec."""
    result = dict(spec)
    for operation in operations:
        key = operation["path"].removeprefix("/spec/")
        if operation["op"] == "remove":
            del result[key]
        else:
            result[key] = operation["value"]
    return result


def words(going: strategies.Going) -> str:
    return going.run_strategy + (", asked" if going.request else "")


def test_every_strategy_has_its_rows() -> None:
    """Each spelling stands in both tables."""
    spellings = {row[0] for row in STOPS}
    assert {row[0] for row in GOINGS} == spellings
    assert len(spellings) == 9


@pytest.mark.parametrize("row", STOPS, ids=lambda row: row[0])
def test_the_stop_writes_what_the_table_says(row: list[str]) -> None:
    """The spec after the stop is the one of the table."""
    spec = spec_of(row[0])
    wanted = spec if "stays" in row[1] else {"runStrategy": "Halted"}
    assert after(spec, halting({"spec": spec})) == wanted


@pytest.mark.parametrize("row", GOINGS, ids=lambda row: f"{row[0]} {row[1]}")
def test_start_and_undo_do_what_the_table_says(row: list[str]) -> None:
    """Target by --start auto, always, never; source by undo, in the spelling it had."""
    was = was_of(row[0], row[1])
    assert [words(strategies.on_target(was, start)) for start in (Start.AUTO, Start.ALWAYS, Start.NEVER)] == row[2:5]
    going = strategies.on_source(was)
    halted = after(spec_of(row[0]), halting({"spec": spec_of(row[0])}))
    assert after(halted, spelled({"spec": halted}, going, was)) == spec_of(row[5])
    assert going.request == row[5].endswith("asked")
