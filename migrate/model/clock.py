"""Time as a thing that is passed in, so that tests can simulate it. The lab's clocks have the same shape."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the engine, the retries and the bells know of time."""

    def now(self) -> datetime:
        """Return the wall clock, in UTC; only for showing and recording, never for deciding."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only grow; for limits."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let the given time pass."""
        ...

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Wait until the event is set (True) or the time has passed (False)."""
        ...


class SystemClock:
    """The clock on the wall."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        return event.wait(seconds)
