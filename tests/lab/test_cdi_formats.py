"""What a stream is taken for, and what comes out of packed ones; broken streams break with Go's words."""

from __future__ import annotations

import gzip
import lzma

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.lab.cdi_formats import HEAD, Broken, Source, sniff, unpack


class Pieces:
    """A stream that comes in pieces of its own choice."""

    def __init__(self, data: bytes, size: int = 1000) -> None:
        self._data = data
        self._size = size

    def readinto(self, buffer: memoryview) -> int:
        piece = self._data[: min(self._size, len(buffer))]
        self._data = self._data[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)


def drained(source: Source, size: int = 4096) -> bytes:
    buffer = memoryview(bytearray(size))
    parts = []
    while count := source.readinto(buffer):
        parts.append(bytes(buffer[:count]))
    return b"".join(parts)


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"\x1f\x8b", "gzip"),
        (b"QFI\xfb", "qcow2"),
        (b"KDMV", "vmdk"),
        (b"conectix", "vpc"),
        (b"vhdxfile", "vhdx"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"\x00" * 0x101 + b"ustar", "tar"),
        (b"\xeb\x63\x90", "raw"),
        (b"", "raw"),
    ],
)
def test_formats_show_in_the_first_bytes(head: bytes, found: str) -> None:
    """Formats are told apart by magic numbers and nothing else."""
    assert sniff(head.ljust(HEAD, b"\x00")) == found


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=HEAD, max_size=20_000), st.integers(1, 5000), st.integers(1, 3))
def test_packed_streams_come_out_whole(data: bytes, size: int, members: int) -> None:
    """gzip (also of several members), xz, and gzip in xz give the bytes that went in, whatever the pieces."""
    data = b"\x01" + data
    step = -(-len(data) // members)
    packed = b"".join(gzip.compress(data[at : at + step], 1) for at in range(0, len(data), step)) + b""
    for stream in (packed, lzma.compress(data), lzma.compress(packed)):
        if len(stream) < HEAD:
            continue
        found, source = unpack(Pieces(stream, size))
        assert found == "raw"
        assert drained(source) == data


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=4000, max_size=6000), st.floats(0.2, 0.999))
def test_a_cut_gzip_stream_breaks(data: bytes, share: float) -> None:
    """A gzip stream that ends early is an unexpected EOF, never a short image."""
    packed = gzip.compress(data, 0)
    source = unpack(Pieces(packed[: max(HEAD, int(len(packed) * share))]))[1]
    with pytest.raises(Broken, match="unexpected EOF"):
        drained(source)


def test_a_changed_gzip_stream_breaks() -> None:
    """A flipped bit is caught by the trailer."""
    packed = bytearray(gzip.compress(bytes(range(256)) * 20, 0))
    packed[700] ^= 1
    with pytest.raises(Broken, match="gzip: invalid checksum"):
        drained(unpack(Pieces(bytes(packed)))[1])


@pytest.mark.parametrize("size", [0, 1, HEAD - 1])
def test_a_short_object_is_refused(size: int) -> None:
    """Less than 512 bytes is no image."""
    with pytest.raises(Broken, match="could not process image header"):
        unpack(Pieces(b"x" * size))
