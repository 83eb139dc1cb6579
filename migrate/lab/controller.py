"""What every lab controller is made of: shared caches, a queue of keys, one worker thread, back-off through the lab clock.

Controllers are ordinary API clients, as the real ones are, so that they run on the embedded API server and on a real one.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from migrate.kube.kinds import EVENT, POD, SERVICE, Kind
from migrate.lab.caches import Cache, Key, Object, has_labels, itself, key_of, owners
from migrate.lab.workqueue import Queue
from migrate.model.errors import Conflict, MigrateError, Unreachable

if TYPE_CHECKING:
    import socket

    from migrate.kube.cluster import Cluster
    from migrate.lab.clock import LabClock
    from migrate.lab.pods import Node
    from migrate.lab.trouble import Trouble

__all__ = ["Cache", "Controller", "Key", "Object", "Runtime", "has_labels", "itself", "key_of", "owners"]

FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 15.0


class Runtime:
    """What the controllers of one cluster share: the API, one cache per kind, the clock, the troubles, the log."""

    def __init__(self, api: Cluster, clock: LabClock, trouble: Trouble, *, name: str = "") -> None:
        self.api = api
        self.name = name
        self.clock = clock
        self.trouble = trouble
        self.node: Node | None = None
        """The kubelet, once it runs: logs, sockets and running containers of the pods."""
        self.log = logging.getLogger(f"migrate.lab.{name or 'cluster'}")
        self._caches: dict[str, Cache] = {}
        self._events: dict[tuple[str, ...], tuple[str, int]] = {}
        self._numbers = itertools.count()
        self._lock = threading.RLock()
        self._met: dict[str, datetime] = {}

    def age(self, obj: Object) -> timedelta:
        """Return how long an object has been there, in lab time: since it was first asked for.

        A real API server stamps objects with the time of the machine, which lab time leaves behind.
        """
        now = self.clock.now()
        with self._lock:
            return now - self._met.setdefault(obj["metadata"]["uid"], now)

    def cache(self, kind: Kind) -> Cache:
        """Return the cache of a kind; its watch starts with the first call."""
        with self._lock:
            found = self._caches.get(f"{kind.plural}.{kind.group}")
            if found is None:
                found = self._caches[f"{kind.plural}.{kind.group}"] = Cache(self.api, kind)
            return found

    def wait_synced(self, seconds: float = 30.0) -> None:
        """Wait until every cache asked for so far has its first list, at most this long of real time each."""
        for cache in list(self._caches.values()):
            if not cache.synced.wait(seconds):
                raise TimeoutError(f"the cache of {cache.kind.plural} did not fill within {seconds:g} s")

    def event(self, obj: Object, type_: str, reason: str, message: str, source: str) -> None:
        """Record an Event on an object (`type_` is Normal or Warning); the same words again raise its count. Never raises for the API."""
        meta = obj["metadata"]
        namespace = meta.get("namespace") or "default"
        sameness = (meta.get("uid", ""), namespace, meta["name"], type_, reason, message, source)
        moment = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            with self._lock:
                name, count = self._events.get(sameness, ("", 0))
                self._events[sameness] = (name, count + 1)
            if name and self.api.get(EVENT, name, namespace) is not None:
                self.api.merge(EVENT, name, {"count": count + 1, "lastTimestamp": moment}, namespace)
                return
            number = int(self.clock.now().timestamp() * 1_000_000) * 1000 + next(self._numbers)
            made = self.api.create(_event(obj, namespace, (moment, number), (type_, reason, message, source)))
            with self._lock:
                self._events[sameness] = (made[0]["metadata"]["name"], 1)
        except MigrateError as error:
            self.log.info("event %s on %s not recorded: %s", reason, meta["name"], error)

    def dial(self, namespace: str, service: str, port: int) -> socket.socket:
        """Connect to a ready pod behind a Service, as the cluster's network would. Raise ConnectionRefusedError when there is none."""
        found = self.cache(SERVICE).get(namespace, service)
        selector = ((found or {}).get("spec") or {}).get("selector") or {}
        if found is None or not selector or self.node is None:
            raise ConnectionRefusedError(f"no Service {namespace}/{service} with a selector")
        entry = next((entry for entry in found["spec"].get("ports", ()) if entry["port"] == port), None)
        if entry is None:
            raise ConnectionRefusedError(f"Service {namespace}/{service} has no port {port}")
        for pod in self.cache(POD).all(namespace, selector):
            ready = any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", ()))
            if ready and "deletionTimestamp" not in pod["metadata"]:
                return self.node.dial(namespace, pod["metadata"]["name"], int(entry.get("targetPort", port)))
        raise ConnectionRefusedError(f"Service {namespace}/{service} has no ready pod")

    def close(self) -> None:
        """End all watches."""
        for cache in self._caches.values():
            cache.close()


