"""Faults of an API server, met by every step."""

from __future__ import annotations

from typing import Any

from migrate.workflow.playbook import STEPS
from tests.flows.faults import OURS, Harm, at_step, fault
from tests.flows.flow import Flow

READS, WRITES = "get", "[cpdu]*"
"""Verbs of single objects as the API server names them: create, patch, delete, update begin with the letters given."""


class Everywhere:
    """One trouble for the first read and one for the first write of every step, on both sides."""

    def __init__(self, flow: Flow, action: str, **words: Any) -> None:
        self._flow, self._action, self._words = flow, action, words
        self._orders: list[Any] = []
        self._step = ""
        self.met: list[str] = []
        for step in STEPS:
            at_step(flow, step, lambda step=step: self._enter(step))

    def _enter(self, step: str) -> None:
        self.leave()
        self._step = step
        for cluster in self._flow.lab.clusters.values():
            for verb in (READS, WRITES):
                self._orders.append((cluster, cluster.trouble.set("api", self._action, user_agent=OURS, verb=verb, times=1, **self._words)))

    def leave(self) -> None:
        """Take note of the step that ends, and clear what it did not meet."""
        if any(order.used for _, order in self._orders):
            self.met.append(self._step)
        for cluster, order in self._orders:
            cluster.trouble.clear(order)
        self._orders = []


def everywhere(flow: Flow, action: str, **words: Any) -> Harm:
    """Do one kind of harm in every step, and check that every step met it."""
    harm = Everywhere(flow, action, **words)
    yield
    harm.leave()
    assert harm.met == list(STEPS)


@fault()
def api_500(flow: Flow, step: str) -> Harm:
    return everywhere(flow, "refuse", status=500, message="etcdserver: request timed out")


@fault()
def api_503(flow: Flow, step: str) -> Harm:
    return everywhere(flow, "refuse", status=503)


@fault()
def api_429(flow: Flow, step: str) -> Harm:
    return everywhere(flow, "refuse", status=429, retry_after=7, message="too many requests")


@fault()
def api_reset(flow: Flow, step: str) -> Harm:
    return everywhere(flow, "drop")


@fault()
def api_answer_lost(flow: Flow, step: str) -> Harm:
    return everywhere(flow, "drop", after=1)


@fault()
def api_half_json(flow: Flow, step: str) -> Harm:
    return everywhere(flow, "truncate")


@fault()
def api_slow(flow: Flow, step: str) -> Harm:
    return everywhere(flow, "delay", seconds=20)
