"""Certificates of the lab: one authority per purpose (API, export, ingress, upload), leaves for servers and clients.

Valid from long ago to far ahead, since lab time may run far ahead of real time and real clients check against the wall.
"""

from __future__ import annotations

import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its key, PEM. `chain_pem` is what a server sends."""

    chain_pem: str
    key_pem: str


class Authority:
    """A certificate authority of the lab. `ca_pem` is what its clients trust."""

    def __init__(self, name: str) -> None:
        import trustme

        self.name = name
        self._ca = trustme.CA(organization_name="migrate lab", organization_unit_name=name)
        self.ca_pem: str = self._ca.cert_pem.bytes().decode()

    def server(self, *hosts: str, not_after: datetime | None = None) -> Pair:
        """Issue a leaf for DNS names and IP addresses (the first is also its CN)."""
        leaf = self._ca.issue_cert(*hosts, common_name=hosts[0], not_after=not_after)
        return _pair(leaf)

    def client(self, user: str, group: str = "") -> Pair:
        """Issue a client certificate: CN = user, O = group, as the API server reads them."""
        import trustme

        # With a name in it: Go refuses certificates whose (critical) list of alternative names is empty.
        leaf = self._ca.issue_cert("client.lab", common_name=user, organization_name=group or None, key_type=trustme.KeyType.ECDSA)
        return _pair(leaf)

    def server_context(self, *hosts: str, ask_client: bool = False) -> ssl.SSLContext:
        """Return a context for a server on these hosts; with `ask_client` it asks for (but does not require) a certificate of this CA."""
        context = server_context(self.server(*hosts))
        if ask_client:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(cadata=self.ca_pem)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return a context for a client that trusts this authority."""
        return client_context(self.ca_pem)


def server_context(pair: Pair) -> ssl.SSLContext:
    """Return a server context for a certificate and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load(context, pair)
    return context


def client_context(ca_pem: str) -> ssl.SSLContext:
    """Return a client context that trusts just these certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca_pem)
    return context


def load(context: ssl.SSLContext, pair: Pair) -> None:
    """Load a certificate and its key into a context (the ssl module wants files: one of mode 0600, gone at once)."""
    with tempfile.TemporaryDirectory(prefix="lab-certs-") as directory:
        path = Path(directory) / "pair.pem"
        path.touch(mode=0o600)
        path.write_text(pair.key_pem + pair.chain_pem)
        context.load_cert_chain(path)


def _pair(leaf: object) -> Pair:
    from trustme import LeafCert

    assert isinstance(leaf, LeafCert)
    chain = "".join(blob.bytes().decode() for blob in leaf.cert_chain_pems)
    return Pair(chain_pem=chain, key_pem=leaf.private_key_pem.bytes().decode())
