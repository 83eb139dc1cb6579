"""Foretell, before anything is stopped, whether exports will have external links, on which host, and whom that host can be trusted by.

KubeVirt shows it only after the stop; it finds the host by rules that can be followed from outside (reference section 2, Links).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from migrate.model.inventory import Trust
from migrate.model.objects import Object, dig, labels_of, name_of

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

PROXY = "virt-exportproxy"
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FoundHost:
    """The host that KubeVirt will choose, and the Secret with its certificate.

    `secret` is "" for a Route (there it is key ca.crt of ConfigMap kube-root-ca.crt) and for an Ingress without TLS.
    """

    host: str
    via: str
    secret: str = ""


def host_of(ingresses: Sequence[Object], routes: Sequence[Object]) -> FoundHost | None:
    """Choose the host as KubeVirt does among the Ingresses and Routes of its namespace: Ingress first, then Route; nothing else counts."""
    for ingress in ingresses:
        host = _ingress_host(ingress)
        if host:
            tls = dig(ingress, "spec", "tls", default=())
            secret = next((str(entry["secretName"]) for entry in tls if entry.get("secretName")), "")
            return FoundHost(host, f"Ingress {name_of(ingress)}", secret)
    for route in routes:
        admitted = dig(route, "status", "ingress", default=())
        by_operator = labels_of(route).get("app.kubernetes.io/managed-by") in {"virt-operator", "kubevirt-operator"}
        if by_operator and dig(route, "spec", "to", "name") == PROXY and admitted and admitted[0].get("host"):
            return FoundHost(str(admitted[0]["host"]), f"Route {name_of(route)}")
    return None


def judge(pem: str, *, host: str, now: datetime) -> Trust:
    """Say what PEM text is worth as the CA of that host (a port in it does not count), for KubeVirt's links and for a file of the user."""
    host = host.partition(":")[0]
    if not pem.strip():
        return Trust.EMPTY
    certificates = _load(pem)
    if not certificates:
        return Trust.MALFORMED
    valid = [one for one in certificates if one.not_valid_before_utc <= now <= one.not_valid_after_utc]
    if not valid:
        return Trust.EXPIRED
    authorities = [one for one in valid if _is_authority(one)]
    own = [one for one in valid if not _is_authority(one) and _is_for(one, host)]
    if own:
        issued = any(one.issuer == two.subject for one in own for two in authorities)
        return Trust.GOOD if issued or any(one.issuer == one.subject for one in own) else Trust.LEAF_ONLY
    return Trust.GOOD if authorities else Trust.FOREIGN


def _ingress_host(ingress: Object) -> str:
    """Return the host under which an Ingress leads to the export proxy, "" if it does not."""
    rules = dig(ingress, "spec", "rules", default=())
    if dig(ingress, "spec", "defaultBackend", "service", "name") == PROXY:
        return next((str(rule["host"]) for rule in rules if rule.get("host")), "")
    for rule in rules:
        for path in dig(rule, "http", "paths", default=()):
            if dig(path, "backend", "service", "name") == PROXY and rule.get("host"):
                return str(rule["host"])
    return ""


def _load(pem: str) -> list[Certificate]:
    """Return every certificate of the text that can be read; what lies between and around them does not matter."""
    from cryptography import x509

    found = []
    for block in _PEM.findall(pem):
        try:
            found.append(x509.load_pem_x509_certificate(block.encode()))
        except ValueError:
            continue
    return found


def _is_authority(certificate: Certificate) -> bool:
    from cryptography import x509

    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, ValueError):
        return False


def _is_for(certificate: Certificate, host: str) -> bool:
    wanted = {host.lower(), f"*.{host.partition('.')[2]}".lower()}
    return any(name.lower() in wanted for name in _names(certificate))


def _names(certificate: Certificate) -> Iterator[str]:
    """Yield its common name and all its alternative names."""
    from cryptography import x509

    for attribute in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME):
        yield str(attribute.value)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return
    for entry in names:
        yield str(entry.value)
