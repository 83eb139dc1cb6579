"""The checksum of an http source: over the bytes on the wire, before any unpacking (reference/cdi-import.md section 2.5)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from migrate.lab.cdi_formats import Source


class Mismatch(Exception):
    """Other bytes than promised came. CDI takes this as final."""


class _Hashed:
    def __init__(self, source: Source, algorithm: str) -> None:
        self._source = source
        self.digest = hashlib.new(algorithm)

    def readinto(self, buffer: memoryview) -> int:
        size = self._source.readinto(buffer)
        self.digest.update(buffer[:size])
        return size


def checked(source: Source, checksum: str) -> tuple[Source, Callable[[], None]]:
    """Return a stream that is hashed as it passes, and the check for its end, which raises Mismatch. `checksum` is `algorithm:hex`."""
    if not checksum:
        return source, lambda: None
    algorithm, _, wanted = checksum.partition(":")
    hashed = _Hashed(source, algorithm.lower())

    def verify() -> None:
        found = hashed.digest.hexdigest()
        if found != wanted.lower():
            raise Mismatch(f"checksum mismatch: expected {wanted.lower()}, got {found}")

    return hashed, verify