def _event(obj: Object, namespace: str, at: tuple[str, int], words: tuple[str, str, str, str]) -> Object:
    type_, reason, message, source = words
    moment, number = at
    meta = obj["metadata"]
    involved = {"apiVersion": obj.get("apiVersion", "v1"), "kind": obj.get("kind", ""), "name": meta["name"], "uid": meta.get("uid", "")}
    if meta.get("namespace"):
        involved["namespace"] = meta["namespace"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name'][:200]}.{number:016x}", "namespace": namespace},
        "involvedObject": involved,
        "type": type_,
        "reason": reason,
        "message": message,
        "source": {"component": source},
        "reportingComponent": source,
        "reportingInstance": "",
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
    }


class Controller:
    """One control loop. Subclasses set `name` and `watches` and answer `reconcile`.

    `watches` pairs a kind with a function that maps a changed object (deleted ones too) to the keys to look at.
    """

    name = "controller"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.clock = runtime.clock
        self.log = runtime.log.getChild(self.name)
        self._queue = Queue(runtime.clock)
        self._failures: dict[Key, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"lab-{self.name}", daemon=True)

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        """Return what wakes this controller."""
        raise NotImplementedError

    def reconcile(self, namespace: str, name: str) -> float | None:
        """Look at one key and bring the world one step nearer; return the seconds until the next look, or None."""
        raise NotImplementedError

    def enqueue(self, namespace: str, name: str, *, after_s: float = 0.0) -> None:
        """Ask for a look at a key, at once or later."""
        if after_s > 0:
            self._queue.add_later((namespace, name), after_s)
        else:
            self._queue.add((namespace, name))

    def start(self) -> None:
        """Subscribe to the caches and start the worker."""
        for kind, keys_of in self.watches:
            cache = self.runtime.cache(kind)
            cache.listen(partial(self._heard, keys_of))
            for obj in cache.all():
                self._heard(keys_of, "ADDED", obj)
        self._thread.start()

    def stop(self) -> None:
        """End the worker; a reconcile under way is finished first (for at most 10 real seconds)."""
        self._stop.set()
        self._queue.changed.set()
        if self._thread.is_alive():
            with self.clock.idle():
                self._thread.join(10)

    def _heard(self, keys_of: Callable[[Object], Iterable[Key]], _change: str, obj: Object) -> None:
        for key in keys_of(obj):
            self._queue.add(key)

    def _work(self) -> None:
        for kind, _ in self.watches:
            synced = self.runtime.cache(kind).synced
            while not self._stop.is_set() and not self.clock.wait(synced, 5.0):
                pass
        with self.clock.busy():
            while not self._stop.is_set():
                key, seconds = self._queue.take()
                if key is None:
                    self.clock.wait(self._queue.changed, seconds)
                else:
                    self._look(key)

    def _look(self, key: Key) -> None:
        try:
            again = self.reconcile(*key)
        except Exception as error:
            if isinstance(error, Conflict) or getattr(error, "status", 0) == 404:
                self.log.debug("%s/%s changed or went under our hands: %s", *key, error)
                self._queue.add_later(key, FIRST_RETRY_S / 2)
                return
            tries = self._failures[key] = self._failures.get(key, 0) + 1
            seconds = min(FIRST_RETRY_S * 2 ** (tries - 1), LONGEST_RETRY_S)
            if self._stop.is_set() and isinstance(error, Unreachable):
                return
            self.log.warning("%s/%s failed, again in %g s: %s", *key, seconds, error, exc_info=not isinstance(error, MigrateError))
            self._queue.add_later(key, seconds)
        else:
            self._failures.pop(key, None)
            if again is not None:
                self._queue.add_later(key, again)
