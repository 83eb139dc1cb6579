"""A real API server in the place of the embedded one: the same surface for the rest of the lab, the real programs behind it.

What the embedded server does inside itself is done here from outside: admission by webhooks, virtual resources by APIServices, logs and
port-forwards by a kubelet's door, the request log by the audit log.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from migrate.kube.kinds import APISERVICE, CRD, SERVICEACCOUNT, Kind
from migrate.kube.session import open_cluster
from migrate.lab.clock import RealClock
from migrate.lab.discovery import Virtual
from migrate.lab.kinds import Registry, builtin
from migrate.lab.kube_aggregated import AggregatedApi
from migrate.lab.kube_audit import AuditedRequests
from migrate.lab.kube_binaries import KUBERNETES, find
from migrate.lab.kube_kubelet import KubeletServer
from migrate.lab.kube_plane import ControlPlane
from migrate.lab.kube_webhooks import COMPONENTS, Webhooks
from migrate.lab.places import LabError, kubeconfig_text, write_private

if TYPE_CHECKING:
    from pathlib import Path

    from migrate.kube.cluster import Cluster
    from migrate.lab.admission import Admission
    from migrate.lab.api_virtual import Responder
    from migrate.lab.certs import Authority
    from migrate.lab.clock import LabClock
    from migrate.lab.pods import Node
    from migrate.lab.trouble import Trouble

Object = dict[str, Any]

PATIENCE_S = 60.0
COMPONENT = "lab-component"


class KubeServer:
    """Fill in `definitions`, `start`, add admissions and routes, then `publish`."""

    def __init__(self, name: str, directory: Path, *, clock: LabClock, authority: Authority, trouble: Trouble, roots: str) -> None:
        from migrate.lab.api_virtual import Routes

        self.name = name
        self.clock = clock
        self.trouble = trouble
        self.kubernetes = KUBERNETES
        self.ca_pem: str = authority.ca_pem
        self.registry = Registry(builtin())
        self.routes = Routes({}, {})
        self.admission: list[Admission] = []
        self.definitions: list[Object] = []
        self.plane = ControlPlane(name, directory, authority=authority, binaries=find(), roots=roots)
        self.requests = AuditedRequests(self.plane.audit_log)
        self.kubelet = KubeletServer(clock=clock, authority=authority)
        self.url = self.plane.url
        self.port = self.plane.port
        self._authority = authority
        self._inside: Cluster | None = None
        self._webhooks: Webhooks | None = None
        self._aggregated: AggregatedApi | None = None

    @property
    def node(self) -> Node | None:
        return self.kubelet.node

    @node.setter
    def node(self, node: Node | None) -> None:
        self.kubelet.node = node

    def start(self) -> None:
        """Start the control plane and serve the definitions."""
        self.kubelet.start()
        self.plane.start()
        self._inside = self._component()
        for definition in self.definitions:
            self.registry.install(definition)
        self._inside.create(*self.definitions)
        wanted = {definition["metadata"]["name"] for definition in self.definitions}
        self._await(
            "the definitions", lambda: wanted <= {crd["metadata"]["name"] for crd in self.inside.list(CRD) if _true(crd, "Established")}
        )
        self._await("the kinds", self._all_served)

    def publish(self) -> None:
        """Let the API server ask the admissions and pass on the routes."""
        self._webhooks = Webhooks(self.admission, registry=self.registry, client=self.inside, clock=self.clock, authority=self._authority)
        self._webhooks.start()
        self._aggregated = AggregatedApi(
            self.routes, server=self, clock=self.clock, authority=self._authority, front_proxy=self.plane.front_proxy
        )
        names = self._aggregated.start(self.inside)
        self._await("the aggregated APIs", lambda: all(_true(self.inside.get(APISERVICE, name), "Available") for name in names))

    def furnished(self, namespaces: tuple[str, ...]) -> None:
        """Wait until namespaces have the account without which no pod can be created."""
        self._await("the accounts", lambda: all(self.inside.get(SERVICEACCOUNT, "default", name) for name in namespaces))

    def stop(self) -> None:
        """End everything."""
        for part in (self._webhooks, self._aggregated, self.kubelet):
            if part is not None:
                part.stop()
        if self._inside is not None:
            self._inside.close()
        self.plane.stop()

    @property
    def inside(self) -> Cluster:
        """Return the handle of KubeVirt's own components, which pass their webhooks. Only once started."""
        assert self._inside is not None
        return self._inside

    def route(  # noqa: PLR0917  the parts of a path, in its order
        self,
        method: str,
        group: str,
        version: str,
        plural: str,
        subresource: str,
        responder: Responder,
        *,
        kind: str = "",
        namespaced: bool = True,
    ) -> None:
        """Answer a method of a virtual resource, as `ApiServer.route` does."""
        shown = kind or plural.removesuffix("s").capitalize()
        self.routes.add(Virtual(group, version, plural, shown, (), subresource=subresource, namespaced=namespaced), method, responder)

    def look_up(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return an object as KubeVirt's own components see it."""
        return self.inside.get(kind, name, namespace)

    def rewrite(self, kind: Kind, namespace: str, name: str, alter: Callable[[Object], Object]) -> None:
        """Change an object as KubeVirt's own components may."""
        live = self.inside.get(kind, name, namespace)
        if live is not None:
            self.inside.replace(alter(live))

    def _component(self) -> Cluster:
        pair = self._authority.client(f"{COMPONENTS}kubevirt-controller", "system:masters")
        texts = {"ca": self.ca_pem, "certificate": pair.chain_pem, "key": pair.key_pem}
        facts = {"server": self.url} | {word: base64.b64encode(text.encode()).decode() for word, text in texts.items()}
        path = self.plane.directory / "component.kubeconfig"
        write_private(path, kubeconfig_text({COMPONENT: facts}, current=COMPONENT))
        return open_cluster(COMPONENT, kubeconfig=str(path), clock=self.clock, user_agent="lab/component")

    def _all_served(self) -> bool:
        for definition in self.definitions:
            spec = definition["spec"]
            for version in spec["versions"]:
                if version["served"]:
                    kind = Kind(spec["names"]["kind"], spec["names"]["plural"], spec["group"], (version["name"],))
                    self.inside.session.discovery.forget(kind)
                    if self.inside.serves(kind) is None:
                        return False
        return True

    def _await(self, what: str, look: Callable[[], bool]) -> None:
        clock = RealClock()
        end = clock.monotonic() + PATIENCE_S
        while not look():
            if clock.monotonic() > end:
                raise LabError(f"{self.name}: {what} did not come within {PATIENCE_S:g} s", now=f"See the logs in {self.plane.directory}.")
            clock.sleep(0.1)


def _true(obj: Object | None, condition: str) -> bool:
    return any(c["type"] == condition and c["status"] == "True" for c in ((obj or {}).get("status") or {}).get("conditions") or ())
