"""What the API server says about itself: groups, versions, resources, in the old and the aggregated form, and /version."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from migrate.lab.crd import version_priority
from migrate.lab.kinds import Registry, Resource

AGGREGATED_TYPE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""Content type of an aggregated discovery answer."""

AGGREGATED_BETA_TYPE = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class Virtual:
    """A resource that nobody stores: a review, a subresource with a handler of its own. `subresource` empty = the plural itself.

    `parent_kind` is the kind of the plural, `kind` that of the body (with its own group and version when they differ).
    """

    group: str
    version: str
    plural: str
    kind: str
    verbs: tuple[str, ...]
    subresource: str = ""
    namespaced: bool = True
    body_group: str = ""
    body_version: str = ""
    singular: str = ""

    @property
    def name(self) -> str:
        """Return `plural` or `plural/subresource`, as resource lists name it."""
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


def core_virtuals() -> list[Virtual]:
    """Return the subresources and reviews that every API server has without storing them."""
    reviews = [
        Virtual("authentication.k8s.io", "v1", plural, kind, ("create",), namespaced=False)
        for plural, kind in (("tokenreviews", "TokenReview"), ("selfsubjectreviews", "SelfSubjectReview"))
    ] + [
        Virtual("authorization.k8s.io", "v1", plural, kind, ("create",), namespaced=namespaced)
        for plural, kind, namespaced in (
            ("localsubjectaccessreviews", "LocalSubjectAccessReview", True),
            ("selfsubjectaccessreviews", "SelfSubjectAccessReview", False),
            ("selfsubjectrulesreviews", "SelfSubjectRulesReview", False),
            ("subjectaccessreviews", "SubjectAccessReview", False),
        )
    ]
    both = ("create", "get")
    pods = [
        Virtual("", "v1", "pods", "PodAttachOptions", both, subresource="attach"),
        Virtual("", "v1", "pods", "Binding", ("create",), subresource="binding"),
        Virtual("", "v1", "pods", "Eviction", ("create",), subresource="eviction", body_group="policy", body_version="v1"),
        Virtual("", "v1", "pods", "PodExecOptions", both, subresource="exec"),
        Virtual("", "v1", "pods", "Pod", ("get",), subresource="log"),
        Virtual("", "v1", "pods", "PodPortForwardOptions", both, subresource="portforward"),
    ]
    tokens = [
        Virtual(
            "",
            "v1",
            "serviceaccounts",
            "TokenRequest",
            ("create",),
            subresource="token",
            body_group="authentication.k8s.io",
            body_version="v1",
        ),
        Virtual("", "v1", "namespaces", "Namespace", ("update",), subresource="finalize", namespaced=False),
    ]
    return [*pods, *tokens, *reviews]


