"""Where a download lands: the file that has another name until it is whole, one writer at a time, and room for it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
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


def landing(output: Path, *, directory: bool = False) -> Path:
    """Return where a download lands that is to be called `output`: a link is followed. Raises UsageError where it cannot land there.

    What comes is put in the place of a file at its end, so a device or a pipe would be removed by it. A directory is put in the place of
    one that is empty, or of none: what is in it would be mixed with what comes.
    """
    try:
        place = output.resolve() if output.is_symlink() or directory else output
        mode = output.stat().st_mode if output.exists() else None
        there = place.parent.is_dir()
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{output} leads nowhere", where="--output", why=str(error), now="name another file") from error
    if mode is None and not directory and not there:
        raise UsageError(f"there is no directory {place.parent}", where="--output", now="make it, or name a file in one that is there")
    if mode is not None and directory and stat.S_ISDIR(mode):
        _check_empty(output, place)
    if mode is None or (stat.S_ISDIR(mode) if directory else stat.S_ISREG(mode)):
        return place
    if stat.S_ISDIR(mode):
        raise UsageError(f"{output} is a directory", where="--output", now=f"name a file in it: --output {output / 'NAME'}")
    if directory:
        raise UsageError(f"{output} is no directory", where="--output", now="name another one, or one that is not there")
    raise UsageError(
        f"{output} is no file, but a device, pipe or socket",
        where="--output",
        why="a download gets its name when it is whole, by taking the place of what is there",
        now=f"let it be written there: --output - > {output}",
    )


def _check_empty(output: Path, place: Path) -> None:
    """See that a tree can take the place of a directory. Raises UsageError."""
    now = f"name a new directory: --output {output / 'NAME'}"
    if place == Path.cwd() or place.is_mount():
        raise UsageError(f"{output} cannot be replaced", where="--output", why="it is the working directory, or a mount", now=now)
    try:
        free = empty(place)
    except OSError as error:
        raise UsageError(f"{output} cannot be looked into", where="--output", why=str(error), now=now) from error
    if not free:
        raise UsageError(
            f"{output} is not empty", where="--output", why="what is there would be mixed with what comes", now=f"{now}, or empty this one"
        )


def empty(place: Path) -> bool:
    """Tell whether nothing is in a directory. Raises OSError."""
    return next(place.iterdir(), None) is None


def beside(output: Path, ending: str) -> Path:
    """Return the name of what stands beside a file until it is whole."""
    return output.with_name(output.name + ending)


@contextlib.contextmanager
def opened(part: Path, journal: Path) -> Iterator[int]:
    """Open the unfinished file for one writer at a time. `journal` stands beside it from before its first byte: without it, it is not ours.

    Raises UsageError, Blocked.
    """
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
        if os.fstat(file).st_size and not journal.exists():
            raise Blocked(
                f"{part} holds what no download of ours left there",
                where="--output",
                why=f"there is no {journal.name} beside it",
                now="move it away or remove it, or name another file",
            )
        journal.touch()
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
