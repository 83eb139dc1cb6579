"""GET with watch=true: the state at the beginning if asked for, then every change, bookmarks, and an end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from migrate.lab.api_read import Form, Question
from migrate.lab.api_status import ApiError, bad_request, expired
from migrate.lab.hangups import Hangups
from migrate.lab.httpd import Dropped, Exchange, Request
from migrate.lab.store import Change, Entry, Expired, Object, Store, Subscription, dump, matching
from migrate.lab.tables import table

DEFAULT_S = 1800
"""Seconds after which the server ends a watch that asked for no timeout."""
BOOKMARK_S = 60
"""Seconds between bookmarks; sent at whole multiples, so that a simulated clock wakes all watches at once."""
_TOO_OLD = "too old resource version: {} ({})"


class Ticking(Protocol):
    """The part of a lab clock that a watch needs."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    def wait(self, event: Any, seconds: float | None) -> bool: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a watch begins and ends."""

    since: int
    initial: bool
    bookmarks: bool
    announce: bool
    """Mark the end of the initial state with a bookmark of its own (sendInitialEvents)."""
    seconds: float


def wanted_of(request: Request) -> Wanted:
    """Read the options of a watch. Raises a 400 or 422 ApiError."""
    text = request.arg("resourceVersion")
    if text and not text.isdecimal():
        raise bad_request(f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax')
    since = int(text or 0)
    announce = request.arg("sendInitialEvents") in ("true", "1")
    match = request.arg("resourceVersionMatch")
    if match and "sendInitialEvents" not in request.query:
        raise ApiError(
            422,
            'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless '
            "sendInitialEvents is provided",
            details={},
        )
    if announce and match != "NotOlderThan":
        raise ApiError(
            422,
            'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting '
            "resourceVersionMatch to NotOlderThan",
            details={},
        )
    seconds = request.arg("timeoutSeconds")
    return Wanted(
        since=since,
        initial=announce or since == 0,
        bookmarks=request.arg("allowWatchBookmarks") in ("true", "1"),
        announce=announce,
        seconds=float(seconds) if seconds.isdecimal() and int(seconds) else DEFAULT_S,
    )


class Watch:
    """One running watch. `trouble` is asked whenever it wakes: it may answer `expire`, `drop` or `hang`."""

    def __init__(self, question: Question, wanted: Wanted, *, store: Store, clock: Ticking) -> None:
        self._question = question
        self._wanted = wanted
        self._store = store
        self._clock = clock
        self._headers = True
        self.subscription: Subscription | None = None
        self.trouble: Callable[[], str] = lambda: ""
        self._initial: list[Entry] = []
        self._refused: ApiError | None = None
        self._begin()

    def _begin(self) -> None:
        question, wanted = self._question, self._wanted
        with self._store.holding():
            try:
                since = 0 if wanted.initial else wanted.since
                self.subscription = self._store.subscribe(question.place, question.prefix, since=since)
            except Expired:
                self._refused = expired(_TOO_OLD.format(wanted.since, self._store.rv))
                return
            if wanted.initial:
                self._initial = matching(self._store.entries(question.place, question.prefix), question.accept)

    def expire(self) -> None:
        """Let the watch begin with the ERROR event of a resource version that is too old."""
        self._refused = expired(_TOO_OLD.format(self._wanted.since, self._store.rv))

    def run(self, exchange: Exchange, hangups: Hangups) -> None:
        """Answer the request until the watch ends. Raises OSError when the client is gone, Dropped on trouble."""
        subscription = self.subscription
        stream = exchange.stream(200, content_type="application/json")
        try:
            if self._refused is not None or subscription is None:
                stream.write(_event("ERROR", dump((self._refused or expired("")).status())))
                stream.end()
                return
            first = [self._shown("ADDED", entry) for entry in self._initial]
            if self._wanted.announce:
                first.append(self._bookmark(self._store.rv, last=True))
            stream.write(b"".join(first))
            self._initial = []
            with hangups.watching(exchange.sock, subscription.close):
                self._follow(subscription, stream.write)
            if not subscription.closed:
                stream.end()
        finally:
            if subscription is not None:
                self._store.unsubscribe(subscription)

    def _follow(self, subscription: Subscription, write: Callable[[bytes], None]) -> None:
        clock = self._clock
        end = clock.monotonic() + self._wanted.seconds
        marked = clock.monotonic()
        while not subscription.closed:
            match self.trouble():
                case "expire":
                    write(_event("ERROR", dump(expired(_TOO_OLD.format(self._wanted.since, self._store.rv)).status())))
                    return
                case "drop":
                    raise Dropped
                case "hang":
                    return self._fall_silent(subscription)
            write(b"".join(self._events(subscription.take())))
            now = clock.monotonic()
            if now >= end:
                return
            due = end
            if self._wanted.bookmarks:
                if now // BOOKMARK_S > marked // BOOKMARK_S:
                    marked = now
                    write(self._latest(subscription))
                due = min(end, (math.floor(now / BOOKMARK_S) + 1) * BOOKMARK_S)
            clock.wait(subscription.event, max(due - now, 0.001))

    def _fall_silent(self, subscription: Subscription) -> None:
        """Keep the stream open and say nothing more, until the client leaves."""
        while not subscription.closed:
            subscription.take()
            self._clock.wait(subscription.event, None)

    def _events(self, changes: Iterable[Change]) -> list[bytes]:
        accept = self._question.accept
        found = []
        for change in changes:
            was = change.before is not None and (accept is None or accept(change.before.obj))
            stays = change.after is not None and (accept is None or accept(change.after.obj))
            if stays:
                found.append(self._shown("MODIFIED" if was else "ADDED", change.last))
            elif was:
                found.append(self._shown("DELETED", _left(change)))
        return found

    def _latest(self, subscription: Subscription) -> bytes:
        with self._store.holding():
            rv = self._store.rv if not subscription.changes else 0
        return self._bookmark(rv, last=False) if rv else b""

    def _shown(self, word: str, entry: Entry) -> bytes:
        question = self._question
        match question.form.name:
            case "table":
                obj = entry.shown(question.api_version)
                whole = table(question.resource, question.version, [obj], self._clock.now(), include=question.form.include)
                return _event(word, dump(self._headed({**whole, "metadata": {"resourceVersion": str(entry.rv)}})))
            case "partial":
                api_version = f"meta.k8s.io/{question.form.version}"
                return _event(word, dump({"kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": entry.obj["metadata"]}))
            case _:
                return _event(word, entry.raw(question.api_version))

    def _headed(self, whole: Object) -> Object:
        """Send the column definitions of a table with the first event only."""
        if not self._headers:
            whole = {**whole, "columnDefinitions": None}
        self._headers = False
        return whole

    def _bookmark(self, rv: int, *, last: bool) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(rv), "creationTimestamp": None}
        if last:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        return _event("BOOKMARK", dump({**_shell(self._question.form, self._question), "metadata": metadata}))


def _shell(form: Form, question: Question) -> Object:
    match form.name:
        case "table":
            return {"kind": "Table", "apiVersion": f"meta.k8s.io/{form.version}", "columnDefinitions": None, "rows": []}
        case "partial":
            return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{form.version}"}
        case _:
            return {"kind": question.resource.kind, "apiVersion": question.api_version}


def _left(change: Change) -> Entry:
    """Return what a watcher is shown when an object leaves its selection: the last state that it saw, with the new version."""
    if change.after is None or change.before is None:
        return change.last
    obj = change.before.obj
    return Entry(change.key, {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(change.rv)}}, change.rv)


def _event(word: str, obj: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (word.encode(), obj)
