"""The three ways in which clients describe a change: JSON patch, merge patch, strategic merge patch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jsonpatch
import jsonpointer

from migrate.lab.notation import Schema
from migrate.lab.schema import with_metadata
from migrate.lab.schema_walk import child
from migrate.lab.store import clone

OPERATIONS_LIMIT = 10_000

DOES_NOT_FIT = "the server rejected our request due to an error in our request"
"""All that the real server says when an operation, a failed `test` included, does not fit the object (reason Invalid, code 422)."""


class PatchFailed(Exception):
    """The patch cannot be applied. `code` is 400 (the patch makes no sense) or 422 (it does not fit this object)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def json_patch(obj: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    """Apply RFC 6902 operations to a copy. Raise PatchFailed: 400 for a malformed patch, 422 for one that does not fit."""
    if not isinstance(ops, list):
        raise PatchFailed(400, "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(ops) > OPERATIONS_LIMIT:
        raise PatchFailed(413, f"The allowed maximum operations in a JSON patch is {OPERATIONS_LIMIT}, got {len(ops)}")
    result: Any = clone(dict(obj))
    for op in ops:
        result = _one(result, op)
    if not isinstance(result, dict):
        raise PatchFailed(422, "the patched object is not an object")
    return result


def _one(obj: Any, op: Any) -> Any:
    if not isinstance(op, dict) or not isinstance(op.get("op"), str):
        raise PatchFailed(400, "error decoding patch: json: cannot unmarshal into Go value of type jsonpatch.Operation")
    try:
        return jsonpatch.JsonPatch([op]).apply(obj)
    except jsonpatch.InvalidJsonPatch as error:
        raise PatchFailed(400, f"error decoding patch: {error}") from error
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError, IndexError) as error:
        raise PatchFailed(422, DOES_NOT_FIT) from error


def merge_patch(obj: Any, patch: Any) -> Any:
    """Apply an RFC 7386 merge patch to a copy: null removes, objects merge, everything else replaces."""
    return _merged(clone(obj), patch)


def _merged(obj: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return clone(patch)
    result = obj if isinstance(obj, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def strategic_merge(obj: Mapping[str, Any], patch: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Apply a strategic merge patch to a copy. Lists merge by the schema's keys. Raise PatchFailed (400) for bad directives."""
    if not isinstance(patch, Mapping):
        raise PatchFailed(400, "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}")
    return _objects(dict(obj), patch, with_metadata(schema))


def _objects(obj: Any, patch: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    match patch.get("$patch"):
        case "replace":
            whole: dict[str, Any] = _bare(patch)
            return whole
        case "delete":
            return {}
        case None | "merge":
            pass
        case other:
            raise PatchFailed(400, f"Unknown patch type: {other}")
    result = clone(obj) if isinstance(obj, dict) else {}
    keep = patch.get("$retainKeys")
    if keep is not None:
        if not isinstance(keep, list):
            raise PatchFailed(400, "invalid patch format of retainKeys")
        result = {key: value for key, value in result.items() if key in keep}
    for key, value in patch.items():
        if not key.startswith("$"):
            _field(result, key, value, child(schema, key) or {})
    for directive, names in patch.items():
        field = directive.partition("/")[2]
        if directive.startswith("$deleteFromPrimitiveList/") and isinstance(result.get(field), list):
            result[field] = [item for item in result[field] if item not in names]
        if directive.startswith("$setElementOrder/") and isinstance(result.get(field), list):
            merge_key = (child(schema, field) or {}).get("x-kubernetes-patch-merge-key")
            result[field] = _ordered(result[field], names, merge_key, obj.get(field) if isinstance(obj, dict) else None)
    return result


def _field(result: dict[str, Any], key: str, value: Any, schema: Schema) -> None:
    match value:
        case None:
            result.pop(key, None)
        case Mapping():
            result[key] = _objects(result.get(key), value, schema)
        case list() if "merge" in schema.get("x-kubernetes-patch-strategy", ""):
            result[key] = _lists(result.get(key) or [], value, schema)
        case _:
            result[key] = _bare(value)


def _lists(live: Sequence[Any], patch: Sequence[Any], schema: Schema) -> list[Any]:
    key = schema.get("x-kubernetes-patch-merge-key")
    if key is None:
        return [*live, *(item for item in dict.fromkeys(patch) if item not in live)]
    if any(isinstance(item, Mapping) and item.get("$patch") == "replace" for item in patch):
        return [_bare(item) for item in patch if item.get("$patch") != "replace"]
    result = [clone(item) for item in live]
    for item in patch:
        if not isinstance(item, Mapping):
            raise PatchFailed(400, "invalid patch: a list of objects has an item that is no object")
        if key not in item:
            raise PatchFailed(400, f"map: {json.dumps(item)} does not contain declared merge key: {key}")
        places = [n for n, existing in enumerate(result) if isinstance(existing, Mapping) and existing.get(key) == item[key]]
        if item.get("$patch") == "delete":
            result = [existing for n, existing in enumerate(result) if n not in places]
        elif places:
            result[places[0]] = _objects(result[places[0]], item, schema.get("items", {}))
        else:
            result.append(_bare({name: value for name, value in item.items() if name != "$patch"}))
    return result


def _ordered(items: list[Any], order: Sequence[Any], key: str | None, before: Any) -> list[Any]:
    """Put the items named by `$setElementOrder` into that order; those that it does not name keep their place among them."""

    def mark(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, Mapping) else item

    wanted = [mark(item) for item in order]
    named = sorted((item for item in items if mark(item) in wanted), key=lambda item: wanted.index(mark(item)))
    others = [item for item in items if mark(item) not in wanted]
    was = [mark(item) for item in before or []]
    result: list[Any] = []
    for item in others:
        place = was.index(mark(item)) if mark(item) in was else len(was)
        while named and (mark(named[0]) not in was or was.index(mark(named[0])) < place):
            result.append(named.pop(0))
        result.append(item)
    return [*result, *named]


def _bare(value: Any) -> Any:
    """Return a copy without directives and nulls: what a patch says where there was nothing to merge with."""
    match value:
        case Mapping():
            return {key: _bare(item) for key, item in value.items() if not key.startswith("$") and item is not None}
        case list():
            kept = [item for item in value if not (isinstance(item, Mapping) and item.get("$patch") == "delete")]
            return [_bare(item) for item in kept]
        case _:
            return value
