"""The garbage collector: objects go when their last owner has gone; owners deleted in the foreground wait for their dependents."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from migrate.lab.api_delete import FOREGROUND, ORPHAN, Options, delete
from migrate.lab.api_objects import Objects
from migrate.lab.api_status import ApiError
from migrate.lab.api_update import retouch, system_write
from migrate.lab.kinds import Resource
from migrate.lab.store import Change, Entry, Object, Place

MANAGER = "kube-controller-manager"
Node = tuple[Place, str]
REST_S = 0.5
"""Lab time between two rounds that deleted something. A controller whose watch is broken makes again what we delete: so time passes, and
the watch comes back."""


class Waiting(Protocol):
    """The part of a lab clock that a background thread needs."""

    def wait(self, event: threading.Event, seconds: float | None) -> bool: ...
    def busy(self) -> contextlib.AbstractContextManager[Any]: ...


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner reference, as far as the collector looks at it."""

    group: str
    kind: str
    name: str
    uid: str


class Collector:
    """Follows all changes of a store in one thread. Owners that cannot be looked up (of a kind that is not served,
    or in a namespace while the dependent is in none) count as present, as they do for the real one."""

    def __init__(self, objects: Objects, clock: Waiting) -> None:
        self._objects = objects
        self._clock = clock
        self._dependents: dict[str, set[Node]] = {}
        self._owners: dict[Node, frozenset[str]] = {}
        self._queue: deque[Node] = deque()
        self._subscription = objects.store.subscribe(None)
        self._stopped = threading.Event()
        self._deleted = False
        """Something was deleted in this round."""
        self._thread = threading.Thread(target=self._run, name="lab-gc", daemon=True)

    def start(self) -> None:
        """Begin to collect; objects that are there already are looked at too."""
        for place in self._objects.store.places():
            for entry in self._objects.store.entries(place):
                self._note((place, entry.key), entry.obj)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._subscription.close()

    def _run(self) -> None:
        subscription = self._subscription
        while not subscription.closed:
            if not self._queue:
                self._clock.wait(subscription.event, None)
            with self._clock.busy():
                for change in subscription.take():
                    self._changed(change)
                self._deleted = False
                for _ in range(len(self._queue)):
                    self._look(self._queue.popleft())
            if self._deleted:
                self._clock.wait(self._stopped, REST_S)

    def _changed(self, change: Change) -> None:
        node = (change.place, change.key)
        if change.after is not None:
            self._note(node, change.after.obj)
            return
        for uid in self._owners.pop(node, ()):
            self._dependents.get(uid, set()).discard(node)
            self._look_at_owner(change.last.obj, uid)
        self._queue.extend(self._dependents.pop(change.last.obj["metadata"]["uid"], ()))

    def _note(self, node: Node, obj: Object) -> None:
        owners = frozenset(str(owner["uid"]) for owner in obj["metadata"].get("ownerReferences") or ())
        before = self._owners.get(node, frozenset())
        if owners != before:
            for uid in before - owners:
                self._dependents.get(uid, set()).discard(node)
            for uid in owners:
                self._dependents.setdefault(uid, set()).add(node)
            if owners:
                self._owners[node] = owners
            else:
                self._owners.pop(node, None)
        if owners or obj["metadata"].get("deletionTimestamp"):
            self._queue.append(node)

    def _look_at_owner(self, obj: Object, uid: str) -> None:
        """A dependent has gone: its owner may have waited for that."""
        for reference in obj["metadata"].get("ownerReferences") or ():
            if reference["uid"] == uid and (found := self._find(_owner(reference), obj["metadata"].get("namespace", ""))):
                self._queue.append(found)

    def _look(self, node: Node) -> None:
        place, key = node
        entry = self._objects.store.get(place, key)
        resource = self._objects.registry.resource(*place)
        if entry is None or resource is None:
            return
        metadata = entry.obj["metadata"]
        finalizers = metadata.get("finalizers") or ()
        if metadata.get("deletionTimestamp"):
            if ORPHAN in finalizers:
                self._orphan(resource, entry)
            elif FOREGROUND in finalizers:
                self._foreground(resource, entry)
            return
        owners = metadata.get("ownerReferences") or []
        if owners:
            self._judge(resource, entry, owners)

    def _judge(self, resource: Resource, entry: Entry, owners: list[dict[str, Any]]) -> None:
        namespace = entry.obj["metadata"].get("namespace", "")
        absent = [owner for owner in owners if self._absent(_owner(owner), namespace)]
        present = [owner for owner in owners if owner not in absent]
        waiting = [owner for owner in present if self._waits(_owner(owner), namespace)]
        if not absent and not waiting:
            return
        solid = [owner for owner in present if owner not in waiting]
        if solid:
            gone = {owner["uid"] for owner in (*absent, *waiting)}
            self._detach(resource, entry, gone)
        elif waiting and self._dependents.get(entry.obj["metadata"]["uid"]):
            self._delete(resource, entry, "Foreground")
        else:
            self._delete(resource, entry, "")

    def _absent(self, owner: Owner, namespace: str) -> bool:
        resource = self._resource(owner)
        if resource is None or (resource.namespaced and not namespace):
            return False
        return self._find(owner, namespace) is None

    def _waits(self, owner: Owner, namespace: str) -> bool:
        node = self._find(owner, namespace)
        entry = self._objects.store.get(*node) if node else None
        if entry is None:
            return False
        metadata = entry.obj["metadata"]
        return bool(metadata.get("deletionTimestamp")) and FOREGROUND in (metadata.get("finalizers") or ())

    def _find(self, owner: Owner, namespace: str) -> Node | None:
        resource = self._resource(owner)
        if resource is None:
            return None
        key = f"{namespace}/{owner.name}" if resource.namespaced else owner.name
        place = (resource.group, resource.plural)
        entry = self._objects.store.get(place, key)
        return (place, key) if entry is not None and entry.obj["metadata"]["uid"] == owner.uid else None

    def _resource(self, owner: Owner) -> Resource | None:
        found = (r for r in self._objects.registry.all() if (r.group, r.kind) == (owner.group, owner.kind))
        return next(found, None)

    def _orphan(self, resource: Resource, entry: Entry) -> None:
        uid = entry.obj["metadata"]["uid"]
        for place, key in list(self._dependents.get(uid, ())):
            dependent = self._objects.store.get(place, key)
            kind = self._objects.registry.resource(*place)
            if dependent is not None and kind is not None:
                self._detach(kind, dependent, {uid})
        self._release(resource, entry, ORPHAN)

    def _foreground(self, resource: Resource, entry: Entry) -> None:
        uid = entry.obj["metadata"]["uid"]
        blocked = False
        for node in list(self._dependents.get(uid, ())):
            dependent = self._objects.store.get(*node)
            if dependent is None:
                continue
            self._queue.append(node) if not dependent.obj["metadata"].get("deletionTimestamp") else None
            references = dependent.obj["metadata"].get("ownerReferences") or ()
            blocked = blocked or any(owner["uid"] == uid and owner.get("blockOwnerDeletion") for owner in references)
        if not blocked:
            self._release(resource, entry, FOREGROUND)

    def _release(self, resource: Resource, entry: Entry, finalizer: str) -> None:
        def without(obj: Object) -> Object | None:
            finalizers = obj["metadata"].get("finalizers") or []
            if finalizer not in finalizers:
                return None
            obj["metadata"]["finalizers"] = [name for name in finalizers if name != finalizer]
            return obj

        retouch(self._objects, self._write(resource, entry), without)

    def _detach(self, resource: Resource, entry: Entry, uids: set[str]) -> None:
        def without(obj: Object) -> Object | None:
            owners = obj["metadata"].get("ownerReferences") or []
            kept = [owner for owner in owners if owner["uid"] not in uids]
            if len(kept) == len(owners):
                return None
            obj["metadata"]["ownerReferences"] = kept
            return obj

        retouch(self._objects, self._write(resource, entry), without)

    def _delete(self, resource: Resource, entry: Entry, policy: str) -> None:
        metadata = entry.obj["metadata"]
        policy = policy or ("Orphan" if ORPHAN in (metadata.get("finalizers") or ()) else "Background")
        with contextlib.suppress(ApiError):  # already gone, or another one of that name: nothing to collect
            delete(self._objects, self._write(resource, entry), Options(uid=metadata["uid"], policy=policy))
            self._deleted = True

    def _write(self, resource: Resource, entry: Entry) -> Any:
        metadata = entry.obj["metadata"]
        return system_write(resource, metadata.get("namespace", ""), metadata["name"], manager=MANAGER)


def _owner(reference: dict[str, Any]) -> Owner:
    group, _, _ = reference["apiVersion"].rpartition("/")
    return Owner(group, reference["kind"], reference["name"], reference["uid"])
