"""The objects that the export controller makes: Service, token Secret, exporter pod, manifest ConfigMap. Pure: intent to manifest.

Reference: kubevirt-export.md section 2, "Exporter pod" and "Names".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from migrate.lab import export_manifests, export_names
from migrate.lab.export_server import IMAGE, READY_PATH, SERVICE_LABEL
from migrate.lab.export_source import Source, is_disk
from migrate.lab.gotime import duration, moment, stamp
from migrate.lab.kubevirt_release import Release

Object = dict[str, Any]

CERT_PARAMETERS = "kubevirt.io/export.certParameters"
DEFAULT_TTL = timedelta(hours=2)
CERTIFICATES = "certificates"
_MANIFEST_DATA = "manifest-data"
_DEFAULT_CERT = timedelta(hours=24)
_RESOURCES = {"requests": {"cpu": "100m", "memory": "200Mi"}, "limits": {"cpu": "1", "memory": "1024Mi"}}
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class CertParameters:
    """How long a pod's certificate lives and how early it is renewed: together, how long a pod serves."""

    duration: timedelta
    renew_before: timedelta

    def as_json(self) -> str:
        """Return the annotation's value: nanoseconds, as Go writes durations."""
        fields = {"Duration": self.duration, "RenewBefore": self.renew_before}
        return json.dumps({name: int(value.total_seconds()) * _NS for name, value in fields.items()}, separators=(",", ":"))


def cert_parameters(kubevirt: Object) -> CertParameters:
    """Return what the KubeVirt object asks for; 24 h and a fifth of it by default, so that a pod serves for 19 h 12 min."""
    strategy = (kubevirt["spec"].get("certificateRotateStrategy") or {}).get("selfSigned") or {}
    server = strategy.get("server") or {}
    lasts = duration(server["duration"]) if "duration" in server else _DEFAULT_CERT
    return CertParameters(lasts, duration(server["renewBefore"]) if "renewBefore" in server else lasts / 5)


def expiration(export: Object) -> datetime:
    """Return when the time to live of an export ends: two hours after its creation unless it says otherwise."""
    ttl = export["spec"].get("ttlDuration")
    return moment(export["metadata"]["creationTimestamp"]) + (duration(ttl) if ttl else DEFAULT_TTL)


def owned_by(owner: Object) -> Object:
    """Return a controller reference to an object."""
    metadata = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def service(export: Object, release: Release) -> Object:
    """Return the Service in front of the exporter pod; it is made at once, even while nothing can be exported."""
    name, namespace = export["metadata"]["name"], export["metadata"]["namespace"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": export_names.service_name(name, sanitised=release.names_sanitised),
            "namespace": namespace,
            "labels": {**(export["metadata"].get("labels") or {}), "kubevirt.io": "virt-exporter"},
            "ownerReferences": [owned_by(export)],
        },
        "spec": {
            "type": "ClusterIP",
            "selector": {SERVICE_LABEL: export_names.service_label(name)},
            "ports": [{"name": "export", "protocol": "TCP", "port": 443, "targetPort": 8443}],
        },
    }


def token_secret(export: Object, name: str, token: str) -> Object:
    """Return the token Secret that the controller makes when the user named none."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": export["metadata"]["namespace"], "ownerReferences": [owned_by(export)]},
        "type": "Opaque",
        "stringData": {"token": token},
    }


@dataclass(frozen=True, slots=True)
class PodFrame:
    """What an exporter pod needs to know besides its source: the cluster's settings and the names of its Secrets."""

    kubevirt: Object
    release: Release
    now: datetime
    tls_secret: str
    token_secret: str
    disks: Mapping[str, Object]


