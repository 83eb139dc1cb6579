"""A list+watch that feeds a small cache and rings when something changed. It may say "look" or "keep waiting", never "go".

The official client's watches die in silence, lose 410 or never re-list. This one lists in pages, watches with bookmarks, resumes from the
last event or bookmark, and after a 410 or an ERROR event lists anew and reports the difference, with a DELETED for what is gone.
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from migrate.kube.answer import Status
from migrate.kube.kinds import SECRET, Kind
from migrate.kube.paths import describe, path_of, selector
from migrate.kube.retry import ONCE, PassingError
from migrate.model.errors import Gone, MigrateError, Unreachable

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

    from migrate.kube.cluster import Cluster

log = logging.getLogger("migrate.kube")
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pace:
    """Times of a bell, in seconds."""

    watch_s: tuple[int, int] = (300, 600)
    """timeoutSeconds of a watch is random between these, so that many bells do not reconnect together."""
    silence_s: float = 30.0
    """A stream without a byte for its timeoutSeconds and this long is dead. Bookmarks come about once a minute."""
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0


FAREWELL_S = 5.0
"""How long a closing bell waits for its thread, whose stream was shut."""


class Bell:
    """The objects of one kind, namespace (None: all) and label selector, kept up to date by a daemon thread.

    Objects lack `metadata.managedFields` and are shared: read them, do not change them.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: Kind,
        *,
        namespace: str | None,
        labels: Mapping[str, str | None] | None = None,
        event: threading.Event | None = None,
        on_event: Callable[[str, dict[str, Any]], None] | None = None,
        pace: Pace = Pace(),
    ) -> None:
        if kind == SECRET:
            raise ValueError("Secrets are never listed or watched")
        self.kind = kind
        self.namespace = namespace
        self.labels: Mapping[str, str | None] = MappingProxyType(dict(labels or {}))
        self.synced = threading.Event()
        """Set once the first list is in, and ever after."""
        self.problem: MigrateError | None = None
        """What keeps the bell from being in contact, if something does."""
        self._cluster = cluster
        self._session = cluster.session
        self._event = event
        self._on_event = on_event
        self._pace = pace
        self._action = f"watch {describe(kind, '', namespace)}"
        self._objects: dict[Key, dict[str, Any]] = {}
        self._version = ""
        self._live = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._stream: BaseHTTPResponse | None = None
        self._thread = threading.Thread(target=self._run, name=f"bell {self._session.context} {kind.plural}", daemon=True)

    def start(self) -> Self:
        """Begin to list and watch."""
        self._session.hang(self)
        self._thread.start()
        return self

    @property
    def live(self) -> bool:
        """Tell whether the cache is fed at this moment: listed, and a stream is open."""
        return self._live

    def get(self, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """Return an object as last seen, or None. A bell for all namespaces must be told which."""
        space = namespace or self.namespace or ""
        if self.kind.namespaced and not space:
            raise ValueError("this bell hears all namespaces: name one")
        with self._lock:
            return self._objects.get((space if self.kind.namespaced else "", name))

    def all(self) -> list[dict[str, Any]]:
        """Return all objects as last seen."""
        with self._lock:
            return list(self._objects.values())

    def close(self) -> None:
        """End the thread. Closing twice is fine.

        An open stream is shut, which ends the thread at once; one that is still being opened ends by itself, and nobody waits for that.
        """
        self._stop.set()
        self._live = False
        with self._lock:
            stream = self._stream
        if stream is not None:
            with suppress(ValueError, RuntimeError, OSError):
                stream.shutdown()
        self._session.unhang(self)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=FAREWELL_S if stream is not None else 0.2)

    def _run(self) -> None:
        failed = 0
        while not self._stop.is_set():
            try:
                if not self._version:
                    self._relist()
                moved = self._watch()
                failed = 0 if moved else failed + 1
            except Gone as gone:
                self._version = ""
                failed += 1
                log.info("context %s: %s: %s; listing anew", self._session.context, self._action, gone.why)
                if failed == 1:
                    continue
            except Exception as problem:  # the thread must outlive whatever a server sends
                failed += 1
                self._note(problem)
            self._live = False
            if failed and not self._stop.is_set():
                ceiling = min(self._pace.longest_wait_s, self._pace.first_wait_s * 2 ** min(failed, 10))
                self._session.clock.wait(self._stop, random.uniform(self._pace.first_wait_s, ceiling))  # noqa: S311, jitter
        self._live = False

    def _note(self, problem: Exception) -> None:
        if self._stop.is_set():
            return
        error = problem.error if isinstance(problem, PassingError) else problem
        if isinstance(error, MigrateError):
            again = self.problem is not None and str(self.problem) == str(error)
            self.problem = error
            log.log(logging.DEBUG if again else logging.WARNING, "%s: %s; trying again", self._action, error)
        else:
            self.problem = Unreachable(f"{self._action}: {type(error).__name__}", where=f"context {self._session.context}")
            log.error("%s: not understood; trying again", self._action, exc_info=error)

    def _relist(self) -> None:
        """List everything and report how it differs from what was known."""
        items, version = self._cluster.page_through(self.kind, self.namespace, selector(self.labels), policy=ONCE)
        fresh = {_key(item): _project(item) for item in items}
        with self._lock:
            known, self._objects = self._objects, fresh
        for key, old in known.items():
            if key not in fresh or _uid(fresh[key]) != _uid(old):
                self._ring("DELETED", old)
        for key, new in fresh.items():
            before = known.get(key)
            if before is None or _uid(before) != _uid(new):
                self._ring("ADDED", new)
            elif before["metadata"].get("resourceVersion") != new["metadata"].get("resourceVersion"):
                self._ring("MODIFIED", new)
        self._version = version
        self.synced.set()
        if self._event is not None:
            self._event.set()

    def _watch(self) -> bool:
        """Follow one stream to its end. Return whether it was worth it: something came, or it lived its time."""
        timeout_s = random.randint(*self._pace.watch_s)  # noqa: S311, jitter
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(timeout_s),
        } | ({"labelSelector": selector(self.labels)} if self.labels else {})
        began_s = self._session.clock.monotonic()
        path = path_of(self.kind, self._cluster.served_version(self.kind), self.namespace)
        stream = self._session.stream(path.url, action=self._action, query=query, silence_s=timeout_s + self._pace.silence_s)
        with self._lock:
            self._stream = stream
        heard = False
        try:
            self._live, self.problem = not self._stop.is_set(), None
            rest = b""
            while not self._stop.is_set() and (data := self._read(stream)):
                *lines, rest = (rest + data).split(b"\n")
                for line in filter(None, lines):
                    self._take(json.loads(line))
                    heard = True
        finally:
            with self._lock:
                self._stream = None
            stream.close()
        return heard or self._session.clock.monotonic() - began_s > 1.0

    def _read(self, stream: BaseHTTPResponse) -> bytes:
        from urllib3.exceptions import HTTPError

        try:
            return stream.read1(1 << 16)
        except (HTTPError, OSError, ValueError) as problem:
            if self._stop.is_set():
                return b""
            raise self._session.broke(problem, self._action).error from problem

    def _take(self, event: dict[str, Any]) -> None:
        """Take in one event of the stream. Raise Gone for an ERROR event: whatever it says, only a new list makes sure."""
        kind, obj = event["type"], event["object"]
        if kind == "ERROR":
            status = Status.of(obj)
            raise Gone(
                self._action, where=f"context {self._session.context}", why=status.message if status else "the watch broke", status=410
            )
        version = str(obj["metadata"].get("resourceVersion") or "")
        if kind != "BOOKMARK":
            obj, key = _project(obj), _key(obj)
            with self._lock:
                if kind == "DELETED":
                    self._objects.pop(key, None)
                else:
                    self._objects[key] = obj
            self._ring(kind, obj)
            if self._event is not None:
                self._event.set()
        self._version = version or self._version

    def _ring(self, kind: str, obj: dict[str, Any]) -> None:
        if self._on_event is None or self._stop.is_set():
            return
        try:
            self._on_event(kind, obj)
        except Exception:
            log.exception("%s: the listener failed on %s of %s", self._action, kind, "/".join(_key(obj)))


def _key(obj: Mapping[str, Any]) -> Key:
    return str(obj["metadata"].get("namespace") or ""), str(obj["metadata"]["name"])


def _uid(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"].get("uid") or "")


def _project(obj: dict[str, Any]) -> dict[str, Any]:
    """Keep what observations read: everything but the bookkeeping of field managers."""
    obj["metadata"].pop("managedFields", None)
    return obj
