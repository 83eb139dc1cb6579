"""A gzip stream that is unpacked as it comes. Whoever asks at its end learns whether it is whole."""

from __future__ import annotations

from isal import isal_zlib

from migrate.transfer.patience import Interrupted

_GZIP = 31


class Gunzip:
    """One stream, of one member or several."""

    def __init__(self) -> None:
        self._member = isal_zlib.decompressobj(_GZIP)

    def feed(self, piece: bytes) -> bytes:
        """Return what a piece unpacks to. Raises Interrupted for what is no gzip or corrupt: the next try may be better."""
        unpacked = bytearray()
        try:
            while piece:
                if self._member.eof:
                    self._member = isal_zlib.decompressobj(_GZIP)
                unpacked += self._member.decompress(piece)
                piece = self._member.unused_data
        except isal_zlib.error as error:  # type: ignore[misc]
            raise Interrupted(f"the gzip stream is corrupt: {error}") from None
        return bytes(unpacked)

    @property
    def ended(self) -> bool:
        """Tell whether the last member came to its end, checksum included."""
        return bool(self._member.eof)
