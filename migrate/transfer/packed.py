"""What an export packs while it sends: a disk as gzip, files as tar.gz. Neither can be resumed, and neither says when it is cut.

The server writes the gzip trailer even where reading the disk failed (kubevirt-export section 3), so the stream is unpacked on the way and
its length compared with that of the disk; an archive must end as archives do.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from migrate.model.errors import Blocked
from migrate.model.quantity import human
from migrate.transfer.answers import Changed
from migrate.transfer.archive import END_OF_ARCHIVE
from migrate.transfer.download import Got
from migrate.transfer.export_client import ExportClient
from migrate.transfer.gunzip import Gunzip
from migrate.transfer.journal import forget
from migrate.transfer.landing import beside, opened, storing, sync_directory
from migrate.transfer.patience import Interrupted
from migrate.transfer.proof import Cancelled


class Sink(Protocol):
    """Where packed bytes go."""

    def begin(self) -> None:
        """Forget what came so far: the stream starts anew. Raises Blocked where that cannot be."""
        ...

    def write(self, piece: bytes) -> None:
        """Take the next piece."""
        ...


def to_file(
    client: ExportClient,
    url: str,
    output: Path,
    *,
    disk_bytes: int | None,
    same: Callable[[], bool] = lambda: True,
    tell: Callable[[str], None] = lambda _words: None,
    moved: Callable[[int, int], None] = lambda _done, _total: None,
    cancelled: threading.Event | None = None,
) -> Got:
    """Save a packed stream under its name once it is whole. A cut one is read anew from its start.

    `disk_bytes`: what a gzip must unpack to; None = it is an archive. `same` is asked at the end whether the volume is still in the
    state in which it was begun.
    `tell` is told what of an earlier try is thrown away, `moved` the unpacked bytes, and how many there will be (0 =
    nobody knows).
    Raises UsageError, Changed, Blocked, Cancelled, and what `ExportClient.whole` raises.
    """
    part, journal = beside(output, ".part"), beside(output, ".part.json")
    with storing(str(part), now="make room there, and run the same again: it is read anew"), opened(part, journal) as file:
        if held := os.fstat(file).st_size:
            tell(f"{part}: {human(held)} of an earlier try are thrown away: what is packed on the way is read from its start")
        got = to_sink(client, url, _File(file), disk_bytes=disk_bytes, same=same, moved=moved, cancelled=cancelled)
        os.fsync(file)
        part.replace(output)
        forget(journal)
        sync_directory(output.parent)
    return got


def to_sink(
    client: ExportClient,
    url: str,
    sink: Sink,
    *,
    disk_bytes: int | None,
    same: Callable[[], bool] = lambda: True,
    moved: Callable[[int, int], None] = lambda _done, _total: None,
    cancelled: threading.Event | None = None,
) -> Got:
    """Send a packed stream on, piece by piece; see `to_file`."""
    stop = cancelled or threading.Event()
    ends: list[int] = []

    def take(pieces: Iterator[bytes]) -> Got:
        sink.begin()
        stream = Gunzip()
        try:
            return through(pieces, stream)
        except Interrupted as trouble:
            if stream.bytes and stream.bytes in ends[-1:]:
                raise Blocked(
                    "the stream broke twice at the same place",
                    where=url,
                    why=f"{trouble}; after {stream.bytes} unpacked bytes, both times",
                    now="see the log of the export's server pod: it ends a stream also where it cannot read the claim; "
                    + ("or take --format raw" if disk_bytes is not None else "or take --format dir"),
                ) from None
            ends.append(stream.bytes)
            raise

    def through(pieces: Iterator[bytes], stream: Gunzip) -> Got:
        hashed, arrived, tail = hashlib.sha256(), 0, b""
        for piece in pieces:
            if stop.is_set():
                raise Cancelled
            sink.write(piece)
            arrived += len(piece)
            for plain in stream.feed(piece):
                hashed.update(plain)
                tail = (tail + plain[-len(END_OF_ARCHIVE) :])[-len(END_OF_ARCHIVE) :]
            moved(stream.bytes, disk_bytes or 0)
        if disk_bytes is not None and (stream.bytes != disk_bytes or not stream.ended):
            raise Interrupted(f"the stream ends after {stream.bytes} of {disk_bytes} bytes")
        if disk_bytes is None and (tail != END_OF_ARCHIVE or not stream.ended):
            raise Interrupted("the archive ends early")
        if not same():
            raise Changed(url)
        return Got(arrived, f"sha256:{hashed.hexdigest()}", arrived)

    return client.whole(url, take, stop)


class _File:
    def __init__(self, file: int) -> None:
        self._file = file

    def begin(self) -> None:
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)

    def write(self, piece: bytes) -> None:
        while piece:
            piece = piece[os.write(self._file, piece) :]


class Once:
    """Something that cannot be taken back, as standard output is."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._begun = False

    def begin(self) -> None:
        if self._begun:
            raise Blocked(
                "the stream broke, and what was written to standard output cannot be taken back",
                where="--output -",
                why="it is packed on the way, so it can only be read anew from its start",
                now="run the same again, or name a file: that is read anew by itself",
            )

    def write(self, piece: bytes) -> None:
        self._begun = True
        self._write(piece)
