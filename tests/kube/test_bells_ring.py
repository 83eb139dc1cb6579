"""A bell lists, watches, resumes, re-lists and ends; its cache is what the server said last."""

from __future__ import annotations

import itertools
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from migrate.kube.bell import Bell, Pace
from migrate.kube.cluster import Cluster
from migrate.kube.kinds import POD, SECRET
from tests.kube.small_server import JumpingClock, Reply, Request, SmallServer, refusal

PATIENCE_S = 10.0


def _pod(name: str, version: int, uid: str = "") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "resourceVersion": str(version), "uid": uid or f"uid-{name}", "managedFields": [{}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}


def _line(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


class Stream:
    """A watch answer that the test feeds; None ends it."""

    def __init__(self) -> None:
        self.lines: queue.Queue[bytes | None] = queue.Queue()

    def __iter__(self) -> Iterator[bytes]:
        while (line := self.lines.get(timeout=PATIENCE_S)) is not None:
            yield line

    def say(self, kind: str, obj: dict[str, Any]) -> None:
        self.lines.put(_line(kind, obj))

    def end(self) -> None:
        self.lines.put(None)


class Pods:
    """A server of pods: lists what it holds, and hands a fresh Stream to each watch."""

    def __init__(self, server: SmallServer) -> None:
        self.server = server
        self.items: list[dict[str, Any]] = []
        self.version = 10
        self.refuse: Callable[[Request], Reply | None] = lambda _request: None
        self.streams: queue.Queue[tuple[Request, Stream]] = queue.Queue()
        server.script = self.answer

    def answer(self, request: Request) -> Reply:
        if (refused := self.refuse(request)) is not None:
            return refused
        if "watch" in request.query:
            stream = Stream()
            self.streams.put((request, stream))
            return Reply(200, stream=stream)
        return Reply(200, {"metadata": {"resourceVersion": str(self.version)}, "items": self.items})

    def watch(self) -> tuple[Request, Stream]:
        return self.streams.get(timeout=PATIENCE_S)


class Heard:
    """What a bell told its listener, to be waited for."""

    def __init__(self) -> None:
        self.events: queue.Queue[tuple[str, str]] = queue.Queue()

    def __call__(self, kind: str, obj: dict[str, Any]) -> None:
        self.events.put((kind, obj["metadata"]["name"]))

    def next(self, count: int = 1) -> list[tuple[str, str]]:
        return [self.events.get(timeout=PATIENCE_S) for _ in range(count)]


@pytest.fixture
def pods(server: SmallServer) -> Pods:
    return Pods(server)


@pytest.fixture
def heard() -> Heard:
    return Heard()


def _until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, "it did not come"
        threading.Event().wait(0.005)


def test_a_bell_lists_then_watches_from_there(pods: Pods, east: Cluster, heard: Heard) -> None:
    """The first list fills the cache and sets `synced`; the watch asks for bookmarks, from the list's version, for five to ten minutes."""
    pods.items = [_pod("a", 3)]
    event = threading.Event()
    bell = east.bell(POD, labels={"app": None}, event=event, on_event=heard)
    request, stream = pods.watch()
    assert bell.synced.wait(PATIENCE_S)
    assert heard.next() == [("ADDED", "a")]
    assert (request.query["resourceVersion"], request.query["allowWatchBookmarks"], request.query["labelSelector"]) == ("10", "true", "app")
    assert 300 <= int(request.query["timeoutSeconds"]) <= 600
    assert event.is_set()
    event.clear()
    stream.say("MODIFIED", _pod("a", 11))
    stream.say("ADDED", _pod("b", 12))
    stream.say("DELETED", _pod("a", 13))
    assert heard.next(3) == [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    assert event.is_set()
    assert [obj["metadata"]["name"] for obj in bell.all()] == ["b"]
    assert bell.get("a") is None
    found = bell.get("b")
    assert found is not None
    assert "managedFields" not in found["metadata"]


def test_a_closed_stream_is_resumed_from_the_last_event_or_bookmark(pods: Pods, east: Cluster, heard: Heard) -> None:
    """Nothing is listed again, and no event is asked for twice."""
    east.bell(POD, on_event=heard)
    _request, stream = pods.watch()
    stream.say("ADDED", _pod("a", 15))
    stream.end()
    request, stream = pods.watch()
    assert request.query["resourceVersion"] == "15"
    stream.say("BOOKMARK", {"metadata": {"resourceVersion": "40"}})
    stream.end()
    assert pods.watch()[0].query["resourceVersion"] == "40"
    assert sum("watch" not in one.query for one in pods.server.requests) == 1


@pytest.mark.parametrize("how", ["status", "event", "other error"])
def test_an_expired_version_lists_anew_and_tells_the_difference(pods: Pods, east: Cluster, heard: Heard, how: str) -> None:
    """What vanished while nobody looked is reported as DELETED; what was replaced under its name as DELETED and ADDED."""
    pods.items = [_pod("a", 1), _pod("b", 2), _pod("c", 3)]
    bell = east.bell(POD, on_event=heard)
    _request, stream = pods.watch()
    heard.next(3)
    pods.items, pods.version = [_pod("b", 50), _pod("c", 51, uid="another"), _pod("d", 52)], 60
    match how:
        case "status":
            pods.refuse = lambda request: (
                refusal(410, "Expired", "too old resource version: 10") if request.query.get("resourceVersion") == "10" else None
            )
            stream.end()
        case "event":
            stream.say("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version: 10"})
        case _:
            stream.say("ERROR", {"kind": "Status", "code": 500, "reason": "InternalError", "message": "etcd is away"})
    assert pods.watch()[0].query["resourceVersion"] == "60"
    assert heard.next(5) == [("DELETED", "a"), ("DELETED", "c"), ("MODIFIED", "b"), ("ADDED", "c"), ("ADDED", "d")]
    assert bell.synced.is_set()


def test_a_broken_server_is_asked_again_with_growing_random_waits(pods: Pods, east: Cluster, clock: JumpingClock) -> None:
    """Back-off between half a second and thirty, with full jitter; the cache keeps what it knew and is not live meanwhile."""
    pods.items = [_pod("a", 1)]
    bell = east.bell(POD)
    _request, stream = pods.watch()
    failures = itertools.count()
    pods.refuse = lambda _request: refusal(503, "ServiceUnavailable", "away") if next(failures) < 12 else None
    _until(lambda: bell.live)
    stream.end()
    pods.watch()
    assert len(clock.waits_s) >= 12
    assert all(0.5 <= wait_s <= 30 for wait_s in clock.waits_s)
    assert max(clock.waits_s) > 2
    assert bell.get("a") is not None


def test_a_bell_says_what_keeps_it_from_its_cluster(pods: Pods, east: Cluster) -> None:
    """A right that is missing shows in `problem`, goes on being tried, and the bell never claims to be synced."""
    denied = threading.Event()
    pods.refuse = lambda _request: None if denied.is_set() else refusal(403, "Forbidden", "pods is forbidden")
    bell = east.bell(POD)
    _until(lambda: bell.problem is not None)
    assert "pods is forbidden" in str(bell.problem)
    assert not bell.synced.is_set()
    denied.set()
    assert bell.synced.wait(PATIENCE_S)
    _until(lambda: bell.problem is None)


def test_a_stream_that_fell_silent_is_given_up(pods: Pods, east: Cluster, heard: Heard) -> None:
    """A half-open connection sends nothing for ever; after timeoutSeconds and a margin without a byte it is opened anew."""
    bell = Bell(east, POD, namespace="shop", on_event=heard, pace=Pace(watch_s=(0, 0), silence_s=0.2)).start()
    pods.watch()
    _request, stream = pods.watch()
    stream.say("ADDED", _pod("a", 11))
    assert heard.next() == [("ADDED", "a")]
    bell.close()


def test_a_line_cut_in_pieces_is_put_together(pods: Pods, east: Cluster, heard: Heard) -> None:
    """Events come in chunks of any size; a half line at the end of a stream is dropped and asked for again."""
    east.bell(POD, on_event=heard)
    _request, stream = pods.watch()
    line = _line("ADDED", _pod("a", 11)) + _line("ADDED", _pod("b", 12))
    for start in range(0, len(line), 7):
        stream.lines.put(line[start : start + 7])
    assert heard.next(2) == [("ADDED", "a"), ("ADDED", "b")]
    stream.lines.put(line[:30])
    stream.end()
    assert pods.watch()[0].query["resourceVersion"] == "12"


def test_nonsense_in_a_stream_does_not_kill_the_bell(pods: Pods, east: Cluster, heard: Heard) -> None:
    """Whatever a proxy sends, the bell comes back."""
    east.bell(POD, on_event=heard)
    for nonsense in (b"<html>\n", b"[]\n", b'{"type": "ADDED"}\n', b'{"type": "ADDED", "object": {"metadata": {}}}\n'):
        _request, stream = pods.watch()
        stream.lines.put(nonsense)
        stream.end()
    _request, stream = pods.watch()
    stream.say("ADDED", _pod("a", 11))
    assert heard.next() == [("ADDED", "a")]


def test_a_failing_listener_does_not_stop_the_bell(pods: Pods, east: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """The listener's mistake is logged; the cache goes on."""

    def fail(_kind: str, _obj: dict[str, Any]) -> None:
        raise KeyError("mistake")

    bell = east.bell(POD, on_event=fail)
    _request, stream = pods.watch()
    stream.say("ADDED", _pod("a", 11))
    _until(lambda: bell.get("a") is not None)
    _until(lambda: "the listener failed on ADDED of shop/a" in caplog.text)


def test_closing_is_prompt_while_the_stream_is_silent(pods: Pods, east: Cluster) -> None:
    """The socket is shut, so that the thread ends at once although nothing is sent."""
    others = set(threading.enumerate())
    bell = east.bell(POD)
    pods.watch()
    _until(lambda: bell.live)
    began = time.monotonic()
    bell.close()
    bell.close()
    assert time.monotonic() - began < 1.0
    assert not any(thread.name == "bell east pods" for thread in set(threading.enumerate()) - others)
    assert not bell.live


def test_closing_is_prompt_while_a_watch_is_being_opened(pods: Pods, east: Cluster) -> None:
    """A server that takes a watch and never answers it holds nobody up at the end of a command."""
    asked, held = threading.Event(), threading.Event()

    def hang(request: Request) -> Reply | None:
        if "watch" not in request.query:
            return None
        asked.set()
        held.wait(PATIENCE_S)
        return Reply(drop=True)

    pods.refuse = hang
    bell = east.bell(POD)
    assert asked.wait(PATIENCE_S)
    began = time.monotonic()
    bell.close()
    assert time.monotonic() - began < 1.0
    held.set()


def test_a_session_takes_its_bells_with_it(pods: Pods, east: Cluster) -> None:
    """close() of the handle ends every bell on it."""
    others = set(threading.enumerate())
    bells = [east.bell(POD) for _ in range(3)]
    for _ in bells:
        pods.watch()
    east.close()
    assert not any(thread.name == "bell east pods" for thread in set(threading.enumerate()) - others)


def test_many_bells_do_not_starve_calls(pods: Pods, east: Cluster) -> None:
    """Forty open streams, and a call is still answered."""
    for _ in range(40):
        east.bell(POD)
    for _ in range(40):
        pods.watch()
    assert east.list(POD) == []


def test_secrets_are_never_watched(east: Cluster) -> None:
    """Their contents must not lie in caches."""
    with pytest.raises(ValueError, match="never listed or watched"):
        east.bell(SECRET)
    with pytest.raises(ValueError, match="never listed or watched"):
        east.list(SECRET)


def test_a_bell_for_all_namespaces_keeps_them_apart(pods: Pods, east: Cluster) -> None:
    """Two pods of one name in two namespaces are two; which one is asked for must be said."""
    other = _pod("a", 2)
    other["metadata"]["namespace"] = "lab"
    pods.items = [_pod("a", 1), other]
    bell = east.bell(POD, everywhere=True)
    request, _stream = pods.watch()
    assert request.path == "/api/v1/pods"
    assert bell.synced.wait(PATIENCE_S)
    found = bell.get("a", "lab")
    assert found is not None
    assert found["metadata"]["namespace"] == "lab"
    with pytest.raises(ValueError, match="name one"):
        bell.get("a")


def test_a_server_without_an_end_to_its_chunks_is_heard_at_once(east: Cluster, heard: Heard, server: SmallServer) -> None:
    """An answer without length and without chunks (HTTP/1.0 style) is passed on as it comes, not when it ends."""
    held = threading.Event()

    def script(request: Request) -> Reply:
        if "watch" not in request.query:
            return Reply(200, {"metadata": {"resourceVersion": "1"}, "items": []})
        return Reply(200, _line("ADDED", _pod("a", 2)), {"Connection": "close"}, hold=held)

    server.script = script
    east.bell(POD, on_event=heard)
    assert heard.next() == [("ADDED", "a")]
    held.set()


def test_cached_handles_answer_from_bells_that_are_in_contact(pods: Pods, east: Cluster) -> None:
    """A waiting look costs no request while a bell is live, and asks the API when it is not; writes and plain handles never use it."""
    pods.items = [_pod("a", 1)]
    pods.items[0]["metadata"]["labels"] = {"x": "1"}
    bell = east.bell(POD)
    _request, stream = pods.watch()
    _until(lambda: bell.live)
    asked = len(pods.server.requests)
    cached = east.cached().at("shop")
    found = cached.get(POD, "a")
    assert found is not None
    found["metadata"]["labels"]["x"] = "changed"
    assert cached.get(POD, "b") is None
    assert [obj["metadata"]["name"] for obj in cached.list(POD, labels={"x": "1"})] == ["a"]
    assert cached.list(POD, labels={"y": None}) == []
    assert len(pods.server.requests) == asked
    cached.list(POD, everywhere=True)
    cached.get(POD, "a", "elsewhere")
    east.get(POD, "a")
    assert len(pods.server.requests) == asked + 3
    bell.close()
    cached.get(POD, "a")
    assert len(pods.server.requests) == asked + 4
    stream.end()


def test_a_bell_with_labels_knows_what_is_there_but_not_what_is_absent(pods: Pods, east: Cluster) -> None:
    """An object that its selector leaves out may exist all the same."""
    pods.items = [_pod("a", 1)]
    pods.items[0]["metadata"]["labels"] = {"x": "1"}
    bell = east.bell(POD, labels={"x": "1"})
    pods.watch()
    _until(lambda: bell.live)
    asked = len(pods.server.requests)
    assert east.cached().get(POD, "a") is not None
    assert len(east.cached().list(POD, labels={"x": "1"})) == 1
    assert len(pods.server.requests) == asked
    east.cached().get(POD, "b")
    east.cached().list(POD)
    assert len(pods.server.requests) == asked + 2


def test_a_torn_answer_is_resumed(pods: Pods, east: Cluster, heard: Heard) -> None:
    """A torn connection is the same as a closed one: resume where we were."""
    east.bell(POD, on_event=heard)
    _request, stream = pods.watch()
    stream.say("ADDED", _pod("a", 15))
    heard.next()
    stream.lines.put(b"")  # an empty chunk ends the answer early, and what follows is garbage to the client
    stream.end()
    assert pods.watch()[0].query["resourceVersion"] == "15"


def test_a_server_that_is_gone_does_not_busy_the_bell(east: Cluster, clock: JumpingClock, server: SmallServer) -> None:
    """A server that is gone costs a wait per attempt, never a tight loop."""
    port = server.port
    server.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    bell = east.bell(POD)
    _until(lambda: len(clock.waits_s) > 5)
    bell.close()
    assert "refused" in str(bell.problem)
