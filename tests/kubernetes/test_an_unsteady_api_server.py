"""An API server that is killed, an etcd that forgets its history, watches that expire all at once: a move in the middle takes no harm."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from migrate.lab.kube_cluster import KubeCluster
from migrate.lab.up import Lab
from migrate.model.migration import Start
from migrate.model.report import Outcome
from tests.flows.flow import Flow
from tests.machines import disk, machine

Harm = Callable[[KubeCluster], object]


def restart(cluster: KubeCluster) -> None:
    """Kill the API server and start it anew."""
    cluster.server.plane.restart_api_server()


def compact(cluster: KubeCluster) -> None:
    """Let etcd forget everything up to now."""
    cluster.server.plane.compact()


def storm(cluster: KubeCluster) -> None:
    """Do both: every watch ends, and none can be resumed from where it was."""
    for _ in range(3):
        cluster.server.plane.compact()
        cluster.server.plane.restart_api_server()


@pytest.mark.parametrize("harm", [restart, compact, storm])
@pytest.mark.parametrize("side", ["east", "west"])
def test_a_move_takes_no_harm(lab: Lab, side: str, harm: Harm) -> None:
    """In the middle of the import; the move ends well, or says that it lost contact and the same command ends it well."""
    name = f"{harm.__name__}-{side}"
    lab.plant([disk(f"{name}-root"), machine(name, [f"{name}-root"])])
    flow = Flow(lab, name, start=Start.NEVER)
    cluster = lab.clusters[side]
    assert isinstance(cluster, KubeCluster)
    flow.when("import-disks", "", lambda: harm(cluster))
    ending = flow.move()
    if ending.error is not None:
        ending = flow.move()
    assert (ending.report.outcome, ending.report.problems) == (Outcome.MOVED, ())
    assert flow.unequal() == []
    flow.close()
