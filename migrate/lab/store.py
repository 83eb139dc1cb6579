"""The objects of one lab cluster: versions, conflicts, history and subscriptions, as etcd and the watch cache give them.

One counter numbers every change of the cluster. Objects are never changed in place: each version is an `Entry` that is shared by the
store, the history and every answer, and keeps its JSON, so that lists and watches cost little. Callers must not modify what they get;
`clone` makes a copy that may be.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
Place = tuple[str, str]
"""Group and plural: where objects of one resource are kept."""
Bucket = dict[str, "Entry"]


class Missing(Exception):
    """There is no such object."""


class Exists(Exception):
    """There is such an object already."""


class Stale(Exception):
    """The object has another resource version than expected."""


class Expired(Exception):
    """The resource version asked for is older than the history that is kept."""


class Ahead(Exception):
    """The resource version asked for lies in the future."""


class Entry:
    """One version of one object. `raw(api_version)` is its JSON in that version; `raw("")` leaves apiVersion and kind out."""

    __slots__ = ("_raw", "key", "obj", "rv")

    def __init__(self, key: str, obj: Object, rv: int) -> None:
        self.key = key
        self.obj = obj
        self.rv = rv
        self._raw: dict[str, bytes] = {}

    def shown(self, api_version: str) -> Object:
        """Return the object in an API version (conversion changes nothing but the word)."""
        if self.obj.get("apiVersion") == api_version:
            return self.obj
        return {**self.obj, "apiVersion": api_version}

    def raw(self, api_version: str) -> bytes:
        """Return the JSON of the object in an API version, made once."""
        found = self._raw.get(api_version)
        if found is None:
            if api_version:
                shown = self.shown(api_version)
            else:
                shown = {name: value for name, value in self.obj.items() if name not in ("apiVersion", "kind")}
            found = self._raw[api_version] = dump(shown)
        return found


@dataclass(frozen=True, slots=True)
class Change:
    """One change: `before` is None for a new object, `after` for a removed one (`last` is then its final version)."""

    place: Place
    rv: int
    before: Entry | None
    after: Entry | None
    last: Entry

    @property
    def key(self) -> str:
        return self.last.key


class Subscription:
    """A queue of changes for one reader. `event` is set whenever something waits in it, or when it was closed."""

    __slots__ = ("_store", "after", "changes", "closed", "event", "place", "prefix")

    def __init__(self, store: Store, place: Place | None, prefix: str, after: int) -> None:
        self._store = store
        self.after = after
        self.place = place
        self.prefix = prefix
        self.changes: deque[Change] = deque()
        self.event = threading.Event()
        self.closed = False

    def take(self) -> list[Change]:
        """Return what has gathered since the last call."""
        self.event.clear()
        taken = []
        while self.changes:
            taken.append(self.changes.popleft())
        return taken

    def close(self) -> None:
        """Take no more changes and wake the reader."""
        self._store.unsubscribe(self)
        self.closed = True
        self.event.set()


class Store:
    """All objects of a cluster. Thread-safe. `history` = how many changes of each resource can be replayed to a watcher."""

    def __init__(self, *, history: int = 10_000) -> None:
        self._lock = threading.RLock()
        self._buckets: dict[Place, Bucket] = {}
        self._sorted: dict[Place, list[str]] = {}
        self._history: dict[Place, deque[Change]] = {}
        self._forgotten: dict[Place, int] = {}
        self._forgotten_all = 0
        self._subscriptions: dict[Place | None, list[Subscription]] = {}
        self._limit = history
        self._rv = 1

    @property
    def rv(self) -> int:
        """Return the number of the latest change."""
        return self._rv

    def get(self, place: Place, key: str) -> Entry | None:
        """Return the present version of an object."""
        bucket = self._buckets.get(place)
        return bucket.get(key) if bucket else None

    def entries(self, place: Place, prefix: str = "") -> list[Entry]:
        """Return the present objects whose key begins with `prefix`, in the order of their keys."""
        return self.snapshot(place, prefix)[0]

    def snapshot(self, place: Place, prefix: str = "", *, rv: int = 0) -> tuple[list[Entry], int]:
        """Return the objects as they were at `rv` (0 = now), with that number. Raises Expired or Ahead."""
        with self._lock:
            if rv in (0, self._rv):
                return self._present(place, prefix), self._rv
            bucket = dict(self._buckets.get(place, {}))
            for change in reversed(self._since(place, rv)):
                if change.before is None:
                    bucket.pop(change.key, None)
                else:
                    bucket[change.key] = change.before
            return [bucket[key] for key in sorted(bucket) if key.startswith(prefix)], rv

    def places(self) -> list[Place]:
        """Return where there are, or were, objects."""
        with self._lock:
            return list(self._buckets)

    def create(self, place: Place, key: str, obj: Object) -> Entry:
        """Add an object and give it its resource version. Raises Exists."""
        with self._lock:
            if key in self._buckets.get(place, {}):
                raise Exists(key)
            self._sorted.pop(place, None)
            entry = self._entry(key, obj)
            self._buckets.setdefault(place, {})[key] = entry
            self._publish(Change(place, entry.rv, None, entry, entry))
            return entry

    def replace(self, place: Place, key: str, obj: Object, *, expected: int) -> Entry:
        """Put a new version in the place of version `expected`. Raises Missing or Stale."""
        with self._lock:
            before = self._expect(place, key, expected)
            entry = self._entry(key, obj)
            self._buckets[place][key] = entry
            self._publish(Change(place, entry.rv, before, entry, entry))
            return entry

    def remove(self, place: Place, key: str, *, expected: int, last: Object | None = None) -> Entry:
        """Remove version `expected`; `last` is the final state that watchers see. Raises Missing or Stale."""
        with self._lock:
            before = self._expect(place, key, expected)
            entry = self._entry(key, before.obj if last is None else last)
            del self._buckets[place][key]
            self._sorted.pop(place, None)
            self._publish(Change(place, entry.rv, before, None, entry))
            return entry

    def subscribe(self, place: Place | None, prefix: str = "", *, since: int = 0) -> Subscription:
        """Return a queue of the changes after `since` (0 = from now on; it may lie ahead). `place` None = of everything. Raises Expired."""
        with self._lock:
            found = Subscription(self, place, prefix, since)
            if 0 < since < self._rv and place is not None:
                found.changes.extend(change for change in self._since(place, since) if change.key.startswith(prefix))
                if found.changes:
                    found.event.set()
            self._subscriptions.setdefault(place, []).append(found)
            return found

    def unsubscribe(self, subscription: Subscription) -> None:
        """Send no more changes to a subscription."""
        with self._lock:
            readers = self._subscriptions.get(subscription.place, [])
            if subscription in readers:
                readers.remove(subscription)

    def compact(self) -> int:
        """Forget the history, as etcd's compaction does: older resource versions are Expired from now on. Return the present one."""
        with self._lock:
            self._history.clear()
            self._forgotten.clear()
            self._forgotten_all = self._rv
            return self._rv

    def holding(self) -> threading.RLock:
        """Return the lock, for a caller that must read several things of one moment or write after a check."""
        return self._lock

    def _present(self, place: Place, prefix: str) -> list[Entry]:
        bucket = self._buckets.get(place)
        if not bucket:
            return []
        keys = self._sorted.get(place)
        if keys is None:
            keys = self._sorted[place] = sorted(bucket)
        if prefix:
            keys = keys[bisect_left(keys, prefix) : bisect_left(keys, prefix + "\U0010ffff")]
        return [bucket[key] for key in keys]

    def _since(self, place: Place, rv: int) -> list[Change]:
        if rv > self._rv:
            raise Ahead(rv)
        if rv < max(self._forgotten.get(place, 0), self._forgotten_all):
            raise Expired(rv)
        found = []
        for change in reversed(self._history.get(place, ())):
            if change.rv <= rv:
                break
            found.append(change)
        found.reverse()
        return found

    def _expect(self, place: Place, key: str, expected: int) -> Entry:
        entry = self._buckets.get(place, {}).get(key)
        if entry is None:
            raise Missing(key)
        if entry.rv != expected:
            raise Stale(key)
        return entry

    def _entry(self, key: str, obj: Object) -> Entry:
        self._rv += 1
        return Entry(key, {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._rv)}}, self._rv)

    def _publish(self, change: Change) -> None:
        history = self._history.setdefault(change.place, deque())
        history.append(change)
        if len(history) > self._limit:
            self._forgotten[change.place] = history.popleft().rv
        for place in (change.place, None):
            for reader in self._subscriptions.get(place, ()):
                if change.rv > reader.after and change.key.startswith(reader.prefix):
                    reader.changes.append(change)
                    reader.event.set()


def dump(value: Any) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def clone(value: Any) -> Any:
    """Return a deep copy of JSON-like data; several times faster than `copy.deepcopy`."""
    if isinstance(value, dict):
        return {name: clone(item) for name, item in value.items()}
    if isinstance(value, list):
        return [clone(item) for item in value]
    return value


def matching(entries: Iterable[Entry], accept: Callable[[Object], bool] | None) -> list[Entry]:
    """Return the entries whose object a selector accepts."""
    return list(entries) if accept is None else [entry for entry in entries if accept(entry.obj)]
