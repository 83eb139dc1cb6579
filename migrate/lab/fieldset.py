"""Sets of field paths, as `managedFields` writes them, and how a schema divides an object into fields that can be owned.

A path is a tuple of the very keys of fieldsV1: `f:name` (a field or map entry), `k:{"name":"x"}` (an item of a list-type map),
`v:"x"` (an item of a list-type set).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from migrate.lab.notation import Schema
from migrate.lab.schema_walk import KEEP, child

Path = tuple[str, ...]
Fields = frozenset[Path]

NOTHING: Fields = frozenset()
STRIPPED: Fields = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        ("f:metadata",),
        *(
            ("f:metadata", f"f:{name}")
            for name in (
                "name",
                "namespace",
                "creationTimestamp",
                "selfLink",
                "uid",
                "clusterName",
                "generation",
                "managedFields",
                "resourceVersion",
            )
        ),
    }
)
"""Fields that nobody owns."""

Shape = Literal["leaf", "map", "list"]


def decode(fields: Mapping[str, Any]) -> Fields:
    """Read a fieldsV1 object."""
    return frozenset(_decode(fields, ()))


def _decode(fields: Mapping[str, Any], prefix: Path) -> Iterator[Path]:
    for key, below in fields.items():
        if key == ".":
            yield prefix
            continue
        path = (*prefix, key)
        if below:
            yield from _decode(below, path)
        else:
            yield path


def encode(fields: Iterable[Path]) -> dict[str, Any]:
    """Write a fieldsV1 object: a path that is itself a member and has members below it carries a `.`."""
    members = sorted(set(fields))
    result: dict[str, Any] = {}
    for path in members:
        node = result
        for key in path:
            node = node.setdefault(key, {})
    for path in members:
        node = result
        for key in path:
            node = node[key]
        if node:
            node["."] = {}
    return _sorted(result)


def _sorted(node: dict[str, Any]) -> dict[str, Any]:
    return {key: _sorted(node[key]) for key in sorted(node)}


def shape(schema: Schema, value: Any) -> Shape:
    """Tell how a value is owned: as one leaf, entry by entry, or item by item. Where no schema speaks, the value decides."""
    if value is None:
        return "leaf"
    if isinstance(value, dict):
        return "leaf" if schema.get("x-kubernetes-map-type") == "atomic" else "map"
    if isinstance(value, list):
        return "list" if schema.get("x-kubernetes-list-type") in ("map", "set") else "leaf"
    return "leaf"


def item_schema(schema: Schema) -> Schema:
    """Return the schema of the items of a list."""
    found: Schema = schema.get("items", {KEEP: True})
    return found


def below(schema: Schema, key: str) -> Schema:
    """Return the schema of one entry of an object; that of anything where the schema does not say."""
    return child(schema, key) or {KEEP: True}


def item_key(schema: Schema, item: Any) -> str:
    """Return the path element of one list item. KeyError when it lacks a key field."""
    if schema.get("x-kubernetes-list-type") == "set":
        return f"v:{_text(item)}"
    found = {}
    for name in schema["x-kubernetes-list-map-keys"]:
        default = (child(item_schema(schema), name) or {}).get("default")
        if not isinstance(item, dict) or (name not in item and default is None):
            raise KeyError(name)
        found[name] = item.get(name, default)
    return f"k:{_text(found)}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def entries(schema: Schema, value: Any) -> list[tuple[str, Schema, Any]]:
    """Return the parts of a map or a list (see `shape`) as (path element, schema, value)."""
    if isinstance(value, dict):
        return [(f"f:{key}", below(schema, key), item) for key, item in value.items()]
    return [(item_key(schema, item), item_schema(schema), item) for item in value]


def fields_of(schema: Schema, value: Any, prefix: Path = ()) -> Iterator[Path]:
    """Yield the fields that an applied configuration speaks of."""
    match shape(schema, value):
        case "leaf":
            yield prefix
        case "map":
            for key, inner, item in entries(schema, value):
                path = (*prefix, key)
                yield from fields_of(inner, item, path)
                if item is None or item == {} or not _is_named(schema, key):
                    yield path
        case "list":
            for key, inner, item in entries(schema, value):
                yield from fields_of(inner, item, (*prefix, key))
                yield (*prefix, key)


def _is_named(schema: Schema, key: str) -> bool:
    return key[2:] in schema.get("properties", {})


def with_named(fields: Fields, schema: Schema) -> Fields:
    """Return the set with every field of a struct on the way to a member made a member too."""
    added = set(fields)
    for path in fields:
        inner = schema
        for depth, key in enumerate(path):
            if key.startswith("f:"):
                if _is_named(inner, key):
                    added.add(path[: depth + 1])
                inner = below(inner, key[2:])
            else:
                inner = item_schema(inner)
    return frozenset(added)


def remove(schema: Schema, value: Any, gone: Fields) -> Any:
    """Return a copy of a map or list without the parts named by `gone` (paths relative to it)."""
    tree: dict[str, Any] = {}
    for path in gone:
        node = tree
        for key in path:
            node = node.setdefault(key, {})
        node["."] = {}
    return _remove(schema, value, tree)


def _remove(schema: Schema, value: Any, tree: dict[str, Any]) -> Any:
    if not tree or shape(schema, value) == "leaf":
        return value
    kept: list[tuple[str, Any]] = []
    for key, inner, item in entries(schema, value):
        node = tree.get(key, {})
        if "." in node:
            continue
        left = _remove(inner, item, node)
        if node and item and not left:
            continue
        kept.append((key, left))
    return {key[2:]: item for key, item in kept} if isinstance(value, dict) else [item for _, item in kept]


def shown(path: Path) -> str:
    """Return a path as messages show it: `.spec.containers[name="x"].image`."""
    return "".join(_element(key) for key in path)


def _element(key: str) -> str:
    kind, text = key[:2], key[2:]
    if kind == "k:":
        return "[" + ",".join(f"{name}={_text(value)}" for name, value in json.loads(text).items()) + "]"
    return {"f:": f".{text}", "i:": f"[{text}]"}.get(kind, f"[={text}]")
