"""PUT and what every change of an existing object shares: locks, immutable metadata, status separation, generation, finalizers."""

from __future__ import annotations

import json
from typing import Any

from migrate.lab import ownership, schema
from migrate.lab.api_builtin import recomplete
from migrate.lab.api_create import replace_validation
from migrate.lab.api_objects import KEPT, Objects, Outcome, Write, has_generation, has_status
from migrate.lab.api_status import conflict, invalid, replaced
from migrate.lab.kinds import Resource
from migrate.lab.schema_walk import Cause
from migrate.lab.store import Entry, Missing, Object, Stale, clone

ATTEMPTS = 5
"""How often a change without a resource version is tried again when somebody else was faster."""
_MUST_LOCK = frozenset({("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices")})
"""Built-in kinds that do not take an update without a resource version; custom resources never do."""

_FIXED = ("deletionTimestamp", "deletionGracePeriodSeconds")
"""Metadata that only a delete sets: another value is refused, none keeps what there is."""


def update(objects: Objects, write: Write, body: Object) -> Outcome:
    """Replace an object. Raises ApiError: 404, 409 for a stale resource version or another uid, 422."""
    metadata = body.get("metadata") or {}
    unconditional = not metadata.get("resourceVersion")
    must_lock = not write.resource.builtin or (write.resource.group, write.resource.plural) in _MUST_LOCK
    if unconditional and must_lock:
        objects.find(write)
        cause = Cause("metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0: must be specified for an update")
        raise invalid(write.resource, write.name, [cause])
    for _ in range(ATTEMPTS):
        entry = objects.find(write)
        try:
            return change(objects, write, entry, body)
        except Stale:
            if not unconditional:
                break
        except Missing:
            continue
    raise conflict(write.resource, write.name)


def change(objects: Objects, write: Write, entry: Entry, body: Object, *, managed: Any = None, patched: bool = False) -> Outcome:
    """Store what `body` makes of an object. Raises Stale or Missing when somebody else was faster, else ApiError.

    `managed` = the managedFields that a server-side apply computed; `patched` = refuse undecodable results in the words of a patch.
    """
    old = entry.shown(write.api_version)
    metadata = dict(body.get("metadata") or {})
    _preconditions(write, entry, metadata, patched=patched and managed is None)
    body = _separated(write, old, {**clone(body), "metadata": _system(old, metadata)})
    checked = objects.check(write, body, patched=patched)
    obj = checked.obj
    if write.resource.builtin and not write.subresource:
        obj = recomplete(write.resource, old, obj, now=objects.now())
    obj["metadata"]["managedFields"] = (
        managed if managed is not None else metadata.get("managedFields", old["metadata"].get("managedFields"))
    )
    if managed is None:
        obj = _tracked(objects, write, old, obj)
    admitted = objects.admit(write, "UPDATE", old, obj)
    causes = checked.causes
    if admitted is not None and admitted is not obj:
        fields = obj["metadata"].get("managedFields")
        again = objects.check(replace_validation(write), _separated(write, old, admitted))
        obj, causes = again.obj, again.causes
        obj["metadata"]["managedFields"] = fields
    if write.subresource == "status":
        causes = schema.status_causes(write.resource, write.version, obj)
    objects.refuse(write, (*causes, *schema.check_update(write.resource, old, obj)))
    obj = _counted(write, old, obj)
    return store(objects, write, entry, obj, warnings=checked.warnings)


def store(objects: Objects, write: Write, entry: Entry, obj: Object, *, warnings: tuple[str, ...] = ()) -> Outcome:
    """Store a new version unless nothing changed; an object that is only waiting for its finalizers goes with the last of them."""
    stored = objects.stored(write, obj)
    stored["metadata"]["resourceVersion"] = entry.obj["metadata"]["resourceVersion"]
    metadata = stored["metadata"]
    if (
        metadata.get("deletionTimestamp")
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and _empty(stored)
    ):
        return Outcome(objects.commit_remove(write, entry, stored), removed=True, warnings=warnings)
    if stored == entry.obj:
        return Outcome(entry, warnings=warnings)
    return Outcome(objects.commit_replace(write, entry, stored), warnings=warnings)


