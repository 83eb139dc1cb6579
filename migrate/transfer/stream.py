"""A disk of an export in order, for standard output and other things that take no seeking."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

from migrate.model.errors import Blocked
from migrate.transfer.answers import NOBODY_KNOWS, Changed
from migrate.transfer.download import Got
from migrate.transfer.export_client import ExportClient
from migrate.transfer.proof import Cancelled
from migrate.transfer.ranges import every


class Stream:
    """A raw link in order, into whatever takes it. Whoever reads again, by another client, goes on where the last try ended."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._hashed = hashlib.sha256()
        self._identity = ""
        self.done = 0

    def read(
        self,
        client: ExportClient,
        url: str,
        *,
        identity: str,
        same: Callable[[], bool] = lambda: True,
        moved: Callable[[int, int], None] = lambda _done, _total: None,
        cancelled: threading.Event | None = None,
    ) -> Got:
        """Read what is left. `identity` names the disk and its state: half of one and half of another is no disk.

        `same` is asked at the end whether it is still in that state: a client goes on by itself once a server is back.
        Raises Cancelled, Blocked for another state than before, and what ExportClient raises.
        """
        stop = cancelled or threading.Event()
        size = client.size(url, stop)
        if self.done and self._identity != f"{identity}/{size}":
            raise _changed(url)
        self._identity = f"{identity}/{size}"
        for part in every(self.done, size):
            try:
                for piece in client.pieces(url, part, of=size, cancelled=stop, same=same):
                    if stop.is_set():
                        raise Cancelled
                    self._hashed.update(piece)
                    self._write(piece)
                    self.done += len(piece)
                    moved(self.done, size)
            except Changed:
                raise _changed(url) from None
        if not same():
            raise _changed(url)
        return Got(size, f"sha256:{self._hashed.hexdigest()}", size)


def _changed(url: str) -> Blocked:
    """Return what ends it: unlike with a file, it cannot be read anew."""
    return Blocked(
        "the disk changed while it was read, and what was written to standard output cannot be taken back",
        where=url,
        why=NOBODY_KNOWS,
        now="throw away what came, and run the same again",
    )
