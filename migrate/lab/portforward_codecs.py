"""The languages in which clients ask for a port-forward, each turned into the same few events. No sockets here.

Kubernetes has two: numbered channels over a websocket (`v4.channel.k8s.io`), and SPDY streams, sent bare or inside a websocket.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import ProtocolError

from migrate.lab import spdy


class Garbled(Exception):
    """The client speaks nonsense."""


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to a port; `key` names the connection from now on."""

    key: int
    port: int


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes for a connection."""

    key: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Over:
    """The client has ended the conversation."""


@dataclass(frozen=True, slots=True)
class Finished:
    """No more bytes will come for a connection; `whole` = it is not wanted any more at all."""

    key: int
    whole: bool = False


Event = Dial | Bytes | Finished | Over


class Codec(Protocol):
    """One end of a conversation. What is to be sent gathers in `out`."""

    out: bytearray

    def feed(self, data: bytes) -> list[Event]:
        """Take in what the client sent. Raises Garbled."""
        ...

    def send(self, key: int, data: bytes) -> None:
        """Send what the pod said."""
        ...

    def fail(self, key: int, text: str) -> None:
        """Tell the client why a connection failed."""
        ...

    def finish(self, key: int) -> None:
        """Tell the client that the pod has said everything."""
        ...


class SpdyCodec:
    """Pairs of streams, `error` and `data`, that belong together by their requestid."""

    def __init__(self) -> None:
        self._session = spdy.Session()
        self.out = self._session.out
        self._kinds: dict[int, tuple[str, int]] = {}
        self._streams: dict[tuple[str, int], int] = {}

    def feed(self, data: bytes) -> list[Event]:
        found: list[Event] = []
        try:
            events = self._session.feed(data)
        except spdy.Broken as error:
            raise Garbled(str(error)) from error
        for event in events:
            match event:
                case spdy.Opened(stream, headers, _):
                    found += self._opened(stream, headers)
                case spdy.Received(stream, content, finished):
                    kind, key = self._kinds.get(stream, ("", 0))
                    if kind == "data" and content:
                        found.append(Bytes(key, content))
                    if kind == "data" and finished:
                        found.append(Finished(key))
                case spdy.Reset(stream):
                    kind, key = self._kinds.get(stream, ("", 0))
                    if kind == "data":
                        found.append(Finished(key, whole=True))
                case spdy.Ended():
                    found.append(Over())
        return found

    def _opened(self, stream: int, headers: dict[str, str]) -> list[Event]:
        try:
            kind, key, port = headers["streamtype"], int(headers["requestid"]), int(headers["port"])
        except (KeyError, ValueError):
            self._session.reset(stream)
            return []
        self._session.accept(stream)
        self._kinds[stream] = (kind, key)
        self._streams[kind, key] = stream
        whole = ("data", key) in self._streams and ("error", key) in self._streams
        return [Dial(key, port)] if whole else []

    def send(self, key: int, data: bytes) -> None:
        self._session.send(self._streams["data", key], data)

    def fail(self, key: int, text: str) -> None:
        self._session.send(self._streams["error", key], text.encode())
        self.finish(key)

    def finish(self, key: int) -> None:
        for kind in ("data", "error"):
            stream = self._streams.pop((kind, key), None)
            if stream is not None:
                self._session.finish(stream)


class ChannelCodec:
    """A websocket with two channels for every port: 2i for data, 2i+1 for errors; its first frame on each says the port."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._socket = WebSocket()
        self.out = self._socket.out
        self._open = set(range(len(ports)))
        self._begin: list[Event] = [Dial(key, port) for key, port in enumerate(ports)]
        for key, port in enumerate(ports):
            for channel in (2 * key, 2 * key + 1):
                self._socket.send(bytes([channel]) + struct.pack("<H", port))

    def feed(self, data: bytes) -> list[Event]:
        found, self._begin = self._begin, []
        for message in self._socket.feed(data):
            if message and message[0] % 2 == 0 and len(message) > 1:
                found.append(Bytes(message[0] // 2, message[1:]))
        return [*found, Over()] if self._socket.closed else found

    def send(self, key: int, data: bytes) -> None:
        self._socket.send(bytes([2 * key]) + data)

    def fail(self, key: int, text: str) -> None:
        self._socket.send(bytes([2 * key + 1]) + text.encode())
        self.finish(key)

    def finish(self, key: int) -> None:
        self._open.discard(key)
        if not self._open:
            self._socket.close()


class TunnelCodec:
    """SPDY inside the binary messages of a websocket, which kubectl prefers."""

    def __init__(self) -> None:
        self._socket = WebSocket()
        self._inner = SpdyCodec()
        self.out = self._socket.out

    def feed(self, data: bytes) -> list[Event]:
        found = [event for message in self._socket.feed(data) for event in self._inner.feed(message)]
        self._pass_on()
        return [*found, Over()] if self._socket.closed else found

    def send(self, key: int, data: bytes) -> None:
        self._inner.send(key, data)
        self._pass_on()

    def fail(self, key: int, text: str) -> None:
        self._inner.fail(key, text)
        self._pass_on()

    def finish(self, key: int) -> None:
        self._inner.finish(key)
        self._pass_on()

    def _pass_on(self) -> None:
        if self._inner.out:
            self._socket.send(bytes(self._inner.out))
            self._inner.out.clear()


class WebSocket:
    """The server's end of a websocket after its handshake: whole messages in, messages out."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.closed = False
        """The client has said goodbye."""
        self._connection = Connection(ConnectionType.SERVER)
        self._partial = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that are complete now. Raises Garbled."""
        messages: list[bytes] = []
        self._connection.receive_data(data)
        try:
            for event in self._connection.events():
                match event:
                    case BytesMessage():
                        self._partial += event.data
                    case TextMessage():
                        self._partial += event.data.encode()
                    case Ping():
                        self.out += self._connection.send(event.response())
                        continue
                    case CloseConnection():
                        self.out += self._connection.send(event.response())
                        self.closed = True
                        continue
                    case _:
                        continue
                if event.message_finished:
                    messages.append(bytes(self._partial))
                    self._partial.clear()
        except ProtocolError as error:
            raise Garbled(str(error)) from error
        return messages

    def send(self, data: bytes) -> None:
        """Send one binary message."""
        self.out += self._connection.send(BytesMessage(data=data))

    def close(self) -> None:
        """Send the end."""
        self.out += self._connection.send(CloseConnection(code=1000))
