"""The death of a client, as its servers see it: from one request on, nothing of it reaches any of them any more.

A process that is killed does not say so: its last request was carried out and its answer went nowhere, or the request never left. Both are
one and the same doom, shared by all servers of a lab, so that no thread of the dead client gets anywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from migrate.lab.api_log import READS, REVIEWS
from migrate.lab.exchange import Dropped

if TYPE_CHECKING:
    from migrate.lab.api_paths import Target
    from migrate.lab.exchange import Request


class Fate(Enum):
    """What becomes of one request."""

    SERVED = "served"
    LOST = "lost"
    """Carried out, and never answered."""
    CUT = "cut"
    """It never arrives."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One request, before anything is done about it. `place` is `api`, `export` or `upload`; `path` carries the query, of an export the
    range."""

    cluster: str
    place: str
    method: str
    path: str
    verb: str
    resource: str
    namespace: str
    name: str
    user_agent: str

    @property
    def sort(self) -> str:
        """Return `read`, `write` or `dry-run`, as the log of requests does."""
        if self.place == "upload":
            return "write" if self.method == "POST" else "read"
        if self.place != "api" or self.verb in READS or self.resource in REVIEWS:
            return "read"
        return "dry-run" if "dryRun=All" in self.path else "write"


class Doom:
    """One client, known by how its user agent begins. It lives as long as `last` answers SERVED to its requests, one after the other."""

    def __init__(self, user_agent: str, last: Callable[[Heard], Fate]) -> None:
        self.dead = threading.Event()
        """Set at its death."""
        self._user_agent = user_agent
        self._last = last
        self._lock = threading.Lock()

    def fate(self, heard: Heard) -> Fate:
        """Decide about one request; whatever comes after the death is cut. Those of other clients are served."""
        if not heard.user_agent.startswith(self._user_agent):
            return Fate.SERVED
        with self._lock:
            if self.dead.is_set():
                return Fate.CUT
            fate = self._last(heard)
            if fate is not Fate.SERVED:
                self.dead.set()
            return fate


def is_lost(doom: Doom | None, cluster: str, request: Request, target: Target) -> bool:
    """Tell whether a request to an API server is to be carried out and never answered. Raises Dropped for one that never arrives."""
    if doom is None:
        return False
    fate = doom.fate(
        Heard(
            cluster=cluster,
            place="api",
            method=request.method,
            path=request.target,
            verb=target.verb,
            resource="/".join(filter(None, (target.plural, target.subresource))),
            namespace=target.namespace,
            name=target.name,
            user_agent=request.header("user-agent"),
        )
    )
    if fate is Fate.CUT:
        raise Dropped
    return fate is Fate.LOST
