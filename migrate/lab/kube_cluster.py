"""A lab cluster on the real Kubernetes programs: the same node, storage, KubeVirt and CDI as API clients of a real control plane."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from migrate.kube.kinds import ROUTE
from migrate.lab import export_certs, kinds
from migrate.lab.cluster import NAMESPACES, LabCluster
from migrate.lab.export_links import PROXY_SERVICE
from migrate.lab.export_outside import NAMESPACE
from migrate.lab.exportproxy import HOST, SERVED, ExportProxy
from migrate.lab.kube_server import KubeServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrate.lab.api import ApiServer
    from migrate.lab.clock import LabClock
    from migrate.lab.controller import Controller

Object = dict[str, Any]

ROUTE_NAME = "virt-exportproxy"


class KubeCluster(LabCluster):
    """Exports are reached through a Route instead of an Ingress, since a real API server takes no Ingress whose host has a port."""

    without: ClassVar[Mapping[str, str]] = {"api": "the API server is the real one"}

    def __init__(
        self, name: str, directory: Path, *, clock: LabClock, release: str, external: bool | str = True, bare: bool = False
    ) -> None:
        if external not in (True, False, "none"):
            raise ValueError(f"on the real API server exports are reached through a Route or not at all; external={external!r} is neither")
        self._ingress = export_certs.new_authority("ingress")
        self._routed = external is True and not bare
        super().__init__(name, directory, clock=clock, release=release, external=False, bare=bare)

    @property
    def server(self) -> KubeServer:
        """Return the real server with its programs."""
        return cast(KubeServer, self.api)

    def _serve(self) -> ApiServer:
        server = KubeServer(
            self.name,
            self.directory / "kube",
            clock=self.clock,
            authority=self._authority,
            trouble=self.trouble,
            roots=self._ingress.chain_pem,
        )
        return cast("ApiServer", server)  # the rest of the lab uses of it only what both have

    def _define(self) -> None:
        self.server.definitions = [*kinds.crds(self.release), *([route_definition()] if self._routed else [])]

    def _node(self) -> Object:
        node = super()._node()
        node["status"]["daemonEndpoints"] = {"kubeletEndpoint": {"Port": self.server.kubelet.port}}
        return node

    def _extensions(self) -> list[Controller]:
        self.server.furnished(NAMESPACES)
        if self._routed:
            served = export_certs.issue(self._ingress, (HOST, "127.0.0.1"), whole_chain=True)
            self.runtime.api.create(export_certs.tls_secret(SERVED, NAMESPACE, served))
        controllers = super()._extensions()
        self.server.publish()
        return controllers

    def start(self) -> None:
        """Start as any lab cluster, then lead a Route to the export proxy."""
        super().start()
        proxy = next((controller for controller in self._controllers if isinstance(controller, ExportProxy)), None)
        if self._routed and proxy is not None:
            self.runtime.api.create(route(f"{HOST}:{proxy.port}"))

    def stop(self) -> None:
        """Switch everything off, also after half a start."""
        if hasattr(self, "runtime"):
            super().stop()
        else:
            self.server.stop()


def route(host: str) -> Object:
    """Return the Route to the export proxy as the operator makes it, admitted at a host."""
    return {
        "apiVersion": ROUTE.api_version(),
        "kind": ROUTE.kind,
        "metadata": {"name": ROUTE_NAME, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/managed-by": "virt-operator"}},
        "spec": {"to": {"kind": "Service", "name": PROXY_SERVICE, "weight": 100}, "tls": {"termination": "reencrypt"}},
        "status": {"ingress": [{"host": host, "routerName": "default"}]},
    }


def route_definition() -> Object:
    """Return the definition of Routes, as far as the lab needs it. Their status is no subresource here, so that one write makes one."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"kind": ROUTE.kind, "plural": ROUTE.plural, "singular": "route", "listKind": "RouteList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{ROUTE.plural}.{ROUTE.group}"},
        "spec": {"group": ROUTE.group, "names": names, "scope": "Namespaced", "versions": [version]},
    }
