"""Where things live on an API server, and how people call them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from migrate.kube.kinds import Kind


@dataclass(frozen=True, slots=True)
class Path:
    """A path below the server's URL, and the apiVersion that it speaks."""

    url: str
    api_version: str


def path_of(kind: Kind, version: str, namespace: str | None, name: str = "", subresource: str = "") -> Path:
    """Return the path of a collection (no name), an object or its subresource. `namespace` None means all namespaces."""
    api_version = kind.api_version(version)
    parts = ["/apis" if kind.group else "/api", api_version]
    if kind.namespaced and namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(kind.plural)
    if name:
        parts.append(quote(name, safe=""))
    if subresource:
        parts.append(subresource)
    return Path("/".join(parts), api_version)


def describe(kind: Kind, name: str, namespace: str | None) -> str:
    """Return how errors and the log name an object or a collection: `Pod shop/a`, `Node n1`, `Pods in shop`, `Pods`."""
    space = namespace if kind.namespaced else None
    if name:
        return f"{kind} {space}/{name}" if space else f"{kind} {name}"
    return f"{kind.plural} in {space}" if space else kind.plural


def selector(labels: Mapping[str, str | None] | None) -> str:
    """Return a label selector in the API's spelling; a value of None asks only that the label exists."""
    return ",".join(key if value is None else f"{key}={value}" for key, value in sorted((labels or {}).items()))


def matches(labels: Mapping[str, str | None] | None, obj: Mapping[str, object]) -> bool:
    """Tell whether an object carries the labels, as the API server would decide it."""
    metadata = obj.get("metadata")
    carried = metadata.get("labels") if isinstance(metadata, dict) else None
    carried = carried if isinstance(carried, dict) else {}
    return all(key in carried and (value is None or carried[key] == value) for key, value in (labels or {}).items())
