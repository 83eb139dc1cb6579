"""Files of a claim that holds no disk: read whole from the archive that an export gives of it, compared, and packed anew for the target.

An archive of KubeVirt's export server names the root of its volume (`./`). CDI unpacks with GNU tar as user 107, which may not touch the
root of a fresh volume, and fails (containerized-data-importer issue 2982). So the target is not sent there: we read the archive and send
its files on, without the root. Owners and modes are not compared: kubelet gives both to the group of the pod that mounts the volume.
"""

from __future__ import annotations

import hashlib
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, cast

from migrate.model.migration import Verify
from migrate.transfer.export_client import ExportClient
from migrate.transfer.gunzip import Gunzip
from migrate.transfer.patience import Interrupted
from migrate.transfer.proof import ENOUGH_DIFFERENCES, Cancelled, Outcome

LEFT_OUT = frozenset({"lost+found", "cbt"})
"""Top-level names that do not travel: the file system's own, and overlays of changed-block tracking, which are bound to the source's
disks in size and are made anew; the first backup on the target is a full one."""
_PIECE = 256 * 1024
END_OF_ARCHIVE = bytes(2 * tarfile.BLOCKSIZE)
_GROUP_FILE, _GROUP_DIRECTORY = 0o060, 0o070
"""What kubelet adds for the group of a volume: CDI's user owns what it unpacks, the export server is another and reads by the group."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in an archive. `content`: sha256 of a file, where a link leads."""

    kind: str
    bytes: int = 0
    content: str = ""


class _Tar:
    """An unpacked stream as the file that tarfile reads. Whoever reads to its end learns whether it is whole."""

    def __init__(self, pieces: Iterator[bytes], check: Callable[[], None]) -> None:
        self._packed = Gunzip()
        self._plain = self._unpacked(pieces, check)
        self._held, self._tail, self._over = bytearray(), b"", False

    def read(self, size: int) -> bytes:
        while len(self._held) < size and not self._over:
            plain = next(self._plain, b"")
            self._over = not plain
            self._held += plain
        taken = bytes(self._held[:size])
        del self._held[:size]
        self._tail = (self._tail + taken)[-len(END_OF_ARCHIVE) :]
        return taken

    def _unpacked(self, pieces: Iterator[bytes], check: Callable[[], None]) -> Iterator[bytes]:
        for piece in pieces:
            check()
            yield from self._packed.feed(piece)

    def finish(self) -> None:
        """Read the rest. An archive that does not end as archives do was cut by its server, which says so nowhere (kubevirt-export 3)."""
        while self.read(_PIECE):
            pass
        if not self._packed.ended or self._tail != END_OF_ARCHIVE:
            raise Interrupted("the archive ends early")


def contents(client: ExportClient, url: str, *, cancelled: threading.Event, moved: Callable[[int], None]) -> dict[str, Entry]:
    """Return what is in the archive of a claim, by path. `moved` is told the bytes of every file.

    Raises Cancelled, and what `ExportClient.whole` raises.
    """
    return _read(client, url, cancelled, lambda member, _: moved(member.size))


def pack(client: ExportClient, url: str, out: IO[bytes], *, cancelled: threading.Event) -> dict[str, Entry]:
    """Write the archive of a claim anew, unpacked and without its root, and return what is in it. Raises as `contents` does."""

    def begin() -> tarfile.TarFile:
        out.seek(0)
        out.truncate()
        return tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT)

    made: list[tarfile.TarFile] = []

    def keep(member: tarfile.TarInfo, file: IO[bytes] | None) -> None:
        again = tarfile.TarInfo(member.name)
        again.type = tarfile.REGTYPE if member.isreg() else member.type
        again.mode = member.mode | (_GROUP_DIRECTORY if member.isdir() else _GROUP_FILE)
        again.mtime, again.linkname, again.size = member.mtime, member.linkname, member.size
        made[-1].addfile(again, file)

    found = _read(client, url, cancelled, keep, begin=lambda: made.append(begin()))
    made[-1].close()
    return found


def _read(
    client: ExportClient,
    url: str,
    cancelled: threading.Event,
    each: Callable[[tarfile.TarInfo, IO[bytes] | None], None],
    *,
    begin: Callable[[], None] = lambda: None,
) -> dict[str, Entry]:
    def check() -> None:
        if cancelled.is_set():
            raise Cancelled

    def one(pieces: Iterator[bytes]) -> dict[str, Entry]:
        begin()
        stream, found = _Tar(pieces, check), {}
        try:
            with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as archive:
                for member in archive:
                    path = PurePosixPath(member.name)
                    if not path.parts or path.parts[0] in LEFT_OUT:
                        continue
                    member.name = str(path)
                    found[member.name] = _entry(archive, member, each)
        except tarfile.TarError as error:
            raise Interrupted(f"the archive cannot be read: {error}") from None
        stream.finish()
        return found

    return client.whole(url, one, cancelled)


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, each: Callable[[tarfile.TarInfo, IO[bytes] | None], None]) -> Entry:
    if not member.isreg():
        each(member, None)
        return Entry("directory") if member.isdir() else Entry("link" if member.issym() else "special file", 0, member.linkname)
    file: Any = _Hashed(archive.extractfile(member))
    each(member, file)
    while file.read(_PIECE):
        pass
    return Entry("file", member.size, file.digest.hexdigest())


class _Hashed:
    """A file that is hashed while somebody reads it."""

    def __init__(self, file: IO[bytes] | None) -> None:
        assert file is not None
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self.digest.update(piece)
        return piece


def compare_files(source: Mapping[str, Entry], target: Mapping[str, Entry]) -> Outcome:
    """Say where two claims differ: in paths, kinds, sizes, contents. Everything was read, so the coverage is always full."""
    found: list[str] = []
    for path in sorted(source.keys() | target.keys()):
        ours, theirs = source.get(path), target.get(path)
        if theirs is None:
            found.append(f"{path} is missing")
        elif ours is None:
            found.append(f"{path} is there and not on the source")
        elif ours != theirs:
            found.append(f"{path} differs ({ours.kind} of {ours.bytes} bytes, here {theirs.kind} of {theirs.bytes})")
    size = sum(entry.bytes for entry in source.values())
    tree = hashlib.sha256()
    for path, entry in sorted(source.items()):
        tree.update(f"{path}\0{entry.kind}\0{entry.bytes}\0{entry.content}\n".encode())
    digest = "" if found else f"sha256:{tree.hexdigest()}"
    return Outcome(digest=digest, coverage=Verify.FULL, bytes=size, read_bytes=size, differences=tuple(found[:ENOUGH_DIFFERENCES]))
