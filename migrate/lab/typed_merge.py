"""Compare and merge objects field by field, as a schema divides them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from migrate.lab.fieldset import Fields, Path, below, entries, item_key, item_schema, shape, shown
from migrate.lab.notation import Schema
from migrate.lab.schema_walk import KEEP, child, json_type
from migrate.lab.store import clone


@dataclass(frozen=True, slots=True)
class Difference:
    """The fields by which a new object differs from an old one."""

    added: Fields
    changed: Fields
    removed: Fields


def compare(schema: Schema, old: Any, new: Any) -> Difference:
    """Return what is different in `new`; both are objects of the same schema."""
    added: set[Path] = set()
    changed: set[Path] = set()
    removed: set[Path] = set()
    _compare(schema, old, new, (), (added, changed, removed))
    return Difference(frozenset(added), frozenset(changed), frozenset(removed))


def _compare(schema: Schema, old: Any, new: Any, path: Path, found: tuple[set[Path], set[Path], set[Path]]) -> None:
    added, changed, _ = found
    kinds = shape(schema, old), shape(schema, new)
    if "leaf" in kinds or kinds[0] != kinds[1] or (not old and not new):
        if not _same(old, new):
            changed.add(path)
            if kinds[1] != "leaf":
                added.update(_inside(schema, new, path))
            if kinds[0] != "leaf":
                found[2].update(_inside(schema, old, path))
        return
    before = {key: (inner, item) for key, inner, item in entries(schema, old)}
    after = {key: (inner, item) for key, inner, item in entries(schema, new)}
    for key in {**before, **after}:
        where = (*path, key)
        if key not in before:
            added.add(where)
            added.update(_inside(after[key][0], after[key][1], where))
        elif key not in after:
            found[2].add(where)
            found[2].update(_inside(before[key][0], before[key][1], where))
        else:
            _compare(after[key][0], before[key][1], after[key][1], where, found)


def _inside(schema: Schema, value: Any, path: Path) -> Iterator[Path]:
    if shape(schema, value) == "leaf":
        return
    for key, inner, item in entries(schema, value):
        yield (*path, key)
        yield from _inside(inner, item, (*path, key))


def _same(old: Any, new: Any) -> bool:
    return bool(old == new) and isinstance(old, bool) == isinstance(new, bool)


def merge(schema: Schema, live: Any, config: Any) -> Any:
    """Return `live` with everything that `config` says: maps and keyed lists merge, the rest is replaced."""
    kinds = shape(schema, live), shape(schema, config)
    if kinds == ("map", "map"):
        result = {key: clone(item) for key, item in live.items() if key not in config}
        merged = {key: merge(below(schema, key), live[key], item) if key in live else item for key, item in config.items()}
        return {key: merged.get(key, result.get(key)) for key in [*live, *(k for k in config if k not in live)]}
    if kinds == ("list", "list"):
        return _lists(schema, live, config)
    return clone(config)


def _lists(schema: Schema, live: list[Any], config: list[Any]) -> list[Any]:
    """Merge two keyed lists: the items of `config` keep their order, those of `live` alone stay where they were among them."""
    inner = item_schema(schema)
    left = [(item_key(schema, item), item) for item in live]
    right = [(item_key(schema, item), item) for item in config]
    lives, configs = dict(left), dict(right)
    shared = [key for key, _ in right if key in lives]
    result: list[Any] = []
    done: set[str] = set()
    i = j = 0
    while i < len(left) or j < len(right):
        key = left[i][0] if i < len(left) else ""
        if i < len(left) and key not in configs:
            result.append(clone(left[i][1]))
            i += 1
        elif i < len(left) and (key in done or (shared and j < len(right) and shared[0] != key)):
            i += 1
        else:
            key, item = right[j]
            result.append(merge(inner, lives[key], item) if key in lives else clone(item))
            done.add(key)
            shared = [name for name in shared if name != key]
            j += 1
    return result


def problems(schema: Schema, value: Any, path: Path = ()) -> Iterator[str]:
    """Yield what keeps an applied configuration from being read against the schema, in the words of the real server."""
    wanted = schema.get("type")
    found = json_type(value)
    loose = schema.get("x-kubernetes-int-or-string") or wanted is None or value is None
    if not loose and found != wanted and not (wanted == "number" and found == "integer"):
        word = {"object": "map", "array": "list", "integer": "numeric", "number": "numeric"}.get(str(wanted), wanted)
        yield f"{shown(path)}: expected {word}, got &{{{value}}}"
        return
    match value:
        case dict():
            for key, item in value.items():
                inner = child(schema, key)
                where = (*path, f"f:{key}")
                if inner is not None:
                    yield from problems(inner, item, where)
                elif not schema.get(KEEP) and wanted is not None:
                    yield f"{shown(where)}: field not declared in schema"
        case list():
            yield from _list_problems(schema, value, path)


def _list_problems(schema: Schema, value: list[Any], path: Path) -> Iterator[str]:
    keyed = schema.get("x-kubernetes-list-type") in ("map", "set")
    seen: set[str] = set()
    for number, item in enumerate(value):
        key = f"[{number}]"
        if keyed:
            try:
                key = item_key(schema, item)
            except KeyError as error:
                yield (
                    f"{shown(path)}: element {number}: associative list with keys has an element that omits key field "
                    f'"{error.args[0]}" (and doesn\'t have default value)'
                )
                continue
            if key in seen:
                yield f"{shown(path)}: duplicate entries for key {shown((key,))}"
            seen.add(key)
        place = (*path, key) if keyed else (*path, f"i:{number}")
        yield from problems(item_schema(schema), item, place)
