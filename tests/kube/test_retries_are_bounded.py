"""What is tried again, how often, how long apart; and what is not."""

from __future__ import annotations

import itertools
import logging

import pytest

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import POD
from migrate.kube.retry import CONTACT, READ, WRITE, Policy
from migrate.model.errors import Conflict, Refused, Unreachable
from tests.kube.small_server import JumpingClock, Reply, Request, SmallServer, refusal


def _then(*replies: Reply, last: Reply | None = None) -> object:
    """Answer with each reply in turn, then with the last for ever."""
    waiting = iter(itertools.chain(replies, itertools.repeat(last or Reply(200, {"metadata": {"name": "a"}}))))
    return lambda _request: next(waiting)


def test_a_restart_of_the_server_goes_unnoticed(
    server: SmallServer, east: Cluster, clock: JumpingClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Lost connections and 5xx are tried again with growing waits, and each attempt is numbered in the log."""
    caplog.set_level(logging.WARNING, "migrate.kube")
    server.script = _then(Reply(drop=True), Reply(500, b""), refusal(502, "", "x"), refusal(504, "Timeout", "x"))  # type: ignore[assignment]
    assert east.get(POD, "a") is not None
    assert clock.waits_s == [0.5, 1.0, 2.0, 4.0]
    assert [record.getMessage().split(" failed")[0] for record in caplog.records] == [
        f"context east: get Pod shop/a: attempt {number} of 6" for number in (1, 2, 3, 4)
    ]


def test_a_server_that_was_never_reached_is_given_up_soon(
    server: SmallServer, east: Cluster, clock: JumpingClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The first contact of a command ends after three seconds of waiting, and each failure of it is told as it happens."""
    caplog.set_level(logging.WARNING, "migrate.kube.contact")
    server.close()
    with pytest.raises(Unreachable, match="refused"):
        east.get(POD, "a")
    assert clock.waits_s == list(CONTACT.waits_s)
    assert [record.getMessage().split("; next")[0] for record in caplog.records if record.name == "migrate.kube.contact"] == [
        f"context east: get Pod shop/a: attempt {number} of 4 failed (the connection was refused)" for number in (1, 2, 3)
    ]


def test_a_server_that_was_reached_once_is_waited_for(server: SmallServer, east: Cluster, clock: JumpingClock) -> None:
    """An outage in the middle of a command has the patience of every read."""
    server.script = _then(last=Reply(200, {"metadata": {"name": "a"}}, {"Connection": "close"}))  # type: ignore[assignment]
    assert east.get(POD, "a") is not None
    server.close()
    with pytest.raises(Unreachable, match="refused"):
        east.get(POD, "a")
    assert clock.waits_s == list(READ.waits_s)


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_obeyed(server: SmallServer, east: Cluster, clock: JumpingClock, code: int) -> None:
    """The server knows best when it will be ready."""
    server.script = _then(Reply(code, b"", {"Retry-After": "7"}), refusal(code, "TooManyRequests", "x", retryAfterSeconds=3))  # type: ignore[assignment]
    assert east.get(POD, "a") is not None
    assert clock.waits_s == [7.0, 3.0]


def test_a_retry_after_beyond_reason_ends_it(server: SmallServer, east: Cluster, clock: JumpingClock) -> None:
    """An hour is an answer, not a pause."""
    server.script = _then(last=Reply(429, b"", {"Retry-After": "3600"}))  # type: ignore[assignment]
    with pytest.raises(Unreachable):
        east.get(POD, "a")
    assert (clock.waits_s, len(server.requests)) == ([], 1)


@pytest.mark.parametrize(("verb", "policy"), [("get", READ), ("apply", WRITE)])
def test_attempts_are_bounded(server: SmallServer, east: Cluster, clock: JumpingClock, verb: str, policy: Policy) -> None:
    """A cluster that stays broken is reported in its own words after the last attempt."""
    server.script = _then(last=refusal(503, "ServiceUnavailable", "no backend"))  # type: ignore[assignment]
    with pytest.raises(Unreachable, match="no backend"):
        east.get(POD, "a") if verb == "get" else east.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})
    assert len(server.requests) == policy.attempts
    assert clock.waits_s == list(policy.waits_s)


def test_time_is_bounded_too(server: SmallServer, east: Cluster, clock: JumpingClock) -> None:
    """A server that lets every attempt hang does not get all attempts."""

    def slow(_request: Request) -> Reply:
        clock.passed_s += 25
        return Reply(drop=True)

    server.script = slow
    with pytest.raises(Unreachable, match="broke before the answer"):
        east.get(POD, "a")
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "family"),
    [
        (refusal(403, "Forbidden", "no"), Refused),
        (refusal(409, "Conflict", "modified"), Conflict),
        (refusal(422, "Invalid", "no"), Refused),
        (refusal(501, "NotImplemented", "no"), Unreachable),
    ],
)
def test_anything_else_is_final(server: SmallServer, east: Cluster, clock: JumpingClock, reply: Reply, family: type[Exception]) -> None:
    """Refusals, conflicts and unknown troubles are not tried again here."""
    server.script = _then(last=reply)  # type: ignore[assignment]
    with pytest.raises(family):
        east.merge(POD, "a", {})
    assert (clock.waits_s, len(server.requests)) == ([], 1)


NO_RIGHT = refusal(403, "Forbidden", 'pods "a" is forbidden: User "joe" cannot get resource "pods" in API group "" in the namespace "shop"')


def test_a_server_that_starts_may_not_know_its_roles_yet(server: SmallServer, east: Cluster, clock: JumpingClock) -> None:
    """A right that is missing just after a connection broke is asked for again; seconds later the refusal is final."""
    server.script = _then(Reply(drop=True), NO_RIGHT, NO_RIGHT)  # type: ignore[assignment]
    assert east.get(POD, "a") is not None
    assert clock.waits_s == [0.5, 1.0, 2.0]
    server.script = _then(Reply(drop=True), last=NO_RIGHT)  # type: ignore[assignment]
    with pytest.raises(Refused, match="is forbidden"):
        east.get(POD, "a")
    clock.waits_s.clear()
    with pytest.raises(Refused, match="is forbidden"):
        east.get(POD, "a")
    assert clock.waits_s == []


def test_a_call_that_may_have_happened_is_not_repeated(server: SmallServer, east: Cluster, clock: JumpingClock) -> None:
    """Start and stop are not idempotent: a lost answer is reported, a 503 (never carried out) is tried again."""
    server.script = _then(Reply(drop=True))  # type: ignore[assignment]
    with pytest.raises(Unreachable):
        east.call("PUT", "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines/a/start")
    assert len(server.requests) == 1
    server.script = _then(refusal(503, "ServiceUnavailable", "x"), last=Reply(202, b""))  # type: ignore[assignment]
    assert east.call("PUT", "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines/a/start") == ""
    assert len(server.requests) == 3


def test_a_page_that_expired_starts_the_list_anew(server: SmallServer, east: Cluster) -> None:
    """A 410 in the middle of a paged list is answered by one list in one piece."""

    def script(request: Request) -> Reply:
        if "continue" in request.query:
            return refusal(410, "Expired", "too old")
        if "limit" in request.query:
            return Reply(200, {"metadata": {"continue": "x"}, "items": [{"metadata": {"name": "a"}}]})
        return Reply(200, {"metadata": {}, "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]})

    server.script = script
    assert [pod["metadata"]["name"] for pod in east.list(POD)] == ["a", "b"]
