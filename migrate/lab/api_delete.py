"""DELETE: preconditions, grace, finalizers, propagation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from migrate.lab.api_objects import Objects, Outcome, Write, has_generation, stamp
from migrate.lab.api_status import ApiError, bad_request, conflict, not_the_one
from migrate.lab.api_update import ATTEMPTS
from migrate.lab.store import Entry, Missing, Object, Stale

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_POLICIES = {"Foreground": FOREGROUND, "Orphan": ORPHAN, "Background": ""}
POD_GRACE_S = 30


@dataclass(frozen=True, slots=True)
class Options:
    """DeleteOptions. `grace_s` None = the kind's own."""

    uid: str = ""
    version: str = ""
    policy: str = ""
    grace_s: int | None = None


def options_of(body: Any, query: dict[str, list[str]]) -> Options:
    """Read DeleteOptions from a body or, when there is none, from the query. Raises a 400 or 422 ApiError."""
    given: dict[str, Any] = body if isinstance(body, dict) else {}
    if given and given.get("kind") not in (None, "", "DeleteOptions"):
        raise bad_request(f"expected DeleteOptions, got {given.get('kind')}")
    if not given:
        given = {name: query[name][0] for name in ("propagationPolicy", "gracePeriodSeconds", "orphanDependents") if name in query}
    policy = given.get("propagationPolicy") or ""
    if policy and policy not in _POLICIES:
        supported = '"Foreground", "Background", "Orphan", "nil"'
        text = f'Unsupported value: "{policy}": supported values: {supported}'
        raise ApiError(422, f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: {text}', details={})
    if not policy and given.get("orphanDependents") is not None:
        policy = "Orphan" if str(given["orphanDependents"]).lower() == "true" else "Background"
    grace = given.get("gracePeriodSeconds")
    preconditions = given.get("preconditions") or {}
    return Options(
        uid=preconditions.get("uid") or "",
        version=str(preconditions.get("resourceVersion") or ""),
        policy=policy,
        grace_s=max(0, int(grace)) if grace is not None else None,
    )


def delete(objects: Objects, write: Write, options: Options) -> Outcome:
    """Delete an object, or begin to. Raises ApiError: 404, 409 for a failed precondition."""
    for _ in range(ATTEMPTS):
        entry = objects.find(write)
        metadata = entry.obj["metadata"]
        if options.uid and options.uid != metadata["uid"]:
            raise not_the_one(write.resource, write.name, what="UID", wanted=options.uid, found=metadata["uid"])
        if options.version and options.version != metadata["resourceVersion"]:
            version = metadata["resourceVersion"]
            raise not_the_one(write.resource, write.name, what="ResourceVersion", wanted=options.version, found=version)
        objects.admit(write, "DELETE", entry.obj, None)
        try:
            return _delete(objects, write, entry, options)
        except (Stale, Missing):
            continue
    raise conflict(write.resource, write.name)


def _delete(objects: Objects, write: Write, entry: Entry, options: Options) -> Outcome:
    metadata = entry.obj["metadata"]
    finalizers = _finalizers(metadata.get("finalizers") or [], options.policy)
    grace_s = _grace(write, entry.obj, options.grace_s)
    namespace = write.place == ("", "namespaces")
    if not finalizers and grace_s == 0 and not (namespace and entry.obj.get("spec", {}).get("finalizers")):
        return Outcome(objects.commit_remove(write, entry), removed=True)
    doomed = {**metadata, "finalizers": finalizers}
    if not finalizers:
        doomed.pop("finalizers")
    if "deletionTimestamp" not in metadata:
        doomed["deletionTimestamp"] = stamp(objects.clock.now() + timedelta(seconds=grace_s))
        doomed["deletionGracePeriodSeconds"] = grace_s
        if has_generation(write.resource):
            doomed["generation"] = metadata.get("generation", 1) + 1
    elif grace_s < metadata.get("deletionGracePeriodSeconds", 0):
        doomed["deletionTimestamp"] = stamp(objects.clock.now() + timedelta(seconds=grace_s))
        doomed["deletionGracePeriodSeconds"] = grace_s
    obj = {**entry.obj, "metadata": doomed}
    if namespace:
        obj["status"] = {**obj.get("status", {}), "phase": "Terminating"}
    if obj == entry.obj:
        return Outcome(entry)
    return Outcome(objects.commit_replace(write, entry, obj))


def _finalizers(present: list[str], policy: str) -> list[str]:
    if not policy:
        return present
    kept = [name for name in present if name not in (FOREGROUND, ORPHAN)]
    added = _POLICIES[policy]
    return [*kept, added] if added else kept


def _grace(write: Write, obj: Object, asked_s: int | None) -> int:
    """Return how long the object lives on: only Pods have a grace period, and only scheduled ones that have not ended."""
    if write.place != ("", "pods"):
        return 0
    metadata, spec = obj["metadata"], obj.get("spec", {})
    own = spec.get("terminationGracePeriodSeconds", POD_GRACE_S)
    grace_s = own if asked_s is None else asked_s
    if not spec.get("nodeName") or obj.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        grace_s = 0
    if "deletionTimestamp" in metadata:
        left = metadata.get("deletionGracePeriodSeconds", 0)
        grace_s = min(grace_s, left) if asked_s is not None else left
    return int(grace_s)
