"""Golden images. The lab has no container registry: the content of a `registry` source is made from its URL.

The same URL always gives the same bytes, two URLs give different ones, so that a VM re-created from its template instead of its copied
disk is seen in the bytes. Not a bootable image, as nothing boots in the lab.
"""

from __future__ import annotations

import hashlib
from typing import Final

SIZE: Final = 8 << 20
_BLOCK: Final = 64 << 10
_FILLED: Final = 4
"""Of 16 blocks, so many hold bytes; the rest are zeroes, as in a fresh image."""


class Golden:
    """A stream of the golden image of a URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._at = 0

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer; 0 = the end."""
        number, inside = divmod(self._at, _BLOCK)
        size = min(len(buffer), _BLOCK - inside, SIZE - self._at)
        if size:
            buffer[:size] = block(self._url, number)[inside : inside + size]
        self._at += size
        return size


def block(url: str, number: int) -> bytes:
    """Return one block of 64 KiB of an image."""
    if number % 16 >= _FILLED:
        return bytes(_BLOCK)
    return hashlib.shake_128(f"golden {number} {url}".encode()).digest(_BLOCK)
