"""What a cluster holds from the day KubeVirt is installed: the KubeVirt object, authorities, the export proxy's Service and Ingress.

`external` chooses how exports can be reached from outside, and how well that is described (kubevirt-export.md section 2, "Links"):
`ingress` (an Ingress whose Secret holds the served certificate with its authority), `leaf-only` (without the authority), `empty-cert` (the
Secret is missing), `foreign-ca` (the Secret holds a certificate that is not the one served), `none` (no Ingress at all).
"""

from __future__ import annotations

from typing import Any

from migrate.kube.kinds import KUBEVIRT
from migrate.lab import export_certs, rbac
from migrate.lab.controller import Runtime
from migrate.lab.export_links import PROXY_SERVICE
from migrate.lab.export_outside import CA_NAME, NAMESPACE
from migrate.lab.exportproxy import HOST, SERVED
from migrate.lab.kubevirt_admission import GATE, SNAPSHOT_GATE
from migrate.lab.kubevirt_release import Release
from migrate.model.errors import Taken

Object = dict[str, Any]

EXTERNAL = ("ingress", "leaf-only", "empty-cert", "foreign-ca", "none")
INGRESS_NAME = "virt-exportproxy"
INGRESS_SECRET = "virt-exportproxy-tls"


def install(runtime: Runtime, release: Release, *, external: str, gate: bool) -> None:
    """Create everything that is not there yet. `gate` lists the feature gate VMExport, which releases before 1.6 need."""
    if external not in EXTERNAL:
        raise ValueError(f"external is one of {', '.join(EXTERNAL)}, not {external!r}")
    authority = export_certs.new_authority("export")
    ingress = export_certs.new_authority("ingress")
    served = export_certs.issue(ingress, (HOST, "127.0.0.1"), whole_chain=external == "ingress")
    objects = [
        *rbac.shipped("kubevirt"),
        _kubevirt(release, gate=gate),
        export_certs.tls_secret(CA_NAME, NAMESPACE, authority),
        _config_map(CA_NAME, {"ca-bundle": authority.chain_pem}),
        _service(),
        export_certs.tls_secret(SERVED, NAMESPACE, served),
    ]
    if external in {"ingress", "leaf-only"}:
        objects.append(export_certs.tls_secret(INGRESS_SECRET, NAMESPACE, served))
    elif external == "foreign-ca":
        stranger = export_certs.issue(export_certs.new_authority("stranger"), (HOST,), whole_chain=True)
        objects.append(export_certs.tls_secret(INGRESS_SECRET, NAMESPACE, stranger))
    if external != "none":
        objects.append(_ingress())
    for obj in objects:
        try:
            runtime.api.create(obj)
        except Taken:
            continue
    _report(runtime, release)


def _kubevirt(release: Release, *, gate: bool) -> Object:
    wanted = [] if release.snapshot_gate_by_default else [SNAPSHOT_GATE]
    if gate and not release.export_gate_by_default:
        wanted.append(GATE)
    developer = {"featureGates": wanted} if wanted else {}
    if not gate and release.export_gate_by_default and not release.export_gate_fixed:
        developer = {"disabledFeatureGates": [GATE]}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"name": "kubevirt", "namespace": NAMESPACE},
        "spec": {
            "certificateRotateStrategy": {},
            "configuration": {"developerConfiguration": developer},
            "imagePullPolicy": "IfNotPresent",
        },
    }


def _report(runtime: Runtime, release: Release) -> None:
    conditions = [
        {"type": "Available", "status": "True", "reason": "AllComponentsReady", "message": "All components are ready."},
        {"type": "Progressing", "status": "False", "reason": "AllComponentsReady", "message": "All components are ready."},
        {"type": "Degraded", "status": "False", "reason": "AllComponentsReady", "message": "All components are ready."},
    ]
    versions = ("observedKubeVirtVersion", "operatorVersion", "targetKubeVirtVersion")
    status = {"phase": "Deployed", "conditions": conditions, **dict.fromkeys(versions, release.version)}
    runtime.api.merge(KUBEVIRT, "kubevirt", {"status": status}, NAMESPACE, subresource="status")


def _config_map(name: str, data: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE}, "data": data}


def _service() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": PROXY_SERVICE, "namespace": NAMESPACE, "labels": {"kubevirt.io": PROXY_SERVICE}},
        "spec": {
            "type": "ClusterIP",
            "selector": {"kubevirt.io": PROXY_SERVICE},
            "ports": [{"port": 443, "targetPort": 8443, "protocol": "TCP"}],
        },
    }


def _ingress() -> Object:
    backend = {"service": {"name": PROXY_SERVICE, "port": {"number": 443}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": INGRESS_NAME, "namespace": NAMESPACE},
        "spec": {
            "tls": [{"hosts": [HOST], "secretName": INGRESS_SECRET}],
            "rules": [{"host": HOST, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
        },
    }
