"""Put image bytes on a disk as CDI's programs do: zeroes become holes, and holes stay holes from scratch to target.

Every byte of a migrated disk goes through here, so this module does little and checks much.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migrate.lab.cdi_formats import Source

PAGE: Final = 32 << 10
"""CDI looks for zeroes in reads of this size."""
CHUNK: Final = 1 << 20
_ZERO = bytearray(PAGE)  # a bytearray compares with memcmp; a memoryview on the left would compare byte by byte
_ZEROES = bytes(CHUNK)

Check = Callable[[], None]
"""Called before every write; raises when the program was killed or meets ordered trouble."""


class NoSpace(OSError):
    """The volume is full."""

    def __init__(self, inside: str) -> None:
        super().__init__(errno.ENOSPC, f"write {inside}: no space left on device")

    def __str__(self) -> str:
        return str(self.strerror)


@dataclass(slots=True)
class Room:
    """What is left on a volume. The lab's volumes are directories on one file system, so they are metered here."""

    left: int
    inside: str
    """The path that the program believes to write to; for the message."""

    def take(self, size: int) -> None:
        """Use up some bytes. Raise NoSpace when there are not so many left."""
        if size > self.left:
            raise NoSpace(self.inside)
        self.left -= size


def pour(source: Source, fd: int, *, room: Room, check: Check) -> tuple[int, int]:
    """Write a stream to an empty file, leaving out every 32 KiB of zeroes; return the bytes read and the bytes written.

    The file is as long as the stream afterwards. Raises Broken (from the source), NoSpace, and what `check` raises.
    """
    buffer = memoryview(bytearray(CHUNK))
    offset = written = have = 0
    while True:
        size = source.readinto(buffer[have:])
        have += size
        if size and have < CHUNK:
            continue
        if have:
            check()
            written += _write_sparse(fd, buffer[:have], offset, room)
            offset += have
            have = 0
        if not size:
            break
    os.ftruncate(fd, offset)
    return offset, written


def _write_sparse(fd: int, data: memoryview, offset: int, room: Room) -> int:
    written = 0
    for start, end in _filled(data):
        room.take(end - start)
        _write_all(fd, data[start:end], offset + start)
        written += end - start
    return written


def _filled(data: memoryview) -> Iterator[tuple[int, int]]:
    """Yield the stretches of pages that are not all zero."""
    start = -1
    for at in range(0, len(data), PAGE):
        page = data[at : at + PAGE]
        zero = (_ZERO if len(page) == PAGE else _ZERO[: len(page)]) == page
        if zero and start >= 0:
            yield start, at
            start = -1
        elif not zero and start < 0:
            start = at
    if start >= 0:
        yield start, len(data)


def _write_all(fd: int, data: memoryview | bytes, offset: int) -> None:
    view = memoryview(data)
    while view.nbytes:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def overwrite(source: Source, fd: int, *, room: Room, check: Check) -> int:
    """Write a stream over a device that may hold old bytes; return its length. Zeroes are written only where old bytes are."""
    buffer = memoryview(bytearray(CHUNK))
    offset = have = 0
    while True:
        size = source.readinto(buffer[have:])
        have += size
        if size and have < CHUNK:
            continue
        if have:
            check()
            room.take(have)
            before = 0
            for start, end in _filled(buffer[:have]):
                _blank(fd, offset + before, offset + start, check)
                _write_all(fd, buffer[start:end], offset + start)
                before = end
            _blank(fd, offset + before, offset + have, check)
            offset += have
            have = 0
        if not size:
            return offset


def extents(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the stretches of a file between two offsets that hold data; the rest reads as zeroes."""
    at = start
    while at < end:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        if data >= end:
            return
        hole = min(os.lseek(fd, data, os.SEEK_HOLE), end)
        yield data, hole
        at = hole


def convert(source: Path, target_fd: int, *, room: Room, check: Check, on_progress: Callable[[float], None]) -> int:
    """Copy a raw image, holes as holes, and make the target read the same wherever the image reaches; return the image's size.

    Old bytes of the target (a device that was used before) are zeroed where the image has holes. The target's length is not changed
    beyond what is written: the caller sets it. Raises NoSpace and what `check` raises.
    """
    source_fd = os.open(source, os.O_RDONLY)
    try:
        size = os.fstat(source_fd).st_size
        done = 0
        for start, end in extents(source_fd, 0, size):
            _blank(target_fd, done, start, check)
            for at in range(start, end, CHUNK):
                check()
                stretch = min(CHUNK, end - at)
                room.take(stretch)
                _copy(source_fd, target_fd, at, stretch)
                on_progress(100 * (at + stretch) / size)
            done = end
        _blank(target_fd, done, size, check)
        on_progress(100.0)
        return size
    finally:
        os.close(source_fd)


def _copy(source_fd: int, target_fd: int, offset: int, count: int) -> None:
    """Copy bytes between the same offsets, in the kernel if it can."""
    while count:
        try:
            done = os.copy_file_range(source_fd, target_fd, count, offset, offset)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            data = os.pread(source_fd, min(count, CHUNK), offset)
            _write_all(target_fd, data, offset)
            done = len(data)
        if done == 0:
            raise OSError(errno.EIO, "the scratch image became shorter while it was read")
        offset, count = offset + done, count - done


def _blank(fd: int, start: int, end: int, check: Check) -> None:
    """Zero what is not zero already."""
    for data, hole in list(extents(fd, start, end)):
        for at in range(data, hole, CHUNK):
            check()
            _write_all(fd, _ZEROES[: min(CHUNK, hole - at)], at)
