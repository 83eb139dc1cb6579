"""What every fault of docs/faults.md is made of: a generator that does harm, and after its `yield` checks that it hit, and cures it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from migrate.lab.cluster import LabCluster
from migrate.lab.trouble import Order
from migrate.model.observation import State
from migrate.workflow import playbook
from tests.flows.flow import Flow

Harm = Iterator[None]
"""Runs up to its yield before the command, and after it to its end: the check that the fault was met, and the cure."""
OURS = "kubevirt-migrate*"


@dataclass(frozen=True, slots=True)
class Fault:
    """How to bring one fault about. `wishes` are those of the fixture `begin` (disks, mib, options of the move)."""

    harm: Callable[[Flow, str], Harm]
    wishes: dict[str, Any] = field(default_factory=dict)
    runs: bool = False
    """The VM runs, and is started on the target; the others are halted before and after, which is quicker."""
    one_run: bool = False
    """It is met by all its steps in one run; the step that `harm` is given is then all of them, with commas."""


FAULTS: dict[str, Fault] = {}
"""By the id of the row: the name of the function, with hyphens."""


def fault(
    *, runs: bool = False, one_run: bool = False, **wishes: Any
) -> Callable[[Callable[[Flow, str], Harm]], Callable[[Flow, str], Harm]]:
    """Enter a function into FAULTS: it takes the flow and the step to harm."""

    def enter(harm: Callable[[Flow, str], Harm]) -> Callable[[Flow, str], Harm]:
        FAULTS[harm.__name__.replace("_", "-")] = Fault(harm, {"strategy": "Always" if runs else "Halted", **wishes}, runs, one_run)
        return harm

    return enter


@contextmanager
def ordered(flow: Flow, side: str, where: str, action: str, /, **words: object) -> Iterator[Order]:
    """Keep a trouble of the lab while the body runs; it must have been met by then."""
    trouble = flow.lab.clusters[side].trouble
    order = trouble.set(where, action, **words)
    yield order
    assert order.used, f"nobody met the trouble {where} {action} {words}"
    trouble.clear(order)


def cleared(orders: Iterable[tuple[LabCluster, Order]]) -> None:
    """Take back troubles."""
    for cluster, order in orders:
        cluster.trouble.clear(order)


def mid_import(flow: Flow, meddle: Callable[[], object], *, seconds: float = 30) -> None:
    """Hold every importer back for a while, and do something once as soon as one runs."""
    flow.lab.west.trouble.set("importer", "delay", name=f"{flow.name}-*", seconds=seconds)
    flow.when("import-disks", "ImportingBlind", meddle)


def at_step(flow: Flow, step: str, meddle: Callable[[], object]) -> None:
    """Do something once, as soon as the step before is done, which is before the first look of this one."""
    names = [one.name for one in playbook.load(flow.playbook).steps]
    place = names.index(step)
    if place == 0:
        meddle()
    else:
        flow.when(names[place - 1], State.DONE, meddle)
