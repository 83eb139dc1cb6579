"""HTTP/1.1 on the wire: heads and bodies, read from a TLS socket with as little copying as Python allows.

Both ends use it: `bytesd` to read requests, the proxies to read what their backend answers.
"""

from __future__ import annotations

import contextlib
import select
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

_HEAD_MAX = 1 << 16
_SKIP_MAX = 256 << 10
_READ_BYTES = 1 << 16


class BadHead(Exception):
    """What came is no HTTP/1.1 message, or ended too early."""


class Headers(Mapping[str, str]):
    """Header fields: found whatever their case, kept in order, first of a repeated one."""

    def __init__(self, fields: tuple[tuple[str, str], ...]) -> None:
        self.fields = fields
        self._by_name: dict[str, str] = {}
        for name, value in fields:
            self._by_name.setdefault(name.lower(), value)

    def __getitem__(self, name: str) -> str:
        return self._by_name[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the fields of a request (`method`, `target`) or of an answer (`code`)."""

    version: str
    headers: Headers
    method: str = ""
    target: str = ""
    code: int = 0

    @property
    def keep_alive(self) -> bool:
        """Tell whether the connection outlives this message."""
        words = self.headers.get("Connection", "").lower()
        return "keep-alive" in words if self.version == "HTTP/1.0" else "close" not in words

    @property
    def chunked(self) -> bool:
        return "chunked" in self.headers.get("Transfer-Encoding", "").lower()


class Inlet:
    """A socket with the bytes that were read too far."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock
        self.patience_s: float | None = None
        """Real seconds to wait for a silent peer; heeded for non-blocking sockets only."""
        self._rest = b""

    def line(self) -> bytes:
        """Read up to and without the next line end. Raises BadHead when the peer ends or rambles."""
        while b"\n" not in self._rest:
            if len(self._rest) > _HEAD_MAX or not self._more():
                raise BadHead("no line")
        line, _, self._rest = self._rest.partition(b"\n")
        return line.rstrip(b"\r")

    def head(self) -> bytes | None:
        """Read up to and without the empty line that ends a head. None when the peer had no more to say."""
        while b"\r\n\r\n" not in self._rest:
            if len(self._rest) > _HEAD_MAX:
                raise BadHead("the head is too long")
            if not self._more():
                if self._rest.strip():
                    raise BadHead("the head is cut")
                return None
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        return head

    def into(self, view: memoryview) -> int:
        """Read into a view, at least one byte, and from a non-blocking socket all that is there. 0 at the end."""
        if self._rest:
            count = min(len(view), len(self._rest))
            view[:count] = self._rest[:count]
            self._rest = self._rest[count:]
            return count
        count = self._wait(view)
        if count and self.sock.gettimeout() == 0:
            with contextlib.suppress(ssl.SSLWantReadError):
                while count < len(view) and (more := self.sock.recv_into(view[count:])):
                    count += more
        return count

    def _more(self) -> bool:
        view = memoryview(bytearray(_READ_BYTES))
        count = self._wait(view)
        self._rest += view[:count]
        return bool(count)

    def _wait(self, view: memoryview) -> int:
        """Read once, waiting as long as it takes (or as `patience_s` allows: TimeoutError)."""
        while True:
            try:
                return self.sock.recv_into(view)
            except ssl.SSLWantReadError:
                if not select.select([self.sock], [], [], self.patience_s)[0]:
                    raise TimeoutError("the peer is silent") from None


def read_head(inlet: Inlet) -> Head | None:
    """Read the head of a request. None when the peer closed instead. Raises BadHead."""
    raw = inlet.head()
    if raw is None:
        return None
    first, fields = _split(raw)
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadHead("no request line")
    return Head(version=words[2], headers=fields, method=words[0], target=words[1])


def read_answer(inlet: Inlet) -> Head:
    """Read the head of an answer, past any 100 Continue. Raises BadHead."""
    while True:
        raw = inlet.head()
        if raw is None:
            raise BadHead("closed before answering")
        first, fields = _split(raw)
        version, _, rest = first.partition(" ")
        code = rest.partition(" ")[0]
        if not version.startswith("HTTP/1.") or not code.isdigit():
            raise BadHead("no status line")
        if int(code) != 100:
            return Head(version=version, headers=fields, code=int(code))


def _split(raw: bytes) -> tuple[str, Headers]:
    first, *lines = raw.decode("latin-1").split("\r\n")
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadHead("malformed field")
        fields.append((name, value.strip()))
    return first, Headers(tuple(fields))


class Body:
    """The body of a message, read once, in pieces. `expect` is called before the first read of a client that waits for 100."""

    def __init__(self, inlet: Inlet, head: Head, expect: Callable[[], None] | None = None) -> None:
        self._inlet = inlet
        self._chunked = head.chunked
        length = head.headers.get("Content-Length", "")
        self.length: int | None = None if self._chunked else (int(length) if length.isascii() and length.isdigit() else None)
        self._left: int | None = 0 if self._chunked else self.length
        if head.method and not self._chunked and self.length is None:
            self._left = 0
        self._until_close = not head.method and not self._chunked and self.length is None
        self._expect = expect if head.headers.get("Expect", "").lower() == "100-continue" else None
        self._done = not self._chunked and self._left == 0

    def read(self, limit: int = _READ_BYTES) -> bytes:
        """Read up to `limit` bytes, as soon as there are any; empty at the end. Raises BadHead when the body is cut short."""
        view = memoryview(bytearray(limit))
        return bytes(view[: self.read_into(view)])

    def read_into(self, view: memoryview) -> int:
        """Read into a view, at least one byte; 0 at the end. Raises BadHead when the body is cut short."""
        if self._expect is not None and not self._done:
            self._expect()
            self._expect = None
        if self._done or (self._chunked and not self._left and not self._next_chunk()):
            return 0
        count = self._inlet.into(view if self._left is None else view[: self._left])
        if not count:
            self._done = True
            if self._until_close:
                return 0
            raise BadHead("the body is cut short")
        if self._left is not None:
            self._left -= count
            if not self._left:
                self._end_of_stretch()
        return count

    def skip(self) -> bool:
        """Read the rest away, if it is short; return whether the connection can be used for another message."""
        if self._expect is not None and not self._done:
            return False
        seen = 0
        while not self._done and seen <= _SKIP_MAX:
            seen += len(self.read())
        return self._done and not self._until_close

    def _end_of_stretch(self) -> None:
        if self._chunked:
            self._inlet.line()
        else:
            self._done = True

    def _next_chunk(self) -> bool:
        size = self._inlet.line().partition(b";")[0].strip()
        try:
            self._left = int(size, 16)
        except ValueError as error:
            raise BadHead("no chunk size") from error
        if self._left == 0:
            while self._inlet.line():
                pass
            self._done = True
        return not self._done
