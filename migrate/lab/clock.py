"""Lab time: real (perhaps sped up), or simulated, so that a TTL of two hours is over in milliseconds.

The whole lab waits through one of these clocks and nothing in it calls `time` directly. Under the simulated clock time stands still while
anybody computes (is inside `busy()`), and jumps to the next deadline as soon as everybody waits.
"""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from migrate.lab.clock_simulated import SimClock

__all__ = ["LabClock", "RealClock", "SimClock"]


class LabClock(Protocol):
    """What the lab knows of time. It is a superset of the clock of the production code."""

    def now(self) -> datetime:
        """Return the wall clock of the lab, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let the given time pass."""
        ...

    def stall(self, seconds: float) -> None:
        """Sleep while somebody else is blocked on us (a delayed answer), whose own busy mark must not stop time."""
        ...

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Wait until the event is set (True) or the time has passed (False)."""
        ...

    def busy(self) -> contextlib.AbstractContextManager[None]:
        """Mark the calling thread as computing: simulated time stands still. May be nested."""
        ...

    def idle(self) -> contextlib.AbstractContextManager[None]:
        """Lift the calling thread's own busy mark for a while: it waits for something outside the clock (a socket, a process)."""
        ...


class RealClock:
    """The clock on the wall, running `speed` times faster."""

    def __init__(self, speed: float = 1.0) -> None:
        if speed <= 0:
            raise ValueError("the speed of a clock must be more than zero")
        self.speed = speed
        self._start = datetime.now(UTC)
        self._zero = time.monotonic()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return (time.monotonic() - self._zero) * self.speed

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds) / self.speed)

    stall = sleep

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        return event.wait(None if seconds is None else max(0.0, seconds) / self.speed)

    def busy(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def idle(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def close(self) -> None:
        """Do nothing; the simulated clock has a thread to end."""
