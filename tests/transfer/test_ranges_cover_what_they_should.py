"""The plan of a proof: what is read, and that it is the same on every run."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from migrate.transfer.ranges import GIB, LEAST_PIECES, MIB, MOST_PIECES, PIECE_BYTES, every, sample, total

SIZES = st.one_of(st.integers(1, 200 * MIB), st.integers(1, 4096 * GIB))


@given(start=st.integers(0, GIB), length=st.integers(1, 40 * GIB))
def test_every_covers_without_gap_or_overlap(start: int, length: int) -> None:
    """`every` begins at the start, ends at the stop, and each range begins where the one before ended."""
    parts = every(start, start + length)
    assert parts[0].start == start
    assert parts[-1].stop == start + length
    assert all(left.stop == right.start for left, right in pairwise(parts))


@given(size=SIZES, seed=st.text(max_size=8))
def test_a_sample_holds_first_and_last_piece_and_nothing_twice(size: int, seed: str) -> None:
    """The sample lies inside the disk, sorted, without overlap, with its first and its last MiB."""
    parts = sample(0, size, seed=seed)
    assert parts[0].start == 0
    assert parts[0].stop >= min(PIECE_BYTES, size)
    assert parts[-1].stop == size
    assert all(left.stop <= right.start for left, right in pairwise(parts))


@given(size=SIZES, seed=st.text(max_size=8))
def test_a_sample_has_one_piece_in_every_stratum(size: int, seed: str) -> None:
    """However large the disk, no stretch longer than two strata is left unread, and the cost is bounded."""
    parts = sample(0, size, seed=seed)
    strata = min(MOST_PIECES, LEAST_PIECES + size // GIB)
    longest_gap = max((right.start - left.stop for left, right in pairwise(parts)), default=0)
    assert longest_gap <= 2 * (size // strata + 1)
    assert total(parts) <= (MOST_PIECES + 2) * PIECE_BYTES


@given(size=st.integers(GIB, 100 * GIB))
def test_the_same_question_reads_the_same_bytes(size: int) -> None:
    """The seed decides: equal seeds choose equal ranges, another disk's seed chooses others."""
    assert sample(0, size, seed="a") == sample(0, size, seed="a")
    assert sample(0, size, seed="a") != sample(0, size, seed="b")
