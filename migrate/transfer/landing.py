"""Where a download lands: the file that has another name until it is whole, one writer at a time, and room for it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from migrate.model.errors import Blocked, UsageError
from migrate.model.quantity import human

_CANNOT_WRITE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""What a disk of this machine says; nothing on the wire says so."""


@contextlib.contextmanager
def storing(place: str, *, now: str) -> Iterator[None]:
    """Say in words that this machine could not take the bytes. Raises Blocked."""
    try:
        yield
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        raise Blocked(f"{place} could not be written any further", where=place, why=str(error), now=now) from error


def beside(output: Path, ending: str) -> Path:
    """Return the name of what stands beside a file until it is whole."""
    return output.with_name(output.name + ending)


@contextlib.contextmanager
def opened(part: Path) -> Iterator[int]:
    """Open the unfinished file for one writer at a time. Raises UsageError, Blocked."""
    try:
        file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(
            f"{part} cannot be written", where="--output", why=str(error), now="name a file in a directory of yours"
        ) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Blocked(
                f"another process downloads to {part}", where="--output", now="let it end, or name another file", why="it holds its lock"
            ) from None
        if not part.exists() or part.stat().st_ino != os.fstat(file).st_ino:
            raise Blocked(f"another process has just ended a download to {part}", where="--output", now="see whether its file will do")
        yield file
    finally:
        os.close(file)


def check_room(output: Path, wanted: int) -> None:
    """See that so many bytes more fit beside a file. Raises Blocked."""
    free = shutil.disk_usage(output.parent).free
    if wanted > free:
        raise Blocked(
            f"{output} does not fit: {human(wanted)} are to come, {human(free)} are free",
            where=str(output.parent),
            why="a disk may need its full size; holes in it take no room, but nobody knows how many there are",
            now="make room, or begin all the same with --tight",
        )


def sync_directory(path: Path) -> None:
    """Make names in a directory outlive a crash."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
