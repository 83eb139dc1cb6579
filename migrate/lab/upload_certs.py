"""Certificates and keys of the upload path, kept in Secrets of the cluster so that they survive a restart of the controllers.

The upload proxy shows a certificate to the world; between proxy and upload servers both sides show one (mutual TLS).
"""

from __future__ import annotations

import base64
import ssl
from typing import Any, Final

from migrate.lab import cdi_names as names
from migrate.lab import certs
from migrate.lab.export_certs import issue, new_authority, pair_of, tls_secret

Object = dict[str, Any]

PROXY_SECRET: Final = "cdi-uploadproxy-server-cert"
CLIENT_SECRET: Final = "cdi-uploadserver-client-cert"
SERVER_SECRET: Final = "cdi-uploadserver-cert"
BUNDLE: Final = "cdi-uploadproxy-signer-bundle"
BUNDLE_KEY: Final = "ca-bundle.crt"
CLIENT_NAME: Final = "client.upload-server.cdi.kubevirt.io"
SERVER_NAME: Final = "cdi-upload"
HOST: Final = "localhost"


def manifests() -> list[Object]:
    """Return fresh Secrets and the ConfigMap of an installation."""
    outside, inside = new_authority("cdi-uploadproxy"), new_authority("cdi-uploadserver")
    proxy = tls_secret(PROXY_SECRET, names.NAMESPACE, issue(outside, (HOST, "127.0.0.1"), whole_chain=True))
    client = tls_secret(CLIENT_SECRET, names.NAMESPACE, issue(inside, (CLIENT_NAME,)))
    server = tls_secret(SERVER_SECRET, names.NAMESPACE, issue(inside, (SERVER_NAME,)))
    for secret in (client, server):
        secret["data"]["ca.crt"] = base64.b64encode(inside.chain_pem.encode()).decode()
    bundle = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": BUNDLE, "namespace": names.NAMESPACE},
        "data": {BUNDLE_KEY: outside.chain_pem},
    }
    return [proxy, client, server, bundle]


def client_context(secret: Object) -> ssl.SSLContext:
    """Return the context with which the proxy speaks to upload servers."""
    context = certs.client_context(base64.b64decode(secret["data"]["ca.crt"]).decode())
    certs.load(context, pair_of(secret))
    return context


def server_context(*, chain_pem: str, key_pem: str, client_ca_pem: str) -> ssl.SSLContext:
    """Return the context of an upload server: it asks for a client certificate, and serves probes without one."""
    context = certs.server_context(certs.Pair(chain_pem, key_pem))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=client_ca_pem)
    return context


def client_name(peer: dict[str, Any] | None) -> str:
    """Return the common name of a client's certificate; empty without one."""
    for fields in (peer or {}).get("subject", ()):
        for key, value in fields:
            if key == "commonName":
                return str(value)
    return ""
