"""The arithmetic of sizes, against the worked examples of the reference (cdi-import section 4)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model.quantity import MIB
from migrate.rendering.sizes import required, room, scratch, usable

SIX = Decimal("0.06")


@pytest.mark.parametrize(
    ("size", "pvc", "scratch_pvc"),
    [
        (1073741824, 1138166334, 1138753536),
        (10737418240, 11381663335, 11382292480),
        (107374182400, 113816633344, 113816633344),
    ],
)
def test_worked_examples(size: int, pvc: int, scratch_pvc: int) -> None:
    """A disk of N bytes makes the PVC and the scratch PVC that the reference worked out."""
    assert required(SIX, size) == pvc
    assert scratch(SIX, SIX, pvc) == scratch_pvc
    made = room(size, block=False, overhead=SIX, scratch_overhead=SIX, populator=True)
    assert (made.target_bytes, made.prime_bytes, made.scratch_bytes) == (pvc, pvc, scratch_pvc)
    assert made.peak_bytes == 2 * pvc + scratch_pvc


def test_block_target() -> None:
    """A block target is as large as the disk, its scratch space is a file system all the same."""
    made = room(10737418240, block=True, overhead=SIX, scratch_overhead=SIX, populator=False)
    assert (made.target_bytes, made.prime_bytes, made.scratch_bytes) == (10737418240, 0, 11382292480)


@given(st.integers(1, 2**45), st.sampled_from(["0", "0.055", "0.06", "0.1", "0.999"]))
def test_a_disk_fits_into_what_was_asked_for_it(size: int, overhead: str) -> None:
    """What CDI makes of a request holds the disk, and a disk of whole MiB comes out at its size."""
    o = Decimal(overhead)
    assert usable(o, required(o, size)) >= size
    assert usable(o, required(o, size)) - size < MIB
