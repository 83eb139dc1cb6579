"""The links in an export's status: which host, which certificates, which paths. Pure.

Reference: kubevirt-export.md section 2, "Links". One deviation of the lab: where a real Ingress answers at port 443, ours answers at
a port that stands in its rule's host, since the lab runs without privileges; so it stands in every external link, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from migrate.lab.export_certs import shown_certificates
from migrate.lab.export_manifests import volumes_of
from migrate.lab.export_pod import Side

Object = dict[str, Any]

PROXY_SERVICE = "virt-exportproxy"


def internal_side(export: Object, service: str, bundle: str) -> Side:
    """Return how an export is reached inside its cluster."""
    return Side(f"{service}.{export['metadata']['namespace']}.svc", bundle.strip())


def external_side(export: Object, host: str, cert: str, *, version: str) -> Side:
    """Return how an export is reached from outside: through the export proxy at `host`."""
    namespace, name = export["metadata"]["namespace"], export["metadata"]["name"]
    return Side(f"{host}/api/export.kubevirt.io/{version}/namespaces/{namespace}/virtualmachineexports/{name}", cert)


def host_and_cert(
    ingresses: Iterable[Object], routes: Iterable[Object], *, secrets: Mapping[str, str], root_ca: str, now: datetime
) -> tuple[str, str] | None:
    """Return the external host (with the lab's port) and the certificates shown for it; None without Ingress and Route.

    `secrets` are the TLS Secrets of the KubeVirt namespace by name, as PEM of their `tls.crt`; `root_ca` is what Routes are signed by.
    NodePorts, load balancers and gateways are never considered.
    """
    for ingress in ingresses:
        if host := _ingress_host(ingress):
            names = [entry["secretName"] for entry in ingress["spec"].get("tls") or () if entry.get("secretName")]
            pem = secrets.get(names[0], "") if names else ""
            return host, shown_certificates(pem, host.partition(":")[0], now)
    for route in routes:
        admitted = (route.get("status") or {}).get("ingress") or []
        if route["spec"]["to"]["name"] == PROXY_SERVICE and admitted:
            return admitted[0]["host"], shown_certificates(root_ca, admitted[0]["host"], now)
    return None


def targets_proxy(ingress: Object) -> bool:
    """Tell whether an Ingress leads to the export proxy."""
    return bool(_ingress_host(ingress))


def host_and_port(ingress: Object) -> tuple[str, str]:
    """Return the host by which an Ingress leads to the export proxy, and its port, "" if it names none."""
    host, _, port = _ingress_host(ingress).partition(":")
    return host, port


def with_port(ingress: Object, port: int) -> list[Object]:
    """Return the rules of an Ingress with the port in their hosts."""
    return [rule | {"host": f"{rule['host'].partition(':')[0]}:{port}"} for rule in ingress["spec"]["rules"]]


def _ingress_host(ingress: Object) -> str:
    spec = ingress["spec"]
    rules = spec.get("rules") or []
    default = (spec.get("defaultBackend") or {}).get("service")
    if default:
        return str(rules[0].get("host", "")) if default["name"] == PROXY_SERVICE and rules else ""
    for rule in rules:
        for path in (rule.get("http") or {}).get("paths") or ():
            if (path["backend"].get("service") or {}).get("name") == PROXY_SERVICE and rule.get("host"):
                return str(rule["host"])
    return ""


def link(side: Side, kind: str, pod: Object, claims: Iterable[str], *, prefix: str = "") -> Object:
    """Return one link of a status: what the pod's environment offers, below a side's host. `kind` is internal or external.

    Volumes come in the order of the source's claims and carry the claim's name, without the `prefix` of restored ones.
    """
    env = {entry["name"]: entry.get("value", "") for entry in pod["spec"]["containers"][0].get("env") or ()}
    base = f"https://{side.host}"
    types = (("all", "EXPORT_VM_DEF_URI"), ("auth-header-secret", "EXPORT_SECRET_DEF_URI"))
    manifests = [{"type": word, "url": f"{base}/{kind}{env[key]}"} for word, key in types if env.get(key)]
    offered = {volume.claim: volume for volume in volumes_of(env)}
    volumes = []
    for claim in claims:
        volume = offered.get(claim)
        if volume is not None:
            kinds = (("dir", volume.dir), ("tar.gz", volume.archive), ("raw", volume.raw), ("gzip", volume.gzip))
            volumes.append(
                {"name": claim.removeprefix(prefix), "formats": [{"format": word, "url": base + path} for word, path in kinds if path]}
            )
    return {"cert": side.cert, "manifests": manifests, "volumes": volumes}
