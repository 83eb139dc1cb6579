"""When a request to an export host is asked again. Streams resume where they broke off; whole requests start anew.

Named causes only: connection lost or refused, time-out, a body that ends early, 429, and the 5xx of a proxy whose export is being replaced
(kubevirt-export sections 2 and 4: a pod is replaced at its deadline, the proxy answers 502 and 503 meanwhile).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from migrate.model.clock import Clock
from migrate.model.errors import Unreachable

AGAIN = frozenset({429, 500, 502, 503, 504})
MOST_TRIES = 6
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 15.0
TELL_S = 10.0
"""So long the same trouble is not said again."""
LOOK = "see that the export is Ready and its host answers; then run the same again"


class Interrupted(Exception):
    """One try broke off for a cause that may pass. Never shown itself; its words are."""


@dataclass(slots=True)
class Waits:
    """Says for all streams of a host that it is waited for, each ten seconds anew, and once that it is not any more."""

    tell: Callable[[str], None] = lambda _: None
    _waiting: bool = False
    _told_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, words: str, *, at: float) -> None:
        """Note that somebody waits. `at`: seconds that only grow."""
        with self._lock:
            due = not self._waiting or at - self._told_at >= TELL_S
            self._waiting, self._told_at = True, at if due else self._told_at
        if due:
            self.tell(f"{words}; trying again")

    def end(self) -> None:
        """Note that something arrived."""
        if self._waiting:
            with self._lock:
                before, self._waiting = self._waiting, False
            if before:
                self.tell("it answers again; going on")


@dataclass(slots=True)
class Patience:
    """Tries in a row that brought nothing; any byte that arrives makes it new."""

    clock: Clock
    cancelled: threading.Event
    waits: Waits = field(default_factory=Waits)
    tries: int = 0

    def moved(self) -> None:
        """Note that something arrived."""
        self.tries = 0
        self.waits.end()

    def pause(self, trouble: Interrupted, *, what: str, where: str, now: str = LOOK) -> None:
        """Wait before the next try: 1 s doubling to 15 s.

        Raise Unreachable with the cause's words once six tries in a row brought nothing, or nobody waits for it any more.
        """
        self.tries += 1
        if self.tries >= MOST_TRIES or self.cancelled.is_set():
            raise Unreachable(what, where=where, why=str(trouble), now=now)
        self.waits.begin(f"{what} just now: {trouble}", at=self.clock.monotonic())
        self.clock.wait(self.cancelled, min(FIRST_PAUSE_S * 2 ** (self.tries - 1), LONGEST_PAUSE_S))
