"""How much room a disk takes on the target while it is imported and after (cdi-import sections 2.4, 2.6, 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from migrate.model.quantity import MIB


def required(overhead: Decimal, size_bytes: int) -> int:
    """Return what CDI makes of a request through `storage:`: whole MiB, and the file system's overhead on top."""
    return math.ceil(_whole_mib(size_bytes) * (1 + overhead))


def usable(overhead: Decimal, pvc_bytes: int) -> int:
    """Return the size of disk that CDI reckons a PVC can hold."""
    return math.ceil(pvc_bytes / (1 + overhead)) // MIB * MIB


def scratch(overhead: Decimal, scratch_overhead: Decimal, pvc_bytes: int) -> int:
    """Return the size of the scratch PVC beside a target PVC; scratch is always Filesystem."""
    return _whole_mib(required(scratch_overhead, usable(overhead, pvc_bytes)))


@dataclass(frozen=True, slots=True)
class Room:
    """What one disk takes: for good, and on top while it is imported."""

    target_bytes: int
    prime_bytes: int
    """The hidden PVC that populators fill; 0 on the legacy path."""
    scratch_bytes: int

    @property
    def peak_bytes(self) -> int:
        """What it takes while it is imported."""
        return self.target_bytes + self.prime_bytes + self.scratch_bytes


def room(size_bytes: int, *, block: bool, overhead: Decimal, scratch_overhead: Decimal, populator: bool) -> Room:
    """Return the room for a disk of a virtual size."""
    own = Decimal(0) if block else overhead
    target = required(own, size_bytes)
    return Room(target, target if populator else 0, scratch(own, scratch_overhead, target))


def _whole_mib(size_bytes: int) -> int:
    return -(-size_bytes // MIB) * MIB
