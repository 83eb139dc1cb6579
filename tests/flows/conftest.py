"""Flows: whole moves in a lab in this process, on simulated time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from migrate.kube.session import open_cluster
from migrate.lab.up import Lab
from tests.flows.flow import Flow
from tests.machines import disk, machine

_numbers = count(1)

Begin = Callable[..., Flow]


@pytest.fixture(scope="session")
def lab(shared_lab: Lab) -> Lab:
    return shared_lab


@pytest.fixture(scope="session")
def clusters(lab: Lab) -> Iterator[dict[str, Any]]:
    """One session for each cluster, used by every runner behind a gate."""
    opened = {name: open_cluster(name, kubeconfig=str(lab.kubeconfig), namespace="shop", clock=lab.clock) for name in lab.clusters}
    yield opened
    for cluster in opened.values():
        cluster.close()


@pytest.fixture
def begin(lab: Lab) -> Iterator[Begin]:
    """Plant a VM with disks of its own and ask to move it; troubles that a test ordered are over after it."""
    flows: list[Flow] = []

    def plant(
        *,
        disks: Sequence[str] = ("root",),
        mib: int = 2,
        mode: str = "Filesystem",
        strategy: str = "Always",
        grace_s: int | None = None,
        volumes: Sequence[Mapping[str, Any]] = (),
        alter: Callable[[str, dict[str, Any]], Sequence[dict[str, Any]]] = lambda *_: (),
        agent: bool = False,
        journal_s: float | None = None,
        storage_class: str = "fast",
        **wishes: Any,
    ) -> Flow:
        """Plant. `alter` is given the VM's name and spec, may change the spec, and returns what else is to be planted, on the source."""
        name = f"vm{next(_numbers)}"
        names = [f"{name}-{word}" for word in disks]
        vm = machine(name, names, strategy=strategy, grace_s=grace_s, volumes=volumes, agent=agent, journal_s=journal_s)
        more = alter(name, vm["spec"])
        lab.plant([*(disk(one, mib=mib, mode=mode, storage_class=storage_class) for one in names), *more, vm])
        flows.append(Flow(lab, name, **wishes))
        return flows[-1]

    yield plant
    for cluster in lab.clusters.values():
        cluster.trouble.clear()
    try:
        for flow in flows:
            nothing_left_behind(flow)
    finally:
        for flow in flows:
            flow.remove()
            flow.close()


def nothing_left_behind(flow: Flow) -> None:
    """Whatever the ending, nothing is left that only a running move needs; what was asked to go may take a moment."""
    if flow.killed:
        return
    with suppress(TimeoutError):
        flow.until(lambda: not flow.left_behind())
    assert flow.left_behind() == []
