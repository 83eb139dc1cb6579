"""The HTTPS connections to one API server: the official client's pool with a TLS context of our own."""

from __future__ import annotations

import ipaddress
import logging
import warnings
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from migrate.kube.config import Stanza
from migrate.kube.errors import place
from migrate.kube.tls import ClientCertificate, tls_context
from migrate.model.errors import UsageError

if TYPE_CHECKING:
    import ssl

    from urllib3 import PoolManager

log = logging.getLogger("migrate.kube")

KEPT = 32
"""Connections kept for re-use. More are opened when needed (the pool never blocks), so watches cannot starve calls."""


def check_server(stanza: Stanza) -> None:
    """Raise UsageError if the stanza's server is not a URL that we can speak to."""
    if not stanza.server.startswith(("https://", "http://")):
        raise UsageError("server is not an http(s) URL", where=place(stanza.context), why=stanza.server, now="Correct the kubeconfig.")


def tls_for(stanza: Stanza, certificate: ClientCertificate | None) -> ssl.SSLContext | None:
    """Return a TLS context for a stanza's server; None if it speaks plain http (`kubectl proxy`). Raise UsageError."""
    if not stanza.server.startswith("https:"):
        return None
    return tls_context(stanza.cluster, stanza.cluster_folder, certificate, where=place(stanza.context))


def open_pool(stanza: Stanza, certificate: ClientCertificate | None) -> PoolManager:
    """Return a pool that honours proxy-url, the proxy environment, tls-server-name and insecure-skip-tls-verify. Raise UsageError.

    The client gets one TLS context for all its connections (building one costs more than a request), and therefore no certificate files.
    """
    from kubernetes.client.api_client import ApiClient
    from kubernetes.client.configuration import Configuration

    insecure = bool(stanza.cluster.get("insecure-skip-tls-verify"))
    configuration = Configuration(
        host=stanza.server,
        verify_ssl=not insecure,
        tls_server_name=stanza.cluster.get("tls-server-name") or None,
        proxy=stanza.cluster.get("proxy-url") or None,
        connection_pool_maxsize=KEPT,
    )
    configuration.keep_alive = True
    if not stanza.cluster.get("proxy-url") and _loopback(stanza.server):
        # The proxy of the environment is not for this machine itself; kubectl has the same rule.
        configuration.proxy = None
    tls = tls_for(stanza, certificate)
    try:
        pool: PoolManager = ApiClient(configuration).rest_client.pool_manager
    except (ImportError, ValueError) as problem:
        raise UsageError(
            "cannot use proxy-url of the kubeconfig",
            where=place(stanza.context),
            why=str(problem),
            now="Name an http:// or https:// proxy; socks5:// needs the package PySocks.",
        ) from None
    if insecure:
        from urllib3.exceptions import InsecureRequestWarning

        warnings.simplefilter("ignore", InsecureRequestWarning)
        log.warning("%s: insecure-skip-tls-verify is set: the API server is not verified", place(stanza.context))
    if tls is not None:
        pool.connection_pool_kw["ssl_context"] = tls
    return pool


def _loopback(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
