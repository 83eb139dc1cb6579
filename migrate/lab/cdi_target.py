"""Where a worker of CDI puts a disk: the file system or device of its claim, measured and finished as CDI does it.

Shared by the importer and the upload server. Source: reference/cdi-import.md sections 2.3 and 2.4.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from migrate.lab import cdi_sizes

if TYPE_CHECKING:
    from migrate.lab.pods import Container

DATA: Final = "/data"
DEVICE: Final = "/dev/cdi-block-volume"
SCRATCH: Final = "/scratch"
IMAGE_MODE: Final = 0o660


class Failed(Exception):
    """The import failed. The text is the termination message."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the disk goes: the file on a file system or a device, and what it can hold."""

    path: Path
    inside: str
    block: bool
    available: int
    request: int
    overhead: float

    @classmethod
    def of(cls, container: Container, *, file: str = f"{DATA}/disk.img", size: str) -> Target:
        """Measure the target at the start of a program, as CDI does: what lies there already counts as used."""
        request = cdi_sizes.quantity_bytes(size)
        if DEVICE in container.devices:
            path = container.path(DEVICE)
            return cls(path, DEVICE, True, path.stat().st_size, request, 0.0)
        available = min(container.free_bytes(DATA), request)
        overhead = float(container.env.get("FILESYSTEM_OVERHEAD") or 0)
        return cls(container.path(file), file, False, available, request, overhead)

    def validate(self, virtual: int) -> None:
        """Raise Failed for an image that is larger than what was there at the start."""
        if not cdi_sizes.fits(self.available, virtual):
            raise Failed(cdi_sizes.too_large(virtual, self.available))

    def settle(self, fd: int, virtual: int) -> None:
        """Grow the image file to what CDI gives it (devices stay as they are), open it to the guest, and write it out."""
        if not self.block:
            os.ftruncate(fd, cdi_sizes.grown(virtual=virtual, overhead=self.overhead, available=self.available, request=self.request))
            os.fchmod(fd, IMAGE_MODE)
        os.fsync(fd)


@contextlib.contextmanager
def opened(path: Path, *, fresh: bool = True) -> Iterator[int]:
    """Open a file or device for reading and writing; a fresh one is created, or emptied."""
    flags = os.O_RDWR | ((os.O_CREAT | os.O_TRUNC) if fresh else 0)
    fd = os.open(path, flags, IMAGE_MODE)
    try:
        yield fd
    finally:
        os.close(fd)


def report(*, scratch_required: bool = False, message: str = "Import Complete") -> str:
    """Return the JSON that exit code 0 comes with. "Import Complete" alone proves nothing: scratch may be required."""
    words = {"scratchSpaceRequired": scratch_required, "preallocationApplied": False, "message": message}
    return json.dumps(words, separators=(",", ":"))
