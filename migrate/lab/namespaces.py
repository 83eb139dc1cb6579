"""Namespaces: nothing is created outside a living one, each is furnished at birth and emptied before it goes.

Kinds that come with a CustomResourceDefinition end the same way, so the same thread empties those.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from migrate.lab.admission import Cause, Review
from migrate.lab.api_builtin import CRD_CLEANUP, CRDS
from migrate.lab.api_create import create
from migrate.lab.api_delete import Options, delete
from migrate.lab.api_objects import Objects
from migrate.lab.api_status import ApiError, forbidden
from migrate.lab.api_update import retouch, system_write
from migrate.lab.gc import MANAGER, Waiting
from migrate.lab.kinds import Resource
from migrate.lab.store import Entry, Object

NAMESPACES = ("", "namespaces")
IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
RETRY_S = 60.0
"""Seconds until an ending namespace whose content could not be removed is looked at again, if nothing happens before."""
ROOT_CA = "kube-root-ca.crt"


def lifecycle(review: Review) -> None:
    """Refuse what is to be created in a namespace that is absent or ending, and the deletion of the eternal ones.

    An admission that raises ApiError, since the details of its Status name the object.
    """
    resource, namespace = review.resource, review.namespace
    if review.operation == "DELETE" and (resource.group, resource.plural) == NAMESPACES and review.name in IMMORTAL:
        raise forbidden(resource, review.name, "this namespace may not be deleted")
    if review.operation != "CREATE" or not resource.namespaced:
        return
    home = review.get("", "namespaces", "", namespace)
    if home is None:
        raise ApiError(404, f'namespaces "{namespace}" not found', details={"name": namespace, "kind": "namespaces"})
    if home["metadata"].get("deletionTimestamp"):
        cause = Cause("metadata.namespace", "NamespaceTerminating", f"namespace {namespace} is being terminated")
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        raise forbidden(resource, review.name, why, [cause])


class Housekeeper:
    """Furnishes new namespaces (ServiceAccount `default`, the cluster's CA) and empties those that end, CRDs likewise; one thread."""

    def __init__(self, objects: Objects, clock: Waiting, *, ca_pem: str) -> None:
        self._objects = objects
        self._clock = clock
        self._ca_pem = ca_pem
        self._subscription = objects.store.subscribe(None)
        self._ending: set[tuple[tuple[str, str], str]] = set()
        self._thread = threading.Thread(target=self._run, name="lab-namespaces", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._subscription.close()

    def furnish(self, namespace: str) -> None:
        """Create what every namespace has."""
        data = {"metadata": {"name": ROOT_CA}, "data": {"ca.crt": self._ca_pem}}
        for plural, body in (("serviceaccounts", {"metadata": {"name": "default"}}), ("configmaps", data)):
            resource = self._objects.registry.resource("", plural)
            assert resource is not None
            with contextlib.suppress(ApiError):  # there already, or the namespace is ending
                write = system_write(resource, namespace, "", manager=MANAGER)
                create(self._objects, write, {"apiVersion": "v1", "kind": resource.kind, **body})

    def _run(self) -> None:
        subscription = self._subscription
        while not subscription.closed:
            self._clock.wait(subscription.event, RETRY_S if self._ending else None)
            with self._clock.busy():
                for change in subscription.take():
                    key = (change.place, change.key)
                    if change.after is None:
                        self._ending.discard(key)
                    elif change.place in (NAMESPACES, CRDS) and change.after.obj["metadata"].get("deletionTimestamp"):
                        self._ending.add(key)
                    elif change.place == NAMESPACES and change.before is None:
                        self.furnish(change.after.obj["metadata"]["name"])
                self._empty()

    def _empty(self) -> None:
        for place, key in list(self._ending):
            entry = self._objects.store.get(place, key)
            resource = self._objects.registry.resource(*place)
            if entry is None or resource is None:
                self._ending.discard((place, key))
            elif place == NAMESPACES:
                self._end_namespace(resource, entry)
            else:
                self._end_definition(resource, entry)

    def _end_namespace(self, resource: Resource, entry: Entry) -> None:
        name = entry.obj["metadata"]["name"]
        left = 0
        for kind in self._objects.registry.all():
            if kind.namespaced:
                left += self._clear(kind, f"{name}/")
        if left:
            return
        retouch(self._objects, system_write(resource, "", name, manager=MANAGER), _finalized)

    def _end_definition(self, resource: Resource, entry: Entry) -> None:
        kind = next((r for r in self._objects.registry.all() if r.crd == entry.obj["metadata"]["name"]), None)
        if kind is not None and self._clear(kind, ""):
            return
        retouch(self._objects, system_write(resource, "", entry.obj["metadata"]["name"], manager=MANAGER), _released)

    def _clear(self, kind: Resource, prefix: str) -> int:
        """Delete all objects of a kind below a key prefix; return how many are still there afterwards."""
        place = (kind.group, kind.plural)
        for found in self._objects.store.entries(place, prefix):
            metadata = found.obj["metadata"]
            if not metadata.get("deletionTimestamp"):
                write = system_write(kind, metadata.get("namespace", ""), metadata["name"], manager=MANAGER)
                with contextlib.suppress(ApiError):  # an admission refuses, or it has gone: the next look will see
                    delete(self._objects, write, Options(policy="Background"))
        return len(self._objects.store.entries(place, prefix))


def _finalized(obj: Object) -> Object:
    obj["spec"] = {
        **obj.get("spec", {}),
        "finalizers": [name for name in obj.get("spec", {}).get("finalizers", ()) if name != "kubernetes"],
    }
    if not obj["spec"]["finalizers"]:
        del obj["spec"]["finalizers"]
    return obj


def _released(obj: Object) -> Object | None:
    finalizers: list[Any] = obj["metadata"].get("finalizers") or []
    if CRD_CLEANUP not in finalizers:
        return None
    obj["metadata"]["finalizers"] = [name for name in finalizers if name != CRD_CLEANUP]
    return obj
