"""What the tests of the kube room share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from migrate.kube.cluster import Cluster
from tests.kube.small_server import JumpingClock, SmallServer, open_cluster, trusting, write_kubeconfig

Opener = Callable[..., Cluster]


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def server() -> Iterator[SmallServer]:
    small = SmallServer()
    yield small
    small.close()


@pytest.fixture
def opened(tmp_path: Path, clock: JumpingClock, server: SmallServer) -> Iterator[Opener]:
    """Open the small server as context `east`; keywords go into the stanzas of cluster and user."""
    clusters: list[Cluster] = []

    def open_it(user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None) -> Cluster:
        path = write_kubeconfig(tmp_path / "config", cluster=trusting(server) | (cluster or {}), user=user or {"token": "sesame-7411"})
        clusters.append(open_cluster("east", kubeconfig=path, clock=clock))
        return clusters[-1]

    yield open_it
    for cluster in clusters:
        cluster.close()


@pytest.fixture
def east(opened: Opener) -> Cluster:
    return opened()
