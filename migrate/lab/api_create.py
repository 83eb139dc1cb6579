"""POST: a new object, complete with everything that the system fills in."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from migrate.lab import ownership
from migrate.lab.api_builtin import complete
from migrate.lab.api_objects import KEPT, Objects, Outcome, Write, has_generation, has_status, new_uid, stamp
from migrate.lab.api_status import ApiError, already_exists
from migrate.lab.store import Exists, Object, clone

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def create(objects: Objects, write: Write, body: Object, *, applied: bool = False) -> Outcome:
    """Create an object. `applied` = it comes from a server-side apply, which has set managedFields already. Raises ApiError."""
    resource = write.resource
    body = clone(body)
    metadata = body["metadata"] = dict(body.get("metadata") or {})
    if metadata.get("resourceVersion"):
        raise ApiError(500, "resourceVersion should not be set on objects to be created", reason="")
    write = named(write, metadata)
    managed = metadata.get("managedFields") if applied else None
    for name in (*KEPT, "managedFields", "resourceVersion"):
        metadata.pop(name, None)
    if resource.namespaced:
        metadata["namespace"] = write.namespace
    else:
        metadata.pop("namespace", None)
    checked = objects.check(write, body)
    obj = _born(objects, write, checked.obj)
    if managed is not None:
        obj["metadata"]["managedFields"] = managed
    else:
        obj = _tracked(objects, write, None, obj)
    admitted = objects.admit(write, "CREATE", None, obj)
    causes = checked.causes
    if admitted is not None and admitted is not obj:
        again = objects.check(replace_validation(write), admitted)
        obj, causes = {**again.obj, "metadata": {**again.obj["metadata"], **_kept(obj)}}, again.causes
    objects.refuse(write, causes)
    try:
        entry = objects.commit_create(write, objects.stored(write, obj))
    except Exists:
        raise already_exists(resource, write.name) from None
    return Outcome(entry, created=True, warnings=checked.warnings)


def named(write: Write, metadata: dict[str, Any]) -> Write:
    """Return the write with the object's name, generated if asked for."""
    name = metadata.get("name") or ""
    prefix = metadata.get("generateName") or ""
    if not name and prefix:
        name = metadata["name"] = prefix[:58] + "".join(secrets.choice(_LETTERS) for _ in range(5))
    return replace(write, name=name)


def replace_validation(write: Write) -> Write:
    """Return the write with unknown fields ignored: they are not the client's but an admission's."""
    return replace(write, validation="Ignore", twice=())


def _born(objects: Objects, write: Write, obj: Object) -> Object:
    resource = write.resource
    metadata = {**obj["metadata"], "uid": new_uid(), "creationTimestamp": stamp(objects.clock.now())}
    if has_generation(resource):
        metadata["generation"] = 1
    obj = {**obj, "metadata": metadata}
    if resource.builtin:
        return complete(resource, obj, now=objects.now(), address=objects.next_address)
    if has_status(resource, write.version):
        obj.pop("status", None)
    return obj


def _kept(obj: Object) -> dict[str, Any]:
    wanted = (*KEPT, "managedFields", "name", "namespace")
    return {name: obj["metadata"][name] for name in wanted if name in obj["metadata"]}


def _tracked(objects: Objects, write: Write, live: Object | None, obj: Object) -> Object:
    return ownership.track(
        live,
        obj,
        manager=write.manager,
        operation="Update",
        subresource=write.subresource,
        api_version=write.api_version,
        now=objects.now(),
        schema=write.resource.schema_for(write.version),
    )
