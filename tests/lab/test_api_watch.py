"""Watches: where they begin, what they show, how they end; and the 410s."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from migrate.lab.clock import SimClock
from tests.lab.api_client import CONFIGS, WIDGET_PATH, Api, config, serving, widget


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(history=20) as running:
        yield running


def seen(events: Iterator[dict[str, Any]], count: int) -> list[tuple[str, str]]:
    """Return type and name of the next events."""
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in islice(events, count)]


def test_a_watch_without_a_version_begins_with_what_is_there(api: Api) -> None:
    """Unset and 0: ADDED for every object, then every change."""
    api.admin.post(WIDGET_PATH, widget("a"))
    for query in ("", "&resourceVersion=0"):
        with api.admin.watch(f"{WIDGET_PATH}?watch=true{query}") as events:
            assert seen(events, 1) == [("ADDED", "a")]
            api.admin.patch(f"{WIDGET_PATH}/a", {"metadata": {"annotations": {"x": query}}})
            assert seen(events, 1) == [("MODIFIED", "a")]


def test_a_watch_from_a_version_replays_what_came_after(api: Api) -> None:
    """Nothing before the version is shown, everything after it is, in order."""
    first = api.admin.post(WIDGET_PATH, widget("a")).rv
    api.admin.post(WIDGET_PATH, widget("b"))
    api.admin.delete(f"{WIDGET_PATH}/a")
    with api.admin.watch(f"{WIDGET_PATH}?watch=1&resourceVersion={first}") as events:
        assert seen(events, 2) == [("ADDED", "b"), ("DELETED", "a")]


def test_a_deleted_event_has_a_version_of_its_own(api: Api) -> None:
    """The object of a DELETED event carries the number of the deletion, so that a watch can go on from there."""
    made = api.admin.post(CONFIGS, config("a")).rv
    api.admin.delete(f"{CONFIGS}/a")
    with api.admin.watch(f"{CONFIGS}?watch=1&resourceVersion={made}") as events:
        event = next(events)
    assert event["type"] == "DELETED"
    assert int(event["object"]["metadata"]["resourceVersion"]) > int(made)


def test_objects_enter_and_leave_a_selection(api: Api) -> None:
    """A label change that brings an object into the selection is ADDED, one that takes it out is DELETED."""
    made = api.admin.post(CONFIGS, config("a")).rv
    with api.admin.watch(f"{CONFIGS}?watch=1&labelSelector=app%3Dx&resourceVersion={made}") as events:
        api.admin.patch(f"{CONFIGS}/a", {"metadata": {"labels": {"app": "x"}}})
        api.admin.patch(f"{CONFIGS}/a", {"data": {"b": "2"}})
        api.admin.patch(f"{CONFIGS}/a", {"metadata": {"labels": {"app": "y"}}})
        api.admin.patch(f"{CONFIGS}/a", {"data": {"b": "3"}})
        api.admin.patch(f"{CONFIGS}/a", {"metadata": {"labels": {"app": "x"}}})
        assert seen(events, 4) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "a")]


def test_one_object_can_be_watched_by_name(api: Api) -> None:
    """A field selector on metadata.name shows that object only."""
    with api.admin.watch(f"{CONFIGS}?watch=1&fieldSelector=metadata.name%3Db&resourceVersion={api.rv}") as events:
        api.admin.post(CONFIGS, config("a"))
        api.admin.post(CONFIGS, config("b"))
        assert seen(events, 1) == [("ADDED", "b")]


def test_a_namespace_is_no_prefix(api: Api) -> None:
    """A watch of `shop` does not show what happens in `shop-2`."""
    api.admin.post("/api/v1/namespaces", {"metadata": {"name": "shop-2"}})
    with api.admin.watch(f"{CONFIGS}?watch=1&resourceVersion={api.rv}") as events:
        api.admin.post("/api/v1/namespaces/shop-2/configmaps", config("other"))
        api.admin.post(CONFIGS, config("mine"))
        assert seen(events, 1) == [("ADDED", "mine")]


def test_a_version_that_is_too_old_ends_in_an_error_event(api: Api) -> None:
    """Beyond the history a watch answers 200 with one ERROR event: 410 Expired."""
    old = api.admin.post(WIDGET_PATH, widget("a")).rv
    for number in range(25):
        api.admin.patch(f"{WIDGET_PATH}/a", {"spec": {"size": number + 2}})
    with api.admin.watch(f"{WIDGET_PATH}?watch=1&resourceVersion={old}") as events:
        (event,) = events
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert event["object"]["message"].startswith(f"too old resource version: {old} (")


def test_compaction_forgets_everything_before_it(api: Api) -> None:
    """After a compaction even a version without later changes of that kind is too old, the present one is not."""
    old = api.admin.post(WIDGET_PATH, widget("a")).rv
    api.admin.post(CONFIGS, config("a"))
    present = api.server.store.compact()
    with api.admin.watch(f"{WIDGET_PATH}?watch=1&resourceVersion={old}") as events:
        assert next(events)["type"] == "ERROR"
    with api.admin.watch(f"{WIDGET_PATH}?watch=1&resourceVersion={present}") as events:
        api.admin.post(WIDGET_PATH, widget("b"))
        assert seen(events, 1) == [("ADDED", "b")]


def test_a_version_in_the_future_is_waited_for(api: Api) -> None:
    """As on the real server nothing is refused: the watch shows only what comes after that version."""
    with api.admin.watch(f"{WIDGET_PATH}?watch=1&resourceVersion={api.rv + 2}") as events:
        for name in "abc":
            api.admin.post(WIDGET_PATH, widget(name))
        assert seen(events, 1) == [("ADDED", "c")]


def test_initial_events_end_with_a_bookmark(api: Api) -> None:
    """sendInitialEvents shows everything as ADDED and then a bookmark with the annotation that says so."""
    api.admin.post(WIDGET_PATH, widget("a"))
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    with api.admin.watch(f"{WIDGET_PATH}?{query}") as events:
        assert seen(events, 1) == [("ADDED", "a")]
        mark = next(events)
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["kind"] == "Widget"
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(mark["object"]["metadata"]["resourceVersion"]) >= api.rv


def test_bookmarks_and_the_timeout_come_by_the_clock() -> None:
    """With simulated time: a bookmark a minute, carrying the latest version of the whole cluster, and the end after timeoutSeconds."""
    clock = SimClock()
    with serving(clock=clock) as api:
        rv = api.admin.post(CONFIGS, config("elsewhere")).rv
        query = f"watch=1&resourceVersion={api.rv}&allowWatchBookmarks=true&timeoutSeconds=150"
        started = clock.monotonic()
        with api.admin.watch(f"{WIDGET_PATH}?{query}") as events:
            marks = list(events)
        assert [mark["type"] for mark in marks] == ["BOOKMARK"] * len(marks)
        assert len(marks) in (2, 3)
        assert {mark["object"]["metadata"]["resourceVersion"] for mark in marks} == {rv}
        assert clock.monotonic() - started >= 150


def test_a_client_that_hangs_up_frees_its_watch(api: Api) -> None:
    """The server notices a closed connection without having anything to send."""
    with api.admin.watch(f"{WIDGET_PATH}?watch=1") as events:
        api.admin.post(WIDGET_PATH, widget("a"))
        assert seen(events, 1) == [("ADDED", "a")]
        (subscription,) = api.server.watches
        assert not subscription.event.is_set()
    assert subscription.event.wait(10)
    assert subscription.closed


def test_watches_as_tables_name_their_columns_once(api: Api) -> None:
    """kubectl get -w: the first event has column definitions, later ones only rows."""
    with api.admin.watch(f"{WIDGET_PATH}?watch=1", Accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json") as events:
        api.admin.post(WIDGET_PATH, widget("a"))
        api.admin.post(WIDGET_PATH, widget("b"))
        first, second = islice(events, 2)
    assert [column["name"] for column in first["object"]["columnDefinitions"]] == ["Name", "Size"]
    assert first["object"]["rows"][0]["cells"] == ["a", 1]
    assert (second["object"]["columnDefinitions"], second["object"]["rows"][0]["cells"]) == (None, ["b", 1])


def test_fifty_watches_see_the_same_changes(api: Api) -> None:
    """Many concurrent watches all see every change."""
    results: list[list[tuple[str, str]]] = []
    ready = threading.Barrier(51)

    def follow() -> None:
        with api.admin.watch(f"{WIDGET_PATH}?watch=1&resourceVersion=0") as events:
            ready.wait(20)
            results.append(seen(events, 3))

    threads = [threading.Thread(target=follow) for _ in range(50)]
    for thread in threads:
        thread.start()
    ready.wait(20)
    for name in "abc":
        api.admin.post(WIDGET_PATH, widget(name))
    for thread in threads:
        thread.join(20)
    assert results == [[("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]] * 50
