"""What the export server sends for a file: whole or in ranges, gzipped, as a directory, as an archive.

The answers follow Go's http.ServeContent and http.FileServer, on which the real server stands (real-stack.md 3.2, kubevirt-export.md 3).
Archives are plain GNU tar: the real server adds `--sparse`, which unpacks to the same files.
"""

from __future__ import annotations

import html
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

from migrate.lab.bytesd import PIECE_BYTES, Dropped, Reply, Request, text
from migrate.lab.ranges import BadRange, Span, parse_range

_GZIP_LEVEL = 1
_GZIP_WINDOW = 31
_HIDDEN = frozenset({"lost+found"})
_TYPES = {".html": "text/html; charset=utf-8", ".txt": "text/plain; charset=utf-8", ".json": "application/json"}
_INDEX = "index.html"
_BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Cut:
    """How an answer is spoiled on purpose: bytes after which the file seems to end, or the connection breaks."""

    end: int | None = None
    drop: int | None = None


WHOLE = Cut()
"""Not spoiled at all."""


def file_size(path: Path) -> int:
    """Return the size of a disk, be it a file or a device. Raises OSError."""
    with path.open("rb") as file:
        return file.seek(0, os.SEEK_END)


def raw(request: Request, path: Path, *, cut: Cut = WHOLE, modified: datetime | None = None) -> Reply:
    """Answer with the bytes of a file, honouring ranges, whatever the method. Without `modified` there is no validator at all."""
    try:
        size = file_size(path)
    except OSError:
        return Reply(500)
    if cut.end is not None:
        size = min(size, cut.end)
    kind = _TYPES.get(path.suffix, _BYTES)
    validators = (("Last-Modified", _http_date(modified)),) if modified is not None else ()
    if modified is not None and _unmodified(request.headers.get("If-Modified-Since", ""), modified):
        return Reply(304, validators)
    wanted = request.headers.get("Range", "")
    if not _range_applies(request.headers.get("If-Range", ""), modified):
        wanted = ""
    try:
        spans = parse_range(wanted, size)
    except BadRange as error:
        return text(416, f"{error}\n", *((("Content-Range", f"bytes */{size}"),) if error.overlap else ()))
    ranged = ("Accept-Ranges", "bytes")
    match spans:
        case ():
            return Reply(200, (ranged, ("Content-Type", kind), *validators), _pieces(path, Span(0, size), cut.drop), length=size)
        case (span,):
            place = ("Content-Range", span.content_range(size))
            return Reply(206, (ranged, place, ("Content-Type", kind), *validators), _pieces(path, span, cut.drop), length=span.length)
        case _:
            boundary = token_hex(30)
            parts = _Parts(spans, boundary=boundary, kind=kind, size=size)
            several = ("Content-Type", f"multipart/byteranges; boundary={boundary}")
            return Reply(206, (ranged, several, *validators), parts.pieces(path, cut.drop), length=parts.length)


def gzipped(path: Path, *, cut: Cut = WHOLE) -> Reply:
    """Answer with a gzip stream of a whole disk, without a length. A disk that ends early still gives a well-formed stream."""
    try:
        size = file_size(path)
    except OSError:
        return Reply(500)
    if cut.end is not None:
        size = min(size, cut.end)
    return Reply(200, (("Content-Type", "application/x-gzip"),), _dropping(_gzip(_pieces(path, Span(0, size), None)), cut.drop))


def archive(root: Path, *, cut: Cut = WHOLE) -> Reply:
    """Answer with a gzipped tar of a directory, without `lost+found`."""
    if not readable_tree(root):
        return Reply(500)
    return Reply(200, (("Content-Type", "application/x-gzip"),), _dropping(_gzip(_tar(root)), cut.drop))


def directory(request: Request, root: Path, inside: str) -> Reply:
    """Answer like a file server below `root` for the path `inside`: listings, files with ranges and dates, redirects.

    As Go does it, `index.html` is given for its directory and never by its own name; one that is a directory is listed in place of it.
    Links that lead out of the volume are refused, as the real server does from release 1.9.
    """
    if inside == _INDEX or inside.endswith(f"/{_INDEX}"):
        return Reply(301, (("Location", "./"),))
    path = root / inside.strip("/")
    if not path.resolve().is_relative_to(root.resolve()):
        return text(404, "404 page not found\n")
    try:
        status = path.stat()
    except OSError:
        return text(404, "404 page not found\n")
    modified = datetime.fromtimestamp(int(status.st_mtime), UTC)
    if stat.S_ISDIR(status.st_mode):
        if inside and not inside.endswith("/"):
            return Reply(301, (("Location", f"{_quoted(path.name)}/"),))
        return _page_or_listing(request, root, path)
    if inside.endswith("/"):
        return Reply(301, (("Location", f"../{_quoted(path.name)}"),))
    return raw(request, path, modified=modified)


def readable_tree(path: Path) -> bool:
    """Tell whether every entry of a volume can be opened; the server refuses to start otherwise."""
    try:
        if not path.is_dir():
            path.open("rb").close()
            return True
        for entry in path.iterdir():
            if entry.name not in _HIDDEN:
                os.close(os.open(entry, os.O_RDONLY))
    except OSError:
        return False
    return True