def pod(export: Object, source: Source, frame: PodFrame) -> Object:
    """Return the exporter pod of a source whose claims can be exported now."""
    parameters = cert_parameters(frame.kubevirt)
    metadata = export["metadata"]
    name = metadata["name"]
    container: Object = {
        "name": "exporter",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": [],
        "volumeMounts": [],
        "volumeDevices": [],
        "resources": _resources(frame.kubevirt),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    volumes: list[Object] = []
    for index, claim in enumerate(source.volumes):
        volumes.append(_mount(container, claim, index=index, disks=frame.disks))
    deadline = min(frame.now + parameters.duration - parameters.renew_before, expiration(export))
    env = {"CERT_FILE": "/cert/tls.crt", "KEY_FILE": "/cert/tls.key", "TOKEN_FILE": "/token/token", "DEADLINE": stamp(deadline)}
    env["POD_NAME"] = export_names.pod_name(name)
    env["EXPORT_SECRET_DEF_URI"] = "/manifests/secret"
    if source.vm_name is not None or frame.release.manifests_of_claims:
        env["EXPORT_VM_DEF_URI"] = "/manifests/all"
    container["env"] += [{"name": key, "value": value} for key, value in env.items()]
    for volume, secret, path in ((CERTIFICATES, frame.tls_secret, "/cert"), (frame.token_secret, frame.token_secret, "/token")):
        volumes.append({"name": volume, "secret": {"secretName": secret}})
        container["volumeMounts"].append({"name": volume, "mountPath": path})
    if source.vm is not None:
        volumes.append({"name": _MANIFEST_DATA, "configMap": {"name": export_names.manifest_name(name)}})
        container["volumeMounts"].append({"name": _MANIFEST_DATA, "mountPath": "/manifest_data"})
    if frame.release.readiness_probe:
        probe = {"scheme": "HTTPS", "path": READY_PATH, "port": 8443}
        container["readinessProbe"] = {"httpGet": probe, "initialDelaySeconds": 5, "periodSeconds": 5}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": export_names.pod_name(name),
            "namespace": metadata["namespace"],
            "labels": {**(metadata.get("labels") or {}), SERVICE_LABEL: export_names.service_label(name)},
            "annotations": {**_own_annotations(export), CERT_PARAMETERS: parameters.as_json()},
            "ownerReferences": [owned_by(export)],
        },
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "fsGroup": 107, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": volumes,
        },
    }


def _own_annotations(export: Object) -> dict[str, str]:
    return dict(export["metadata"].get("annotations") or {})


def _resources(kubevirt: Object) -> Object:
    chosen = (kubevirt["spec"].get("configuration") or {}).get("supportContainerResources") or []
    own: Object = next((entry["resources"] for entry in chosen if entry.get("type") == "vmexport"), {})
    return {kind: {**values, **(own.get(kind) or {})} for kind, values in _RESOURCES.items()}


def _mount(container: Object, claim: Object, *, index: int, disks: Mapping[str, Object]) -> Object:
    """Mount a claim into the container, describe it in its environment, and return the pod's volume."""
    name = claim["metadata"]["name"]
    volume = export_names.volume_name(name)
    if claim["spec"].get("volumeMode") == "Block":
        path = f"/dev/export-volumes/{volume}"
        container["volumeDevices"].append({"name": volume, "devicePath": path})
    else:
        path = f"/export-volumes/{volume}"
        container["volumeMounts"].append({"name": volume, "mountPath": path, "readOnly": True})
    if is_disk(claim, disks):
        uris = {"RAW_URI": f"/volumes/{name}/disk.img", "RAW_GZIP_URI": f"/volumes/{name}/disk.img.gz"}
    else:
        uris = {"ARCHIVE_URI": f"/volumes/{name}/disk.tar.gz", "DIR_URI": f"/volumes/{name}/dir/"}
    for key, value in {"PATH": path, **uris}.items():
        container["env"].append({"name": f"VOLUME{index}_EXPORT_{key}", "value": value})
    return {"name": volume, "persistentVolumeClaim": {"claimName": name}}


@dataclass(frozen=True, slots=True)
class Side:
    """One way to reach an export: host with base path (no scheme), and the certificates to trust there."""

    host: str
    cert: str


def manifest_config_map(export: Object, source: Source, *, release: Release, internal: Side, external: Side | None) -> Object:
    """Return the ConfigMap that the manifest endpoints of a VM's export answer from. It is made once and never renewed."""
    assert source.vm is not None
    name = export["metadata"]["name"]
    data = {
        "internal_host": internal.host,
        "internal_ca_cm": json.dumps(export_manifests.ca_config_map(name, internal.cert)),
        export_manifests.VM_KEY: json.dumps(export_manifests.manifest_vm(source.vm)),
        export_manifests.NAME_KEY: name,
    }
    if external is not None:
        data["external_host"] = external.host
        data["external_ca_cm"] = json.dumps(export_manifests.ca_config_map(name, external.cert))
    claims = {claim["metadata"]["name"]: claim for claim in (source.volumes if source.described is None else source.described)}
    for disk in export_manifests.manifest_disks(source.vm, claims, release):
        data[f"dv-{disk['metadata']['name']}"] = json.dumps(disk)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": export_names.manifest_name(name),
            "namespace": export["metadata"]["namespace"],
            "ownerReferences": [owned_by(export)],
        },
        "data": data,
    }
