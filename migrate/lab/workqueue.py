"""The queue of a controller: keys that wait for a look, now or later."""

from __future__ import annotations

import heapq
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migrate.lab.caches import Key
    from migrate.lab.clock import LabClock


class Queue:
    """Keys that wait for a look: each at most once, some of them later."""

    def __init__(self, clock: LabClock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._now: dict[Key, None] = {}
        self._later: list[tuple[float, Key]] = []
        self._due: dict[Key, float] = {}
        self.changed = threading.Event()

    def add(self, key: Key) -> None:
        """Ask for a look at once."""
        with self._lock:
            self._now[key] = None
        self.changed.set()

    def add_later(self, key: Key, seconds: float) -> None:
        """Ask for a look in a while; the earliest request of a key counts."""
        due = self._clock.monotonic() + seconds
        with self._lock:
            if self._due.get(key, due + 1) > due:
                self._due[key] = due
                heapq.heappush(self._later, (due, key))
        self.changed.set()

    def take(self) -> tuple[Key | None, float | None]:
        """Return a key to look at, or None and the seconds until the next one."""
        with self._lock:
            moment = self._clock.monotonic()
            while self._later and self._later[0][0] <= moment:
                due, key = heapq.heappop(self._later)
                if self._due.get(key) == due:
                    del self._due[key]
                    self._now[key] = None
            if self._now:
                key = next(iter(self._now))
                del self._now[key]
                return key, None
            self.changed.clear()
            return None, max(0.0, self._later[0][0] - moment) if self._later else None
