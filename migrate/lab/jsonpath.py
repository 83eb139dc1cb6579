"""The part of kubectl's JSONPath that printer columns use: fields, indexes, `[*]` and `[?(@.field=='value')]`."""

from __future__ import annotations

import re
from typing import Any

_STEP = re.compile(
    r"""\.(?P<field>(?:\\.|[^.\[\]\\])+)
      | \['(?P<quoted>[^']*)'\]
      | \[(?P<index>-?[0-9]+)\]
      | \[(?P<all>\*)\]
      | \[\?\(@(?P<left>(?:\.(?:\\.|[\w-])+)+)\s*==\s*(?P<right>'[^']*'|"[^"]*"|[\w.-]+)\)\]""",
    re.VERBOSE,
)


def find(obj: Any, path: str) -> list[Any]:
    """Return the values that a path such as `.status.conditions[?(@.type=='Ready')].status` finds. Raise ValueError for other syntax."""
    values, rest = [obj], path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    while rest:
        step = _STEP.match(rest)
        if step is None:
            raise ValueError(f"JSONPath not understood at {rest!r}")
        values = [found for value in values for found in _step(value, step)]
        rest = rest[step.end() :]
    return values


def _step(value: Any, step: re.Match[str]) -> list[Any]:
    name = step["field"] if step["field"] is not None else step["quoted"]
    if name is not None:
        key = name.replace("\\", "") if step["field"] is not None else name
        if key == "*":
            return _all(value)
        return [value[key]] if isinstance(value, dict) and key in value else []
    if step["all"]:
        return _all(value)
    if step["index"] is not None:
        place = int(step["index"])
        return [value[place]] if isinstance(value, list) and -len(value) <= place < len(value) else []
    wanted = step["right"].strip("'\"")
    return [item for item in _all(value) if _text(find(item, step["left"])) == wanted]


def _all(value: Any) -> list[Any]:
    match value:
        case list():
            return value
        case dict():
            return list(value.values())
        case _:
            return []


def _text(values: list[Any]) -> str | None:
    if not values:
        return None
    first = values[0]
    return str(first).lower() if isinstance(first, bool) else str(first)
