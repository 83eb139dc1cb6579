"""A write may be carried out although its answer is lost. Every verb comes out right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import POD
from migrate.kube.readback import covers, failed_tests
from migrate.model.errors import Conflict, Taken, Unreachable
from migrate.model.labels import ours
from tests.kube.small_server import Reply, Request, SmallServer, refusal


def _secret(labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", **({"labels": labels} if labels else {})}, "data": data}


class Store:
    """One object, and the fate of the next writes: each may be carried out and its answer lost."""

    def __init__(self, server: SmallServer, *, lose: int = 0) -> None:
        self.live: dict[str, Any] | None = None
        self.lose = lose
        self.writes: list[str] = []
        server.script = self.answer

    def answer(self, request: Request) -> Reply:
        if request.method == "GET":
            return Reply(200, self.live) if self.live else refusal(404, "NotFound", "not found", name="a")
        self.writes.append(request.method)
        reply = self.carry_out(request)
        if self.lose:
            self.lose -= 1
            return Reply(drop=True)
        return reply

    def carry_out(self, request: Request) -> Reply:
        if request.method == "POST":
            if self.live:
                return refusal(409, "AlreadyExists", 'secrets "a" already exists', name="a", kind="secrets")
            self.live = {**request.body, "metadata": {**request.body["metadata"], "uid": "u1"}}
            return Reply(201, self.live)
        if not self.live:
            return refusal(404, "NotFound", "not found", name="a")
        if request.method == "DELETE":
            self.live = None
        return Reply(200, self.live or {"kind": "Status"})


@pytest.fixture
def lossy(server: SmallServer) -> Store:
    return Store(server, lose=1)


def test_a_created_object_is_known_again_by_our_mark(lossy: Store, east: Cluster) -> None:
    """The second attempt finds the first one's object, marked and with our id: that is success."""
    made = east.create(_secret(ours("id1", "token"), key="cmFuZG9t"))
    assert made[0]["metadata"]["uid"] == "u1"
    assert lossy.writes == ["POST", "POST"]


def test_a_created_object_without_mark_is_known_again_by_its_content(lossy: Store, east: Cluster) -> None:
    """Lab controllers create unmarked objects; what holds all that we sent is ours."""
    assert east.create(_secret(key="cmFuZG9t"))[0]["metadata"]["uid"] == "u1"


def test_an_object_of_somebody_else_stays_taken_after_a_lost_answer(lossy: Store, east: Cluster) -> None:
    """Same name, other content, no mark: it was there before our first attempt."""
    lossy.live = _secret(key="b3RoZXI=")
    with pytest.raises(Taken):
        east.create(_secret(key="cmFuZG9t"))


def test_without_a_lost_answer_the_same_content_is_taken(server: SmallServer, east: Cluster) -> None:
    """AlreadyExists at the first attempt is an answer: we did not make that object."""
    store = Store(server)
    store.live = _secret(ours("id1", "token"), key="cmFuZG9t")
    with pytest.raises(Taken):
        east.create(_secret(ours("id1", "token"), key="cmFuZG9t"))
    assert store.writes == ["POST"]


def test_ours_is_read_back_if_asked(server: SmallServer, east: Cluster) -> None:
    """With ours_ok an object with our mark and id is returned as it is: a random token is made once and read ever after."""
    store = Store(server)
    store.live = _secret(ours("id1", "token"), key="Zmlyc3Q=")
    assert east.create(_secret(ours("id1", "token"), key="c2Vjb25k"), ours_ok=True)[0]["data"] == {"key": "Zmlyc3Q="}


@pytest.mark.parametrize("labels", [None, ours("other", "token"), {"app.kubernetes.io/managed-by": "kubevirt-migrate"}])
def test_ours_ok_does_not_adopt_what_is_not_ours(server: SmallServer, east: Cluster, labels: dict[str, str] | None) -> None:
    """No mark, another migration's id, or the id without the mark: taken."""
    Store(server).live = _secret(labels)
    with pytest.raises(Taken) as caught:
        east.create(_secret(ours("id1", "token")), ours_ok=True)
    assert "already exists" in caught.value.why


def test_ours_that_is_being_deleted_is_not_read_back(server: SmallServer, east: Cluster) -> None:
    """An object on its way out must not be built upon; it heals by waiting."""
    store = Store(server)
    store.live = _secret(ours("id1", "token"))
    store.live["metadata"]["deletionTimestamp"] = "2026-11-01T00:00:00Z"
    with pytest.raises(Conflict, match="being deleted"):
        east.create(_secret(ours("id1", "token")), ours_ok=True)


def test_a_generated_name_is_never_created_twice(lossy: Store, east: Cluster) -> None:
    """Nobody can tell which object the first attempt made, so there is no second one."""
    with pytest.raises(Unreachable):
        east.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "a-"}})
    assert lossy.writes == ["POST"]


def test_a_repeated_delete_finds_nothing_and_is_content(lossy: Store, east: Cluster) -> None:
    """The second attempt's 404 is what was asked for."""
    lossy.live = _secret()
    east.delete(POD, "a")
    assert lossy.writes == ["DELETE", "DELETE"]


def test_a_repeated_patch_shows_as_a_conflict(server: SmallServer, east: Cluster) -> None:
    """The test of resourceVersion does not hold at the second attempt; the caller looks afresh and sees its own change."""
    versions = iter(["drop", "stale"])

    def script(request: Request) -> Reply:
        if request.method == "GET":
            return Reply(200, {"metadata": {"resourceVersion": "8"}})
        stale = refusal(422, "Invalid", "the server rejected our request due to an error in our request")
        return Reply(drop=True) if next(versions) == "drop" else stale

    server.script = script
    with pytest.raises(Conflict, match="resourceVersion is '8', expected '7'"):
        east.patch(POD, "a", [{"op": "test", "path": "/metadata/resourceVersion", "value": "7"}, {"op": "remove", "path": "/x"}])


def test_a_replace_needs_the_version_it_was_read_with(server: SmallServer, east: Cluster) -> None:
    """Without it a lease could be stolen by accident."""
    with pytest.raises(ValueError, match="resourceVersion"):
        east.replace({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})
    assert server.requests == []


def test_failed_tests_of_a_secret_do_not_show_its_values() -> None:
    """The sentence ends up in an error text."""
    live = {"kind": "Secret", "data": {"token": "c2VjcmV0"}}
    said = failed_tests([{"op": "test", "path": "/data/token", "value": "b3RoZXI="}], live)
    assert said == "/data/token is not as expected"


_values = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=2), _values, max_size=4), st.dictionaries(st.text(min_size=3, max_size=4), _values, max_size=3))
def test_an_object_covers_itself_and_its_defaults_do_not_matter(sent: dict[str, Any], defaults: dict[str, Any]) -> None:
    """What a server adds does not hide our object; what it lacks does."""
    assert covers({**defaults, **sent}, sent)
    for key, value in sent.items():
        if value not in ({}, [], None):
            assert not covers({name: other for name, other in sent.items() if name != key}, sent)
