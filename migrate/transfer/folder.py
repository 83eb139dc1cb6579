"""The files of a claim, one by one: listings as the export server writes them, and each file by ranges."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from migrate.model.errors import Blocked, MigrateError, Refused, Unreachable, UsageError
from migrate.transfer import download
from migrate.transfer.answers import Changed, Denied, refused
from migrate.transfer.download import Got
from migrate.transfer.export_client import ExportClient
from migrate.transfer.growing import Growing, growing
from migrate.transfer.landing import storing

MOST_LISTING_BYTES = 64 * 1024 * 1024
_LINKS = {"status 301": "it is a link to a directory", "status 404": "it is a link that leads nowhere"}
_TROUBLE = _LINKS | {
    "status 403": "the server may not read it",
    "status 500": "the server cannot open it, or it is a link out of the volume",
}
"""By what the server answers for a name that it lists. Go's file server follows links (kubevirt-export section 3)."""
_NAMED = 5
SPARING_S = 5.0
INDEX = "index.html"
_NOT_THERE = 404
LOST_AND_FOUND = "lost+found"
"""The file system's own; KubeVirt leaves it out of its archives, too."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory."""

    path: str
    """From the root of the claim, without a leading slash. Bytes that are no UTF-8 are escaped as os.fsdecode does."""
    directory: bool


@dataclass(frozen=True, slots=True)
class Tree:
    """All files of a claim, brought here."""

    files: int
    bytes: int
    left_out: int = 0
    """Links that lead to no file."""


_LINK = re.compile(r'<a href="([^"]*)">')
"""Go's file server writes one link for each name, percent-encoded and not escaped for HTML: `&lt;` in a name is that, and no `<`."""


def names_in(listing: str) -> list[str]:
    """Return the names of a listing; directories end with a slash. Raises Refused for a name that would lead out of its directory."""
    names = [unquote(link.removeprefix("./"), errors="surrogateescape") for link in _LINK.findall(listing)]
    for name in names:
        if not name.strip("/") or "/" in name.rstrip("/") or name.rstrip("/") in (".", "..") or "\0" in name:
            raise Refused("a listing of the export server names something outside of its directory", why=repr(name))
    return names


def entries(client: ExportClient, root: str, path: str = "") -> list[Entry]:
    """List one directory of a claim. `root`: its link of format dir.

    Raises Refused (404: there is none), Blocked where a page is given in place of the listing, and what ExportClient raises.
    """
    inside = f"{path.strip('/')}/" if path.strip("/") else ""

    def look(headers: Mapping[str, str]) -> None:
        if "accept-ranges" in headers:
            raise _no_listing(root, inside)

    def read(pieces: Iterator[bytes]) -> bytes:
        held = bytearray()
        for piece in pieces:
            held += piece
            if len(held) > MOST_LISTING_BYTES:
                raise Refused("a listing of the export server does not end", where=root, why=f"more than {MOST_LISTING_BYTES} bytes")
        return bytes(held)

    names = names_in(client.whole(address(root, inside), read, look=look).decode(errors="surrogateescape"))
    if INDEX not in names and (status := client.status(address(root, f"{inside}{INDEX}/"))) != _NOT_THERE:
        raise _no_listing(root, inside, status)
    return [Entry(f"{inside}{name.rstrip('/')}", name.endswith("/")) for name in names]


def _no_listing(root: str, inside: str, status: int = 200) -> MigrateError:
    """Return the error for a directory that is not listed: Go's file server gives its index.html, or lists that if it is a directory.

    A page has `Accept-Ranges`, which a listing never has. By the name itself the server always redirects; with a slash behind it,
    it says 404 only where there is no index.html: then the listing is that of the directory.
    """
    if status not in (200, 301):
        return refused("the files of a claim could not be listed", address(root, f"{inside}{INDEX}/"), status)
    return Blocked(
        f"the files in {shown(inside) or 'the root of the volume'} cannot be listed: the server gives its {INDEX} in place of them",
        where=root,
        why="it serves a directory that has such a file as a web server does, so nobody learns what else is in it",
        now="take all files at once: migrate export download with --format tar.gz",
    )


@contextmanager
def in_words(client: ExportClient, root: str, path: str, *, file: bool) -> Iterator[None]:
    """Say what is the matter with a name that a person gave. `file`: of a file, else of a directory.

    The server answers 404 also where the export itself is gone, so its root is looked at. Raises UsageError, and what is raised within.
    """
    try:
        yield
    except Denied as error:
        inside = path.strip("/")
        if error.status not in (301, 404) or not inside:
            raise
        what = "file" if file else "directory"
        if error.status == 404 and client.status(root) == 200:
            raise UsageError(
                f"there is no {what} {shown(inside)} on the volume", where="PATH", now="list them: migrate export files"
            ) from None
        if error.status == 404:
            raise
        if inside.rpartition("/")[2] == INDEX:
            raise _no_listing(root, inside.removesuffix(INDEX)) from None
        now = (
            "list it, without --output; or take all files: migrate export download --format dir" if file else "fetch it: add --output FILE"
        )
        raise UsageError(f"{shown(inside)} is no {what}, but a {'directory' if file else 'file'}", where="PATH", now=now) from None


