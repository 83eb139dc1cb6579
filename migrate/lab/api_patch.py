"""PATCH: the three kinds of change descriptions, and server-side apply."""

from __future__ import annotations

from typing import Any

from migrate.lab import ownership, patching
from migrate.lab.api_create import create
from migrate.lab.api_objects import Objects, Outcome, Write, has_status, match_url, wrong_place
from migrate.lab.api_status import ApiError, bad_request, conflict, not_found
from migrate.lab.api_update import ATTEMPTS, change
from migrate.lab.schema_text import Malformed, parse_json, parse_yaml
from migrate.lab.store import Missing, Object, Stale, clone

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
TYPES = (JSON, MERGE, STRATEGIC, APPLY)
REJECTED = "the server rejected our request due to an error in our request"
"""All that the real server says when a JSON patch does not fit, a failed `test` included."""


def patch(objects: Objects, write: Write, content_type: str, text: bytes, *, force: bool = False) -> Outcome:
    """Change an object as the patch says; a server-side apply also creates it. Raises ApiError: 404, 409, 415, 422."""
    if content_type not in TYPES:
        wanted = ", ".join(TYPES)
        raise ApiError(415, f"the body of the request was in an unknown format - accepted media types include: {wanted}")
    if content_type == STRATEGIC and not write.resource.builtin:
        wanted = ", ".join(kind for kind in TYPES if kind != STRATEGIC)
        raise ApiError(415, f"the body of the request was in an unknown format - accepted media types include: {wanted}")
    try:
        body, twice = parse_yaml(text) if content_type == APPLY else parse_json(text)
    except Malformed as error:
        raise bad_request(f"error decoding patch: {error}") from None
    if twice and write.validation == "Strict":
        raise bad_request("strict decoding error: " + ", ".join(f'duplicate field "{name}"' for name in twice))
    for _ in range(ATTEMPTS):
        entry = objects.store.get(write.place, write.key)
        if entry is None and content_type != APPLY:
            raise not_found(write.resource, write.name)
        try:
            if content_type == APPLY:
                return _apply(objects, write, body, force=force)
            assert entry is not None
            return change(objects, write, entry, _patched(write, content_type, entry.shown(write.api_version), body), patched=True)
        except (Stale, Missing):
            continue
    raise conflict(write.resource, write.name)


def _patched(write: Write, content_type: str, obj: Object, body: Any) -> Object:
    try:
        match content_type:
            case "application/json-patch+json":
                patched = patching.json_patch(obj, body)
            case "application/merge-patch+json":
                patched = patching.merge_patch(obj, body)
            case _:
                patched = patching.strategic_merge(obj, body, write.resource.schema_for(write.version))
    except patching.PatchFailed as failed:
        raise ApiError(
            failed.code, REJECTED if failed.code == 422 else failed.message, details={} if failed.code == 422 else None
        ) from None
    if not isinstance(patched, dict) or not isinstance(patched.get("metadata"), dict):
        raise bad_request("the patch makes something else of the object than an object")
    match_url(write, patched["metadata"])
    return patched


def _apply(objects: Objects, write: Write, config: Any, *, force: bool) -> Outcome:
    wrong_place(write, config)
    config = clone(config)
    metadata = config.setdefault("metadata", {})
    if metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    metadata["name"] = write.name
    if write.resource.namespaced:
        metadata["namespace"] = write.namespace
    entry = objects.store.get(write.place, write.key)
    live = entry.shown(write.api_version) if entry else None
    if metadata.get("resourceVersion") and entry is None:
        raise conflict(write.resource, write.name, "resource version mismatch: the object does not exist")
    if entry is None and write.subresource:
        raise not_found(write.resource, write.name)
    try:
        applied = ownership.apply(
            live,
            config,
            manager=write.manager,
            force=force,
            schema=write.resource.schema_for(write.version),
            subresource=write.subresource,
            api_version=write.api_version,
            now=objects.now(),
            ignored=_ignored(write),
        )
    except ownership.ApplyConflict as clash:
        raise ApiError(409, clash.message, details={"causes": clash.causes}) from None
    except ownership.ApplyRefused as wrong:
        raise ApiError(wrong.code, wrong.message, reason="" if wrong.code == 500 else None) from None
    if entry is None:
        return create(objects, write, applied, applied=True)
    return change(objects, write, entry, applied, managed=applied["metadata"].get("managedFields"), patched=True)


def _ignored(write: Write) -> tuple[str, ...]:
    """Return the fields that this endpoint does not write and an applier therefore does not own."""
    if write.subresource == "status":
        return ("spec",)
    return ("status",) if has_status(write.resource, write.version) else ()
