"""Simulated time: it stands while anybody computes and jumps to the next deadline when everybody waits. Used through lab/clock.py."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

PATIENCE = 5
"""Turns of settling before time jumps although the machine is not quiet."""


TICK_S = 1e-6
"""The least that a wait lasts: a rest of 1e-13 s, as rounding leaves it, would end before it began, again and again."""


class _Waiter:
    """One thread that waits, for an event or a moment, whichever is first."""

    __slots__ = ("deadline", "due", "event", "gone", "thread", "urgent")

    def __init__(self, event: threading.Event, deadline: float | None, *, urgent: bool) -> None:
        self.event = event
        self.thread = threading.get_ident()
        self.deadline = deadline
        self.urgent = urgent
        self.due = False
        self.gone = False


class SimClock:
    """Simulated time. It jumps to the next deadline when no thread has been busy for `settle_s` real seconds.

    The settling gives messages in flight (a watch event on a socket) the time to arrive. It is left out when the last jump woke
    only threads that went straight back to waiting. A waiter whose event is set, or whose moment has come, counts as busy until
    it has really woken, however late the machine schedules it. `stuck_s` is for `stall` alone: after so many real seconds without
    any sign of life, a stalled answer is let go although somebody (who waits for it) is marked busy.
    """

    def __init__(self, *, settle_s: float = 0.004, stuck_s: float = 0.03, start: datetime | None = None) -> None:
        self._start = start or datetime.now(UTC).replace(microsecond=0)
        self._settle_s = settle_s
        self._stuck_s = stuck_s
        self._now = 0.0
        self._changed = threading.Condition(threading.Lock())
        self._heap: list[tuple[float, int, _Waiter]] = []
        self._waiters: set[_Waiter] = set()
        self._order = itertools.count()
        self._busy = 0
        self._waking = 0
        self._stalls = 0
        self._activity = 0
        self._woken: set[int] = set()
        self._quiet = False
        self._parked = False
        self._ticker: threading.Thread | None = None
        self._closed = False
        self._own = threading.local()
        self.jumps = 0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._now)

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._pause(threading.Event(), seconds)

    def stall(self, seconds: float) -> None:
        if seconds > 0:
            self._pause(threading.Event(), seconds, urgent=True)

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        if event.is_set() or (seconds is not None and seconds <= 0):
            return event.is_set()
        return self._pause(event, seconds)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        depth = getattr(self._own, "depth", 0)
        self._own.depth = depth + 1
        if depth == 0:
            self._mark(+1)
        try:
            yield
        finally:
            self._own.depth = depth
            if depth == 0:
                self._mark(-1)

    @contextlib.contextmanager
    def idle(self) -> Iterator[None]:
        depth = getattr(self._own, "depth", 0)
        self._own.depth = 0
        if depth:
            self._mark(-1)
        try:
            yield
        finally:
            self._own.depth = depth
            if depth:
                self._mark(+1)

    def close(self) -> None:
        """End the thread that moves time. Whoever waits for a moment then waits for good; events still wake."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _mark(self, step: int) -> None:
        with self._changed:
            self._busy += step
            self._activity += 1
            self._quiet = False
            self._stir()

    def _stir(self) -> None:
        """Wake the ticker if it is parked and time might move. The caller holds the lock."""
        if self._parked and self._waking == 0 and (self._busy == 0 or self._stalls):
            self._parked = False
            self._changed.notify_all()

    def _pause(self, event: threading.Event, seconds: float | None, *, urgent: bool = False) -> bool:
        marked = getattr(self._own, "depth", 0) > 0
        with self._changed:
            waiter = _Waiter(event, None if seconds is None else self._after(seconds), urgent=urgent)
            self._waiters.add(waiter)
            self._stalls += urgent
            if waiter.deadline is not None:
                heapq.heappush(self._heap, (waiter.deadline, next(self._order), waiter))
                self._ensure_ticker()
            if marked:
                self._busy -= 1
                self._quiet = False
            self._activity += 1
            self._woken.discard(threading.get_ident())
            self._stir()
        # Event has no way to be woken without being set, so the clock waits on the event's own condition (a test pins this).
        condition: threading.Condition = event._cond  # type: ignore[attr-defined]
        try:
            with condition:
                while not waiter.due and not event.is_set():
                    condition.wait()
        finally:  # a signal (Ctrl-C, a test that took too long) may end the wait of the main thread
            self._resume(waiter, marked=marked)
        return event.is_set()

    def _after(self, seconds: float) -> float:
        """Return the moment so many seconds from now, and never now itself.

        Whoever computes what is left of a time may end at less than a clock of floats can add, and would wait for it for ever.
        """
        return max(self._now + seconds, math.nextafter(self._now, math.inf))

    def _resume(self, waiter: _Waiter, *, marked: bool) -> None:
        """Note that a waiter waits no longer, and give its thread the busy mark back."""
        with self._changed:
            waiter.gone = True
            self._waiters.discard(waiter)
            self._stalls -= waiter.urgent
            if waiter.due:
                self._waking -= 1
            else:
                self._quiet = False  # woken by somebody, not by time
            if marked:
                self._busy += 1
                self._quiet = False
            self._activity += 1
            self._stir()

    def _ensure_ticker(self) -> None:
        if self._ticker is None and not self._closed:
            self._ticker = threading.Thread(target=self._tick, name="lab-clock", daemon=True)
            self._ticker.start()

    def _tick(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                due = self._next_due()
            for waiter in due or ():
                condition: threading.Condition = waiter.event._cond  # type: ignore[attr-defined]
                with condition:
                    condition.notify_all()

    def _next_due(self) -> list[_Waiter] | None:
        """Wait until time may jump, jump, and return whom to wake; None = look again. The caller holds the lock."""
        if self._waking or (self._busy and not self._stalls) or not self._heap:
            self._parked = True
            self._changed.wait()
            return None
        stalled_only = self._busy > 0
        if (stalled_only or not self._quiet or self._woken) and not self._settled(self._stuck_s if stalled_only else self._settle_s):
            return None
        if any(waiter.event.is_set() for waiter in self._waiters if not waiter.due):
            self._changed.wait(self._settle_s)
            return None
        return self._jump(stalled_only)

    def _settled(self, seconds: float) -> bool:
        """Wait so long and tell whether nobody did anything meanwhile. The caller holds the lock.

        A machine under load delivers late: as long as this thread is woken late, or other threads of the process compute, it waits
        again, for at most PATIENCE turns.
        """
        seen = self._activity
        for _ in range(PATIENCE):
            began, computed = time.perf_counter(), time.process_time()
            self._changed.wait(seconds)
            if seen != self._activity or self._closed:
                return False
            late = time.perf_counter() - began > 2 * seconds
            if not late and time.process_time() - computed < seconds / 4:
                break
        return True

    def _jump(self, stalled_only: bool) -> list[_Waiter] | None:
        if len(self._heap) > 64 + 4 * len(self._waiters):
            self._heap = [entry for entry in self._heap if not entry[2].gone]
            heapq.heapify(self._heap)
        moment = min(
            (deadline for deadline, _, waiter in self._heap if not waiter.gone and (waiter.urgent or not stalled_only)), default=None
        )
        if moment is None:
            self._heap = [] if not stalled_only else self._heap
            return None
        due: list[_Waiter] = []
        while self._heap and self._heap[0][0] <= moment:
            waiter = heapq.heappop(self._heap)[2]
            if not waiter.gone:
                waiter.due = True
                due.append(waiter)
        self._now = max(self._now, moment)
        self._waking += len(due)
        self._quiet = True
        self._woken = {waiter.thread for waiter in due}
        self.jumps += 1
        return due
