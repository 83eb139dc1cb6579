"""One HTTP exchange: what was asked and the means to answer it, or not to.

Headers are parsed by hand; the standard library's parser costs more than the rest of a request.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from http import HTTPStatus
from io import BufferedReader
from typing import Any
from urllib.parse import parse_qs, unquote

_LINE = 65536
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Dropped(Exception):
    """Raised by a handler to close the connection without another byte."""


class Request:
    """One parsed request head. Header names are lower case; `query` keeps every value of a key in order."""

    __slots__ = ("headers", "method", "path", "query", "raw_path", "target", "user")

    def __init__(self, method: str, target: str, headers: dict[str, list[str]]) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        raw, _, query = target.partition("?")
        self.raw_path = raw
        self.path = unquote(raw) if "%" in raw else raw
        self.query: dict[str, list[str]] = parse_qs(query, keep_blank_values=True) if query else {}
        self.user = ""

    def header(self, name: str, default: str = "") -> str:
        """Return the first value of a header (name in lower case)."""
        values = self.headers.get(name)
        return values[0] if values else default

    def arg(self, name: str, default: str = "") -> str:
        """Return the first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else default


class Stream:
    """A response whose body is written piece by piece: chunked, or of a length said beforehand."""

    __slots__ = ("_chunked", "_exchange")

    def __init__(self, exchange: Exchange, *, chunked: bool) -> None:
        self._exchange = exchange
        self._chunked = chunked

    def write(self, data: bytes) -> None:
        """Send some bytes now. Raises OSError when the client is gone."""
        if not data:
            return
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._exchange.sock.sendall(data)

    def end(self) -> None:
        """Finish the body."""
        if self._chunked:
            self._exchange.sock.sendall(b"0\r\n\r\n")


class Pipe:
    """A connection after an upgrade: what the client may have sent ahead is read first."""

    __slots__ = ("_rest", "sock")

    def __init__(self, sock: socket.socket, reader: BufferedReader) -> None:
        self.sock = sock
        sock.setblocking(False)
        rest = b""
        with contextlib.suppress(OSError, ValueError):
            rest = reader.peek() or b""
        sock.setblocking(True)
        self._rest = rest

    def take_ahead(self) -> bytes:
        """Return, once, the bytes that arrived together with the request."""
        rest, self._rest = self._rest, b""
        return rest


class Exchange:
    """One request and the means to answer it. Exactly one of `reply`, `stream`, `upgrade` may be used, once."""

    __slots__ = (
        "_continue",
        "_left",
        "_reader",
        "answered",
        "close",
        "cut_short",
        "mute",
        "on_answer",
        "peer",
        "request",
        "sock",
        "status",
    )

    def __init__(self, request: Request, sock: socket.socket, reader: BufferedReader, *, peer: dict[str, Any] | None) -> None:
        self.request = request
        self.sock = sock
        self.peer = peer
        self.close = request.header("connection").lower() == "close"
        self.answered = False
        self.status = 0
        self.mute = False
        """Close the connection instead of answering."""
        self.on_answer: Callable[[], None] = lambda: None
        """Called just before the answer goes out, so that whoever has the answer finds what it notes."""
        self.cut_short = False
        """Send only half of the answer's body, then close."""
        self._reader = reader
        self._continue = request.header("expect").lower() == "100-continue"
        if request.header("transfer-encoding").lower() == "chunked":
            self._left = -1
        else:
            self._left = int(request.header("content-length", "0") or 0)

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes of the request body; empty at its end."""
        if self._left == 0:
            return b""
        if self._continue:
            self._continue = False
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._left < 0:
            return self._chunk(size)
        data = self._reader.read(min(size, self._left))
        if not data:
            raise Dropped
        self._left -= len(data)
        return data

    def _chunk(self, size: int) -> bytes:
        # -1 = at the head of a chunk; -n-1 = n bytes of the present chunk are left
        if self._left == -1:
            line = self._reader.readline(_LINE)
            if not line:
                raise Dropped
            length = int(line.split(b";")[0], 16)
            if length == 0:
                while self._reader.readline(_LINE) not in (b"\r\n", b"\n", b""):
                    pass
                self._left = 0
                return b""
            self._left = -length - 1
        data = self._reader.read(min(size, -self._left - 1))
        if not data:
            raise Dropped
        self._left += len(data)
        if self._left == -1:
            self._reader.readline(_LINE)
        return data

    def body(self) -> bytes:
        """Return the whole request body."""
        if self._left > 0:
            return self.read(self._left)
        parts = []
        while part := self.read(1 << 20):
            parts.append(part)
        return b"".join(parts)

    def reply(
        self, code: int, body: bytes | str | dict[str, Any] = b"", *, headers: tuple[tuple[str, str], ...] = (), content_type: str = ""
    ) -> None:
        """Send a whole answer. A dict goes as JSON, a str as plain text unless `content_type` says otherwise."""
        if isinstance(body, dict):
            body = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
            content_type = content_type or "application/json"
        elif isinstance(body, str):
            body = body.encode()
            content_type = content_type or "text/plain; charset=utf-8"
        head = self._head(code, content_type, (*headers, ("Content-Length", str(len(body)))))
        if self.cut_short:
            self.sock.sendall(head + body[: len(body) // 2])
            raise Dropped
        self.sock.sendall(head if self.request.method == "HEAD" else head + body)

    def stream(self, code: int, *, headers: tuple[tuple[str, str], ...] = (), content_type: str = "", length: int | None = None) -> Stream:
        """Send the head of an answer and return the stream for its body; without `length` it is chunked."""
        framing = ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))
        self.sock.sendall(self._head(code, content_type, (*headers, framing)))
        return Stream(self, chunked=length is None)

    def upgrade(self, headers: tuple[tuple[str, str], ...]) -> Pipe:
        """Answer 101 with these headers and hand over the connection, which is closed when the handler returns."""
        self.close = True
        self.sock.sendall(self._head(101, "", headers))
        return Pipe(self.sock, self._reader)

    def _head(self, code: int, content_type: str, headers: tuple[tuple[str, str], ...]) -> bytes:
        if self.mute:
            raise Dropped
        self.answered = True
        self.status = code
        self.on_answer()
        lines = [f"HTTP/1.1 {code} {_PHRASES.get(code, '')}"]
        if content_type:
            lines.append(f"Content-Type: {content_type}")
        lines += [f"{name}: {value}" for name, value in headers]
        if self.close and code != 101:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def read_request(reader: BufferedReader) -> Request | None:
    """Read one request head; None when the client has hung up. Raises ValueError for what is not HTTP."""
    line = reader.readline(_LINE)
    while line in (b"\r\n", b"\n"):
        line = reader.readline(_LINE)
    if not line:
        return None
    method, target, version = line.decode("latin-1").split()
    if not version.startswith("HTTP/1."):
        raise ValueError(version)
    headers: dict[str, list[str]] = {}
    while True:
        line = reader.readline(_LINE)
        if line in (b"\r\n", b"\n"):
            break
        if not line:
            return None
        name, _, value = line.decode("latin-1").partition(":")
        headers.setdefault(name.strip().lower(), []).append(value.strip())
    return Request(method, target, headers)
