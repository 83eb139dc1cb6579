"""The line between a runner and its clusters, where a test can hold its requests, count them, or cut it off for good."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import LEASE
from migrate.lab.up import Lab
from migrate.model.migration import Options
from migrate.model.refs import VMRef
from migrate.model.report import Event
from migrate.workflow.ask import Question
from migrate.workflow.run import Ending, Run

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def bury(clusters: Iterable[Cluster], labels: Mapping[str, str | None] | None = None, *, elsewhere: bool = False) -> None:
    """Let the holder of every claim look dead: its process is said to have begun at another time; `elsewhere`: to be of another machine.

    This process lives on, and of a holder on another machine only silence tells.
    """
    lie = (r"machine=\S+", "machine=elsewhere") if elsewhere else (r"started=\d+", "started=1")
    for cluster in clusters:
        for lease in cluster.list(LEASE, labels=labels):
            dead = re.sub(*lie, lease["spec"]["holderIdentity"])
            cluster.merge(LEASE, lease["metadata"]["name"], {"spec": {"holderIdentity": dead}})


class Abandoned(BaseException):
    """Thrown at a runner in place of an answer: nothing that it does afterwards reaches a cluster."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that is about to be sent."""

    context: str
    method: str
    path: str
    writes: bool
    body: object = None


class _Session:
    """A session that asks before every request of the thread that made it; watches have threads of their own."""

    def __init__(self, inner: Any, ask: Callable[[Sent], None], answered: Callable[[], None]) -> None:
        self._inner, self._ask, self._answered = inner, ask, answered
        self._thread = threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def call(self, method: str, path: str, *, query: Mapping[str, str] | None = None, **more: Any) -> Any:
        if threading.get_ident() != self._thread:
            return self._inner.call(method, path, query=query, **more)
        writes = method in WRITES and "accessreviews" not in path and "dryRun" not in (query or {})
        self._ask(Sent(self._inner.context, method, path, writes, more.get("body")))
        answer = self._inner.call(method, path, query=query, **more)
        self._answered()
        return answer


class Runner:
    """One run of one question in this process, whose requests pass a gate. Its sessions are opened once and serve many runs."""

    def __init__(
        self, lab: Lab, clusters: Mapping[str, Cluster], ask: Callable[[Sent], None], answered: Callable[[], None] = lambda: None
    ) -> None:
        """`ask` is called before each request is sent, `answered` when its answer is there."""
        self.lab = lab
        self.events: list[Event] = []
        self._clusters, self._ask, self._answered = clusters, ask, answered

    def pair(self, *refs: VMRef) -> tuple[Cluster, ...]:
        """Return handles on the clusters of the references, behind the gate."""
        session = {name: _Session(cluster.session, self._ask, self._answered) for name, cluster in self._clusters.items()}
        return tuple(Cluster(session[ref.context], ref.namespace) for ref in refs)  # type: ignore[arg-type]

    def run(self, verb: str, source: VMRef, target: VMRef, *, again: bool = False, even_if_started: bool = False, **options: Any) -> Ending:
        """Do `move`, `plan` or `undo`. Raises as `Run` does, and Abandoned when the gate throws that."""
        here, there = self.pair(source, target)
        question = Question(source, target, Options(**options), again=again)
        run = Run(question, source=here, target=there, clock=self.lab.clock, show=self.events.append)
        return run.undo(even_if_started=even_if_started) if verb == "undo" else getattr(run, verb)()  # type: ignore[no-any-return]
