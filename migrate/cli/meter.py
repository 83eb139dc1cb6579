"""How far a download is, on stderr: also when nothing comes, since silence would look like work."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from migrate.cli.failure import say
from migrate.cli.options import Output
from migrate.cli.pace import Pace
from migrate.model.quantity import human, human_duration, human_rate

SCHEMA = "kubevirt-migrate.io/download/v1"
LIVE_S = 0.2
PLAIN_S = 10.0


@dataclass(slots=True)
class Meter:
    """A line that is written over on a terminal, plain lines else, JSON lines on request."""

    what: str
    output: Output
    plain_s: float = PLAIN_S
    pace: Pace = field(default_factory=Pace)
    done: int = 0
    total: int = 0
    told_at: float = 0.0
    moved_at: float = 0.0
    came: bool = False
    """Somebody told how much is there."""
    _up: bool = False
    """A line stands on the terminal that is to be written over."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def see(self, done: int, total: int) -> None:
        """Take in that so many of so many bytes are there (0 = nobody knows how many)."""
        now, live = time.monotonic(), sys.stderr.isatty()
        with self._lock:
            first, self.came = not self.came, True
            self.done, self.total, self.moved_at = done, total, now
            if first or now - self.told_at >= (LIVE_S if live else self.plain_s):
                self._tell(now, live=live)

    def say(self, words: str) -> None:
        """Say something else; JSON lines have it as their `message`. It breaks the silence, too."""
        with self._lock:
            self.told_at = time.monotonic()
            if self.output is Output.JSON:
                words = json.dumps({"schema": SCHEMA, "volume": self.what, "message": words})
            self._leave()
            say(words)

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Say again where it stands while nothing comes, from the very beginning."""
        over = threading.Event()
        self.told_at = self.moved_at = time.monotonic()

        def tick() -> None:
            while not over.wait(self.plain_s / 10):
                now = time.monotonic()
                with self._lock:
                    if now - self.told_at >= self.plain_s:
                        self._tell(now, live=sys.stderr.isatty())

        thread = threading.Thread(target=tick, name="meter", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def end(self) -> None:
        """Leave the line."""
        with self._lock:
            self._leave()

    def _leave(self) -> None:
        if self._up:
            print(file=sys.stderr)
        self._up = False

    def _tell(self, now: float, *, live: bool) -> None:
        self.told_at = now
        if self.came:
            self.pace.note(now, self.done)
        done, total, silent_s = self.done, self.total, now - self.moved_at
        rate, eta = self.pace.rate(), self.pace.eta_s(total or None)
        if self.output is Output.JSON:
            figures = {"bytes": done, "total": total or None, "rate": rate, "etaSeconds": eta, "silentSeconds": round(silent_s)}
            say(json.dumps({"schema": SCHEMA, "volume": self.what, **figures}))
            return
        parts = [f"{human(done)} of {human(total)}, {done / total:.0%}" if total else human(done)] if self.came else []
        parts += [human_rate(rate)] if rate else []
        parts += [f"{human_duration(round(eta))} left"] if eta is not None else []
        silent = "nothing came for" if self.came else "nothing came yet, for"
        parts += [f"{silent} {human_duration(round(silent_s))}"] if silent_s >= self.plain_s / 2 or not self.came else []
        line = f"{self.what}: {', '.join(parts)}"
        self._up = live
        print(f"\r\x1b[K{line}" if live else line, end="" if live else "\n", file=sys.stderr, flush=True)
