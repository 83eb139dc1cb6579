"""CustomResourceDefinitions: built from the short files under `crds/`, and completed as the real server completes them."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from migrate.lab.notation import Notation

RELEASES = ("v1.3", "v1.6", "v1.9")
"""KubeVirt releases that a lab cluster can imitate."""


def version_priority(name: str) -> tuple[int, int, int, str]:
    """Return a sort key that puts the preferred API version first: v2, v1, v1beta2, v1beta1, v1alpha1, others by name."""
    found = re.fullmatch(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?", name)
    if found is None:
        return (3, 0, 0, name)
    major, stage, minor = found.groups()
    return ({None: 0, "beta": 1, "alpha": 2}[stage], -int(major), -int(minor or 0), "")


def manifests(release: str) -> list[dict[str, Any]]:
    """Return fresh copies of every CRD as that release installs it. Raise ValueError for a release that is not imitated."""
    if release not in RELEASES:
        raise ValueError(f"no KubeVirt release {release!r}, only {', '.join(RELEASES)}")
    return copy.deepcopy(list(_manifests(release)))


@functools.cache
def _manifests(release: str) -> tuple[dict[str, Any], ...]:
    folder = Path(__file__).parent / "crds"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    contents = {path.stem: yaml.load(path.read_text(encoding="utf-8"), Loader=loader) for path in sorted(folder.glob("*.yaml"))}
    shared = contents["shared"]["types"]
    found = []
    for content in contents.values():
        borrowed: dict[str, Any] = {}
        for name in content.get("borrows", ()):
            borrowed |= contents[name].get("types", {})
        notation = Notation({**shared, **borrowed, **content.get("types", {})})
        found += [_manifest(kind, facts, release, notation) for kind, facts in content.get("kinds", {}).items()]
    return tuple(found)


def _manifest(kind: str, facts: Mapping[str, Any], release: str, notation: Notation) -> dict[str, Any]:
    versions = facts["versions"]
    if isinstance(versions, Mapping):
        versions = versions[release]
    fields = {"apiVersion": "string", "kind": "string", "metadata": "object", **facts["fields"]}
    schema = _published(notation.expand(fields))
    if "doc" in facts:
        schema["description"] = facts["doc"]
    plural = facts["plural"]
    names: dict[str, Any] = {"kind": kind, "plural": plural, "singular": facts.get("singular", kind.lower()), "listKind": f"{kind}List"}
    if "short" in facts:
        names["shortNames"] = list(facts["short"])
    if "categories" in facts:
        names["categories"] = list(facts["categories"])
    metadata: dict[str, Any] = {"name": f"{plural}.{facts['group']}"}
    if "approved" in facts:
        metadata["annotations"] = {"api-approved.kubernetes.io": facts["approved"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {
            "group": facts["group"],
            "names": names,
            "scope": "Namespaced" if facts.get("namespaced", True) else "Cluster",
            "conversion": {"strategy": "None"},
            "versions": [_entry(version, facts, schema) for version in versions],
        },
    }


def _published(schema: Any) -> Any:
    """Return a schema without the hints for strategic merge, which no CRD may carry."""
    match schema:
        case dict():
            return {key: _published(value) for key, value in schema.items() if not key.startswith("x-kubernetes-patch-")}
        case list():
            return [_published(item) for item in schema]
        case _:
            return schema


def _entry(version: str, facts: Mapping[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name, *words = version.split()
    entry: dict[str, Any] = {
        "name": name,
        "served": "unserved" not in words,
        "storage": "stored" in words,
        "schema": {"openAPIV3Schema": schema},
    }
    if "deprecated" in words:
        entry |= {"deprecated": True, "deprecationWarning": facts["warnings"][name]}
    if facts.get("columns"):
        entry["additionalPrinterColumns"] = [dict(column) for column in facts["columns"]]
    subresources = facts.get("subresources", ())
    if subresources:
        entry["subresources"] = {word: facts.get("scale", {}) if word == "scale" else {} for word in subresources}
    return entry


def completed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a CRD with the fields that the server defaults on creation (names, conversion) filled in."""
    done = copy.deepcopy(dict(manifest))
    spec = done["spec"]
    names = spec["names"]
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", f"{names['kind']}List")
    spec.setdefault("conversion", {"strategy": "None"})
    return done


def established(manifest: Mapping[str, Any], now: str) -> dict[str, Any]:
    """Return a CRD with the status that a healthy server writes into it: names accepted, established, stored versions."""
    done = completed(manifest)
    spec = done["spec"]
    before = done.get("status", {}).get("storedVersions", [])
    stored = [v["name"] for v in spec["versions"] if v["storage"]]
    done["status"] = {
        "acceptedNames": spec["names"],
        "conditions": [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found", now),
            _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", now),
        ],
        "storedVersions": [*before, *(name for name in stored if name not in before)],
    }
    return done


def _condition(kind: str, reason: str, message: str, now: str) -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now}
