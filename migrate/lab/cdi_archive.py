"""Unpack an archive onto a claim as CDI's programs do: with GNU tar, as user 107, modes kept, owners not.

The root of a fresh volume belongs to root. An archive that names it (`./`, as every archive of KubeVirt's export server does) makes tar try
to set its time and mode, which only its owner may: everything is unpacked, and tar still ends with status 2
(containerized-data-importer issue 2982; seen with GNU tar 1.34 and CDI's very options).
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, cast

from migrate.lab.cdi_formats import Broken, Source
from migrate.lab.cdi_image import Room

if TYPE_CHECKING:
    from typing import IO

_PIECE: Final = 256 << 10


class NotUnpacked(Exception):
    """tar ended with an error. The text is what CDI's programs say of it."""


class _File:
    """A source as the file object that tarfile reads."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self, size: int) -> bytes:
        buffer = memoryview(bytearray(size))
        have = 0
        while have < size and (got := self._source.readinto(buffer[have:])):
            have += got
        return bytes(buffer[:have])


def extract(source: Source, root: Path, *, room: Room, check: Callable[[], None]) -> None:
    """Unpack an uncompressed tar stream below `root`. Raise NotUnpacked, Broken, NoSpace, and what `check` raises."""
    own_root = False
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", _File(source)), mode="r|") as archive:
            for member in archive:
                check()
                inside = PurePosixPath(member.name)
                if ".." in inside.parts or inside.is_absolute():
                    raise NotUnpacked(_said())
                if not inside.parts:
                    own_root = True
                    continue
                _place(archive, member, root / inside, room)
    except tarfile.TarError as error:
        raise NotUnpacked(_said()) from error
    except Broken as error:
        raise NotUnpacked(_said()) from error
    if own_root:
        raise NotUnpacked(_said())


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, room: Room) -> None:
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
    elif member.issym():
        path.unlink(missing_ok=True)
        path.symlink_to(member.linkname)
        return
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        content: Any = archive.extractfile(member)
        if content is None:
            return
        path.unlink(missing_ok=True)
        with path.open("wb") as file:
            while piece := content.read(_PIECE):
                room.take(len(piece))
                file.write(piece)
            os.fsync(file.fileno())
    path.chmod(member.mode & 0o777)


def _said() -> str:
    return "Unable to transfer source data to target directory: unable to untar files from endpoint: exit status 2"
