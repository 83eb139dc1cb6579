"""Logs of pods, as the node gives them out."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.lab.api_client import Api, serving

PODS = "/api/v1/namespaces/shop/pods"


class FakeNode:
    """A node with one container that has written three lines and writes another when told."""

    def __init__(self) -> None:
        self.more = threading.Event()

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        tail: int | None = None,
        since: str = "",
        follow: bool = False,
        previous: bool = False,
    ) -> Iterator[bytes]:
        if previous or container == "late":
            raise LookupError(container)
        lines = [b"one\n", b"two\n", b"three\n"]
        return self._lines(lines if tail is None else lines[len(lines) - tail :], follow)

    def _lines(self, lines: list[bytes], follow: bool) -> Iterator[bytes]:
        yield from lines
        if follow and self.more.wait(10):
            yield b"four\n"

    def dial(self, namespace: str, pod: str, port: int) -> socket.socket:
        raise ConnectionRefusedError

    def container(self, namespace: str, pod: str) -> None:
        return None


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as running:
        running.server.node = FakeNode()
        for name, containers in (("p", ["main"]), ("two", ["main", "late"])):
            spec = {"containers": [{"name": c, "image": "i"} for c in containers]}
            assert running.admin.post(PODS, {"metadata": {"name": name}, "spec": spec}).code == 201
        yield running


def test_logs_are_plain_text(api: Api) -> None:
    """The whole log, the last lines, the first bytes."""
    whole = api.admin.get(f"{PODS}/p/log")
    assert (whole.code, whole.body) == (200, "one\ntwo\nthree\n")
    assert whole.headers["content-type"][0].startswith("text/plain")
    assert api.admin.get(f"{PODS}/p/log?tailLines=1").body == "three\n"
    assert api.admin.get(f"{PODS}/p/log?limitBytes=5").body == "one\nt"


def test_a_followed_log_goes_on(api: Api) -> None:
    """follow=true streams what is there, then what comes."""
    connection = api.admin.connection()
    connection.request("GET", f"{PODS}/p/log?follow=true&tailLines=1")
    response = connection.getresponse()
    assert response.readline() == b"three\n"
    assert isinstance(api.server.node, FakeNode)
    api.server.node.more.set()
    assert response.read() == b"four\n"
    connection.close()


def test_wrong_containers_are_bad_requests(api: Api) -> None:
    """No pod, no such container, several containers and none named, one that has not started: the real sentences."""
    assert api.admin.get(f"{PODS}/none/log").code == 404
    assert api.admin.get(f"{PODS}/p/log?container=x").body["message"] == "container x is not valid for pod p"
    several = api.admin.get(f"{PODS}/two/log")
    assert (several.code, several.body["message"]) == (400, "a container name must be specified for pod two, choose one of: [main late]")
    late = api.admin.get(f"{PODS}/two/log?container=late").body["message"]
    assert late == 'container "late" in pod "two" is waiting to start: ContainerCreating'
    previous = api.admin.get(f"{PODS}/p/log?previous=true").body["message"]
    assert previous == 'previous terminated container "main" in pod "p" not found'