def _empty(obj: Object) -> bool:
    return not (obj["kind"] == "Namespace" and obj["apiVersion"] == "v1" and obj.get("spec", {}).get("finalizers"))


def _preconditions(write: Write, entry: Entry, metadata: dict[str, Any], *, patched: bool) -> None:
    fixed = (*_FIXED, *(("uid",) if patched else ()))
    moved = {name: metadata[name] for name in fixed if metadata.get(name) not in (None, entry.obj["metadata"].get(name))}
    if moved:
        words = {name: f"Invalid value: {json.dumps(value)}: field is immutable" for name, value in moved.items()}
        raise invalid(write.resource, write.name, [Cause(f"metadata.{name}", "FieldValueInvalid", text) for name, text in words.items()])
    uid, found = metadata.get("uid"), entry.obj["metadata"]["uid"]
    if uid and uid != found:
        raise replaced(write.resource, write.namespace, write.name, wanted=str(uid), found=found)
    version = metadata.get("resourceVersion")
    if version and str(version) != str(entry.rv):
        raise conflict(write.resource, write.name)


def _system(old: Object, metadata: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in metadata.items() if name not in (*KEPT, "managedFields", "resourceVersion")}
    kept |= {name: old["metadata"][name] for name in KEPT if name in old["metadata"]}
    if "namespace" in old["metadata"]:
        kept.setdefault("namespace", old["metadata"]["namespace"])
    kept.setdefault("name", old["metadata"]["name"])
    return kept


def _separated(write: Write, old: Object, new: Object) -> Object:
    """Keep what this endpoint does not write: status, or everything but status."""
    if write.subresource == "status":
        kept = old["metadata"] if not write.resource.builtin else {**new["metadata"], **_owners(old)}
        base = {**old, "metadata": {**kept}}
        base.pop("status", None)
        return {**base, **({"status": new["status"]} if "status" in new else {})}
    if has_status(write.resource, write.version):
        new = {name: value for name, value in new.items() if name != "status"}
        if "status" in old:
            new["status"] = old["status"]
    return new


def _owners(old: Object) -> dict[str, Any]:
    return {"ownerReferences": old["metadata"]["ownerReferences"]} if "ownerReferences" in old["metadata"] else {}


def _counted(write: Write, old: Object, new: Object) -> Object:
    """Count metadata.generation up when the wanted state changed (anything but metadata and, where it is separate, status)."""
    if not has_generation(write.resource):
        return new
    ignored = {"metadata", "apiVersion", "kind"}
    if has_status(write.resource, write.version):
        ignored.add("status")
    same = {k: v for k, v in old.items() if k not in ignored} == {k: v for k, v in new.items() if k not in ignored}
    generation = old["metadata"].get("generation", 1) + (0 if same else 1)
    return {**new, "metadata": {**new["metadata"], "generation": generation}}


def _tracked(objects: Objects, write: Write, old: Object, obj: Object) -> Object:
    return ownership.track(
        old,
        obj,
        manager=write.manager,
        operation="Update",
        subresource=write.subresource,
        api_version=write.api_version,
        now=objects.now(),
        schema=write.resource.schema_for(write.version),
    )


def system_write(resource: Resource, namespace: str, name: str, *, manager: str) -> Write:
    """Return a write by the server itself, in the stored version."""
    return Write(resource, resource.stored, namespace, name, manager=manager, validation="Ignore")


def retouch(objects: Objects, write: Write, alter: Any) -> Outcome | None:
    """Change an object from inside: `alter(copy)` returns the new object or None. Retries; None when absent or unchanged."""
    while True:
        entry = objects.store.get(write.place, write.key)
        wanted = alter(clone(entry.obj)) if entry is not None else None
        if entry is None or wanted is None:
            return None
        try:
            return store(objects, write, entry, wanted)
        except Stale:
            continue
        except Missing:
            return None
