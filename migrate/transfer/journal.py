"""How far a download has come, beside its file: what is on the disk for certain, and of which disk it is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from migrate.transfer.ranges import FULL_RANGE_BYTES, Range, every

SCHEMA = "kubevirt-migrate.io/download/v1"


@dataclass(frozen=True, slots=True)
class Journal:
    """What a file of that many bytes holds already of one state of one disk."""

    identity: str
    """Names the disk and the state that it was in; bytes of another one are never mixed in."""
    bytes: int
    have: tuple[Range, ...] = field(default=())
    """What is there of the ranges that are read one by one: each is filled from its start."""

    @property
    def left(self) -> tuple[Range, ...]:
        """Return what is still to be read, in order."""
        reached = {one.start: one.stop for one in self.have}
        parts = ((reached.get(part.start, part.start), part.stop) for part in every(0, self.bytes))
        return tuple(Range(start, stop) for start, stop in parts if start < stop)

    def to_json(self) -> str:
        """Return the text that is kept."""
        have = [[one.start, one.stop] for one in self.have]
        return json.dumps({"schema": SCHEMA, "identity": self.identity, "bytes": self.bytes, "have": have})

    def write(self, path: Path) -> None:
        """Put the journal in its place in one go; whoever is killed meanwhile leaves the older one."""
        young = _young(path)
        with young.open("w", encoding="utf-8") as file:
            file.write(self.to_json())
            file.flush()
            os.fsync(file.fileno())
        young.replace(path)


def forget(path: Path) -> None:
    """Remove a journal, and what a kill left of the next one."""
    path.unlink(missing_ok=True)
    _young(path).unlink(missing_ok=True)


def _young(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def read_journal(path: Path) -> Journal | None:
    """Return the journal that is there, if it is one that can be read; one that was just begun says nothing."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["schema"] != SCHEMA:
            return None
        identity, size = str(told["identity"]), int(told["bytes"])
        have = tuple(sorted(Range(int(start), int(stop)) for start, stop in told["have"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = all(not one.start % FULL_RANGE_BYTES and one.stop <= min(one.start + FULL_RANGE_BYTES, size) for one in have)
    fits = fits and len({one.start for one in have}) == len(have)
    return Journal(identity, size, have) if fits else None
