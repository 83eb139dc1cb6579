"""docs/what-travels.md, read: the page is the test's expectation, so that it cannot lie."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "what-travels.md"
NAMED = ("id", "the VM names", "at", "rule", "remarks")
BESIDES = ("at", "in a move", "in a copy")


@dataclass(frozen=True, slots=True)
class Row:
    """Something that a VM names, where, and what becomes of it."""

    id: str
    at: str
    rule: str


def rows() -> list[Row]:
    """Read what a VM names."""
    return [Row(cells[0].strip("`"), cells[2].strip("`"), cells[3]) for cells in _table(NAMED)]


def besides(playbook: str) -> dict[str, str]:
    """Read where else the two VMs may differ, and what is said of it."""
    column = BESIDES.index("in a copy" if playbook == "snapshot-copy" else "in a move")
    return {cells[0].strip("`"): cells[column] for cells in _table(BESIDES)}


def _table(columns: tuple[str, ...]) -> Iterator[list[str]]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for line in lines[lines.index("| " + " | ".join(columns) + " |") + 2 :]:
        if not line.startswith("|"):
            return
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == len(columns), line
        yield cells


def fields(value: Any, path: str = "") -> dict[str, Any]:
    """Return every leaf by its path; entries of lists by their name, which is no leaf of its own, or by their place."""
    match value:
        case dict() if value:
            parts = [(f"{path}.{key}" if path else str(key), entry) for key, entry in value.items()]
        case list() if value and all(isinstance(entry, dict) and "name" in entry for entry in value):
            parts = [(f"{path}[{entry['name']}]", {key: part for key, part in entry.items() if key != "name"}) for entry in value]
        case list() if value:
            parts = [(f"{path}[{number}]", entry) for number, entry in enumerate(value)]
        case _:
            return {path: value}
    return {found: leaf for part, entry in parts for found, leaf in fields(entry, part).items()}


def under(path: str, at: str) -> bool:
    """Tell whether the path of a field is the one of the page, or lies below it."""
    plain = re.sub(r"\[[^]]*\]", "[]", path)
    return plain == at or plain.startswith((f"{at}.", f"{at}[", f"{at}/"))


def unlike(source: Any, target: Any) -> list[str]:
    """Return the paths at which two objects differ."""
    here, there = fields(source), fields(target)
    return sorted(path for path in here.keys() | there.keys() if here.get(path, _ABSENT) != there.get(path, _ABSENT))


def shown(obj: Any) -> dict[str, Any]:
    """Return what is compared of a VM."""
    metadata = {key: obj["metadata"][key] for key in ("labels", "annotations") if obj["metadata"].get(key)}
    return {"spec": obj["spec"]} | ({"metadata": metadata} if metadata else {})


_ABSENT = object()
