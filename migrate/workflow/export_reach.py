"""How an export is reached: from outside, through the API server, or at an address of its service; and what to do where it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from migrate.kube.cluster import Cluster
from migrate.model.clock import Clock
from migrate.model.errors import Blocked, MigrateError, Stalled
from migrate.model.quantity import human_duration
from migrate.reading.export import Links
from migrate.steps import exporting, forwarding
from migrate.transfer.export_client import ExportClient
from migrate.transfer.straight import Straight, Way

NO_WAY_IN = "it is ready, but has no links from outside"


@dataclass(frozen=True, slots=True)
class Approach:
    """How an export is reached; by default by its links from outside."""

    port_forward: bool = False
    service_url: str = ""
    insecure: bool = False
    ca_pem: str = ""
    """PEM of the host outside, where the cluster names none or a wrong one."""

    @property
    def inside(self) -> bool:
        """Whether the links that hold within the cluster are used."""
        return self.port_forward or bool(self.service_url)

    def client(self, cluster: Cluster, clock: Clock, name: str, links: Links, token: str, *, tell: Callable[[str], None]) -> ExportClient:
        """Return the client that reads the export of that name. `tell` is told of pauses."""
        way: Way | None = None
        if self.service_url:
            way = Straight(self.service_url)
        elif self.port_forward:
            where = f"{cluster.context}, export {name}"
            way = forwarding.way_to(cluster, lambda: exporting.exporter_pods(cluster, name), where=where)
        now = (
            "it is not vouched for by the CA that the export names: see who answers there" if self.inside else "give its CA with --ca FILE"
        )
        return ExportClient(
            ca_pem=links.cert if self.inside else self.ca_pem or links.cert,
            token=token,
            clock=clock,
            forward=way,
            insecure=self.insecure,
            distrusted=f"{now}, or believe whoever answers with --insecure",
            tell=lambda words: tell(f"export {name}: {words}"),
        )


def not_reached(cluster: Cluster, name: str, words: str, patience: timedelta) -> MigrateError:
    """Return the error for an export that stands where `words` say, after so long."""
    if words == NO_WAY_IN:
        return Blocked(
            f"export {name} is ready, but has no links from outside",
            where=cluster.context,
            why="KubeVirt gives them only when an Ingress or an OpenShift Route leads to virt-exportproxy",
            now="read it with --port-forward, or give --service-url of a NodePort or load balancer of its service",
        )
    return Stalled(
        f"export {name} was not ready within {human_duration(patience)}",
        where=cluster.context,
        why=words,
        now="mend that and run the same again, or wait longer with --readiness-timeout",
    )
