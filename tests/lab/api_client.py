"""A bare HTTPS client for tests of the lab's API server: what goes over the wire, and nothing that would smooth it over."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from migrate.lab import kinds
from migrate.lab.api import ApiServer
from migrate.lab.certs import Authority, load
from migrate.lab.clock import LabClock, RealClock, SimClock
from migrate.lab.trouble import Trouble

AUTHORITY = Authority("tests")
BACKEND = "LAB_BACKEND"
"""Set by tests/conftest.py from the option --backend."""
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

WIDGETS: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.org"},
    "spec": {
        "group": "example.org",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "shortNames": ["wd"]},
        "versions": [
            {
                "name": name,
                "served": True,
                "storage": name == "v1",
                "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["spec"],
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "properties": {
                                    "size": {"type": "integer", "minimum": 1},
                                    "colour": {"type": "string", "default": "grey", "enum": ["grey", "red"]},
                                    "tags": {"type": "object", "additionalProperties": {"type": "string"}},
                                },
                            },
                            "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
                        },
                    }
                },
            }
            for name in ("v1", "v1beta1")
        ],
    },
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Status code, parsed body (text when it is no JSON), headers (lower case)."""

    code: int
    body: Any
    headers: dict[str, list[str]]

    @property
    def rv(self) -> str:
        return str(self.body["metadata"]["resourceVersion"])


@dataclass(slots=True)
class Client:
    """One user's client; every request has a connection of its own, so that dropped ones hurt nobody else."""

    server: ApiServer
    context: ssl.SSLContext
    token: str = ""
    agent: str = "tests/1.0"
    headers: dict[str, str] = field(default_factory=dict)

    def connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.server.port, context=self.context, timeout=20)

    def ask(self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **headers: str) -> Answer:
        """Send one request; `headers` are given with underscores."""
        connection = self.connection()
        sent = {"User-Agent": self.agent, **self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = kind
        try:
            connection.request(method, path, body=data, headers=sent)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        found: dict[str, list[str]] = {}
        for name, value in response.getheaders():
            found.setdefault(name.lower(), []).append(value)
        return Answer(response.status, json.loads(text) if text[:1] == b"{" else text.decode(), found)

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.ask("POST", path, body, **headers)

    def put(self, path: str, body: Any) -> Answer:
        return self.ask("PUT", path, body)

    def delete(self, path: str, body: Any = None) -> Answer:
        return self.ask("DELETE", path, body)

    def patch(self, path: str, body: Any, kind: str = MERGE_PATCH) -> Answer:
        return self.ask("PATCH", path, body, kind=kind)

    def apply(self, path: str, body: Any, manager: str = "tests", *, force: bool = False) -> Answer:
        mark = "&" if "?" in path else "?"
        return self.patch(f"{path}{mark}fieldManager={manager}{'&force=true' if force else ''}", body, APPLY_PATCH)

    @contextlib.contextmanager
    def watch(self, path: str, **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
        """Open a watch; iterate over its events. It is closed with the block."""
        connection = self.connection()
        connection.request("GET", path, headers={"User-Agent": self.agent, **headers})
        with contextlib.closing(connection), connection.getresponse() as response:
            assert response.status == 200, response.read()
            yield (json.loads(line) for line in iter(response.readline, b""))


@dataclass(slots=True)
class Api:
    """A running server, its administrator, and others."""

    server: ApiServer
    admin: Client

    def user(self, name: str, group: str = "") -> Client:
        """Return a client with a certificate of that user."""
        context = AUTHORITY.client_context()
        load(context, AUTHORITY.client(name, group))
        return Client(self.server, context)

    def bearer(self, token: str) -> Client:
        """Return a client with nothing but a token (or, if empty, with nothing at all)."""
        return Client(self.server, AUTHORITY.client_context(), token=token)

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something holds, looking again after every change in the store; in a real server's we cannot look."""
        if on_kube():
            clock, end = RealClock(), time.monotonic() + 50  # its garbage collector takes note of a new kind within half a minute
            while not happened():
                assert time.monotonic() < end, "nothing happened for fifty seconds"
                clock.sleep(0.1)
            return
        changes = self.server.store.subscribe(None)
        try:
            while not happened():
                assert changes.event.wait(10), "nothing happened for ten seconds"
                changes.take()
        finally:
            changes.close()

    @property
    def rv(self) -> int:
        """Return the resource version of the latest change of any object."""
        if on_kube():
            return int(self.admin.get(CONFIGS).rv)
        return self.server.store.rv

    def gone(self, path: str) -> bool:
        """Tell whether there is no such object."""
        return self.admin.get(path).code == 404


def on_kube() -> bool:
    """Tell whether these tests run on the real API server (pytest --backend kube)."""
    return os.environ.get(BACKEND) == "kube"


@contextlib.contextmanager
def real_server() -> Iterator[ApiServer]:
    """Run the real API server in the place of the embedded one."""
    from migrate.lab.kube_server import KubeServer

    with tempfile.TemporaryDirectory() as directory:
        server = KubeServer("test", Path(directory), clock=RealClock(), authority=AUTHORITY, trouble=Trouble(), roots="")
        try:
            server.start()
            yield cast(ApiServer, server)
        finally:
            server.stop()


@contextlib.contextmanager
def embedded_server(clock: LabClock | None, history: int) -> Iterator[ApiServer]:
    """Run the embedded API server."""
    clock = clock or RealClock()
    server = ApiServer("test", registry=kinds.Registry(kinds.builtin()), clock=clock, authority=AUTHORITY, history=history)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        if isinstance(clock, SimClock):
            clock.close()


@contextlib.contextmanager
def serving(*, clock: LabClock | None = None, history: int = 10_000) -> Iterator[Api]:
    """Run a server with the Widget kind and the namespace `shop`."""
    with real_server() if on_kube() else embedded_server(clock, history) as server:
        context = AUTHORITY.client_context()
        load(context, AUTHORITY.client("admin", "system:masters"))
        api = Api(server, Client(server, context))
        assert api.admin.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", WIDGETS).code == 201
        assert api.admin.post("/api/v1/namespaces", {"metadata": {"name": "shop"}}).code == 201
        api.until(lambda: api.admin.get(f"{CONFIGS}/kube-root-ca.crt").code == 200)
        api.until(lambda: all(api.admin.get(WIDGET_PATH.replace("/v1/", f"/{version}/")).code == 200 for version in ("v1", "v1beta1")))
        yield api


def config(name: str, data: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    """Return a ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": data or {"a": "1"}}


def widget(name: str, size: int = 1, **metadata: Any) -> dict[str, Any]:
    """Return a Widget."""
    return {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": name, **metadata}, "spec": {"size": size}}


CONFIGS = "/api/v1/namespaces/shop/configmaps"
WIDGET_PATH = "/apis/example.org/v1/namespaces/shop/widgets"
