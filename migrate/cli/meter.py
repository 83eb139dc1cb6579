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
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def see(self, done: int, total: int) -> None:
        """Take in that so many of so many bytes are there (0 = nobody knows how many)."""
        now, live = time.monotonic(), sys.stderr.isatty()
        with self._lock:
            self.done, self.total, self.moved_at = done, total, now
            if now - self.told_at >= (LIVE_S if live else self.plain_s if self.told_at else 0):
                self._tell(now, live=live)

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Say again where it stands while nothing comes, from the first byte on."""
        over = threading.Event()

        def tick() -> None:
            while not over.wait(self.plain_s / 10):
                now = time.monotonic()
                with self._lock:
                    if self.told_at and now - self.told_at >= self.plain_s:
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
        if sys.stderr.isatty() and self.told_at and self.output is Output.TEXT:
            print(file=sys.stderr)

    def _tell(self, now: float, *, live: bool) -> None:
        self.told_at = now
        self.pace.note(now, self.done)
        done, total, silent_s = self.done, self.total, now - self.moved_at
        rate, eta = self.pace.rate(), self.pace.eta_s(total or None)
        if self.output is Output.JSON:
            figures = {"bytes": done, "total": total or None, "rate": rate, "etaSeconds": eta, "silentSeconds": round(silent_s)}
            say(json.dumps({"schema": SCHEMA, "volume": self.what, **figures}))
            return
        parts = [f"{human(done)} of {human(total)}, {done / total:.0%}" if total else human(done)]
        parts += [human_rate(rate)] if rate else []
        parts += [f"{human_duration(round(eta))} left"] if eta is not None else []
        parts += [f"nothing came for {human_duration(round(silent_s))}"] if silent_s >= self.plain_s / 2 else []
        line = f"{self.what}: {', '.join(parts)}"
        print(f"\r\x1b[K{line}" if live else line, end="" if live else "\n", file=sys.stderr, flush=True)
