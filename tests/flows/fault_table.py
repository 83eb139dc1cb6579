"""docs/faults.md, read: the page is the test's parameters, so that it cannot lie."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from migrate.workflow import playbook
from migrate.workflow.playbook import STEPS

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
COLUMNS = ("id", "fault", "at", "ends", "as", "you are told", "way on", "way back", "backends")
EVERY_STEP = "every step"
MOVE = tuple(step.name for step in playbook.load("cold-move").steps)
BEFORE, AFTER = MOVE[: MOVE.index("release-source")], MOVE[MOVE.index("release-source") :]
SPANS = {EVERY_STEP: MOVE, "every step until the start": BEFORE, "every step after the start": AFTER}
FIRST_CONTACT = "first contact"
WAYS_ON = frozenset({"by itself", "again", "cure, again", "undo, anew"})
EVEN_IF_STARTED = " --even-if-started"
WAYS_BACK = frozenset({"–", "undo", "cure, undo", f"undo{EVEN_IF_STARTED}", f"cure, undo{EVEN_IF_STARTED}"})


@dataclass(frozen=True, slots=True)
class Row:
    """One fault and how it ends."""

    id: str
    fault: str
    at: tuple[str, ...]
    stops: bool
    outcome: str
    exit_code: int
    reason: str
    told: tuple[str, ...]
    """What must stand in the report, each a few words."""
    way_on: str
    way_back: str
    on_kube: bool


def rows(text: str | None = None) -> list[Row]:
    """Read the rows of all tables of the page. Raises ValueError for a row that says something else than the page's words."""
    found = [_row(cells) for cells in _cells(PAGE.read_text(encoding="utf-8") if text is None else text)]
    doubles = {row.id for row in found if sum(other.id == row.id for other in found) > 1}
    if doubles:
        raise ValueError(f"rows with the same id: {sorted(doubles)}")
    return found


def _cells(text: str) -> Iterator[dict[str, str]]:
    heading = "| " + " | ".join(COLUMNS) + " |"
    inside = False
    for line in text.splitlines():
        if line == heading:
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---"):
            values = [cell.strip() for cell in line.strip("|").split("|")]
            if len(values) != len(COLUMNS):
                raise ValueError(f"a row with {len(values)} cells: {line}")
            yield dict(zip(COLUMNS, values, strict=True))


def _row(cells: dict[str, str]) -> Row:
    stops = {"completes": False, "stops": True}[cells["ends"]]
    how = re.fullmatch(r"(\w+) \((\d)\), `(\w+)`", cells["as"]) if stops else None
    at = SPANS.get(cells["at"]) or tuple(word.strip() for word in cells["at"].split(","))
    told = tuple(re.findall(r"“([^”]+)”", cells["you are told"]))
    row = Row(
        id=cells["id"].strip("`"),
        fault=cells["fault"],
        at=at,
        stops=stops,
        outcome=how[1] if how else "",
        exit_code=int(how[2]) if how else 0,
        reason=how[3] if how else "",
        told=told,
        way_on=cells["way on"],
        way_back=cells["way back"],
        on_kube={"embedded": False, "embedded, kube": True}[cells["backends"]],
    )
    wrong = [
        word
        for word, bad in (
            ("as", stops != (how is not None) or (not stops and cells["as"] != "–")),
            ("at", at != (FIRST_CONTACT,) and not set(at) <= set(STEPS)),
            ("you are told", stops != bool(told)),
            ("way on", row.way_on not in WAYS_ON or stops == (row.way_on == "by itself")),
            ("way back", row.way_back not in WAYS_BACK or (not stops and row.way_back != "–")),
        )
        if bad
    ]
    if wrong:
        raise ValueError(f"row {row.id}: nobody understands its {', '.join(wrong)}")
    return row
