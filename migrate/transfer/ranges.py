"""Which bytes of a disk are read for its proof. Pure: the same question has the same ranges on every machine."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

MIB = 1 << 20
PIECE_BYTES = MIB
"""Unit of sampling."""
READ_BYTES = MIB // 4
"""Unit of reading and comparing; eight streams hold a few of them each."""
FULL_RANGE_BYTES = 64 * MIB
"""Length of one request when everything is read."""
LEAST_PIECES = 32
MOST_PIECES = 512
GIB = 1 << 30


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """Bytes [start, stop) of a disk."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"no range: [{self.start}, {self.stop})")

    @property
    def bytes(self) -> int:
        return self.stop - self.start

    @property
    def header(self) -> str:
        """Value of the HTTP Range header (whose end is inclusive)."""
        return f"bytes={self.start}-{self.stop - 1}"


def every(start: int, stop: int) -> tuple[Range, ...]:
    """Cover [start, stop) without gap or overlap, in requests of FULL_RANGE_BYTES."""
    return tuple(Range(at, min(at + FULL_RANGE_BYTES, stop)) for at in range(start, stop, FULL_RANGE_BYTES))


def sample(start: int, stop: int, *, seed: str) -> tuple[Range, ...]:
    """Choose ranges of one piece: the first, the last, and one at random in each of equal strata between them.

    32 strata, one more per GiB, 512 at most; where they would cover everything, everything is chosen. Sorted, without overlap. The seed
    (disk and migration) makes the choice the same on every run, and another for every disk.
    """
    length = stop - start
    strata = min(MOST_PIECES, LEAST_PIECES + length // GIB)
    if length <= (strata + 2) * PIECE_BYTES:
        return every(start, stop)
    dice = random.Random(seed)  # noqa: S311 - a choice that can be repeated, not a secret
    first, last = Range(start, start + PIECE_BYTES), Range(stop - PIECE_BYTES, stop)
    low, high = first.stop, last.start
    chosen = [first]
    for index in range(strata):
        begin = low + (high - low) * index // strata
        end = low + (high - low) * (index + 1) // strata
        at = dice.randrange(begin, end - PIECE_BYTES + 1)
        chosen.append(Range(at, at + PIECE_BYTES))
    return (*chosen, last)


def total(ranges: Sequence[Range]) -> int:
    """Return how many bytes the ranges hold."""
    return sum(part.bytes for part in ranges)
