"""Faults of an API server, met by every step."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from migrate.lab.trouble import Order
from migrate.workflow import playbook
from tests.flows.faults import OURS, Harm, at_step, cleared, fault
from tests.flows.flow import Flow

READS, WRITES = "get", "[cpdu]*"
"""Verbs of single objects as the API server names them: create, patch, delete, update begin with the letters given."""
RESTART_S, ROLES_S = 10.0, 2.0
"""How long an API server is away that starts anew, and for how long it answers then without having read its roles."""
NO_ROLES = 'this is forbidden: User "system:serviceaccount:shop:us" cannot do that: RBAC: role.rbac.authorization.k8s.io "ours" not found'
CHANGED = "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version and try again"


class Everywhere:
    """One trouble for the first read and one for the first write of each of these steps, on both sides."""

    def __init__(self, flow: Flow, steps: Sequence[str], action: str, *, verbs: Sequence[str] = (READS, WRITES), **words: Any) -> None:
        self._flow, self._action, self._verbs, self._words = flow, action, verbs, words
        self._orders: list[Any] = []
        self._step = ""
        self.met: list[str] = []
        for step in (one.name for one in playbook.load(flow.playbook).steps):
            at_step(flow, step, lambda step=step: self._enter(step) if step in steps else self.leave())

    def _enter(self, step: str) -> None:
        self.leave()
        self._step = step
        for cluster in self._flow.lab.clusters.values():
            for verb in self._verbs:
                order = cluster.trouble.set("api", self._action, verb=verb, user_agent=OURS, times=1, **self._words)
                self._orders.append((cluster, order))

    def leave(self) -> None:
        """Take note of the step that ends, and clear what it did not meet."""
        if any(order.used for _, order in self._orders):
            self.met.append(self._step)
        for cluster, order in self._orders:
            cluster.trouble.clear(order)
        self._orders = []


def everywhere(flow: Flow, steps: str, action: str, **words: Any) -> Harm:
    """Do one kind of harm in each of these steps, and check that each met it."""
    harm = Everywhere(flow, steps.split(", "), action, **words)
    yield
    harm.leave()
    assert harm.met == steps.split(", ")


@fault(runs=True, one_run=True)
def api_500(flow: Flow, step: str) -> Harm:
    return everywhere(flow, step, "refuse", status=500, message="etcdserver: request timed out")


@fault(runs=True, one_run=True)
def api_503(flow: Flow, step: str) -> Harm:
    return everywhere(flow, step, "refuse", status=503)


@fault(runs=True, one_run=True)
def api_429(flow: Flow, step: str) -> Harm:
    return everywhere(flow, step, "refuse", status=429, retry_after=7, message="too many requests")


@fault(runs=True, one_run=True)
def api_reset(flow: Flow, step: str) -> Harm:
    return everywhere(flow, step, "drop")


@fault(runs=True, one_run=True)
def api_answer_lost(flow: Flow, step: str) -> Harm:
    return everywhere(flow, step, "drop", after=1)


@fault(runs=True, one_run=True)
def api_half_json(flow: Flow, step: str) -> Harm:
    return everywhere(flow, step, "truncate")


@fault(runs=True, one_run=True)
def api_slow(flow: Flow, step: str) -> Harm:
    return everywhere(flow, step, "delay", seconds=20)


@fault(runs=True)
def api_hangs(flow: Flow, step: str) -> Harm:
    order: list[Order] = []
    trouble = flow.lab.west.trouble
    at_step(flow, step, lambda: order.append(trouble.set("api", "hang", user_agent=OURS, verb=READS, times=1)))
    yield
    assert order[0].used


def watches(flow: Flow, steps: str, action: str) -> Harm:
    """Do one kind of harm to every watch of ours, from the first of these steps to the end."""
    orders: list[tuple[Any, Order]] = []

    def begin() -> None:
        orders.extend(
            (cluster, cluster.trouble.set("api", action, user_agent=OURS, verb="watch")) for cluster in flow.lab.clusters.values()
        )

    at_step(flow, steps.split(", ", 1)[0], begin)
    yield
    assert all(order.used for _, order in orders)
    cleared(orders)


@fault(runs=True, one_run=True)
def watch_410(flow: Flow, step: str) -> Harm:
    return watches(flow, step, "expire")


@fault(runs=True, one_run=True)
def watch_closed(flow: Flow, step: str) -> Harm:
    return watches(flow, step, "drop")


@fault(runs=True, one_run=True)
def watch_silent(flow: Flow, step: str) -> Harm:
    return watches(flow, step, "hang")


@fault(runs=True, one_run=True)
def api_restart(flow: Flow, step: str) -> Harm:
    met: list[str] = []

    def restart(name: str) -> None:
        met.append(name)
        for cluster in flow.lab.clusters.values():
            order = cluster.trouble.set("api", "drop", user_agent=OURS)
            cluster.api.disconnect()
            threading.Thread(target=back, args=(cluster, order), daemon=True).start()

    def back(cluster: Any, order: Order) -> None:
        flow.lab.clock.sleep(RESTART_S)
        roles = cluster.trouble.set("api", "refuse", user_agent=OURS, status=403, message=NO_ROLES)
        cluster.trouble.clear(order)
        flow.lab.clock.sleep(ROLES_S)
        cluster.trouble.clear(roles)

    for name in step.split(", "):
        at_step(flow, name, lambda name=name: restart(name))
    yield
    assert met == step.split(", ")


def for_good(flow: Flow, step: str, action: str, **words: object) -> Harm:
    """Let every such request of ours on both sides fail from this step on."""
    orders: list[tuple[Any, Order]] = []

    def begin() -> None:
        orders.extend((cluster, cluster.trouble.set("api", action, user_agent=OURS, **words)) for cluster in flow.lab.clusters.values())

    at_step(flow, step, begin)
    yield
    assert any(order.used for _, order in orders)
    cleared(orders)
    yield


@fault(runs=True)
def api_401(flow: Flow, step: str) -> Harm:
    return for_good(flow, step, "refuse", status=401, message="Unauthorized")


@fault(runs=True)
def api_401_late(flow: Flow, step: str) -> Harm:
    return for_good(flow, step, "refuse", status=401, message="Unauthorized")


@fault(runs=True)
def api_403(flow: Flow, step: str) -> Harm:
    return for_good(flow, step, "refuse", status=403, verb=WRITES, message='User "joe" cannot do that in the namespace "shop"')


@fault(runs=True)
def api_422(flow: Flow, step: str) -> Harm:
    return for_good(flow, step, "refuse", status=422, verb=WRITES, message='admission webhook "policy.example.com" denied the request: no')


@fault(runs=True, one_run=True)
def api_409(flow: Flow, step: str) -> Harm:
    return everywhere(flow, step, "refuse", verbs=(WRITES,), status=409, resource="[cdlpv]*", message=CHANGED)


@fault(runs=True)
def api_409_always(flow: Flow, step: str) -> Harm:
    return for_good(flow, step, "refuse", status=409, verb=WRITES, message=CHANGED)


@fault(runs=True)
def api_away(flow: Flow, step: str) -> Harm:
    return for_good(flow, step, "drop")


@fault(runs=True)
def api_away_late(flow: Flow, step: str) -> Harm:
    return for_good(flow, step, "drop")


@fault(runs=True)
def api_takes_no_writes(flow: Flow, step: str) -> Harm:
    return for_good(flow, step, "refuse", status=503, verb=WRITES, message="etcdserver: no leader")
