"""The arithmetic of claims, images and scratch space, against the worked examples of the reference and its laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.lab.cdi_sizes import MIB, fits, grown, quantity_bytes, required, round_up, scratch, too_large, usable

OVERHEADS = st.integers(0, 999).map(lambda thousandths: thousandths / 1000)
SIZES = st.integers(1, 64 << 40)


@pytest.mark.parametrize(
    ("size", "claim", "scratch_size"),
    [
        (1073741824, 1138166334, 1138753536),
        (10737418240, 11381663335, 11382292480),
        (107374182400, 113816633344, 113816633344),
    ],
)
def test_worked_examples(size: int, claim: int, scratch_size: int) -> None:
    """The examples of the reference at six percent come out to the byte."""
    assert required(0.06, size) == claim
    assert scratch(request=claim, target_overhead=0.06, scratch_overhead=0.06) == scratch_size


def test_scratch_of_a_block_target() -> None:
    """A Block target has no overhead of its own, its scratch claim has."""
    assert scratch(request=10737418240, target_overhead=0.0, scratch_overhead=0.06) == 11382292480


def test_double_inflation_grows_the_disk() -> None:
    """Copying a source claim's request instead of the disk's size inflates twice."""
    again = required(0.06, 11381663335)
    assert again == 12065230029
    assert grown(virtual=10737418240, overhead=0.06, available=again, request=again) == 11382292480


@given(OVERHEADS, SIZES.map(round_up))
def test_claims_give_back_the_size_they_were_made_for(overhead: float, size: int) -> None:
    """For sizes in whole MiB, what fits on the claim is what was asked for, up to the rounding of floats: never a MiB less."""
    assert size <= usable(overhead, required(overhead, size)) <= size + MIB


@given(OVERHEADS, SIZES)
def test_claims_hold_what_they_were_made_for(overhead: float, size: int) -> None:
    """A claim is never smaller than its disk, and what is usable of it is whole MiB."""
    claim = required(overhead, size)
    assert claim >= size
    assert usable(overhead, claim) % MIB == 0


@given(virtual=SIZES, available=SIZES, request=SIZES, overhead=OVERHEADS)
def test_resize_never_shrinks(virtual: int, available: int, request: int, overhead: float) -> None:
    """The image is grown up to what is usable or asked for, and never made smaller."""
    size = grown(virtual=virtual, overhead=overhead, available=available, request=request)
    assert size >= virtual
    assert size == virtual or size <= min(available, request)


def test_too_large_says_both_numbers() -> None:
    """The sentence of CDI for an image that does not fit names both sizes; an equal one fits."""
    assert fits(100, 100)
    assert not fits(99, 100)
    assert too_large(100, 99) == "virtual image size 100 is larger than the reported available storage 99. A larger PVC is required"


@pytest.mark.parametrize(
    ("text", "size"), [("1Gi", 1 << 30), ("1.5Ki", 1536), ("1500m", 2), ("10M", 10_000_000), ("12", 12), ("1e3", 1000)]
)
def test_quantities(text: str, size: int) -> None:
    """Quantities become whole bytes, rounded up."""
    assert quantity_bytes(text) == size
