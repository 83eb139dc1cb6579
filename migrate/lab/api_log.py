"""What was asked of a server: the latest requests one by one, and how many there were, so that tests can count writes."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

READS = frozenset({"get", "list", "watch", "head", "options"})
REVIEWS = frozenset(
    {
        "selfsubjectaccessreviews",
        "subjectaccessreviews",
        "localsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "selfsubjectreviews",
        "tokenreviews",
    }
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and its answer. `path` carries the query; `status` is 0 when no answer was given. `at` is lab time in seconds."""

    number: int
    at: float
    method: str
    path: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    subresource: str
    user: str
    user_agent: str
    status: int
    dry_run: bool

    @property
    def sort(self) -> str:
        """Return `read`, `write` or `dry-run`. Access reviews change nothing and count as reads."""
        if self.verb in READS or self.resource in REVIEWS:
            return "read"
        return "dry-run" if self.dry_run else "write"


class RequestLog:
    """The latest requests (`keep` of them) and totals of all. Thread-safe."""

    def __init__(self, keep: int = 20_000) -> None:
        self._lock = threading.Lock()
        self._ring: deque[Asked] = deque(maxlen=keep)
        self._totals: Counter[tuple[str, str]] = Counter()
        self._number = 0

    def add(self, **facts: Any) -> None:
        """Note one request."""
        with self._lock:
            self._number += 1
            asked = Asked(number=self._number, **facts)
            self._ring.append(asked)
            self._totals[asked.user_agent.split(" ")[0].split("/")[0] or "unknown", asked.sort] += 1

    @property
    def mark(self) -> int:
        """Return the number of the latest request; `since(mark)` gives what came after."""
        return self._number

    def since(self, mark: int = 0, *, user_agent: str = "", sort: str = "") -> list[Asked]:
        """Return the requests after a mark whose user agent begins with the given words, and of one sort if given."""
        with self._lock:
            ring = list(self._ring)
        return [asked for asked in ring if asked.number > mark and asked.user_agent.startswith(user_agent) and sort in ("", asked.sort)]

    def count(self, sort: str, *, user_agent: str = "") -> int:
        """Return how many requests of a sort (`read`, `write`, `dry-run`) came from user agents whose name begins so."""
        with self._lock:
            return sum(n for (agent, kind), n in self._totals.items() if kind == sort and agent.startswith(user_agent))

    def totals(self) -> dict[str, dict[str, int]]:
        """Return the counts by name of user agent and sort."""
        with self._lock:
            found: dict[str, dict[str, int]] = {}
            for (agent, kind), number in sorted(self._totals.items()):
                found.setdefault(agent, {})[kind] = number
            return found
