"""Commands against two clusters in this process whose time runs ten times as fast as ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import EXPORT
from migrate.kube.session import open_cluster
from migrate.lab.clock import RealClock
from migrate.lab.up import Lab
from tests.cli.shell import Shell
from tests.flows.flow import Flow
from tests.machines import disk, machine

_numbers = count(1)

Plant = Callable[..., Flow]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two clusters without seeds for this whole folder: names are per test, so nothing meets."""
    with Lab(tmp_path_factory.mktemp("lab"), clock=RealClock(10), seed="none", releases={"east": "v1.3", "west": "v1.9"}) as shared:
        yield shared


@pytest.fixture
def shell(lab: Lab, tmp_path: Path) -> Shell:
    return Shell(lab, tmp_path)


@pytest.fixture
def plant(lab: Lab) -> Iterator[Plant]:
    """Plant a VM with disks of its own; the flow looks at both sides, the move itself is for the shell."""
    flows: list[Flow] = []

    def grow(*, disks: tuple[str, ...] = ("root",), mib: int = 2, strategy: str = "Halted", **wishes: Any) -> Flow:
        name = f"cli{next(_numbers)}"
        names = [f"{name}-{word}" for word in disks]
        lab.plant([*(disk(one, mib=mib) for one in names), machine(name, names, strategy=strategy)])
        flows.append(Flow(lab, name, **wishes))
        return flows[-1]

    yield grow
    for flow in flows:
        flow.remove()
        flow.close()
    for cluster in lab.clusters.values():
        cluster.trouble.clear()


@pytest.fixture
def clean(lab: Lab) -> Iterator[None]:
    """No export and no token is left by a test."""
    yield
    user = lab.east.client("lab/user").at("shop")
    for one in user.list(EXPORT):
        user.delete(EXPORT, one["metadata"]["name"])
    lab.until(lambda: not user.list(EXPORT))
    user.close()


@pytest.fixture
def cluster(lab: Lab, clean: None) -> Iterator[Cluster]:
    """A session on the source, as a command opens it."""
    opened = open_cluster("east", kubeconfig=str(lab.kubeconfig), namespace="shop", clock=lab.clock)
    yield opened
    opened.close()
