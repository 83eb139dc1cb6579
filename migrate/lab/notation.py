"""The short notation in which the lab's schemas are written, and its expansion to structural OpenAPI v3.

Real schemas of these kinds fill megabytes. The files under `builtin/` and `crds/` say the same in lines that a person can check:

    types:
      Disk:
        name!: string                    # `!` = required
        bootOrder: int min 1
        cache: enum none writethrough writeback
        lun: $LunTarget                  # a named type
        ports: list $Port by name        # list-type map with its keys; `set string` and `list string` (atomic) exist too
        labels: map string
        serial: string = none            # a default (JSON)

A mapping is an object, a string is one type expression. Words after the type: `nullable`, `min N`, `max N`, `most N` (items),
`pattern REGEX` (last), `merge KEY` (strategic merge of a list that server-side apply treats as atomic), `retain` (strategic merge of a
keyed list drops keys that are not named), `whole` (an object that has one owner). `= JSON` gives the default.
Inside an object `~doc` is its description, `~open` keeps unknown fields, `~whole` makes it atomic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

QUANTITY = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
"""Pattern that CRD generators write for a resource quantity."""

SCALARS: Mapping[str, Schema] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "number": {"type": "number"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "bytes": {"type": "string", "format": "byte"},
    "quantity": {"anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": QUANTITY, "x-kubernetes-int-or-string": True},
    "intorstring": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True},
    "object": {"type": "object"},
    "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "json": {"x-kubernetes-preserve-unknown-fields": True},
}
"""Type words. `object` knows no fields at all (a marker such as `emptyDir: {}`), `any` keeps whatever is in it, `json` is any value."""


class Notation:
    """Expand expressions of one file against its named types."""

    def __init__(self, types: Mapping[str, Any]) -> None:
        self._types = types
        self._done: dict[str, Schema] = {}
        self._open: set[str] = set()

    def expand(self, expression: Any) -> Schema:
        """Return the structural schema of a string or mapping expression. Raise ValueError for one that means nothing."""
        if isinstance(expression, str):
            return self._words(expression)
        if isinstance(expression, Mapping):
            return self._object(expression)
        raise ValueError(f"not a type expression: {expression!r}")

    def _object(self, fields: Mapping[str, Any]) -> Schema:
        schema: Schema = {"type": "object"}
        if "~doc" in fields:
            schema["description"] = fields["~doc"]
        if fields.get("~open"):
            schema["x-kubernetes-preserve-unknown-fields"] = True
        if fields.get("~whole"):
            schema["x-kubernetes-map-type"] = "atomic"
        named = {key: value for key, value in fields.items() if not key.startswith("~")}
        if named:
            schema["properties"] = {key.removesuffix("!"): self.expand(value) for key, value in named.items()}
        required = [key[:-1] for key in named if key.endswith("!")]
        if required:
            schema["required"] = required
        return schema

    def _named(self, name: str) -> Schema:
        if name not in self._done:
            if name in self._open:
                raise ValueError(f"type {name} contains itself")
            if name not in self._types:
                raise ValueError(f"no type {name}")
            self._open.add(name)
            self._done[name] = self.expand(self._types[name])
            self._open.discard(name)
        return self._done[name]

    def _words(self, expression: str) -> Schema:
        text, has_default, default = expression.partition(" = ")
        schema, rest = self._type(text.split())
        schema = {**schema, **_options(rest)}
        if has_default:
            schema["default"] = json.loads(default) if default[:1] in '{["-0123456789tfn' and _is_json(default) else default
        return schema

    def _type(self, words: list[str]) -> tuple[Schema, list[str]]:
        match words:
            case ["enum", *rest]:
                return {"type": "string", "enum": rest}, []
            case ["map", *rest]:
                inner, left = self._type(rest)
                return {"type": "object", "additionalProperties": inner}, left
            case ["set", *rest]:
                inner, left = self._type(rest)
                return {"type": "array", "items": inner, "x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"}, left
            case ["list", *rest]:
                inner, left = self._type(rest)
                return self._list(inner, left)
            case [word, *rest] if word.startswith("$"):
                return dict(self._named(word[1:])), rest
            case [word, *rest] if word in SCALARS:
                return dict(SCALARS[word]), rest
        raise ValueError(f"not a type: {' '.join(words)}")

    def _list(self, inner: Schema, words: list[str]) -> tuple[Schema, list[str]]:
        schema: Schema = {"type": "array", "items": inner}
        match words:
            case ["by", keys, *rest]:
                names = keys.split(",")
                schema["x-kubernetes-list-type"] = "map"
                schema["x-kubernetes-list-map-keys"] = names
                schema["x-kubernetes-patch-strategy"] = "merge"
                schema["x-kubernetes-patch-merge-key"] = names[0]
                return schema, rest
            case _:
                schema["x-kubernetes-list-type"] = "atomic"
                return schema, words


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _options(words: list[str]) -> Schema:
    found: Schema = {}
    while words:
        match words:
            case ["nullable", *rest]:
                found["nullable"] = True
            case ["whole", *rest]:
                found["x-kubernetes-map-type"] = "atomic"
            case ["retain", *rest]:
                found["x-kubernetes-patch-strategy"] = "merge,retainKeys"
            case ["merge", key, *rest]:
                found["x-kubernetes-patch-strategy"] = "merge"
                found["x-kubernetes-patch-merge-key"] = key
            case ["min", number, *rest]:
                found["minimum"] = int(number)
            case ["max", number, *rest]:
                found["maximum"] = int(number)
            case ["most", number, *rest]:
                found["maxItems"] = int(number)
            case ["pattern", regex]:
                found["pattern"], rest = regex, []
            case _:
                raise ValueError(f"not an option: {' '.join(words)}")
        words = rest
    return found
