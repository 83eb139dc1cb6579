"""Which certificates an external link shows, from what the Ingress names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from migrate.lab import export_certs
from migrate.lab.export_links import host_and_cert

NOW = datetime.now(UTC)


def ingress(host: str = "exp.example") -> dict[str, Any]:
    backend = {"service": {"name": "virt-exportproxy", "port": {"number": 443}}}
    rules = [{"host": host, "http": {"paths": [{"path": "/", "backend": backend}]}}]
    return {"metadata": {"name": "i", "annotations": {}}, "spec": {"tls": [{"secretName": "tls"}], "rules": rules}}


def shown(pem: str, *ingresses: dict[str, Any]) -> tuple[str, str] | None:
    return host_and_cert(ingresses or (ingress(),), (), secrets={"tls": pem}, root_ca="", now=NOW)


def test_a_leaf_comes_with_its_authority_if_the_bundle_has_it() -> None:
    """The certificate for the host and its issuer are shown; without the issuer the leaf stands alone."""
    authority = export_certs.new_authority("a")
    whole = export_certs.issue(authority, ("exp.example",), whole_chain=True).chain_pem
    leaf = export_certs.issue(authority, ("exp.example",)).chain_pem
    other = export_certs.issue(authority, ("else.example",)).chain_pem
    assert shown(other + whole) == ("exp.example", whole.strip())
    assert shown(leaf) == ("exp.example", leaf.strip())


def test_a_wildcard_of_the_domain_matches() -> None:
    """A certificate for *.example serves exp.example."""
    pem = export_certs.issue(export_certs.new_authority("a"), ("*.example",)).chain_pem
    other = export_certs.issue(export_certs.new_authority("b"), ("else.org",)).chain_pem
    assert shown(other + pem) == ("exp.example", pem.strip())


def test_without_a_match_all_valid_certificates_are_shown() -> None:
    """A bundle for other hosts is shown whole, but for what has expired."""
    authority = export_certs.new_authority("a")
    stale = export_certs.issue(authority, ("exp.example",), not_after=NOW - timedelta(days=1)).chain_pem
    one, two = (export_certs.issue(authority, (f"{name}.org",)).chain_pem for name in ("one", "two"))
    assert shown(one + stale + two) == ("exp.example", (one + two).strip())


def test_a_missing_secret_gives_an_empty_certificate() -> None:
    """The link exists, with nothing to trust."""
    assert shown("") == ("exp.example", "")
    assert shown("no certificate") == ("exp.example", "")


def test_no_ingress_to_the_proxy_means_no_link() -> None:
    """An Ingress to another service is not taken, a Route is, and neither gives nothing."""
    stranger = ingress()
    stranger["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "web"
    assert shown("", stranger) is None
    route = {"spec": {"to": {"name": "virt-exportproxy"}}, "status": {"ingress": [{"host": "route.example"}]}}
    ca = export_certs.new_authority("root").chain_pem
    assert host_and_cert((stranger,), (route,), secrets={}, root_ca=ca, now=NOW) == ("route.example", ca.strip())


def test_the_port_of_the_lab_stands_in_the_link() -> None:
    """The lab's Ingress names its port in the host of its rule; certificates are chosen by the host alone."""
    pem = export_certs.issue(export_certs.new_authority("a"), ("localhost",)).chain_pem
    other = export_certs.issue(export_certs.new_authority("b"), ("else.org",)).chain_pem
    assert shown(other + pem, ingress("localhost:4711")) == ("localhost:4711", pem.strip())
