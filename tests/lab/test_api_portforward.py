"""Port-forwards in the three ways in which clients ask for them, down to the bytes on the wire."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection

from migrate.lab import spdy
from tests.lab.api_client import Api, serving

PATH = "/api/v1/namespaces/shop/pods/p/portforward"
OPEN_PORT = 8443


class EchoNode:
    """A node whose pods listen on one port and answer with what they heard, in capitals, until they hear no more."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._echo, args=(sock,), daemon=True).start()

    def _echo(self, sock: socket.socket) -> None:
        with sock:
            while data := sock.recv(1 << 16):
                sock.sendall(data.upper())

    def dial(self, namespace: str, pod: str, port: int) -> socket.socket:
        if port != OPEN_PORT:
            raise ConnectionRefusedError
        return socket.create_connection(self._listener.getsockname())

    def logs(self, *args: Any, **options: Any) -> Iterator[bytes]:
        raise LookupError

    def container(self, namespace: str, pod: str) -> None:
        return None


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as running:
        running.server.node = EchoNode()
        body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        running.admin.post("/api/v1/namespaces/shop/pods", body)
        running.admin.patch("/api/v1/namespaces/shop/pods/p/status", {"status": {"phase": "Running"}})
        yield running


class Wire:
    """An upgraded connection."""

    def __init__(self, api: Api, method: str, path: str, **headers: str) -> None:
        raw = socket.create_connection(("127.0.0.1", api.server.port), timeout=20)
        self.sock = api.admin.context.wrap_socket(raw, server_hostname="127.0.0.1")
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: Upgrade"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.reader = self.sock.makefile("rb")
        self.status = int(self.reader.readline().split()[1])
        self.headers: dict[str, str] = {}
        while line := self.reader.readline().strip():
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value

    def receive(self) -> bytes:
        return self.reader.read1(1 << 16)  # type: ignore[attr-defined, no-any-return]


