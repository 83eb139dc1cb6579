"""Bytes that we move ourselves: neither a look nor a write, but a `Work` that runs beside the engine.

`act` starts it, `observe` sees how far it is, and the next `act` writes its result to the cluster. Nothing of it survives the process:
a crash starts that disk's work anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from migrate.transfer.proof import Cancelled

PARTING_S = 5.0
"""How long a cancelled work is waited for."""
Key = tuple[str, str, str]
"""(migration id, step, disk)"""


LONGEST_FAREWELL_S = 5.0


class Work:
    """One transfer in a thread of its own."""

    def __init__(self, key: Key, run: Callable[[Work], object], ended: threading.Event | None = None) -> None:
        self.key = key
        self.attempt = 1
        self.bytes_total: int | None = None
        self.bytes_done = 0
        self.result: object = None
        self.error: Exception | None = None
        self.cancelled = threading.Event()
        self._run = run
        self._ended = ended
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._body, name="-".join(("work", *key)), daemon=True)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def moved(self, count: int) -> None:
        """Note that `count` more bytes are through; raise Cancelled if nobody wants the rest."""
        if self.cancelled.is_set():
            raise Cancelled
        with self._lock:
            self.bytes_done += count

    def cancel(self) -> None:
        """Ask it to end at its next step; `join` waits for that."""
        self.cancelled.set()

    def join(self, seconds: float | None = None) -> None:
        """Wait until the thread has ended."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _body(self) -> None:
        try:
            self.result = self._run(self)
        except Cancelled:
            pass
        except Exception as error:  # it is not lost: observe shows it
            self.error = error
        finally:
            if self._ended is not None:
                self._ended.set()


class Works:
    """The works of this process, by key."""

    def __init__(self, ended: threading.Event | None = None) -> None:
        """`ended` is set whenever a work has ended, so that the engine looks again at once."""
        self.ended = ended
        self._works: dict[Key, Work] = {}
        self._lock = threading.Lock()

    def get(self, key: Key) -> Work | None:
        """Return the work of that key, running or ended; None if there is none."""
        with self._lock:
            return self._works.get(key)

    def start(self, key: Key, run: Callable[[Work], object], *, bytes_total: int | None = None) -> Work:
        """Start a work, as the next attempt in place of an ended one; a running one is returned as it is."""
        with self._lock:
            present = self._works.get(key)
            if present is not None and present.running:
                return present
            work = Work(key, run, self.ended)
            work.bytes_total = bytes_total
            work.attempt = present.attempt + 1 if present is not None else 1
            self._works[key] = work
            work.start()
            return work

    def drop(self, key: Key) -> None:
        """Forget a work; a running one is cancelled."""
        with self._lock:
            work = self._works.pop(key, None)
        if work is not None:
            work.cancel()

    def cancel(self, migration_id: str) -> None:
        """Cancel every work of one migration and wait for their threads; one that hangs on a dead stream is not waited for long."""
        with self._lock:
            mine = [work for key, work in self._works.items() if key[0] == migration_id]
            self._works = {key: work for key, work in self._works.items() if key[0] != migration_id}
        for work in mine:
            work.cancel()
        for work in mine:
            work.join(PARTING_S)
