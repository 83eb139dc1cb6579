"""The importer pod and its scratch claim, as manifests. Pure.

Source: reference/cdi-import.md sections 2.1, 2.6 and 3.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from migrate.lab import cdi_names as names
from migrate.lab import cdi_sizes
from migrate.lab.cdi_importer import CLAIM
from migrate.lab.cdi_profiles import WORKER_RESOURCES, overhead
from migrate.lab.cdi_render import owner
from migrate.lab.cdi_target import DATA, DEVICE, SCRATCH

Object = dict[str, Any]

PASSED_ON: Final = ("k8s.v1.cni.cncf.io/networks", "v1.multus-cni.io/default-network")
_SECURE: Final = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 107,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def is_block(claim: Mapping[str, Any]) -> bool:
    """Tell whether a claim is of Block mode."""
    return bool(claim["spec"].get("volumeMode") == "Block")


def request_of(claim: Mapping[str, Any]) -> str:
    """Return the size that a claim asks for, as it is written there."""
    return str(claim["spec"]["resources"]["requests"]["storage"])


def resources(config: Mapping[str, Any]) -> Object:
    """Return the resources of worker pods."""
    return (config.get("status") or {}).get("defaultPodResourceRequirements") or dict(WORKER_RESOURCES)


def overhead_of(claim: Mapping[str, Any], config: Mapping[str, Any]) -> float:
    """Return the file system overhead that counts for a claim: none for Block."""
    return 0.0 if is_block(claim) else overhead(config, claim["spec"].get("storageClassName"))


def frame(claim: Mapping[str, Any], target: Mapping[str, Any], *, name: str, worker: str, container: Object) -> Object:
    """Return a worker pod around its one container: labels of the target claim, restricted rights, owned by the claim it fills."""
    annotations = target["metadata"].get("annotations") or {}
    spec: Object = {
        "containers": [container],
        "restartPolicy": "OnFailure",
        "enableServiceLinks": False,
        "securityContext": {"fsGroup": 107, "runAsNonRoot": True, "runAsUser": 107},
        "volumes": [],
    }
    for annotation, key in ((names.PRIORITY_CLASS, "priorityClassName"), (names.SERVICE_ACCOUNT, "serviceAccountName")):
        if annotations.get(annotation):
            spec[key] = annotations[annotation]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": claim["metadata"]["namespace"],
            "labels": {**(target["metadata"].get("labels") or {}), **names.APP, names.WORKER: worker},
            "annotations": {
                "sidecar.istio.io/inject": annotations.get("sidecar.istio.io/inject", "false"),
                "linkerd.io/inject": annotations.get("linkerd.io/inject", "disabled"),
                **{key: annotations[key] for key in PASSED_ON if key in annotations},
                CLAIM: target["metadata"]["name"],
            },
            "ownerReferences": [owner(claim, "PersistentVolumeClaim", api_version="v1")],
        },
        "spec": spec,
    }


def mount_claim(spec: Object, claim: Mapping[str, Any]) -> None:
    """Give the container the claim: as a directory or as a device."""
    container = spec["containers"][0]
    spec["volumes"].append({"name": "cdi-data-vol", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}})
    if is_block(claim):
        container["volumeDevices"] = [{"name": "cdi-data-vol", "devicePath": DEVICE}]
    else:
        container.setdefault("volumeMounts", []).append({"name": "cdi-data-vol", "mountPath": DATA})


def mount_scratch(spec: Object, claim: Mapping[str, Any]) -> None:
    """Give the container its scratch claim."""
    spec["volumes"].append({"name": "cdi-scratch-vol", "persistentVolumeClaim": {"claimName": names.scratch(claim["metadata"]["name"])}})
    spec["containers"][0].setdefault("volumeMounts", []).append({"name": "cdi-scratch-vol", "mountPath": SCRATCH})


def importer_pod(
    claim: Mapping[str, Any], target: Mapping[str, Any], config: Mapping[str, Any], *, owner_uid: str, with_scratch: bool
) -> Object:
    """Return the importer pod of a claim. `target` is the claim that the user sees; for legacy imports the same one."""
    annotations = claim["metadata"].get("annotations") or {}
    container: Object = {
        "name": "importer",
        "image": names.IMPORTER_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-v=3"],
        "env": _environment(claim, config, owner_uid),
        "ports": [{"name": "metrics", "containerPort": 8443, "protocol": "TCP"}],
        "resources": resources(config),
        "securityContext": dict(_SECURE),
    }
    pod = frame(claim, target, name=names.importer_pod(claim["metadata"]["name"]), worker="importer", container=container)
    pod["metadata"]["labels"]["prometheus.cdi.kubevirt.io"] = "true"
    mount_claim(pod["spec"], claim)
    if with_scratch:
        mount_scratch(pod["spec"], claim)
    if annotations.get(names.CERT_CONFIG_MAP):
        _mount(pod["spec"], "cdi-cert-vol", "/certs", {"configMap": {"name": annotations[names.CERT_CONFIG_MAP]}})
    for number, secret in _numbered(annotations, names.SECRET_HEADERS):
        _mount(pod["spec"], f"cdi-secret-extra-headers-vol-{number}", f"/extraheaders/{number}", {"secret": {"secretName": secret}})
    return pod


def _mount(spec: Object, name: str, path: str, source: Object) -> None:
    spec["volumes"].append({"name": name, **source})
    spec["containers"][0].setdefault("volumeMounts", []).append({"name": name, "mountPath": path})


def _numbered(annotations: Mapping[str, str], prefix: str) -> list[tuple[str, str]]:
    return [(key.removeprefix(prefix), value) for key, value in sorted(annotations.items()) if key.startswith(prefix)]


def _environment(claim: Mapping[str, Any], config: Mapping[str, Any], owner_uid: str) -> list[Object]:
    annotations = claim["metadata"].get("annotations") or {}
    plain = {
        "IMPORTER_SOURCE": annotations.get(names.SOURCE, ""),
        "IMPORTER_ENDPOINT": annotations.get(names.ENDPOINT, ""),
        "IMPORTER_CONTENTTYPE": annotations.get(names.CONTENT_TYPE, "kubevirt"),
        "IMPORTER_IMAGE_SIZE": request_of(claim),
        "OWNER_UID": owner_uid,
        "FILESYSTEM_OVERHEAD": f"{overhead_of(claim, config):g}",
        "INSECURE_TLS": annotations.get(names.INSECURE, "false"),
        "PREALLOCATION": annotations.get(names.PREALLOCATION, "false"),
        "CACHE_MODE": "TRYNONE" if annotations.get(names.REQUIRES_DIRECT_IO) == "true" else "",
        "IMPORTER_CHECKSUM": annotations.get(names.CHECKSUM, ""),
    }
    if annotations.get(names.CERT_CONFIG_MAP):
        plain["IMPORTER_CERT_DIR"] = "/certs"
    plain |= {f"IMPORTER_EXTRA_HEADER_{number}": line for number, line in _numbered(annotations, names.EXTRA_HEADERS)}
    found: list[Object] = [{"name": name, "value": value} for name, value in plain.items()]
    if annotations.get(names.BASIC_AUTH):
        for variable, key in (("IMPORTER_ACCESS_KEY_ID", "accessKeyId"), ("IMPORTER_SECRET_KEY", "secretKey")):
            reference = {"name": annotations[names.BASIC_AUTH], "key": key, "optional": True}
            found.append({"name": variable, "valueFrom": {"secretKeyRef": reference}})
    return found


def scratch_claim(claim: Mapping[str, Any], pod: Mapping[str, Any], config: Mapping[str, Any]) -> Object:
    """Return the scratch claim of a worker pod: Filesystem always, in the configured class, else the claim's own."""
    class_name = (config.get("status") or {}).get("scratchSpaceStorageClass") or claim["spec"].get("storageClassName")
    size = cdi_sizes.scratch(
        request=cdi_sizes.quantity_bytes(request_of(claim)),
        target_overhead=overhead_of(claim, config),
        scratch_overhead=overhead(config, class_name),
    )
    spec: Object = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": str(size)}}}
    if class_name is not None:
        spec["storageClassName"] = class_name
    annotations = claim["metadata"].get("annotations") or {}
    kept = {names.SELECTED_NODE: annotations[names.SELECTED_NODE]} if names.SELECTED_NODE in annotations else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": names.scratch(claim["metadata"]["name"]),
            "namespace": claim["metadata"]["namespace"],
            "labels": dict(names.APP),
            "annotations": kept,
            "ownerReferences": [owner(pod, "Pod", api_version="v1")],
        },
        "spec": spec,
    }
