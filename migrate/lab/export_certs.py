"""Certificates of exports: the authority that signs exporter pods, and which certificates a link shows for the external host.

The authority lives in the cluster, in a Secret and a ConfigMap of the KubeVirt namespace, as the real one does, so that it survives
a restart of the controllers.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from migrate.lab.certs import Pair

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

CLOCK_SLACK = timedelta(days=1)
"""Lab time may run ahead of the wall clock against which TLS libraries check: certificates are valid from before both."""


def new_authority(name: str) -> Pair:
    """Return a new certificate authority: its certificate and its (elliptic-curve) key, PEM."""
    import trustme

    authority = trustme.CA(organization_name="lab.kubevirt-migrate.io", organization_unit_name=name)
    return Pair(chain_pem=authority.cert_pem.bytes().decode(), key_pem=authority.private_key_pem.bytes().decode())


def issue(authority: Pair, hosts: tuple[str, ...], *, not_after: datetime | None = None, whole_chain: bool = False) -> Pair:
    """Issue a server certificate for DNS names, the first being its common name; `whole_chain` appends the authority's own."""
    import trustme

    signer = trustme.CA.from_pem(authority.chain_pem.encode(), authority.key_pem.encode())
    leaf = signer.issue_cert(*hosts, common_name=hosts[0][:64], not_after=not_after)
    chain = leaf.cert_chain_pems[0].bytes().decode() + (authority.chain_pem if whole_chain else "")
    return Pair(chain_pem=chain, key_pem=leaf.private_key_pem.bytes().decode())


def service_hosts(service: str, namespace: str) -> tuple[str, ...]:
    """Return the names that an exporter's certificate holds: those of its Service, shortest first."""
    return (service, f"{service}.{namespace}", f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local")


def tls_secret(name: str, namespace: str, pair: Pair) -> dict[str, Any]:
    """Return a Secret of type kubernetes.io/tls."""
    data = {"tls.crt": _encoded(pair.chain_pem), "tls.key": _encoded(pair.key_pem)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/tls",
        "data": data,
    }


def pair_of(secret: dict[str, Any]) -> Pair:
    """Return the pair in a TLS Secret. Raises KeyError when it holds none."""
    data = secret["data"]
    return Pair(chain_pem=_decoded(data["tls.crt"]), key_pem=_decoded(data["tls.key"]))


def shown_certificates(pem: str, host: str, now: datetime) -> str:
    """Return the part of a bundle that links show for a host.

    The newest valid certificate made for the host (or a wildcard of its domain) with its issuers, as far as the bundle holds them; if
    there is none, all valid certificates. Empty for an empty bundle. Reference: kubevirt-export.md section 2, "External cert".
    """
    found = _parsed(pem)
    matching = [certificate for certificate in found if _names(certificate) & {host, f"*.{host.partition('.')[2] or host}"}]
    best = max(matching, key=lambda certificate: certificate.not_valid_after_utc, default=None)
    if best is None or not _valid(best, now):
        return _joined([certificate for certificate in found if _valid(certificate, now)])
    chain = [best]
    while (issuer := _issuer(chain[-1], found)) is not None and issuer not in chain:
        chain.append(issuer)
    return _joined(chain)


def _parsed(pem: str) -> list[Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return []


def _names(certificate: Certificate) -> set[str]:
    from cryptography import x509

    names = {str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)}
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return names
    return names | set(alternatives.get_values_for_type(x509.DNSName))


def _issuer(certificate: Certificate, among: list[Certificate]) -> Certificate | None:
    if certificate.issuer == certificate.subject:
        return None
    return next((other for other in among if other.subject == certificate.issuer), None)


def _valid(certificate: Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _joined(certificates: list[Certificate]) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates).strip()


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


def lasting(now: datetime, duration: timedelta) -> datetime:
    """Return when a certificate issued at lab time `now` should end, late enough for clients on the wall clock."""
    return max(now, datetime.now(UTC)) + duration + CLOCK_SLACK
