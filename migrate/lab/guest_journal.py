"""What a busy guest writes across all its disks, in an order that a copy of them must keep: a copy of several moments breaks it.

The guest does one transaction after the other. Transaction n is announced on the first disk (`intent` n), then written to every other
disk in turn (`data` n), then confirmed on the first (`commit` n). So at any one moment, a power cut included,

    commit <= data of the last disk <= ... <= data of the second disk <= intent <= commit + 1

and while the guest holds still (shut down, or frozen by its agent, which finishes what is open) all numbers are equal. A disk that was
copied later than another one knows of transactions that the other has never heard of.

Each disk has one block for this, the last 4 KiB of its first MiB: the line `LABJOURNAL1`, then one line of JSON, padded with zeros: `disk`
(its place), `of` (how many disks there are), and `intent` and `commit` on the first, `data` on the others; `repaired` counts the
boots that found a torn set.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

JOURNAL_BYTES = 4096
JOURNAL_AT = (1 << 20) - JOURNAL_BYTES
_MAGIC = b"LABJOURNAL1\n"


class Consistency(Enum):
    """What a set of disks is worth to the guest that wrote them."""

    APPLICATION = "application-consistent"
    """Of one moment at which nothing was under way."""
    CRASH = "crash-consistent"
    """Of one moment, as after a power cut."""
    TORN = "torn"
    """Of several moments, or not the whole set: no guest ever saw its disks like this."""
    UNWRITTEN = "unwritten"
    """No guest has ever kept its journal here."""


def consistency(disks: Iterable[Path | bytes]) -> Consistency:
    """Judge the disks of one guest, all of them, in any order; each as a file or as its first MiB (at least)."""
    blocks = [read_block(disk) for disk in disks]
    if not any(blocks):
        return Consistency.UNWRITTEN
    known = sorted((block for block in blocks if block is not None), key=lambda block: int(block["disk"]))
    if len(known) != len(blocks) or [block["disk"] for block in known] != list(range(known[0]["of"])):
        return Consistency.TORN
    numbers = [known[0]["intent"], *(block["data"] for block in known[1:]), known[0]["commit"]]
    if numbers != sorted(numbers, reverse=True) or numbers[0] > numbers[-1] + 1:
        return Consistency.TORN
    return Consistency.APPLICATION if numbers[0] == numbers[-1] else Consistency.CRASH


def read_block(disk: Path | bytes) -> dict[str, Any] | None:
    """Return what the journal says on one disk, None where there is none."""
    if isinstance(disk, Path):
        with disk.open("rb") as file:
            file.seek(JOURNAL_AT)
            block = file.read(JOURNAL_BYTES)
    else:
        block = disk[JOURNAL_AT : JOURNAL_AT + JOURNAL_BYTES]
    if not block.startswith(_MAGIC):
        return None
    found: dict[str, Any] = json.loads(block[len(_MAGIC) :].partition(b"\n")[0])
    return found


class Journal:
    """The journal of a running guest. `write` puts bytes at an offset of a disk, or raises when the guest is no more."""

    def __init__(self, disks: Sequence[Path], write: Callable[[Path, int, bytes], None]) -> None:
        self._disks = tuple(disks)
        self._write = write
        self._number = 0
        self._place = len(self._disks)
        self._repaired = 0

    def recover(self) -> Consistency:
        """Take up what the last boot left, as a file system replays its journal; return what it was like."""
        found = consistency(self._disks)
        blocks = [block for disk in self._disks if (block := read_block(disk)) is not None]
        self._number = max((block.get(key, 0) for block in blocks for key in ("intent", "data")), default=0)
        self._repaired = max((block["repaired"] for block in blocks), default=0) + (found is Consistency.TORN)
        for place in range(len(self._disks)):
            self._put(place, intent=self._number, commit=self._number, data=self._number)
        return found

    def step(self) -> None:
        """Do the next write: announce a transaction, write it to the next disk, or confirm it."""
        self._place = (self._place + 1) % (len(self._disks) + 1)
        if self._place == 0:
            self._number += 1
            self._put(0, intent=self._number, commit=self._number - 1)
        elif self._place == len(self._disks):
            self._put(0, intent=self._number, commit=self._number)
        else:
            self._put(self._place, data=self._number)

    def settle(self) -> None:
        """Finish the transaction that is open, if one is."""
        while self._place != len(self._disks):
            self.step()

    def _put(self, place: int, **numbers: int) -> None:
        keys = ("intent", "commit") if place == 0 else ("data",)
        facts = {"disk": place, "of": len(self._disks), "repaired": self._repaired, **{key: numbers[key] for key in keys}}
        block = (_MAGIC + json.dumps(facts).encode() + b"\n").ljust(JOURNAL_BYTES, b"\0")
        self._write(self._disks[place], JOURNAL_AT, block)
