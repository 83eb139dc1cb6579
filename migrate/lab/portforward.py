"""pods/NAME/portforward: one thread carries all connections of one client between it and the pod, with bounded memory."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import selectors
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from migrate.lab.api_status import ApiError, bad_request
from migrate.lab.exchange import Exchange, Pipe, Request
from migrate.lab.portforward_codecs import Bytes, ChannelCodec, Codec, Dial, Event, Finished, Garbled, Over, SpdyCodec, TunnelCodec

Dialler = Callable[[int], socket.socket]

_SPDY = "SPDY/3.1"
_STREAMS = "portforward.k8s.io"
_TUNNEL = f"{_SPDY}+{_STREAMS}"
_CHANNELS = "v4.channel.k8s.io"
_WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_WAITING_BYTES = 4 << 20
"""So much may wait to be sent in one direction before its source is read no further."""
_READ_BYTES = 1 << 18
PARTING_S = 5.0
"""Real seconds for the last bytes to be taken."""


def accept(exchange: Exchange, dial: Dialler, *, pod: str, parameter: str = "ports") -> Callable[[], None]:
    """Negotiate a port-forward; return the function that carries it out. Raises a 400 ApiError for what is none.

    `parameter` names the ports in the query: clients say `ports` to an API server, which says `port` to a kubelet.
    """
    codec, headers = _negotiated(exchange.request, parameter)
    pipe = exchange.upgrade(headers)
    return lambda: Carrier(pipe, codec, dial, pod=pod).run()


def _negotiated(request: Request, parameter: str) -> tuple[Codec, tuple[tuple[str, str], ...]]:
    upgrade = request.header("upgrade")
    if upgrade.lower() == _SPDY.lower():
        offered = [word.strip() for value in request.headers.get("x-stream-protocol-version", ()) for word in value.split(",")]
        if _STREAMS not in offered:
            text = f"unable to upgrade: unable to negotiate protocol: client supports {offered}, server accepts [{_STREAMS}]"
            raise ApiError(403, text)
        return SpdyCodec(), (("Connection", "Upgrade"), ("Upgrade", _SPDY), ("X-Stream-Protocol-Version", _STREAMS))
    if upgrade.lower() != "websocket":
        raise bad_request("Upgrade request required")
    key = request.header("sec-websocket-key")
    offered = [word.strip() for value in request.headers.get("sec-websocket-protocol", ()) for word in value.split(",")]
    codec: Codec
    if _TUNNEL in offered:
        chosen, codec = _TUNNEL, TunnelCodec()
    elif _CHANNELS in offered or not offered:
        chosen, codec = _CHANNELS if offered else "", ChannelCodec(_ports(request, parameter))
    else:
        raise bad_request(f"unable to negotiate protocol: client supports {offered}, server accepts [{_TUNNEL} {_CHANNELS}]")
    digest = base64.b64encode(hashlib.sha1(f"{key}{_WEBSOCKET_GUID}".encode()).digest()).decode()
    headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", digest)]
    if chosen:
        headers.append(("Sec-WebSocket-Protocol", chosen))
    return codec, tuple(headers)


def _ports(request: Request, parameter: str) -> list[int]:
    texts = [text for value in request.query.get(parameter, ()) for text in value.split(",")]
    if not texts:
        raise bad_request('query parameter "port" is required')
    for text in texts:
        if not text.isdecimal() or not 0 < int(text) < 65536:
            raise bad_request(f'unable to parse "{text}" as a port')
    return [int(text) for text in texts]


@dataclass(slots=True)
class End:
    """A connection to the pod. `waiting` are bytes for it; `ending` = close its sending side when they are out."""

    key: int
    sock: socket.socket
    waiting: bytearray = field(default_factory=bytearray)
    ending: bool = False
    silent: bool = False
    """It has said everything."""


class Carrier:
    """Moves bytes between a client and the ports of a pod until either has had enough."""

    def __init__(self, pipe: Pipe, codec: Codec, dial: Dialler, *, pod: str) -> None:
        self._sock = pipe.sock
        self._ahead = pipe.take_ahead()
        self._codec = codec
        self._dial = dial
        self._pod = pod
        self._over = False
        self._ends: dict[int, End] = {}
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Carry until the client is gone or says that it is over."""
        self._sock.setblocking(False)
        self._selector.register(self._sock, selectors.EVENT_READ)
        try:
            self._take(self._ahead)
            while not self._over:
                self._flush()
                self._choose()
                for chosen, mask in self._selector.select():
                    self._serve(chosen.data, mask)
            self._part()
        except (OSError, Garbled):
            pass  # the client is gone or lost, and with it everybody who could be told
        finally:
            self._selector.close()
            for end in self._ends.values():
                end.sock.close()

    def _part(self) -> None:
        """Deliver what is still on its way when the client has said goodbye."""
        left = [(end.sock, end.waiting) for end in self._ends.values()]
        for sock, waiting in (*left, (self._sock, self._codec.out)):
            sock.settimeout(PARTING_S)
            with contextlib.suppress(OSError):
                sock.sendall(bytes(waiting))

    def _choose(self) -> None:
        """Listen to whom there is room for."""
        crowded = any(len(end.waiting) > _WAITING_BYTES for end in self._ends.values())
        mask = (selectors.EVENT_WRITE if self._codec.out else 0) | (0 if crowded else selectors.EVENT_READ)
        self._listen(self._sock, mask, None)
        full = len(self._codec.out) > _WAITING_BYTES
        for end in self._ends.values():
            mask = (selectors.EVENT_WRITE if end.waiting else 0) | (0 if full or end.silent else selectors.EVENT_READ)
            self._listen(end.sock, mask, end)

    def _listen(self, sock: socket.socket, mask: int, data: Any) -> None:
        known = self._selector.get_map().get(sock)
        if known is None:
            if mask:
                self._selector.register(sock, mask, data)
        elif not mask:
            self._selector.unregister(sock)
        elif known.events != mask:
            self._selector.modify(sock, mask, data)

    def _serve(self, end: End | None, mask: int) -> None:
        if end is None:
            if mask & selectors.EVENT_READ:
                self._hear()
            return
        if mask & selectors.EVENT_WRITE:
            self._push(end)
        if mask & selectors.EVENT_READ and self._ends.get(end.key) is end:
            self._pull(end)

    def _hear(self) -> None:
        while True:
            try:
                data = self._sock.recv(_READ_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                return
            if not data:
                raise ConnectionResetError
            self._take(data)
            if not isinstance(self._sock, ssl.SSLSocket) or not self._sock.pending():
                return

    def _take(self, data: bytes) -> None:
        for event in self._codec.feed(data):
            self._act(event)

    def _act(self, event: Event) -> None:
        match event:
            case Dial(key, port):
                self._connect(key, port)
            case Bytes(key, data) if key in self._ends:
                self._ends[key].waiting += data
                self._push(self._ends[key])
            case Over():
                self._over = True
            case Finished(key, whole) if key in self._ends:
                self._ends[key].ending = True
                self._push(self._ends[key])
                if whole:
                    self._drop(key)
            case _:
                pass

    def _connect(self, key: int, port: int) -> None:
        try:
            sock = self._dial(port)
        except OSError:
            why = f"failed to connect to localhost:{port} inside namespace: dial tcp4 127.0.0.1:{port}: connect: connection refused"
            self._codec.fail(key, f"error forwarding port {port} to pod {self._pod}: {why}")
            return
        sock.setblocking(False)
        self._ends[key] = End(key, sock)

    def _push(self, end: End) -> None:
        """Send to the pod what it takes now."""
        try:
            while end.waiting:
                sent = end.sock.send(end.waiting[:_READ_BYTES])
                del end.waiting[:sent]
            if end.ending:
                end.sock.shutdown(socket.SHUT_WR)
                if end.silent:
                    self._drop(end.key)
        except BlockingIOError:
            return
        except OSError:
            end.waiting.clear()

    def _pull(self, end: End) -> None:
        """Read what the pod says."""
        try:
            data = end.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._codec.send(end.key, data)
            return
        end.silent = True
        self._codec.finish(end.key)
        if end.ending and not end.waiting:
            self._drop(end.key)

    def _drop(self, key: int) -> None:
        end = self._ends.pop(key, None)
        if end is not None:
            if end.sock in self._selector.get_map():
                self._selector.unregister(end.sock)
            end.sock.close()

    def _flush(self) -> None:
        """Send to the client what it takes now."""
        out = self._codec.out
        try:
            while out:
                sent = self._sock.send(bytes(out[:_READ_BYTES]))
                del out[:sent]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return
