"""Which kinds the lab's API server knows: one `Resource` per plural, found through a `Registry` that CRDs extend while it runs."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from migrate.lab import crd
from migrate.lab.notation import Notation, Schema

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. `path` is a JSONPath below the object; empty for the columns that `tables` computes itself."""

    name: str
    type: str
    path: str = ""
    priority: int = 0
    format: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """One version of a resource. `warning` is sent with every answer of a deprecated version."""

    name: str
    schema: Schema = field(repr=False)
    served: bool = True
    stored: bool = True
    columns: tuple[Column, ...] = ()
    warning: str = ""
    subresources: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """A kind as the API serves it. `subresources` holds those that the generic storage serves (`status`, `scale`, ...).

    `names` is the rule for object names: subdomain, label, label1035 or path. `served` lists the served versions, the preferred one first
    (stable before beta before alpha, higher numbers first).
    """

    group: str
    versions: tuple[Version, ...]
    kind: str
    plural: str
    singular: str = ""
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    categories: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    verbs: tuple[str, ...] = ALL_VERBS
    crd: str = ""
    list_kind: str = ""
    names: str = "subdomain"
    served: tuple[str, ...] = field(init=False)
    _by_name: Mapping[str, Version] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {version.name: version for version in self.versions})
        names = sorted((version.name for version in self.versions if version.served), key=crd.version_priority)
        object.__setattr__(self, "served", tuple(names))
        object.__setattr__(self, "singular", self.singular or self.kind.lower())
        object.__setattr__(self, "list_kind", self.list_kind or f"{self.kind}List")

    @property
    def builtin(self) -> bool:
        """Tell whether the kind is compiled in (True) or came with a CustomResourceDefinition."""
        return not self.crd

    @property
    def group_resource(self) -> str:
        """Return `plural.group` (`plural` alone in the core group), as error messages and CRD names write it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def stored(self) -> str:
        """Return the version that the store keeps objects in."""
        return next(v.name for v in self.versions if v.stored)

    def version(self, name: str) -> Version:
        """Return one version. KeyError if there is none of that name."""
        return self._by_name[name]

    def schema_for(self, version: str) -> Schema:
        """Return the structural schema of a version, `metadata` included as an open object."""
        return self._by_name[version].schema

    def api_version(self, version: str) -> str:
        """Return the `apiVersion` that objects of this version carry."""
        return f"{self.group}/{version}" if self.group else version


class Registry:
    """The kinds of one API server. Reading needs no lock: every change replaces the tables as a whole."""

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self._resources: dict[tuple[str, str], Resource] = {}
        self._kinds: dict[tuple[str, str], Resource] = {}
        self._set({(r.group, r.plural): r for r in resources})

    def _set(self, resources: dict[tuple[str, str], Resource]) -> None:
        self._kinds = {(r.group, r.kind): r for r in resources.values()}
        self._resources = resources

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Return the resource of a request path when that version of it is served."""
        resource = self._resources.get((group, plural))
        return resource if resource is not None and version in resource.served else None

    def by_kind(self, group: str, version: str, kind: str) -> Resource | None:
        """Return the resource of an object's apiVersion and kind when that version is served."""
        resource = self._kinds.get((group, kind))
        return resource if resource is not None and version in resource.served else None

    def resource(self, group: str, plural: str) -> Resource | None:
        """Return a resource whatever its versions."""
        return self._resources.get((group, plural))

    def all(self) -> tuple[Resource, ...]:
        """Return every resource, builtin ones first, in the order of their registration."""
        return tuple(self._resources.values())

    def install(self, manifest: Mapping[str, Any]) -> Resource:
        """Serve the kind of a CustomResourceDefinition, or serve it anew after a change. Return its resource."""
        resource = resource_of(manifest)
        self._set({**self._resources, (resource.group, resource.plural): resource})
        return resource

    def remove(self, name: str) -> Resource | None:
        """Stop serving the CustomResourceDefinition `name` (`plural.group`). Return what it served."""
        gone = next((r for r in self._resources.values() if r.crd == name), None)
        if gone is not None:
            self._set({key: r for key, r in self._resources.items() if r is not gone})
        return gone


def resource_of(manifest: Mapping[str, Any]) -> Resource:
    """Build the resource that a CustomResourceDefinition describes (defaults of its `names` filled in as the server does)."""
    spec = manifest["spec"]
    names = spec["names"]
    versions = tuple(_version(entry) for entry in spec["versions"])
    return Resource(
        group=spec["group"],
        versions=versions,
        kind=names["kind"],
        plural=names["plural"],
        singular=names.get("singular", ""),
        short_names=tuple(names.get("shortNames", ())),
        namespaced=spec["scope"] == "Namespaced",
        categories=tuple(names.get("categories", ())),
        subresources=frozenset().union(*(v.subresources for v in versions)),
        crd=manifest["metadata"]["name"],
        list_kind=names.get("listKind", ""),
    )


def _version(entry: Mapping[str, Any]) -> Version:
    columns = tuple(
        Column(c["name"], c["type"], c["jsonPath"], c.get("priority", 0), c.get("format", ""), c.get("description", ""))
        for c in entry.get("additionalPrinterColumns", ())
    )
    return Version(
        name=entry["name"],
        schema=entry.get("schema", {}).get("openAPIV3Schema", {"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
        served=entry["served"],
        stored=entry["storage"],
        columns=columns or (Column("Age", "date", ".metadata.creationTimestamp"),),
        warning=entry.get("deprecationWarning", "") if entry.get("deprecated") else "",
        subresources=frozenset(entry.get("subresources", {})),
    )


@functools.cache
def _builtin() -> tuple[Resource, ...]:
    found: list[Resource] = []
    folder = Path(__file__).parent / "builtin"
    shared = _load(folder / "shared.yaml")["types"]
    for path in sorted(folder.glob("*.yaml")):
        content = _load(path)
        notation = Notation({**shared, **content.get("types", {})})
        for kind, facts in content.get("kinds", {}).items():
            found.append(_builtin_resource(kind, facts, notation))
    return tuple(found)


def _builtin_resource(kind: str, facts: Mapping[str, Any], notation: Notation) -> Resource:
    fields = {"apiVersion": "string", "kind": "string", "metadata": "object", **facts["fields"]}
    subresources = frozenset(facts.get("subresources", ()))
    group, _, version = facts["version"].rpartition("/")
    return Resource(
        group=group,
        versions=(Version(version, notation.expand(fields), subresources=subresources),),
        kind=kind,
        plural=facts["plural"],
        short_names=tuple(facts.get("short", ())),
        namespaced=facts.get("namespaced", True),
        categories=tuple(facts.get("categories", ())),
        subresources=subresources,
        names=facts.get("names", "subdomain"),
    )


def _load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return content


def builtin() -> list[Resource]:
    """Return the kinds that every API server knows."""
    return list(_builtin())


def crds(release: str) -> list[dict[str, Any]]:
    """Return the CustomResourceDefinitions of KubeVirt, CDI and Multus as that KubeVirt release (`v1.3`, `v1.6`, `v1.9`) installs them."""
    return crd.manifests(release)
