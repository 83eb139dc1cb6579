"""A cluster without KubeVirt and CDI, for tests of the node and the storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from migrate.kube.cluster import Cluster
from migrate.lab.clock import SimClock
from migrate.lab.cluster import LabCluster


class Bare:
    """A bare cluster and an administrator in its namespace shop."""

    def __init__(self, cluster: LabCluster) -> None:
        self.cluster = cluster
        self.clock = cluster.clock
        self.trouble = cluster.trouble
        self.api: Cluster = cluster.client("lab/user").at("shop")

    def until(self, look: Callable[[], Any], *, seconds: float = 120) -> Any:
        """Let lab time pass until `look()` is true, and return what it returned."""
        end = self.clock.monotonic() + seconds
        while not (found := look()):
            assert self.clock.monotonic() < end, f"not within {seconds} s of lab time"
            self.clock.sleep(0.25)
        return found


@pytest.fixture(scope="module")
def shared_bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    clock = SimClock()
    cluster = LabCluster("east", tmp_path_factory.mktemp("bare") / "east", clock=clock, release="v1.9", bare=True)
    with clock.busy():
        cluster.start()
        yield Bare(cluster)
        cluster.stop()
    clock.close()


@pytest.fixture
def bare(shared_bare: Bare) -> Iterator[Bare]:
    yield shared_bare
    shared_bare.trouble.clear()
