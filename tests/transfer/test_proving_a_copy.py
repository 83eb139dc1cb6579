"""The comparison of two sides: equal copies are proven, every kind of difference is named with its place."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrate.model.migration import Verify
from migrate.transfer.export_client import ExportClient
from migrate.transfer.proof import ENOUGH_DIFFERENCES, Cancelled, Outcome, Side, compare, plan
from migrate.transfer.ranges import MIB
from tests.transfer.conftest import QuickClock
from tests.transfer.range_server import CA, RangeServer

CA_PEM = CA.cert_pem.bytes().decode()
DISK = os.urandom(5 * MIB + 512)


def prove(
    server: RangeServer,
    clock: QuickClock,
    source: bytes,
    target: bytes,
    *,
    verify: Verify = Verify.FULL,
    streams: int = 1,
    moved: Callable[[int], None] = lambda count: None,
    cancelled: threading.Event | None = None,
) -> Outcome:
    server.disks |= {"/source": source, "/target": target}
    client = ExportClient(ca_pem=CA_PEM, token="t0ken", clock=clock)
    return compare(
        Side(client, server.url("/source"), len(source)),
        Side(client, server.url("/target"), len(target)),
        plan(len(source), len(target), verify=verify, seed="s"),
        verify=verify,
        streams=streams,
        moved=moved,
        cancelled=cancelled or threading.Event(),
    )


@pytest.mark.parametrize("verify", [Verify.SIZE, Verify.SAMPLE, Verify.FULL])
@pytest.mark.parametrize("tail", [0, 1, 2 * MIB])
def test_an_equal_copy_is_proven(server: RangeServer, clock: QuickClock, verify: Verify, tail: int) -> None:
    """Equal bytes and a tail of zeros leave no difference, at every depth."""
    outcome = prove(server, clock, DISK, DISK + bytes(tail), verify=verify)
    assert outcome.differences == ()
    assert outcome.bytes == len(DISK)
    assert bool(outcome.digest) == (verify is not Verify.SIZE)


def test_the_digest_is_of_the_bytes_alone(server: RangeServer, clock: QuickClock) -> None:
    """Number of streams, tail and breaks on the wire do not change the digest; a byte does."""
    first = prove(server, clock, DISK, DISK)
    server.cut_after += [MIB, 100]
    assert prove(server, clock, DISK, DISK + bytes(77), streams=3).digest == first.digest
    other = b"\1" + DISK[1:] if DISK[0] != 1 else b"\2" + DISK[1:]
    assert prove(server, clock, other, other).digest != first.digest


@given(at=st.integers(0, len(DISK) - 1))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_wrong_byte_is_found_and_its_place_named(server: RangeServer, clock: QuickClock, at: int) -> None:
    """Wherever one byte differs, a full comparison names that very byte and gives no digest."""
    target = bytearray(DISK)
    target[at] ^= 0xFF
    outcome = prove(server, clock, DISK, bytes(target))
    assert outcome.differences == (f"byte {at} differs",)
    assert outcome.digest == ""


def test_a_short_target_is_a_difference_at_every_depth(server: RangeServer, clock: QuickClock) -> None:
    """A target with fewer bytes is refused by sizes alone; nothing is read."""
    for verify in (Verify.SIZE, Verify.SAMPLE, Verify.FULL):
        outcome = prove(server, clock, DISK, DISK[:-1], verify=verify)
        assert outcome.differences == (f"the target has {len(DISK) - 1} bytes, the source {len(DISK)}",)
    assert server.seen == []


def test_a_tail_that_is_not_zero_is_a_difference(server: RangeServer, clock: QuickClock) -> None:
    """Old bytes behind the end of the source are found and placed."""
    outcome = prove(server, clock, DISK, DISK + bytes(100) + b"x" + bytes(50))
    assert outcome.differences == (f"byte {len(DISK) + 100} behind the end of the source is not zero",)


def test_enough_is_enough(server: RangeServer, clock: QuickClock) -> None:
    """Of a wholly wrong disk only so many places are named, in order, and the rest is not read."""
    size = (ENOUGH_DIFFERENCES + 20) * MIB
    outcome = prove(server, clock, bytes(size), b"\1" * size)
    assert len(outcome.differences) == ENOUGH_DIFFERENCES
    assert outcome.differences[0] == "byte 0 differs"
    assert list(outcome.differences) == sorted(outcome.differences, key=lambda words: int(words.split()[1]))


def test_progress_counts_every_byte_once(server: RangeServer, clock: QuickClock) -> None:
    """What `moved` was told adds up to the plan."""
    told: list[int] = []
    outcome = prove(server, clock, DISK, DISK + bytes(MIB), streams=2, moved=told.append)
    assert sum(told) == len(DISK) + MIB == outcome.read_bytes


@pytest.mark.parametrize("streams", [1, 3])
def test_cancelling_ends_it(server: RangeServer, clock: QuickClock, streams: int) -> None:
    """What `moved` raises comes out, with one stream and with several."""

    def moved(_: int) -> None:
        raise Cancelled

    size = 130 * MIB
    with pytest.raises(Cancelled):
        prove(server, clock, bytes(size), bytes(size), streams=streams, moved=moved)


@pytest.mark.parametrize("streams", [1, 4])
def test_a_cancelled_comparison_is_no_proof(server: RangeServer, clock: QuickClock, streams: int) -> None:
    """Ranges that were left out because somebody cancelled it must not count as equal: Cancelled, not an Outcome."""
    cancelled = threading.Event()
    with pytest.raises(Cancelled):
        prove(server, clock, DISK, DISK, streams=streams, moved=lambda _: cancelled.set(), cancelled=cancelled)