def api_versions(address: str) -> dict[str, Any]:
    """Answer `GET /api`. `address` is host:port of this server."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_versions(registry: Registry, virtuals: Iterable[Virtual] = ()) -> dict[str, list[str]]:
    """Return the served versions of each named group, the preferred one first."""
    found: dict[str, set[str]] = {}
    for resource in registry.all():
        if resource.group:
            found.setdefault(resource.group, set()).update(resource.served)
    for virtual in virtuals:
        if virtual.group:
            found.setdefault(virtual.group, set()).add(virtual.version)
    return {group: sorted(names, key=version_priority) for group, names in found.items() if names}


def _group(name: str, versions: Sequence[str]) -> dict[str, Any]:
    entries = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def groups(registry: Registry, virtuals: Iterable[Virtual] = ()) -> dict[str, Any]:
    """Answer `GET /apis` for clients that know no aggregated discovery."""
    listed = [_group(name, versions) for name, versions in group_versions(registry, virtuals).items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def group(registry: Registry, name: str, virtuals: Iterable[Virtual] = ()) -> dict[str, Any] | None:
    """Answer `GET /apis/GROUP`; None when there is no such group."""
    versions = group_versions(registry, virtuals).get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions else None


def resources(registry: Registry, group_name: str, version: str, virtuals: Iterable[Virtual] = ()) -> dict[str, Any] | None:
    """Answer `GET /apis/GROUP/VERSION` (or `/api/v1`); None when that is not served."""
    served = version in group_versions(registry, virtuals).get(group_name, ()) if group_name else version == "v1"
    if not served:
        return None
    listed: list[dict[str, Any]] = []
    for resource in _stored(registry, group_name, version):
        listed.append(_entry(resource))
        listed += [_sub_entry(resource, name) for name in sorted(resource.version(version).subresources)]
    listed += [_virtual_entry(v) for v in virtuals if (v.group, v.version) == (group_name, version)]
    name = f"{group_name}/{version}" if group_name else version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": name,
        "resources": sorted(listed, key=lambda entry: str(entry["name"])),
    }


def _stored(registry: Registry, group_name: str, version: str) -> list[Resource]:
    return [r for r in registry.all() if r.group == group_name and version in r.served]


def _entry(resource: Resource) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    entry["storageVersionHash"] = _storage_hash(resource)
    return entry


def _storage_hash(resource: Resource) -> str:
    text = f"{resource.group}/{resource.stored}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _sub_entry(resource: Resource, name: str) -> dict[str, Any]:
    entry = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced, "kind": resource.kind}
    if name == "scale":
        entry |= {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    return {**entry, "verbs": ["get", "patch", "update"]}


def _virtual_entry(virtual: Virtual) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": virtual.name,
        "singularName": "" if virtual.subresource else virtual.singular or virtual.kind.lower(),
        "namespaced": virtual.namespaced,
        "kind": virtual.kind,
        "verbs": list(virtual.verbs),
    }
    if virtual.body_version:
        entry |= {"group": virtual.body_group, "version": virtual.body_version}
    return entry


def aggregated(registry: Registry, virtuals: Sequence[Virtual] = (), *, core: bool, beta: bool = False) -> dict[str, Any]:
    """Answer `GET /api` (core) or `GET /apis` in the aggregated form, all resources of all groups at once."""
    named = {"": ["v1"]} if core else group_versions(registry, virtuals)
    items = []
    for name, versions in named.items():
        metadata: dict[str, Any] = {"creationTimestamp": None}
        if name:
            metadata["name"] = name
        entries = [
            {"version": version, "resources": _aggregated_resources(registry, name, version, virtuals), "freshness": "Current"}
            for version in versions
        ]
        items.append({"metadata": metadata, "versions": entries})
    api_version = "apidiscovery.k8s.io/v2beta1" if beta else "apidiscovery.k8s.io/v2"
    return {"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items}


def _aggregated_resources(registry: Registry, group_name: str, version: str, virtuals: Sequence[Virtual]) -> list[dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for resource in _stored(registry, group_name, version):
        entry: dict[str, Any] = {
            "resource": resource.plural,
            "responseKind": {"group": resource.group, "version": version, "kind": resource.kind},
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "singularResource": resource.singular,
            "verbs": list(resource.verbs),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        subresources = [
            {"subresource": name, "responseKind": _response_kind(resource, version, name), "verbs": ["get", "patch", "update"]}
            for name in sorted(resource.version(version).subresources)
        ]
        if subresources:
            entry["subresources"] = subresources
        entries[resource.plural] = entry
    for virtual in virtuals:
        if (virtual.group, virtual.version) == (group_name, version):
            _add_virtual(entries, virtual)
    return [entries[name] for name in sorted(entries)]


def _response_kind(resource: Resource, version: str, subresource: str) -> dict[str, str]:
    if subresource == "scale":
        return {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    return {"group": resource.group, "version": version, "kind": resource.kind}


def _add_virtual(entries: dict[str, dict[str, Any]], virtual: Virtual) -> None:
    kind = {"group": virtual.body_group or virtual.group, "version": virtual.body_version or virtual.version, "kind": virtual.kind}
    scope = "Namespaced" if virtual.namespaced else "Cluster"
    if not virtual.subresource:
        entries[virtual.plural] = {
            "resource": virtual.plural,
            "responseKind": kind,
            "scope": scope,
            "singularResource": virtual.singular or virtual.kind.lower(),
            "verbs": list(virtual.verbs),
        }
        return
    parent = entries.setdefault(
        virtual.plural,
        {
            "resource": virtual.plural,
            "responseKind": {"group": "", "version": "", "kind": ""},
            "scope": scope,
            "singularResource": "",
            "verbs": [],
        },
    )
    parent.setdefault("subresources", []).append({"subresource": virtual.subresource, "responseKind": kind, "verbs": list(virtual.verbs)})


def version_info(kubernetes: str = "1.32.4") -> dict[str, str]:
    """Answer `GET /version` as a server of that Kubernetes version."""
    major, minor, _ = kubernetes.split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{kubernetes}",
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2025-04-22T15:56:03Z",
        "goVersion": "go1.23.6",
        "compiler": "gc",
        "platform": "linux/amd64",
    }