def tree(client: ExportClient, root: str, path: str = "") -> Iterator[Entry]:
    """List a directory and all below it but `lost+found` of the root; a directory comes before what is in it."""
    for entry in entries(client, root, path):
        if entry.path == LOST_AND_FOUND:
            continue
        yield entry
        if entry.directory:
            yield from tree(client, root, entry.path)


def address(root: str, path: str) -> str:
    """Return the link of a file of a claim."""
    return f"{root.rstrip('/')}/{quote(path, errors='surrogateescape')}"


def fetch_all(
    client: ExportClient,
    root: str,
    output: Path,
    *,
    identity: str,
    same: Callable[[], bool] = lambda: True,
    tell: Callable[[str], None] = lambda _words: None,
    moved: Callable[[int, int], None] = lambda _done, _total: None,
    cancelled: threading.Event | None = None,
) -> Tree:
    """Bring all files of a claim into a directory that gets its name when all is there; see `growing`. Until then it is called
    `NAME.part`: a file that is there in part is gone on with by the next try, whole ones are read anew, since the claim may have changed.

    Owners, modes and links are not told by listings: a link to a file comes as that file, others are left out; tar.gz brings them all.
    `tell` is told each file, and what is left out; `moved` the bytes so far (and 0: nobody knows how many there will be).
    Raises as `download.raw` does, and Blocked in the end for files that cannot be read.
    """
    found = list(tree(client, root))
    with storing(str(output), now=download.GO_ON), growing(output, tell=tell) as place:
        return _bring(client, root, found, place, identity=identity, same=same, tell=tell, moved=moved, cancelled=cancelled)


def _bring(
    client: ExportClient,
    root: str,
    found: Sequence[Entry],
    into: Growing,
    *,
    identity: str,
    same: Callable[[], bool],
    tell: Callable[[str], None],
    moved: Callable[[int, int], None],
    cancelled: threading.Event | None,
) -> Tree:
    files, size, left_out, lost = 0, 0, 0, list[str]()
    now_and_then = _Sparing(same)
    for entry in found:
        place = into.tree / entry.path
        if entry.directory:
            place.mkdir()
            continue
        tell(shown(entry.path))
        begun = size

        def seen(done: int, _: int, begun: int = begun) -> None:
            moved(begun + done, 0)

        try:
            here = into.file(entry.path)
            got = fetch(client, root, entry.path, here, identity=identity, same=now_and_then, tell=tell, moved=seen, cancelled=cancelled)
            size += got.bytes
            here.replace(place)
            files += 1
        except (Denied, Unreachable) as error:
            words = _TROUBLE.get(error.why, "") if place.name != INDEX else "the server cannot open it"
            if not words or entry not in entries(client, root, entry.path.rpartition("/")[0]):
                raise
            lost += [] if error.why in _LINKS and place.name != INDEX else [entry.path]
            left_out += 1
            tell(f"{shown(entry.path)} is left out: {words}")
    if not same():
        raise Changed(root)
    if lost:
        raise Blocked(
            f"{len(lost)} of {files + left_out} files could not be read: {', '.join(map(shown, lost[:_NAMED]))}",
            where=str(into.tree),
            why="the export's server cannot open them: they are not for it to read, or links out of the volume",
            now="the others are there until the next try; take --format tar.gz for links as they are, or see the server's log",
        )
    return Tree(files, size, left_out)


class _Sparing:
    """Asks only now and then, where there may be thousands of files; in the end it is asked in any case."""

    def __init__(self, same: Callable[[], bool]) -> None:
        self._same = same
        self._asked_at = -SPARING_S

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._asked_at < SPARING_S:
            return True
        self._asked_at = now
        return self._same()


def shown(path: str) -> str:
    """Return a path as it can be printed anywhere."""
    return path.encode(errors="surrogateescape").decode(errors="replace")


def fetch(
    client: ExportClient,
    root: str,
    path: str,
    output: Path,
    *,
    identity: str,
    same: Callable[[], bool] = lambda: True,
    tell: Callable[[str], None] = lambda _words: None,
    moved: Callable[[int, int], None] = lambda _done, _total: None,
    cancelled: threading.Event | None = None,
) -> Got:
    """Bring one file of a claim, as `download.raw` does."""
    url = address(root, path)
    return download.raw(client, url, output, identity=f"{identity}/{path}", same=same, tell=tell, moved=moved, cancelled=cancelled)
