"""The files of a claim, one by one: listings as the export server writes them, and each file by ranges."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote

from migrate.model.errors import Refused
from migrate.transfer import download
from migrate.transfer.archive import LEFT_OUT
from migrate.transfer.download import Got
from migrate.transfer.export_client import ExportClient
from migrate.transfer.landing import storing

MOST_LISTING_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory."""

    path: str
    """From the root of the claim, without a leading slash."""
    directory: bool


class _Links(HTMLParser):
    """Collects where a listing leads: Go's file server writes one link for each name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for key, value in attrs if tag == "a" and key == "href" and value]


def names_in(listing: str) -> list[str]:
    """Return the names of a listing; directories end with a slash. Raises Refused for a name that would lead out of its directory."""
    parser = _Links()
    parser.feed(listing)
    names = [unquote(link.removeprefix("./")) for link in parser.found]
    for name in names:
        if not name.strip("/") or "/" in name.rstrip("/") or name.rstrip("/") in (".", "..") or "\0" in name:
            raise Refused("a listing of the export server names something outside of its directory", why=repr(name))
    return names


def entries(client: ExportClient, root: str, path: str = "") -> list[Entry]:
    """List one directory of a claim. `root`: its link of format dir. Raises Refused (404: there is none) and what ExportClient raises."""

    def read(pieces: Iterator[bytes]) -> bytes:
        held = bytearray()
        for piece in pieces:
            held += piece
            if len(held) > MOST_LISTING_BYTES:
                raise Refused("a listing of the export server does not end", where=root, why=f"more than {MOST_LISTING_BYTES} bytes")
        return bytes(held)

    listing = client.whole(address(root, f"{path.strip('/')}/" if path.strip("/") else ""), read).decode(errors="surrogateescape")
    inside = f"{path.strip('/')}/" if path.strip("/") else ""
    return [Entry(f"{inside}{name.rstrip('/')}", name.endswith("/")) for name in names_in(listing)]


def tree(client: ExportClient, root: str, path: str = "") -> Iterator[Entry]:
    """List a directory and all below it that travels; a directory comes before what is in it."""
    for entry in entries(client, root, path):
        if entry.path in LEFT_OUT:
            continue
        yield entry
        if entry.directory:
            yield from tree(client, root, entry.path)


def address(root: str, path: str) -> str:
    """Return the link of a file of a claim."""
    return f"{root.rstrip('/')}/{quote(path)}"


def fetch_all(
    client: ExportClient,
    root: str,
    output: Path,
    *,
    identity: str,
    same: Callable[[], bool] = lambda: True,
    moved: Callable[[str], None] = lambda _path: None,
    cancelled: threading.Event | None = None,
) -> tuple[int, int]:
    """Bring all files of a claim into a directory; what is there whole is read anew, what is there in part is gone on with.

    Owners, modes and links are not told by listings: tar.gz brings them. Return how many files and bytes. Raises as `download.raw` does.
    """
    with storing(str(output), now=download.GO_ON):
        output.mkdir(parents=True, exist_ok=True)
    files, size = 0, 0
    for entry in tree(client, root):
        place = output / entry.path
        if entry.directory:
            with storing(str(place), now=download.GO_ON):
                place.mkdir(exist_ok=True)
            continue
        moved(entry.path)
        size += fetch(client, root, entry.path, place, identity=identity, same=same, cancelled=cancelled).bytes
        files += 1
    return files, size


def fetch(
    client: ExportClient,
    root: str,
    path: str,
    output: Path,
    *,
    identity: str,
    same: Callable[[], bool] = lambda: True,
    cancelled: threading.Event | None = None,
) -> Got:
    """Bring one file of a claim, as `download.raw` does."""
    return download.raw(client, address(root, path), output, identity=f"{identity}/{path}", same=same, cancelled=cancelled)
