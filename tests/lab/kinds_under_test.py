"""Kinds and manifests that the tests of the API machinery share."""

from __future__ import annotations

import functools
from typing import Any

from migrate.lab import kinds, schema
from migrate.lab.kinds import Registry, Resource


def registry(release: str = "v1.9") -> Registry:
    """Return the builtin kinds and those of one release."""
    return _registry(release)


@functools.cache
def _registry(release: str) -> Registry:
    known = Registry(kinds.builtin())
    for manifest in kinds.crds(release):
        known.install(manifest)
    return known


def resource(kind: str, release: str = "v1.9") -> Resource:
    """Return a resource by its kind alone."""
    return next(r for r in registry(release).all() if r.kind == kind)


def manifest(kind: str, name: str = "a", **fields: Any) -> dict[str, Any]:
    """Return an object of a kind in its preferred version, with `fields` at the top."""
    found = resource(kind)
    metadata = {"name": name, **({"namespace": "shop"} if found.namespaced else {})}
    return {"apiVersion": found.api_version(found.served[0]), "kind": kind, "metadata": metadata, **fields}


def check(obj: dict[str, Any], validation: schema.Validation = "Strict") -> schema.Checked:
    """Check an object against the version that it names."""
    return schema.check(resource(obj["kind"]), obj["apiVersion"].rpartition("/")[2], obj, validation=validation)


def refused(obj: dict[str, Any]) -> str:
    """Return the message with which the server refuses an object; empty when it takes it."""
    answer = schema.refusal(resource(obj["kind"]), obj["apiVersion"].rpartition("/")[2], obj["metadata"].get("name", ""), check(obj))
    return answer.message if answer else ""
