"""Whether a copy is the copy: both sides are read by the same ranges, side by side, and every byte is compared.

For a source of N bytes the target has at least N, [0, N) is equal and the tail is zero, since block devices round up (design, promise 5).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from migrate.model.migration import Verify
from migrate.transfer.export_client import ExportClient
from migrate.transfer.ranges import Range, every, sample, total

ENOUGH_DIFFERENCES = 16
"""Places that a report names; after that many the rest is not read."""


class Cancelled(Exception):
    """Raised inside a work, at its next step, once somebody cancelled it. It is no error: somebody asked for it."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a disk: where its raw bytes are read."""

    client: ExportClient
    url: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is read: ranges that both sides have, and ranges behind the end of the source, which must be zero on the target."""

    common: tuple[Range, ...]
    tail: tuple[Range, ...]

    @property
    def bytes(self) -> int:
        """Bytes that the comparison goes through, each range counted once."""
        return total(self.common) + total(self.tail)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a comparison found. `differences` names places in words and bytes; empty = proven."""

    digest: str
    coverage: Verify
    bytes: int
    """Size of the source, N."""
    read_bytes: int
    differences: tuple[str, ...] = ()


def plan(source_bytes: int, target_bytes: int, *, verify: Verify, seed: str) -> Plan:
    """Choose what to read for a disk: nothing (`size`), a sample of both parts, or everything."""
    if verify in (Verify.OFF, Verify.SIZE) or target_bytes < source_bytes:
        return Plan((), ())
    chosen: list[tuple[Range, ...]] = []
    for start, stop in ((0, source_bytes), (source_bytes, target_bytes)):
        if start == stop:
            chosen.append(())
        elif verify is Verify.FULL:
            chosen.append(every(start, stop))
        else:
            chosen.append(sample(start, stop, seed=seed))
    return Plan(*chosen)


def compare(
    source: Side, target: Side, reading: Plan, *, verify: Verify, streams: int, moved: Callable[[int], None], cancelled: threading.Event
) -> Outcome:
    """Read both sides by the plan, `streams` ranges at once, and say where they differ. Constant memory: two pieces per stream.

    `moved` is told the bytes of every piece; what it raises ends the comparison. The digest is sha256 over the ranges in order, each
    as `start-stop:` and its own sha256; for `size` it is empty. Raises Cancelled: what was read by then proves nothing.
    """
    if target.bytes < source.bytes:
        words = f"the target has {target.bytes} bytes, the source {source.bytes}"
        return Outcome("", verify, source.bytes, 0, (words,))
    stop = threading.Event()
    found: list[str] = []

    def note(words: str) -> None:
        found.append(words)
        if len(found) >= ENOUGH_DIFFERENCES:
            stop.set()

    def one(part: Range) -> bytes:
        if stop.is_set() or cancelled.is_set():
            return b""
        ends_here = part.start >= source.bytes
        look = _zero if ends_here else _equal
        return look(source, target, part, note=note, stop=stop, moved=moved, cancelled=cancelled)

    digests = _each(one, (*reading.common, *reading.tail), streams=streams, stop=stop)
    if cancelled.is_set():
        raise Cancelled
    tree = hashlib.sha256()
    for part, digest in zip(reading.common, digests, strict=False):
        tree.update(f"{part.start}-{part.stop}:".encode() + digest)
    return Outcome(
        digest=f"sha256:{tree.hexdigest()}" if reading.common and not found else "",
        coverage=verify,
        bytes=source.bytes,
        read_bytes=reading.bytes,
        differences=tuple(sorted(found, key=_place)),
    )


def _each(one: Callable[[Range], bytes], parts: Sequence[Range], *, streams: int, stop: threading.Event) -> list[bytes]:
    if streams <= 1 or len(parts) <= 1:
        return [one(part) for part in parts]
    with ThreadPoolExecutor(streams, thread_name_prefix="proof") as pool:
        pending = [pool.submit(one, part) for part in parts]
        try:
            return [future.result() for future in pending]
        except BaseException:
            stop.set()
            for future in pending:
                future.cancel()
            raise


def _equal(
    source: Side,
    target: Side,
    part: Range,
    *,
    note: Callable[[str], None],
    stop: threading.Event,
    moved: Callable[[int], None],
    cancelled: threading.Event,
) -> bytes:
    digest = hashlib.sha256()
    at = part.start
    ours = source.client.pieces(source.url, part, of=source.bytes, cancelled=cancelled)
    theirs = target.client.pieces(target.url, part, of=target.bytes, cancelled=cancelled)
    for left, right in zip(ours, theirs, strict=True):
        if left != right:
            note(f"byte {at + _first_difference(left, right)} differs")
            if stop.is_set():
                break
        digest.update(left)
        at += len(left)
        moved(len(left))
    return digest.digest()


def _zero(
    source: Side,  # noqa: ARG001 - same shape as _equal
    target: Side,
    part: Range,
    *,
    note: Callable[[str], None],
    stop: threading.Event,
    moved: Callable[[int], None],
    cancelled: threading.Event,
) -> bytes:
    at = part.start
    for piece in target.client.pieces(target.url, part, of=target.bytes, cancelled=cancelled):
        kept = piece.lstrip(b"\0")
        if kept:
            note(f"byte {at + len(piece) - len(kept)} behind the end of the source is not zero")
            if stop.is_set():
                break
        at += len(piece)
        moved(len(piece))
    return b""


def _first_difference(left: bytes, right: bytes) -> int:
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high) // 2
        if left[low : middle + 1] == right[low : middle + 1]:
            low = middle + 1
        else:
            high = middle
    return low


def _place(words: str) -> int:
    return int(words.split()[1])
