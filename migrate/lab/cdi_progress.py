"""The metric `kubevirt_cdi_import_progress_total`, which CDI's controllers scrape from importer pods about every two seconds.

In the lab, the pods and the controllers of a cluster live in one process, and the metric is a dictionary instead of an HTTPS endpoint.
It is keyed as the real one is, by the UID of the claim's owner, so clusters in one process do not mix.
"""

from __future__ import annotations

import threading


class Progress:
    """Percent done, and attempts begun, by owner UID."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._percent: dict[str, float] = {}
        self._attempts: dict[str, int] = {}

    def attempt(self, owner_uid: str, *, counts: bool) -> int:
        """Return the number of this run: 0 for the first look without scratch space, then 1, 2, ... (for the matches of troubles)."""
        with self._lock:
            number = self._attempts.get(owner_uid, 0) + counts
            self._attempts[owner_uid] = number
            return number

    def restart(self, owner_uid: str) -> None:
        """Begin at 0 again: a new container knows nothing of the one before."""
        with self._lock:
            self._percent[owner_uid] = 0.0

    def at_least(self, owner_uid: str, percent: float) -> None:
        """Raise the value. A lower one is ignored, as the real counter cannot go back within one container."""
        with self._lock:
            self._percent[owner_uid] = max(percent, self._percent.get(owner_uid, 0.0))

    def forget(self, owner_uid: str) -> None:
        """Drop everything: the import is over."""
        with self._lock:
            self._percent.pop(owner_uid, None)
            self._attempts.pop(owner_uid, None)

    def scrape(self, owner_uid: str) -> float | None:
        """Return the percentage, or None while there is none (a size that nobody knows counts as none)."""
        with self._lock:
            percent = self._percent.get(owner_uid)
        return percent or None


PROGRESS = Progress()
"""The one of this process."""


def shown(percent: float) -> str:
    """Return a percentage as CDI writes it into a status: `45.03%`."""
    return f"{percent:.2f}%"
