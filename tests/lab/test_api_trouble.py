"""Trouble that was ordered at the API server."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from migrate.lab.clock import SimClock
from tests.lab.api_client import CONFIGS, Api, config, serving


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as running:
        yield running


def test_refusals_carry_code_words_and_retry_after(api: Api) -> None:
    """refuse answers so many matching requests with a Status, and nobody else's."""
    api.server.trouble.set("api", "refuse", status=429, message="slow down", retry_after=3, verb="list", resource="configmaps", times=1)
    assert api.admin.get(f"{CONFIGS}/kube-root-ca.crt").code != 429
    refused = api.admin.get(CONFIGS)
    assert (refused.code, refused.body["reason"], refused.body["message"]) == (429, "TooManyRequests", "slow down")
    assert refused.headers["retry-after"] == ["3"]
    assert refused.body["details"]["retryAfterSeconds"] == 3
    assert api.admin.get(CONFIGS).code == 200


def test_a_dropped_request_was_not_handled(api: Api) -> None:
    """drop closes the connection before anything happens; drop after=1 when everything has."""
    api.server.trouble.set("api", "drop", method="POST", times=1)
    with pytest.raises((http.client.HTTPException, OSError)):
        api.admin.post(CONFIGS, config("lost"))
    assert api.gone(f"{CONFIGS}/lost")
    api.server.trouble.set("api", "drop", after=1, method="POST", times=1)
    with pytest.raises((http.client.HTTPException, OSError)):
        api.admin.post(CONFIGS, config("done"))
    assert not api.gone(f"{CONFIGS}/done")
    statuses = [(asked.name, asked.status) for asked in api.server.requests.since(0) if asked.method == "POST"][-2:]
    assert statuses == [("", 0), ("", 0)]


def test_an_answer_cut_short(api: Api) -> None:
    """truncate promises the whole body and sends half."""
    api.server.trouble.set("api", "truncate", verb="get", times=1)
    with pytest.raises(http.client.IncompleteRead):
        api.admin.get("/api/v1/namespaces/shop")


def test_a_hanging_request_ends_when_the_client_leaves(api: Api) -> None:
    """hang gives no answer at all."""
    api.server.trouble.set("api", "hang", verb="get", times=1)
    connection = api.admin.connection()
    connection.timeout = 0.2
    connection.request("GET", "/api/v1/namespaces/shop")
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    assert api.admin.get("/api/v1/namespaces/shop").code == 200


def test_a_delay_passes_by_the_clock() -> None:
    """delay holds the answer back for so many seconds of lab time."""
    clock = SimClock()
    with serving(clock=clock) as api:
        api.server.trouble.set("api", "delay", seconds=90, verb="get", times=1)
        before = clock.monotonic()
        assert api.admin.get("/api/v1/namespaces/shop").code == 200
        assert clock.monotonic() - before >= 90


def test_running_watches_expire(api: Api) -> None:
    """expire ends a running watch with an ERROR event 410, drop without a word."""
    with api.admin.watch(f"{CONFIGS}?watch=1&resourceVersion={api.rv}") as events:
        api.admin.post(CONFIGS, config("a"))
        assert next(events)["type"] == "ADDED"
        api.server.trouble.set("api", "expire", verb="watch", times=1)
        assert [(event["type"], event["object"]["code"]) for event in events] == [("ERROR", 410)]
    with api.admin.watch(f"{CONFIGS}?watch=1") as events:
        assert next(events)["type"] == "ADDED"
        api.server.trouble.set("api", "drop", verb="watch", resource="configmaps", times=1)
        assert [event["type"] for event in events] == ["ADDED"]


def test_running_watches_fall_silent(api: Api) -> None:
    """hang leaves a running watch open, and nothing comes any more."""
    connection = api.admin.connection()
    connection.timeout = 2.0
    connection.request("GET", f"{CONFIGS}?watch=1&resourceVersion={api.rv}")
    response = connection.getresponse()
    api.admin.post(CONFIGS, config("a"))
    assert b"ADDED" in response.readline()
    api.server.trouble.set("api", "hang", verb="watch")
    api.admin.post(CONFIGS, config("b"))
    with pytest.raises(OSError, match="timed out"):
        response.readline()
    connection.close()


def test_pages_expire(api: Api) -> None:
    """expire makes the next page of a list 410."""
    api.admin.post(CONFIGS, config("a"))
    token = api.admin.get(f"{CONFIGS}?limit=1").body["metadata"]["continue"]
    api.server.trouble.set("api", "expire", verb="list", times=1)
    assert api.admin.get(CONFIGS).code == 200
    assert api.admin.get(f"{CONFIGS}?limit=1&continue={token}").code == 410