def _page_or_listing(request: Request, root: Path, path: Path) -> Reply:
    """Give the index of a directory where there is one that can be opened, else what is in the directory."""
    try:
        index = (path / _INDEX).resolve(strict=True)
        if index.is_relative_to(root.resolve()):
            os.close(os.open(index, os.O_RDONLY))
            path = index
    except OSError:
        pass
    modified = datetime.fromtimestamp(int(path.stat().st_mtime), UTC)
    return _listing(path, modified) if path.is_dir() else raw(request, path, modified=modified)


def _listing(path: Path, modified: datetime) -> Reply:
    lines = ['<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n']
    for entry in sorted(path.iterdir(), key=lambda found: found.name):
        name = f"{entry.name}/" if entry.is_dir() and not entry.is_symlink() else entry.name
        lines.append(f'<a href="{_quoted(name)}">{html.escape(name)}</a>\n')
    lines.append("</pre>\n")
    return Reply(
        200,
        (("Content-Type", "text/html; charset=utf-8"), ("Last-Modified", _http_date(modified))),
        "".join(lines).encode(errors="surrogateescape"),
    )


def _quoted(name: str) -> str:
    """Return a name as Go's url.URL writes a path: any bytes, and `&` and its like as they are, also within HTML."""
    return quote(name, safe="/$&+,:;=@~", errors="surrogateescape")


def _pieces(path: Path, span: Span, drop: int | None) -> Iterator[bytes | memoryview]:
    """Read a stretch of a file through one buffer that is used again and again."""
    return _dropping(_read(path, span), drop)


def _read(path: Path, span: Span) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(PIECE_BYTES, max(span.length, 1))))
    with path.open("rb", buffering=0) as file:
        file.seek(span.start)
        left = span.length
        while left:
            count = file.readinto(buffer[: min(left, len(buffer))])
            if not count:
                raise OSError(f"{path.name} became shorter")
            left -= count
            yield buffer[:count]


def _dropping(pieces: Iterable[bytes | memoryview], drop: int | None) -> Iterator[bytes | memoryview]:
    """Pass a stream on and cut the connection after `drop` bytes of it."""
    sent = 0
    for piece in pieces:
        if drop is not None and sent + len(piece) >= drop:
            yield piece[: drop - sent]
            raise Dropped
        sent += len(piece)
        yield piece


def _gzip(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Compress a stream. A read error ends it early but well-formed, which is the real server's silent truncation."""
    from isal import isal_zlib

    packer = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)
    try:
        for piece in pieces:
            yield packer.compress(piece)
    except OSError:
        pass
    yield packer.flush()


def _tar(root: Path) -> Iterator[bytes | memoryview]:
    total = 0
    for path in (root, *sorted(root.rglob("*"))):
        inside = path.relative_to(root)
        if _HIDDEN & set(inside.parts):
            continue
        info = _tar_info(path, "./" if path == root else f"./{inside}")
        header = info.tobuf(tarfile.GNU_FORMAT)
        total += len(header)
        yield header
        if info.isreg():
            yield from _read(path, Span(0, info.size))
            padding = -info.size % tarfile.BLOCKSIZE
            total += info.size + padding
            yield bytes(padding)
    yield bytes(2 * tarfile.BLOCKSIZE + -(total + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE)


def _tar_info(path: Path, name: str) -> tarfile.TarInfo:
    status = path.lstat()
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(status.st_mode)
    info.mtime = int(status.st_mtime)
    info.uid, info.gid = status.st_uid, status.st_gid
    if stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(status.st_mode):
        info.type = tarfile.SYMTYPE
        info.linkname = str(path.readlink())
    else:
        info.size = status.st_size
    return info


@dataclass(frozen=True, slots=True)
class _Parts:
    """The body of an answer to several ranges."""

    spans: tuple[Span, ...]
    boundary: str
    kind: str
    size: int

    @property
    def length(self) -> int:
        return sum(len(self._head(index)) + span.length for index, span in enumerate(self.spans)) + len(self._tail)

    @property
    def _tail(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()

    def _head(self, index: int) -> bytes:
        lead = "\r\n" if index else ""
        place = self.spans[index].content_range(self.size)
        return f"{lead}--{self.boundary}\r\nContent-Range: {place}\r\nContent-Type: {self.kind}\r\n\r\n".encode()

    def pieces(self, path: Path, drop: int | None) -> Iterator[bytes | memoryview]:
        return _dropping(self._all(path), drop)

    def _all(self, path: Path) -> Iterator[bytes | memoryview]:
        for index, span in enumerate(self.spans):
            yield self._head(index)
            yield from _read(path, span)
        yield self._tail


def _http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def _parsed_date(word: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(word)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _unmodified(since: str, modified: datetime) -> bool:
    moment = _parsed_date(since) if since else None
    return moment is not None and modified <= moment


def _range_applies(condition: str, modified: datetime | None) -> bool:
    """Tell whether If-Range lets a Range stand: always without one, never by tag, by date only if there is one and it is equal."""
    if not condition:
        return True
    return modified is not None and _parsed_date(condition) == modified
