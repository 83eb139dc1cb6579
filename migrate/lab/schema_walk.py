"""The three walks over a structural schema: prune unknown fields, fill defaults, validate. Words as the real server writes them."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from migrate.lab.notation import Schema
from migrate.lab.store import clone

KEEP = "x-kubernetes-preserve-unknown-fields"
REQUIRED = "FieldValueRequired"
INVALID = "FieldValueInvalid"
TYPE_INVALID = "FieldValueTypeInvalid"
NOT_SUPPORTED = "FieldValueNotSupported"
DUPLICATE = "FieldValueDuplicate"
FORBIDDEN = "FieldValueForbidden"
TOO_LONG = "FieldValueTooLong"


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason for a 422, as it appears in `details.causes` of the Status."""

    field: str
    reason: str
    message: str


def join(path: str, key: str) -> str:
    """Return the path of a field below another one."""
    return f"{path}.{key}" if path else key


def child(schema: Schema, key: str) -> Schema | None:
    """Return the schema of one key of an object; None when the schema does not know it."""
    properties = schema.get("properties", {})
    if key in properties:
        found: Schema = properties[key]
        return found
    extra = schema.get("additionalProperties")
    return extra if isinstance(extra, dict) else None


def prune(schema: Schema, value: Any, path: str = "") -> tuple[Any, list[str]]:
    """Return a copy of `value` without the fields that the schema does not know, and the paths of those fields."""
    match value:
        case dict():
            keeps = bool(schema.get(KEEP))
            result: dict[str, Any] = {}
            unknown: list[str] = []
            for key, item in value.items():
                if not path and key in ("apiVersion", "kind", "metadata"):
                    result[key] = clone(item)
                    continue
                below = child(schema, key)
                if below is None:
                    if keeps:
                        result[key] = clone(item)
                    else:
                        unknown.append(join(path, key))
                    continue
                result[key], more = prune(below, item, join(path, key))
                unknown += more
            return result, unknown
        case list():
            pairs = [prune(schema.get("items", {KEEP: True}), item, f"{path}[{n}]") for n, item in enumerate(value)]
            return [item for item, _ in pairs], [name for _, names in pairs for name in names]
        case _:
            return value, []


def fill(schema: Schema, value: Any) -> None:
    """Set defaults in place, deepest objects included. A null where null is not allowed gives way to the default."""
    match value:
        case dict():
            for key, below in schema.get("properties", {}).items():
                absent = key not in value or (value[key] is None and not below.get("nullable"))
                if absent and "default" in below:
                    value[key] = clone(below["default"])
                if key in value:
                    fill(below, value[key])
            extra = schema.get("additionalProperties")
            if isinstance(extra, dict):
                for key, item in value.items():
                    if key not in schema.get("properties", {}):
                        fill(extra, item)
        case list():
            for item in value:
                fill(schema.get("items", {}), item)


def json_type(value: Any) -> str:
    """Return the JSON type name of a value, as error messages name it."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def validate(schema: Schema, value: Any, path: str = "") -> Iterator[Cause]:
    """Yield everything that is wrong with `value`."""
    if value is None and schema.get("nullable"):
        return
    wanted = _wanted(schema)
    found = json_type(value)
    if wanted and not (found in wanted or (found == "integer" and "number" in wanted)):
        yield Cause(path, TYPE_INVALID, f'Invalid value: "{found}": {path} in body must be of type {",".join(wanted)}: "{found}"')
        return
    match value:
        case dict():
            yield from _object(schema, value, path)
        case list():
            yield from _array(schema, value, path)
        case _:
            yield from _scalar(schema, value, path)


def _wanted(schema: Schema) -> list[str]:
    if schema.get("x-kubernetes-int-or-string"):
        return ["integer", "string"]
    kind = schema.get("type")
    return [kind] if isinstance(kind, str) else []


def _object(schema: Schema, value: dict[str, Any], path: str) -> Iterator[Cause]:
    for key in schema.get("required", ()):
        if key not in value:
            yield Cause(join(path, key), REQUIRED, "Required value")
    for key, item in value.items():
        below = child(schema, key)
        if below is not None:
            yield from validate(below, item, join(path, key))


def _array(schema: Schema, value: list[Any], path: str) -> Iterator[Cause]:
    if len(value) < schema.get("minItems", 0):
        yield Cause(path, INVALID, f"Invalid value: {len(value)}: {path} in body should have at least {schema['minItems']} items")
    keys = schema.get("x-kubernetes-list-map-keys", ())
    kind = schema.get("x-kubernetes-list-type")
    seen: list[Any] = []
    for number, item in enumerate(value):
        place = f"{path}[{number}]"
        yield from validate(schema.get("items", {}), item, place)
        mark: Any = None
        if kind == "set":
            mark = item
        elif kind == "map" and isinstance(item, dict):
            mark = {key: item[key] for key in keys if key in item}
        if mark is not None and mark in seen:
            yield Cause(place, DUPLICATE, f"Duplicate value: {shown(mark)}")
        seen.append(mark)


def shown(value: Any) -> str:
    """Return a value as an error message shows it: strings quoted, the rest as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _scalar(schema: Schema, value: Any, path: str) -> Iterator[Cause]:
    if "enum" in schema and value not in schema["enum"]:
        names = ", ".join(shown(name) for name in schema["enum"])
        yield Cause(path, NOT_SUPPORTED, f"Unsupported value: {shown(value)}: supported values: {names}")
        return
    problem = _bounds(schema, value) or (_text(schema, value) if isinstance(value, str) else "")
    if problem:
        yield Cause(path, INVALID, f"Invalid value: {shown(value)}: {path} in body {problem}")


def _bounds(schema: Schema, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if "minimum" in schema and value < schema["minimum"]:
        return f"should be greater than or equal to {schema['minimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        return f"should be less than or equal to {schema['maximum']}"
    bits = {"int32": 31, "int64": 63}.get(schema.get("format", ""))
    if bits is not None and not -(2**bits) <= value < 2**bits:
        return f"must be of type {schema['format']}: {shown(value)}"
    return ""


def _text(schema: Schema, value: str) -> str:
    if len(value) < schema.get("minLength", 0):
        return f"should be at least {schema['minLength']} chars long"
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        return f"should be at most {schema['maxLength']} chars long"
    if "pattern" in schema and re.search(schema["pattern"], value) is None:
        return f"should match '{schema['pattern']}'"
    form = schema.get("format", "")
    if form and not _FORMATS.get(form, _anything)(value):
        return f"must be of type {form}: {shown(value)}"
    return ""


def _anything(_value: str) -> bool:
    return True


def _is_time(value: str) -> bool:
    if re.fullmatch(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", value) is None:
        return False
    try:
        datetime.datetime.fromisoformat(value[:19])
    except ValueError:
        return False
    return True


def _is_bytes(value: str) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


_FORMATS = {"date-time": _is_time, "byte": _is_bytes}
