"""The way to an export's server through the API server of its cluster, where no link leads to it from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from migrate.kube.cluster import Cluster
from migrate.kube.pool import tls_for
from migrate.model.objects import condition, dig, leaving, name_of
from migrate.steps import permissions
from migrate.transfer.portforward import Access, Broken, Forward

EXPORTER_PORT = 8443
"""Where an export server listens (kubevirt-export section 2)."""


def may_forward(cluster: Cluster) -> bool:
    """Tell whether the cluster lets us forward ports of pods."""
    return not permissions.denied(cluster, [permissions.FORWARD])


def way_to(cluster: Cluster, pods_of: Callable[[], list[dict[str, Any]]], *, where: str) -> Forward:
    """Return the way to whichever server pod of an export is ready when a connection is made."""

    def pod_path() -> str:
        ready = [pod for pod in pods_of() if not leaving(pod) and _ready(pod)]
        if not ready:
            raise Broken("no server pod of the export is ready")
        return f"/api/v1/namespaces/{cluster.namespace}/pods/{name_of(ready[0])}"

    return Forward(access=_access_of(cluster), pod_path=pod_path, port=EXPORTER_PORT, where=where)


def _ready(pod: Mapping[str, Any]) -> bool:
    ready = condition(pod, "Ready")
    return dig(pod, "status", "phase") == "Running" and ready is not None and ready.status == "True"


def _access_of(cluster: Cluster) -> Callable[[bool], Access]:
    session = cluster.session
    host = urlsplit(session.server).hostname or ""
    used: list[Any] = []

    def access(again: bool) -> Access:
        if again and used:
            session.credentials.rejected(used[-1])
        login = session.credentials.login()
        used[:] = [login]
        return Access(
            server=session.server,
            tls=tls_for(session.stanza, login.certificate),
            server_name=str(session.stanza.cluster.get("tls-server-name") or host),
            proxy=_proxy(session.stanza.cluster, host),
            headers=tuple(session.headers(login)),
        )

    return access


def _proxy(stanza: Mapping[str, Any], host: str) -> str:
    """Choose the proxy as the pool of this room's client does: the stanza's, else the environment's, which is not for this machine."""
    if stanza.get("proxy-url"):
        return str(stanza["proxy-url"])
    if host in ("localhost", "::1") or host.startswith("127.") or proxy_bypass(host):
        return ""
    return getproxies().get("https", "")
