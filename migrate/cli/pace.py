"""Rates and remaining times from a stream of byte counts. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WINDOW_S = 15.0
"""A rate is the mean of so many seconds: long enough to be calm, short enough to show a stall."""
TOO_EARLY = 0.01
"""No remaining time is told before this fraction is done: it would be a wild guess."""


@dataclass(slots=True)
class Pace:
    """One counter of bytes. Counters may fall back (an import starts anew): then the rate starts anew, too."""

    marks: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, at_s: float, bytes_done: int) -> None:
        """Take in that so many bytes are done at that moment."""
        if self.marks and bytes_done < self.marks[-1][1]:
            self.marks.clear()
        self.marks.append((at_s, bytes_done))
        while len(self.marks) > 2 and at_s - self.marks[1][0] >= WINDOW_S:
            self.marks.popleft()

    def rate(self) -> float | None:
        """Return bytes a second; None while nobody can know."""
        if len(self.marks) < 2:
            return None
        (since, first), (now, last) = self.marks[0], self.marks[-1]
        return (last - first) / (now - since) if now > since else None

    def eta_s(self, bytes_total: int | None) -> float | None:
        """Return the seconds that remain at this rate; None while nobody can know."""
        rate = self.rate()
        if not self.marks or not rate or not bytes_total:
            return None
        if self.marks[-1][1] < bytes_total * TOO_EARLY:
            return None
        return max(0, bytes_total - self.marks[-1][1]) / rate
