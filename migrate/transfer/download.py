"""A disk of an export as a file on this machine: read by ranges at once, resumable at any time, sparse, and hashed on the way.

Until it is whole the file is called `NAME.part`, with a journal beside it. What the journal calls done is on the disk: it is synced first.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from migrate.model.quantity import human
from migrate.transfer.answers import Changed
from migrate.transfer.export_client import ExportClient
from migrate.transfer.journal import Journal, forget, read_journal
from migrate.transfer.landing import beside, check_room, opened, storing, sync_directory
from migrate.transfer.proof import Cancelled
from migrate.transfer.ranges import FULL_RANGE_BYTES, READ_BYTES, Range, every, total

STREAMS = 4
KEEP_S = 5.0
"""So often the file is synced and the journal written: what a crash costs."""
GO_ON = "make room there, and run the same again: what is there is kept and gone on with"
_BLOCK = 64 * 1024
"""Unit of holes."""
_ZEROS = bytes(_BLOCK)
_LOOKS = 8
"""Pieces that are compared before a file is gone on with."""


@dataclass(frozen=True, slots=True)
class Got:
    """A download that is through."""

    bytes: int
    digest: str
    """sha256:… of the content."""
    read_bytes: int
    """Bytes that came over the wire this time."""


def raw(
    client: ExportClient,
    url: str,
    output: Path,
    *,
    identity: str,
    streams: int = STREAMS,
    tight: bool = False,
    keep_s: float = KEEP_S,
    same: Callable[[], bool] = lambda: True,
    tell: Callable[[str], None] = lambda _words: None,
    moved: Callable[[int, int], None] = lambda _done, _total: None,
    cancelled: threading.Event | None = None,
) -> Got:
    """Read a raw link into a file, and go on with what an earlier try left. The file gets its name once it is whole and synced.

    `identity` names the disk and its state: what was read of another one is thrown away. `same` is asked at the end, and before what broke
    is taken up, whether the disk is still in that state. `keep_s`: see KEEP_S. `streams` ranges are read at once. `tight`: begin although
    the disk does not fit, since holes take no room.
    `tell` is told what of an earlier try is compared, or thrown away, and why; `moved` the bytes that are there and the bytes of the disk.
    Raises UsageError, Changed, Blocked (no room, somebody else writes the file), Cancelled, and what ExportClient raises. Whatever ends it,
    what is there is noted at once, and a host that is silent is not waited for.
    """
    asked = cancelled or threading.Event()
    size = client.size(url, asked)
    part, journal = beside(output, ".part"), beside(output, ".part.json")
    with storing(str(part), now=GO_ON), opened(part, journal) as file:
        work = _Download(client, url, file, Journal(identity, size), journal, moved, asked, keep_s, same)
        work.take_up(str(part), tell)
        if not tight:
            check_room(output, size - os.fstat(file).st_blocks * 512)
        os.ftruncate(file, size)
        digest = work.run(streams)
        os.fsync(file)
        if not same():
            os.ftruncate(file, 0)
            forget(work.path)
            raise Changed(str(part))
        part.replace(output)
        forget(work.path)
        sync_directory(output.parent)
    return Got(size, digest, work.read_bytes)


@dataclass(slots=True)
class _Download:
    """One file that is being filled: readers, and one that hashes what is there in order and keeps the journal."""

    client: ExportClient
    url: str
    file: int
    journal: Journal
    path: Path
    moved: Callable[[int, int], None]
    asked: threading.Event
    """The caller wants no more."""
    keep_s: float
    same: Callable[[], bool]
    ended: threading.Event = field(default_factory=threading.Event)
    """Nobody waits for the readers any more, whatever the cause."""
    writing: int = 0
    """So many readers are just writing."""
    new: bool = False
    """The file was empty: what is not read yet are holes."""
    read_bytes: int = 0
    there: int = 0
    reached: dict[int, int] = field(default_factory=dict)
    """By the start of a range: how far it is filled."""
    failed: BaseException | None = None
    kept_at: float = field(default_factory=time.monotonic)
    news: threading.Condition = field(default_factory=threading.Condition)

    def take_up(self, part: str, tell: Callable[[str], None]) -> None:
        """Go on with what is there, if it is of this disk as it is now; else begin anew. Either is told."""
        earlier, held = read_journal(self.path), os.fstat(self.file).st_size
        there = total(earlier.have) if earlier is not None else 0
        why = self._unlike(earlier, held)
        if earlier is not None and not why:
            self.there = there
            if there:
                tell(f"{part}: {human(there)} of {human(held)} are there; some of it is compared with the disk before it is gone on with")
                self._tell(0)
            if self._same(earlier.have):
                self.journal = earlier
                self.reached.update((one.start, one.stop) for one in earlier.have)
                return
            why = "a piece of it that was compared is not what the disk holds now"
        if there or (held and earlier is None):
            tell(f"{part}: {human(there) if there else 'what'} that was read before is thrown away: {why}; it is read from its start")
        os.ftruncate(self.file, 0)
        forget(self.path)
        self.path.touch()
        self.new, self.there = True, 0

    def _unlike(self, earlier: Journal | None, held: int) -> str:
        """Say why what is there cannot be gone on with; "" = it may be."""
        if earlier is None:
            return "nobody noted how much of it is there"
        if earlier.identity != self.journal.identity:
            return "it is of another disk, or of another state of this one"
        if earlier.bytes != self.journal.bytes:
            return f"the disk has {self.journal.bytes} bytes now, and had {earlier.bytes}"
        return "" if held == earlier.bytes else "somebody else changed its length"

    def run(self, streams: int) -> str:
        """Read what is left; return the digest of the whole. However it ends, the journal says what is there, and nobody writes any more.

        Readers are not waited for: one whose host is silent learns a minute later that it is over.
        """
        left = iter(self.journal.left)
        self._tell(0)
        try:
            for _ in range(min(streams, len(self.journal.left))):
                threading.Thread(target=self._reader, args=(left,), name="download", daemon=True).start()
            return self._hash()
        except BaseException as error:
            self._fail(error)
            with self.news:
                while self.writing:
                    self.news.wait()
            if self.read_bytes:
                self._keep()
            raise

    def _reader(self, left: Iterator[Range]) -> None:
        """Read what no other reader has begun. The first trouble ends the others, too."""
        try:
            for part in left:
                self._read(part)
        except BaseException as error:
            self._fail(error)

    def _read(self, part: Range) -> None:
        """Read a range, or the rest of one, into its place."""
        key, at = part.start - part.start % FULL_RANGE_BYTES, part.start
        for piece in self.client.pieces(self.url, part, of=self.journal.bytes, cancelled=self.ended, same=self.same):
            with self.news:
                if self.ended.is_set() or self.asked.is_set():
                    raise Cancelled
                self.writing += 1
            written = 0
            try:
                put(self.file, piece, at, empty=self.new)
                written = len(piece)
            finally:
                at += written
                with self.news:
                    self.writing -= 1
                    self.reached[key] = at
                    if at == part.stop or self.ended.is_set():
                        self.news.notify()
                    self._tell(written)

    def _tell(self, read_bytes: int) -> None:
        self.read_bytes += read_bytes
        self.there += read_bytes
        self.moved(self.there, self.journal.bytes)

    def _fail(self, error: BaseException) -> None:
        with self.news:
            self.failed = self.failed or error
            self.ended.set()
            self.news.notify()

    def _hash(self) -> str:
        hashed = hashlib.sha256()
        for part in every(0, self.journal.bytes):
            while not self._filled(part):
                self._keep_now_and_then()
            for at in range(part.start, part.stop, READ_BYTES):
                hashed.update(os.pread(self.file, min(READ_BYTES, part.stop - at), at))
            self._keep_now_and_then()
        return f"sha256:{hashed.hexdigest()}"

    def _filled(self, part: Range) -> bool:
        """Wait until a range is filled, a second at most. Raises what a reader met, Cancelled when the caller wants no more."""
        with self.news:
            if self._at(part) < part.stop and self.failed is None:
                self.news.wait(min(1.0, self.keep_s))
            if self.failed is not None:
                raise self.failed
            if self.asked.is_set():
                raise Cancelled
            return self._at(part) == part.stop

    def _at(self, part: Range) -> int:
        return self.reached.get(part.start, part.start)

    def _keep_now_and_then(self) -> None:
        if time.monotonic() - self.kept_at >= self.keep_s:
            self._keep()

    def _keep(self) -> None:
        with self.news:
            have = tuple(Range(start, at) for start, at in self.reached.items() if start < at)
        os.fdatasync(self.file)
        Journal(self.journal.identity, self.journal.bytes, have).write(self.path)
        self.kept_at = time.monotonic()

    def _same(self, have: Sequence[Range]) -> bool:
        """Compare some of what is there with the disk: its beginning, and pieces by chance."""
        dice = random.Random()  # noqa: S311 - a choice, not a secret
        starts = [have[0].start, *(dice.randrange(one.start, one.stop) for one in dice.choices(have, k=_LOOKS))] if have else []
        for start in starts:
            stop = next(one.stop for one in reversed(have) if one.start <= start)
            piece = Range(start, min(start + READ_BYTES, stop))
            now = b"".join(self.client.pieces(self.url, piece, of=self.journal.bytes, cancelled=self.asked))
            if os.pread(self.file, piece.bytes, piece.start) != now:
                return False
        return True


def put(file: int, piece: bytes, at: int, *, empty: bool) -> None:
    """Write a piece into its place; a block of zeros is left out where the file has a hole. `empty`: it has one, nobody wrote there."""
    if empty and piece == bytes(len(piece)):
        return
    for start in range(0, len(piece), _BLOCK):
        block = piece[start : start + _BLOCK] if len(piece) > _BLOCK else piece
        if block != _ZEROS[: len(block)] or not (empty or _hole(file, len(block), at + start)):
            _write(file, block, at + start)


def _hole(file: int, length: int, at: int) -> bool:
    there = os.pread(file, length, at)
    return there == _ZEROS[: len(there)]


def _write(file: int, block: bytes, at: int) -> None:
    while block:
        written = os.pwrite(file, block, at)
        block, at = block[written:], at + written
