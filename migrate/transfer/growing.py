"""A directory that gets its name when all is in it: until then it grows in `NAME.part`, so trees of two states are never mixed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from migrate.model.errors import Blocked, UsageError
from migrate.transfer.landing import beside, empty, sync_directory

_TREE, _UNDER_WAY, _OURS = "tree", "under-way", ".migrate-download"
_MOVE_IT = "move it away, or name another directory"


@dataclass(frozen=True, slots=True)
class Growing:
    """Where a tree grows."""

    tree: Path
    """Whole files and directories, each at its place."""
    under_way: Path
    """Files that are not whole. They are beside the tree, so that none of their names is one of it."""

    def file(self, path: str) -> Path:
        """Return the name under which a file of the tree is brought, the same for the same path."""
        return self.under_way / sha256(os.fsencode(path)).hexdigest()


@contextmanager
def growing(output: Path, *, tell: Callable[[str], None]) -> Iterator[Growing]:
    """Let a tree grow beside `output` and give it that name at the end; whatever ends it before, `output` is not touched.

    What an earlier try brought of files that are not whole stays for this one; its tree goes, which is told.
    Raises UsageError, and Blocked where somebody else is at it or the place is not ours.
    """
    part = beside(output, ".part")
    if part.is_symlink():
        raise Blocked(f"{part} is a link", where="--output", why="what grows there is removed by its name", now=_MOVE_IT)
    with _held(part):
        there = {path.name for path in part.iterdir()}
        if foreign := sorted(there - {_TREE, _UNDER_WAY, _OURS} if _OURS in there else there):
            raise Blocked(f"{part} holds what no download left there: {foreign[0]}", where="--output", now=_MOVE_IT)
        (part / _OURS).touch()
        place = Growing(part / _TREE, part / _UNDER_WAY)
        if count := sum(len(files) for _, _, files in os.walk(place.tree)):
            tell(
                f"{place.tree}: {count} files of an earlier try are thrown away and read anew: nobody knows whether they are still the same"
            )
        if place.tree.exists():
            shutil.rmtree(place.tree)
        place.tree.mkdir()
        place.under_way.mkdir(exist_ok=True)
        yield place
        if output.exists() and not empty(output):
            raise Blocked(f"{output} is not empty any more", where=str(output), why=f"what came is in {place.tree}", now=_MOVE_IT)
        place.tree.replace(output)
        shutil.rmtree(place.under_way)
        (part / _OURS).unlink()
        part.rmdir()
        sync_directory(output.parent)


@contextmanager
def _held(part: Path) -> Iterator[None]:
    """Hold a directory for one process at a time; it is made if it is not there."""
    try:
        part.mkdir(parents=True, exist_ok=True)
        directory = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{part} cannot be made", where="--output", why=str(error), now=_MOVE_IT) from error
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Blocked(
                f"another process downloads to {part}",
                where="--output",
                now="let it end, or name another directory",
                why="it holds its lock",
            ) from None
        if not part.exists() or part.stat().st_ino != os.fstat(directory).st_ino:
            raise Blocked(f"another process has just ended a download to {part}", where="--output", now="see whether its files will do")
        yield
    finally:
        os.close(directory)
