"""How exports are reached: what the cluster's Ingress, its certificates and the faults of the lab make of their links."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from migrate.kube.kinds import CONFIGMAP, INGRESS, ROUTE, SECRET
from migrate.lab import export_certs, export_links
from migrate.lab.export_pod import Side
from migrate.lab.gotime import moment

if TYPE_CHECKING:
    from migrate.lab.controller import Object, Runtime
    from migrate.lab.export_source import Source
    from migrate.lab.kubevirt_release import Release

NAMESPACE = "kubevirt"
CA_NAME = "kubevirt-export-ca"
"""Secret and ConfigMap of the authority that signs exporter pods; the ConfigMap's key is `ca-bundle`."""

_END = "-----END CERTIFICATE-----"


class Outside:
    """Both sides of the exports of one cluster, as they are right now."""

    def __init__(self, runtime: Runtime, release: Release) -> None:
        self._runtime = runtime
        self._release = release

    def internal(self, export: Object, service: Object) -> Side:
        """Return how an export is reached inside the cluster."""
        return export_links.internal_side(export, service["metadata"]["name"], self.bundle())

    def external(self, export: Object) -> Side | None:
        """Return how an export is reached from outside; None without Ingress or Route to the export proxy."""
        found = self._host_and_cert()
        if found is None:
            return None
        host, cert = found
        metadata = export["metadata"]
        order = self._runtime.trouble.find("links", namespace=metadata["namespace"], export=metadata["name"])
        match order.action if order is not None else "":
            case "refuse":
                return None
            case "delay" if self.late_s(export) is not None:
                return None
            case "truncate":
                cert = cert.partition(_END)[0] + _END if cert else ""
            case "swap":
                cert = ""
        return export_links.external_side(export, host, cert, version=self._release.url_version)

    def links(self, export: Object, source: Source, *, service: Object, pod: Object) -> Object:
        """Return the links of an export whose pod is ready."""
        claims = [claim["metadata"]["name"] for claim in source.volumes]
        links = {"internal": export_links.link(self.internal(export, service), "internal", pod, claims, prefix=source.prefix)}
        external = self.external(export)
        if external is not None:
            links["external"] = export_links.link(external, "external", pod, claims, prefix=source.prefix)
        return links

    def late_s(self, export: Object) -> float | None:
        """Return the seconds for which a fault still holds back the external links, counted from the export's creation."""
        metadata = export["metadata"]
        for order in self._runtime.trouble.orders():
            wanted = order["match"].get("export", metadata["name"])
            if order["where"] == "links" and order["action"] == "delay" and wanted == metadata["name"]:
                end = moment(metadata["creationTimestamp"]) + timedelta(seconds=float(order["args"].get("seconds", 0)))
                left = (end - self._runtime.clock.now()).total_seconds()
                return left if left > 0 else None
        return None

    def bundle(self) -> str:
        """Return the certificates that exporter pods are signed by, PEM."""
        found = self._runtime.cache(CONFIGMAP).get(NAMESPACE, CA_NAME)
        return str(((found or {}).get("data") or {}).get("ca-bundle", ""))

    def _host_and_cert(self) -> tuple[str, str] | None:
        api = self._runtime.api
        ingresses = self._runtime.cache(INGRESS).all(NAMESPACE)
        routes = api.list(ROUTE, NAMESPACE) if api.serves(ROUTE) else []
        names = {entry.get("secretName", "") for ingress in ingresses for entry in ingress["spec"].get("tls") or ()}
        pems = {name: self._certificate(name) for name in sorted(names - {""})}
        root = (self._runtime.cache(CONFIGMAP).get(NAMESPACE, "kube-root-ca.crt") or {}).get("data") or {}
        return export_links.host_and_cert(ingresses, routes, secrets=pems, root_ca=root.get("ca.crt", ""), now=self._runtime.clock.now())

    def _certificate(self, name: str) -> str:
        secret = self._runtime.api.get(SECRET, name, NAMESPACE)
        return export_certs.pair_of(secret).chain_pem if secret is not None else ""