class Channels:
    """A websocket client of v4.channel.k8s.io: collects what came on each channel."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._connection = Connection(ConnectionType.CLIENT)
        self._partial = b""
        self.got: dict[int, bytes] = {}
        self.closed = False

    def send(self, channel: int, data: bytes) -> None:
        self._wire.sock.sendall(self._connection.send(BytesMessage(data=bytes([channel]) + data)))

    def close(self) -> None:
        self._wire.sock.sendall(self._connection.send(CloseConnection(code=1000)))

    def read(self) -> None:
        self._connection.receive_data(self._wire.receive())
        for event in self._connection.events():
            if isinstance(event, BytesMessage):
                self._partial += event.data
                if event.message_finished:
                    channel = self._partial[0]
                    self.got[channel] = self.got.get(channel, b"") + self._partial[1:]
                    self._partial = b""
            elif isinstance(event, CloseConnection):
                self.closed = True


def websocket(api: Api, path: str, protocol: str) -> Wire:
    key = base64.b64encode(os.urandom(16)).decode()
    return Wire(api, "GET", path, Upgrade="websocket", Sec_WebSocket_Version="13", Sec_WebSocket_Key=key, Sec_WebSocket_Protocol=protocol)


def test_channels_begin_with_their_port_and_carry_bytes(api: Api) -> None:
    """v4.channel.k8s.io: two little-endian bytes of port on both channels, then data; two megabytes come back whole."""
    wire = websocket(api, f"{PATH}?ports={OPEN_PORT}", "v4.channel.k8s.io")
    assert (wire.status, wire.headers["sec-websocket-protocol"]) == (101, "v4.channel.k8s.io")
    client = Channels(wire)
    data = os.urandom(1 << 20).lower()
    for _ in range(2):
        client.send(0, data)
    while len(client.got.get(0, b"")) < 2 + 2 * len(data):
        client.read()
    assert client.got[0][:2] == client.got[1] == struct.pack("<H", OPEN_PORT)
    assert client.got[0][2:] == data.upper() * 2


def test_a_closed_port_is_told_on_its_error_channel(api: Api) -> None:
    """The error names port and pod; the other port works; the end of a channel pair is the end of that port only."""
    client = Channels(websocket(api, f"{PATH}?ports=81&ports={OPEN_PORT}", "v4.channel.k8s.io"))
    while len(client.got.get(1, b"")) <= 2:
        client.read()
    assert client.got[1][2:].startswith(b"error forwarding port 81 to pod p_shop(")
    assert client.got[1].endswith(b"connection refused")
    client.send(2, b"hello")
    while len(client.got.get(2, b"")) < 7:
        client.read()
    assert client.got[2][2:] == b"HELLO"
    client.close()
    while not client.closed:
        client.read()


def spdy_talk(api: Api, wire: Wire, *, tunnel: bool) -> None:
    """Open a pair of streams as kubectl does, say something, half-close, and expect the answer and the end."""
    session = spdy.Session()
    inside = Connection(ConnectionType.CLIENT)
    heard: dict[int, bytes] = {}
    finished: set[int] = set()

    def send() -> None:
        out = bytes(session.out)
        session.out.clear()
        if out:
            wire.sock.sendall(inside.send(BytesMessage(data=out)) if tunnel else out)

    def read() -> None:
        data = wire.receive()
        if tunnel:
            inside.receive_data(data)
            data = b"".join(bytes(event.data) for event in inside.events() if isinstance(event, BytesMessage))
        for event in session.feed(data):
            if isinstance(event, spdy.Received):
                heard[event.stream] = heard.get(event.stream, b"") + event.data
                if event.finished:
                    finished.add(event.stream)

    for base, port in ((1, OPEN_PORT), (5, 81)):
        words = {"port": str(port), "requestID": str(base)}
        session.open(base, {"streamType": "error", **words})
        session.finish(base)
        session.open(base + 2, {"streamType": "data", **words})
    data = os.urandom(300_000).lower()
    session.send(3, data)
    session.finish(3)
    send()
    while not {1, 3, 5, 7} <= finished:
        read()
    assert heard[3] == data.upper()
    assert heard[1] == b""
    assert heard[5].startswith(b"error forwarding port 81 to pod p_shop(")


def test_bare_spdy(api: Api) -> None:
    """POST with Upgrade: SPDY/3.1, as older clients do."""
    wire = Wire(api, "POST", PATH, Upgrade="SPDY/3.1", X_Stream_Protocol_Version="portforward.k8s.io", Content_Length="0")
    assert (wire.status, wire.headers["x-stream-protocol-version"]) == (101, "portforward.k8s.io")
    spdy_talk(api, wire, tunnel=False)


def test_spdy_in_a_websocket(api: Api) -> None:
    """The subprotocol that kubectl prefers."""
    wire = websocket(api, PATH, "SPDY/3.1+portforward.k8s.io")
    assert (wire.status, wire.headers["sec-websocket-protocol"]) == (101, "SPDY/3.1+portforward.k8s.io")
    spdy_talk(api, wire, tunnel=True)


def test_what_is_no_port_forward_is_refused(api: Api) -> None:
    """No upgrade, no ports, unknown protocols, a pod that does not run."""
    assert api.admin.get(PATH).body["message"] == "Upgrade request required"
    assert websocket(api, PATH, "v4.channel.k8s.io").status == 400
    assert websocket(api, PATH, "chat").status == 400
    assert Wire(api, "POST", PATH, Upgrade="SPDY/3.1", X_Stream_Protocol_Version="other").status == 403
    body = {"metadata": {"name": "idle"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    api.admin.post("/api/v1/namespaces/shop/pods", body)
    idle = api.admin.get("/api/v1/namespaces/shop/pods/idle/portforward")
    assert idle.body["message"] == "unable to forward port because pod is not running. Current status=Pending"


def test_the_dictionary_is_the_one_of_the_draft() -> None:
    """Its Adler-32 stands in the first header block of every SPDY/3 connection."""
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


header_words = st.dictionaries(st.text("abcdef-", min_size=1, max_size=12), st.text(max_size=40), max_size=5)


@given(blocks=st.lists(header_words, max_size=4), data=st.binary(max_size=500), cuts=st.lists(st.integers(1, 50), max_size=30))
def test_frames_survive_any_cut(blocks: list[dict[str, str]], data: bytes, cuts: list[int]) -> None:
    """Whatever pieces a connection arrives in, the same streams and bytes come out, with one compression context."""
    here, there = spdy.Session(), spdy.Session()
    for number, headers in enumerate(blocks):
        here.open(2 * number + 1, headers)
    here.send(1, data)
    here.finish(1)
    wire = bytes(here.out)
    events: list[spdy.Event] = []
    for cut in cuts:
        events += there.feed(wire[:cut])
        wire = wire[cut:]
    events += there.feed(wire)
    assert [event.headers for event in events if isinstance(event, spdy.Opened)] == blocks
    assert b"".join(event.data for event in events if isinstance(event, spdy.Received)) == data
    assert isinstance(events[-1], spdy.Received)
    assert events[-1].finished


@given(st.binary(max_size=300))
def test_nonsense_breaks_the_session_and_nothing_else(data: bytes) -> None:
    """Any bytes are frames or Broken."""
    with contextlib.suppress(spdy.Broken):
        spdy.Session().feed(data)
