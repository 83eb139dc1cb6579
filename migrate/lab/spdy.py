"""SPDY/3.1, as far as Kubernetes' port-forward uses it: streams with headers, data, half-closes, resets, pings. No sockets here.

Source: the SPDY/3 draft (frames, dictionary) and the behaviour of kubectl, which sends no window updates and expects none.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization "
    "cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range "
    "content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified "
    "location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding "
    "upgrade user-agent vary via warning www-authenticate method get status"
)
_VALUES = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found"
    "500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,public"
    "privatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in (*_NAMES.split(), *_VALUES)) + _REST.encode()
"""What both ends have read before the first header block; its Adler-32 is 0xe3c6a7c2."""

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 1
CANCEL = 5
CHUNK_BYTES = 1 << 16
_VERSION = 0x8003
_MAX_HEADERS = 1 << 20


class Broken(Exception):
    """What came is no SPDY."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The other end opened a stream."""

    stream: int
    headers: dict[str, str]
    finished: bool


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes came on a stream; `finished` = the last ones."""

    stream: int
    data: bytes
    finished: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The other end gave a stream up."""

    stream: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The other end takes no more streams."""


Event = Opened | Received | Reset | Ended


class Session:
    """One end of a connection. `feed` takes what came and returns what it means; what is to be sent gathers in `out`."""

    def __init__(self) -> None:
        self.out = bytearray()
        self._in = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes in. Raises Broken."""
        self._in += data
        return [event for frame in self._frames() for event in self._event(*frame)]

    def open(self, stream: int, headers: dict[str, str], *, finished: bool = False) -> None:
        """Open a stream (the client's part: odd numbers)."""
        self._control(SYN_STREAM, struct.pack(">IIBB", stream, 0, 0, 0) + self._block(headers), FIN if finished else 0)

    def accept(self, stream: int) -> None:
        """Answer that a stream is open."""
        self._control(SYN_REPLY, struct.pack(">I", stream) + self._block({}))

    def send(self, stream: int, data: bytes) -> None:
        """Send bytes on a stream."""
        for start in range(0, len(data), CHUNK_BYTES):
            part = data[start : start + CHUNK_BYTES]
            self.out += struct.pack(">II", stream, len(part)) + part

    def finish(self, stream: int) -> None:
        """Send the end of a stream."""
        self.out += struct.pack(">II", stream, FIN << 24)

    def reset(self, stream: int) -> None:
        """Give a stream up."""
        self._control(RST_STREAM, struct.pack(">II", stream, CANCEL))

    def _control(self, kind: int, body: bytes, flags: int = 0) -> None:
        self.out += struct.pack(">HHI", _VERSION, kind, flags << 24 | len(body)) + body

    def _block(self, headers: dict[str, str]) -> bytes:
        plain = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                plain += struct.pack(">I", len(text)) + text
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def _frames(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield first word, flags and body of every whole frame."""
        while len(self._in) >= 8:
            first, second = struct.unpack_from(">II", self._in)
            length = second & 0xFFFFFF
            if len(self._in) < 8 + length:
                return
            body = bytes(self._in[8 : 8 + length])
            del self._in[: 8 + length]
            yield first, second >> 24, body

    def _event(self, first: int, flags: int, body: bytes) -> Iterator[Event]:
        if not first & 0x80000000:
            if body:
                self._control(WINDOW_UPDATE, struct.pack(">II", first, len(body)))
            yield Received(first, body, bool(flags & FIN))
            return
        if first >> 16 != _VERSION:
            raise Broken(f"version {first >> 16 & 0x7FFF} of SPDY")
        try:
            match first & 0xFFFF:
                case 1:
                    (stream,) = struct.unpack_from(">I", body)
                    yield Opened(stream & 0x7FFFFFFF, self._headers(body[10:]), bool(flags & FIN))
                case 2 | 8:
                    self._headers(body[4:])
                case 3:
                    yield Reset(struct.unpack_from(">I", body)[0] & 0x7FFFFFFF)
                case 6:
                    self._control(PING, body)
                case 7:
                    yield Ended()
                case _:
                    pass
        except (struct.error, UnicodeDecodeError, zlib.error) as error:
            raise Broken(str(error)) from error

    def _headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block, _MAX_HEADERS)
        (count,) = struct.unpack_from(">I", plain)
        at = 4
        found: dict[str, str] = {}
        for _ in range(count):
            words = []
            for _ in range(2):
                (size,) = struct.unpack_from(">I", plain, at)
                if at + 4 + size > len(plain):
                    raise Broken("a header is cut short")
                words.append(plain[at + 4 : at + 4 + size].decode())
                at += 4 + size
            found[words[0]] = words[1]
        return found
