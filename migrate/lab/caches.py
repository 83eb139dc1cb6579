"""What controllers know of their cluster: one shared cache per kind, fed by a watch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migrate.kube.cluster import Cluster
    from migrate.kube.kinds import Kind

Object = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name); the namespace of a cluster-scoped object is empty."""


def key_of(obj: Object) -> Key:
    """Return the key of an object."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def itself(obj: Object) -> Iterable[Key]:
    """Map an object to its own key: the usual function of a watch."""
    return (key_of(obj),)


def owners(kind: str) -> Callable[[Object], Iterable[Key]]:
    """Return a function that maps an object to its owners of one kind."""

    def keys(obj: Object) -> Iterable[Key]:
        namespace = obj["metadata"].get("namespace", "")
        return [(namespace, ref["name"]) for ref in obj["metadata"].get("ownerReferences", ()) if ref["kind"] == kind]

    return keys


def has_labels(obj: Object, labels: Mapping[str, str | None] | None) -> bool:
    """Tell whether an object carries labels; a value of None asks for the key alone."""
    own = obj["metadata"].get("labels") or {}
    return all(name in own and value in (None, own[name]) for name, value in (labels or {}).items())


class Cache:
    """What is known of one kind, in all namespaces. Objects are shared: never change them. They may be a moment old."""

    def __init__(self, api: Cluster, kind: Kind) -> None:
        self.kind = kind
        self._listeners: list[Callable[[str, Object], None]] = []
        self._bell = api.bell(kind, everywhere=True, on_event=self._heard)

    def _heard(self, change: str, obj: Object) -> None:
        for listener in list(self._listeners):
            listener(change, obj)

    def listen(self, listener: Callable[[str, Object], None]) -> None:
        """Call the listener on every later change (ADDED, MODIFIED, DELETED), in the thread of the watch."""
        self._listeners.append(listener)

    def get(self, namespace: str, name: str) -> Object | None:
        """Return one object or None."""
        return self._bell.get(name, namespace or None)

    def all(self, namespace: str | None = None, labels: Mapping[str, str | None] | None = None) -> list[Object]:
        """Return the objects of a namespace (None = all) that carry the labels."""
        found = self._bell.all()
        return [obj for obj in found if namespace in (None, obj["metadata"].get("namespace", "")) and has_labels(obj, labels)]

    @property
    def synced(self) -> threading.Event:
        """Set once the first list has arrived."""
        return self._bell.synced

    def close(self) -> None:
        """End the watch."""
        self._bell.close()
