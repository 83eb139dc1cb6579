"""What a stream of bytes is, by its first 512 bytes, and how it is unpacked on the way.

CDI looks at nothing else: not at the URL, not at Content-Type (reference/cdi-import.md section 2.3).
"""

from __future__ import annotations

import lzma
from typing import Any, Final, Protocol

from isal import igzip_lib

HEAD: Final = 512
"""Bytes that CDI reads before it decides. A shorter object is refused."""

_MAGIC: Final[tuple[tuple[str, int, bytes], ...]] = (
    ("gzip", 0, b"\x1f\x8b"),
    ("zstd", 0, b"\x28\xb5\x2f\xfd"),
    ("xz", 0, b"\xfd7zXZ\x00"),
    ("qcow2", 0, b"QFI\xfb"),
    ("vmdk", 0, b"KDMV"),
    ("vpc", 0, b"conectix"),
    ("vhdx", 0, b"vhdxfile"),
    ("vdi", 0x40, b"\x7f\x10\xda\xbe"),
    ("tar", 0x101, b"ustar"),
)
PACKED: Final = frozenset({"gzip", "xz"})
"""Formats that this lab unpacks on the way; the importer looks again at what comes out."""
IMAGES: Final = frozenset({"qcow2", "vmdk", "vpc", "vhdx", "vdi", "zstd"})
"""Formats that the real importer understands and this lab does not."""


_IsalError: Any = igzip_lib.IsalError


class Broken(Exception):
    """The stream cannot be read to its end. The text is what the Go programs say."""


class Source(Protocol):
    """Bytes that come one after the other."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer from its start and return how much; 0 = the end. Raise Broken for a stream that is cut or corrupt."""
        ...


def sniff(head: bytes) -> str:
    """Return the format that the first bytes of a stream show; `raw` when none does."""
    for name, offset, magic in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name
    return "raw"


class _Joined:
    """A stream whose first bytes were already taken."""

    def __init__(self, head: bytes, rest: Source) -> None:
        self._head = head
        self._rest = rest

    def readinto(self, buffer: memoryview) -> int:
        if not self._head:
            return self._rest.readinto(buffer)
        size = min(len(buffer), len(self._head))
        buffer[:size] = self._head[:size]
        self._head = self._head[size:]
        return size


class _Gunzip:
    """Unpack gzip members one after the other, as Go does, with a trailer check for each."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._chunk = memoryview(bytearray(256 << 10))
        self._inside = _gzip_member()

    def readinto(self, buffer: memoryview) -> int:
        while True:
            packed = b""
            if self._inside.eof:
                packed = self._inside.unused_data or self._more()
                if not packed:
                    return 0
                self._inside = _gzip_member()
            elif self._inside.needs_input:
                packed = self._more()
                if not packed:
                    raise Broken("unexpected EOF")
            try:
                data = self._inside.decompress(packed, len(buffer))
            except _IsalError as error:
                raise Broken(_go_words(str(error))) from error
            if data:
                buffer[: len(data)] = data
                return len(data)

    def _more(self) -> bytes:
        return bytes(self._chunk[: self._source.readinto(self._chunk)])


def _gzip_member() -> Any:
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


def _go_words(text: str) -> str:
    if "checksum" in text:
        return "gzip: invalid checksum"
    if "wrapper" in text:
        return "gzip: invalid header"
    return "flate: corrupt input"


class _Unxz:
    """Unpack xz."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._chunk = memoryview(bytearray(256 << 10))
        self._inside = lzma.LZMADecompressor(lzma.FORMAT_XZ)

    def readinto(self, buffer: memoryview) -> int:
        while not self._inside.eof:
            packed = b""
            if self._inside.needs_input:
                size = self._source.readinto(self._chunk)
                if size == 0:
                    raise Broken("xz: unexpected EOF")
                packed = bytes(self._chunk[:size])
            try:
                data = self._inside.decompress(packed, len(buffer))
            except lzma.LZMAError as error:
                raise Broken(f"xz: data is corrupt: {error}") from error
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0


def read_head(source: Source) -> bytes:
    """Return the first 512 bytes. Raise Broken for a shorter stream."""
    head = memoryview(bytearray(HEAD))
    have = 0
    while have < HEAD:
        size = source.readinto(head[have:])
        if size == 0:
            raise Broken("could not process image header: unexpected EOF" if have else "could not process image header: EOF")
        have += size
    return bytes(head)


def unpack(source: Source) -> tuple[str, Source]:
    """Return the format found under all packings, and the stream of its bytes. Raise Broken when a header cannot be read."""
    while True:
        head = read_head(source)
        found = sniff(head)
        joined = _Joined(head, source)
        match found:
            case "gzip":
                source = _Gunzip(joined)
            case "xz":
                source = _Unxz(joined)
            case _:
                return found, joined
