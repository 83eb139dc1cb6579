"""JSON patches for objects that are not ours alone: each tests uid and resourceVersion, so that it changes what was looked at or nothing.

Pure: from an object as it was read to the operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migrate.model.objects import Object, annotations_of, dig, uid_of

Operations = list[dict[str, Any]]


def guarded(obj: Object, *parts: Operations) -> Operations:
    """Return the operations behind tests on the uid and resourceVersion of the object as it was read."""
    tests: Operations = [
        {"op": "test", "path": "/metadata/uid", "value": uid_of(obj)},
        {"op": "test", "path": "/metadata/resourceVersion", "value": dig(obj, "metadata", "resourceVersion")},
    ]
    return [*tests, *(operation for part in parts for operation in part)]


def annotate(obj: Object, wanted: Mapping[str, str | None]) -> Operations:
    """Set annotations; None removes one. What already stands so is left alone."""
    present = annotations_of(obj)
    operations: Operations = []
    if not present and any(value is not None for value in wanted.values()):
        operations.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    for key, value in wanted.items():
        path = annotation_path(key)
        if value is None and key in present:
            operations.append({"op": "remove", "path": path})
        elif value is not None and present.get(key) != value:
            operations.append({"op": "add", "path": path, "value": value})
    return operations


def annotation_path(key: str) -> str:
    """Return the JSON pointer of an annotation (RFC 6901)."""
    return f"/metadata/annotations/{escaped(key)}"


def escaped(key: str) -> str:
    """Return a key as it stands in a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def strategy(vm: Object, *, run_strategy: str | None = None, running: bool | None = None) -> Operations:
    """Spell the run strategy in exactly one way, or in none when both are None.

    The API refuses a VM with both spec.runStrategy and the legacy spec.running, so the other one goes in the same patch
    (kubevirt-export section 7).
    """
    operations: Operations = []
    for field, value in (("running", running), ("runStrategy", run_strategy)):
        present = dig(vm, "spec", default={})
        if value is None and field in present:
            operations.append({"op": "remove", "path": f"/spec/{field}"})
        elif value is not None and present.get(field) != value:
            operations.append({"op": "add", "path": f"/spec/{field}", "value": value})
    return operations
