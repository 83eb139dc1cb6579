"""Check an object against its kind: strict decoding, pruning, defaults, validation, in the order and words of the real server."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from migrate.lab import builtin_rules, quantity, schema_meta, schema_walk
from migrate.lab.kinds import Resource
from migrate.lab.notation import QUANTITY, Notation, Schema
from migrate.lab.schema_walk import Cause

Validation = Literal["Strict", "Warn", "Ignore"]

__all__ = [
    "Cause",
    "Checked",
    "Refusal",
    "Validation",
    "check",
    "check_update",
    "meta_schema",
    "patch_refusal",
    "refusal",
    "status_causes",
    "with_metadata",
]


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check: `obj` is a pruned and defaulted copy, worth storing when nothing else is filled.

    `malformed`: the body does not decode into the kind (400). `unknown`: sentences of strict decoding (400, or 422 for a patch).
    `causes`: the object is invalid (422). `warnings`: for `Warning` headers.
    """

    obj: dict[str, Any]
    causes: tuple[Cause, ...] = ()
    warnings: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    malformed: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The parts of the Status that answers a refused object."""

    code: int
    reason: str
    message: str
    causes: tuple[Cause, ...] = ()


@functools.cache
def meta_schema() -> Schema:
    """Return the schema of ObjectMeta, the same for every kind."""
    text = (Path(__file__).parent / "builtin" / "shared.yaml").read_text(encoding="utf-8")
    types = yaml.safe_load(text)["types"]
    return Notation(types).expand(types["ObjectMeta"])


def with_metadata(schema: Schema) -> Schema:
    """Return the schema of a whole object: that of its kind with ObjectMeta in its place."""
    properties = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, **schema.get("properties", {}), "metadata": meta_schema()}
    return {**schema, "properties": properties}


def check(
    resource: Resource, version: str, obj: Mapping[str, Any], *, validation: Validation = "Strict", twice: Sequence[str] = ()
) -> Checked:
    """Check one object of a resource in one of its versions. `twice` names the keys that its text gave twice (see `schema_text`)."""
    schema = resource.schema_for(version)
    pruned, unknown = schema_walk.prune(schema, obj)
    pruned["metadata"], more = schema_walk.prune(meta_schema(), pruned.get("metadata") or {}, "metadata")
    if resource.builtin:
        pruned = _without_nulls(pruned)
    sentences = [f'duplicate field "{name}"' for name in twice] + [f'unknown field "{name}"' for name in sorted(unknown + more)]
    strict = tuple(sentences) if validation == "Strict" else ()
    warnings = tuple(sentences) if validation == "Warn" else ()
    malformed = _undecodable(resource.kind, meta_schema(), pruned["metadata"], "metadata")
    if resource.builtin:
        malformed = malformed or _undecodable(resource.kind, schema, pruned, "")
    if malformed or strict:
        return Checked(pruned, (), warnings, strict, malformed)
    schema_walk.fill(schema, pruned)
    causes = list(schema_meta.causes(resource, pruned))
    if resource.builtin:
        pruned = _canonical(schema, pruned)
        builtin_rules.prepare(resource, pruned)
        causes += builtin_rules.missing(schema, pruned)
    causes += schema_walk.validate(schema, pruned)
    if resource.builtin:
        causes += builtin_rules.causes(resource, pruned)
    return Checked(pruned, tuple(dict.fromkeys(causes)), warnings)


def check_update(resource: Resource, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Cause, ...]:
    """Return what the step from `old` to `new` may not do (both checked already): immutable fields and metadata."""
    found = list(schema_meta.update_causes(old, new))
    if resource.builtin:
        found += builtin_rules.update_causes(resource, old, new)
    return tuple(found)


def status_causes(resource: Resource, version: str, obj: Mapping[str, Any]) -> tuple[Cause, ...]:
    """Return what is wrong with `status` alone, for a write to the status subresource."""
    causes = schema_walk.validate(resource.schema_for(version), dict(obj))
    return tuple(cause for cause in causes if cause.field.split(".")[0].split("[")[0] == "status")


def refusal(resource: Resource, version: str, name: str, checked: Checked) -> Refusal | None:
    """Return how the server refuses a checked object of a create or update; None when there is nothing to refuse."""
    handled = f'{resource.kind} in version "{version}" cannot be handled as a {resource.kind}'
    if checked.malformed:
        return Refusal(400, "BadRequest", f"{handled}: {checked.malformed}")
    if checked.unknown:
        return Refusal(400, "BadRequest", f"{handled}: strict decoding error: {', '.join(checked.unknown)}")
    return _invalid(resource, name, checked.causes) if checked.causes else None


def _invalid(resource: Resource, name: str, causes: Iterable[Cause]) -> Refusal:
    listed = tuple(causes)
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in listed))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    return Refusal(422, "Invalid", f'{kind} "{name}" is invalid: {text}', listed)


def patch_refusal(patched: str, checked: Checked) -> Refusal | None:
    """Return how the server refuses what a JSON or merge patch made of an object when it does not decode (`patched` = its JSON)."""
    why = checked.malformed or (f"strict decoding error: {', '.join(checked.unknown)}" if checked.unknown else "")
    if not why:
        return None
    message = f"Invalid value: {schema_walk.shown(patched)}: {why}"
    return Refusal(422, "Invalid", f' "" is invalid: patch: {message}', (Cause("patch", schema_walk.INVALID, message),))


def _undecodable(kind: str, schema: Schema, value: Any, path: str) -> str:
    """Return why a typed object cannot be read from this JSON, as Go's decoder says it; empty when it can."""
    for cause in schema_walk.validate(schema, value, path):
        if cause.reason == schema_walk.TYPE_INVALID:
            found = cause.message.split('"')[1].replace("boolean", "bool").replace("integer", "number")
            wanted = cause.message.split("must be of type ")[1].split(":")[0]
            go = {"integer": "int64", "boolean": "bool", "array": "[]string", "object": "map[string]interface {}"}.get(wanted, wanted)
            if wanted == "integer,string":
                return quantity.PROBLEM
            return f"json: cannot unmarshal {found} into Go struct field {kind}.{cause.field} of type {go}"
        if "in body must be of type byte" in cause.message:
            return "illegal base64 data at input byte 0"
        if "in body must be of type date-time" in cause.message:
            text = cause.message.rsplit(": ", 1)[1]
            return f'parsing time {text} as "2006-01-02T15:04:05Z07:00": cannot parse {text} as "2006"'
        if QUANTITY in cause.message:
            return quantity.PROBLEM
    return ""


def _without_nulls(value: Any) -> Any:
    match value:
        case dict():
            return {key: _without_nulls(item) for key, item in value.items() if item is not None}
        case list():
            return [_without_nulls(item) for item in value]
        case _:
            return value


def _canonical(schema: Schema, value: Any) -> Any:
    """Spell quantities of a typed object as the server writes them back."""
    if schema.get("pattern") == QUANTITY and isinstance(value, str | int):
        return quantity.canonical(value)
    match value:
        case dict():
            return {key: _canonical(schema_walk.child(schema, key) or {}, item) for key, item in value.items()}
        case list():
            return [_canonical(schema.get("items", {}), item) for item in value]
        case _:
            return copy.copy(value)
