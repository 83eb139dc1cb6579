"""How large things must be: the arithmetic of CDI, kept apart because every byte of it shows in somebody's disk.

Source: reference/cdi-import.md sections 2.4, 2.6 and 4. CDI computes with 64-bit floats, and so does this module.
"""

from __future__ import annotations

import math
from typing import Final

from migrate.lab import quantity

MIB: Final = 1 << 20


def quantity_bytes(text: str | int) -> int:
    """Return a Kubernetes quantity as whole bytes, rounded up as Kubernetes does. Raise ValueError for anything else."""
    return math.ceil(quantity.value(text))


def round_up(size: int, step: int = MIB) -> int:
    """Return the next multiple of a step."""
    return -(-size // step) * step


def usable(overhead: float, available: int) -> int:
    """Return how large an image a file system of so many bytes takes, in whole MiB."""
    return math.ceil(available / (1 + overhead)) // MIB * MIB


def required(overhead: float, size: int) -> int:
    """Return how large a file system must be for an image of so many bytes."""
    return math.ceil(round_up(size) * (1 + overhead))


def scratch(*, request: int, target_overhead: float, scratch_overhead: float) -> int:
    """Return the request of the scratch claim for a target claim's request."""
    return round_up(required(scratch_overhead, usable(target_overhead, request)))


def fits(available: int, virtual: int) -> bool:
    """Tell whether an image is accepted. The overhead is not applied here (CDI does not)."""
    return available >= virtual


def grown(*, virtual: int, overhead: float, available: int, request: int) -> int:
    """Return the size of the image file after CDI's resize on a file system: never smaller than it was."""
    return max(virtual, min(usable(overhead, available), request))


def too_large(virtual: int, available: int) -> str:
    """Return CDI's sentence for an image that does not fit."""
    return f"virtual image size {virtual} is larger than the reported available storage {available}. A larger PVC is required"
