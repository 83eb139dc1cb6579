"""The host of external links and the worth of its certificates, before there is any export."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import trustme

from migrate.model.inventory import Trust
from migrate.reading.exporthost import host_of, judge

NOW = datetime.now(UTC)


def ingress(name: str, service: str, host: str = "exp.example", **spec: Any) -> dict[str, Any]:
    rules = [{"host": host, "http": {"paths": [{"backend": {"service": {"name": service}}}]}}]
    return {"metadata": {"name": name}, "spec": {"rules": rules, **spec}}


def route(service: str, host: str, label: str = "virt-operator") -> dict[str, Any]:
    metadata = {"name": "r", "labels": {"app.kubernetes.io/managed-by": label}}
    return {"metadata": metadata, "spec": {"to": {"name": service}}, "status": {"ingress": [{"host": host}]}}


def test_the_first_ingress_to_the_proxy_counts() -> None:
    """Ingresses to other services are passed over; the first Secret named in its TLS is the one."""
    tls = [{"hosts": ["x"]}, {"secretName": "cert"}, {"secretName": "other"}]
    found = host_of([ingress("a", "web"), ingress("b", "virt-exportproxy", tls=tls), ingress("c", "virt-exportproxy", "c.example")], [])
    assert found is not None
    assert (found.host, found.via, found.secret) == ("exp.example", "Ingress b", "cert")


def test_a_default_backend_counts() -> None:
    """An Ingress whose default backend is the proxy gives the host of its rules."""
    spec = {"defaultBackend": {"service": {"name": "virt-exportproxy"}}, "rules": [{}, {"host": "d.example"}]}
    found = host_of([{"metadata": {"name": "d"}, "spec": spec}], [])
    assert found is not None
    assert found.host == "d.example"


def test_a_route_of_the_operator_counts_after_ingresses() -> None:
    """A Route to the proxy that KubeVirt's operator made gives its admitted host; one made by hand does not."""
    found = host_of([ingress("a", "web")], [route("virt-exportproxy", "hand.example", "me"), route("virt-exportproxy", "r.example")])
    assert found is not None
    assert (found.host, found.secret) == ("r.example", "")


def test_nothing_else_counts() -> None:
    """Without such an Ingress or Route there is no host."""
    hostless = ingress("b", "virt-exportproxy", "")
    assert host_of([ingress("a", "web"), hostless], [route("web", "r.example")]) is None


def test_worth_of_certificates() -> None:
    """A chain is good, a leaf alone holds for a while, and empty, foreign, broken or expired text does not help."""
    authority = trustme.CA()
    leaf = authority.issue_cert("exp.example").cert_chain_pems[0].bytes().decode()
    wild = authority.issue_cert("*.example").cert_chain_pems[0].bytes().decode()
    other = authority.issue_cert("web.example").cert_chain_pems[0].bytes().decode()
    ca = authority.cert_pem.bytes().decode()
    foreign = trustme.CA(organization_name="other").cert_pem.bytes().decode()
    host = "exp.example"
    assert judge(leaf + ca, host=host, now=NOW) is Trust.GOOD
    assert judge(ca, host=host, now=NOW) is Trust.GOOD
    assert judge(f"# by hand\n{wild}\n{ca}", host=host, now=NOW) is Trust.GOOD
    assert judge(leaf, host=host, now=NOW) is Trust.LEAF_ONLY
    assert judge(leaf + foreign, host=host, now=NOW) is Trust.LEAF_ONLY
    assert judge(other, host=host, now=NOW) is Trust.FOREIGN
    assert judge(" \n", host=host, now=NOW) is Trust.EMPTY
    assert judge("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", host=host, now=NOW) is Trust.MALFORMED
    assert judge("hello", host=host, now=NOW) is Trust.MALFORMED
    assert judge(leaf + ca, host=host, now=NOW - timedelta(days=365 * 40)) is Trust.EXPIRED
