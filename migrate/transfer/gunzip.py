"""A gzip stream that is unpacked as it comes. Whoever asks at its end learns whether it is whole."""

from __future__ import annotations

from collections.abc import Iterator

from isal import isal_zlib

from migrate.transfer.patience import Interrupted

_GZIP = 31
MOST_BYTES = 1 << 20
"""Unpacked bytes that are held at once: a disk's zeros shrink to a thousandth, so a small piece may hold very much."""


class Gunzip:
    """One stream, of one member or several."""

    def __init__(self) -> None:
        self._member = isal_zlib.decompressobj(_GZIP)
        self.bytes = 0
        """Unpacked so far."""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield what a piece unpacks to. Raises Interrupted for what is no gzip or corrupt: the next try may be better."""
        try:
            while piece:
                if self._member.eof:
                    self._member = isal_zlib.decompressobj(_GZIP)
                if plain := self._member.decompress(piece, MOST_BYTES):
                    self.bytes += len(plain)
                    yield plain
                piece = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        except isal_zlib.error as error:  # type: ignore[misc]
            raise Interrupted(f"the gzip stream is corrupt: {error}") from None

    @property
    def ended(self) -> bool:
        """Tell whether the last member came to its end, checksum included."""
        return bool(self._member.eof)
