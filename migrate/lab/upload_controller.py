"""The upload controller: gives every upload claim a server pod with a Service, a certificate and a scratch claim.

Source: reference/cdi-import.md sections 3.8 and 5.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migrate.kube.kinds import POD, PVC, SECRET, SERVICE
from migrate.lab import cdi_import_pod, cdi_worker, upload_certs, upload_server
from migrate.lab import cdi_names as names
from migrate.lab.cdi_admission import controller_of
from migrate.lab.cdi_import import LOOK_AGAIN_S, QUOTA_RETRY_S, Workers, annotations_of
from migrate.lab.cdi_render import owner
from migrate.lab.controller import Object
from migrate.model.errors import Taken


class UploadController(Workers):
    """Runs upload server pods for claims with the upload annotation."""

    name = "upload-controller"
    source = "upload-controller"

    def reconcile(self, namespace: str, name: str) -> float | None:
        cached = self.runtime.cache(PVC).get(namespace, name)
        if cached is None or names.UPLOAD_TARGET not in annotations_of(cached):
            return None
        claim = self.runtime.api.get(PVC, name, namespace)
        if claim is None:
            return None
        pod = self.runtime.api.get(POD, names.upload_pod(name), namespace)
        if pod is not None and (controller_of(pod) or {}).get("uid") != claim["metadata"]["uid"]:
            return LOOK_AGAIN_S
        if claim["metadata"].get("deletionTimestamp") or annotations_of(claim).get(names.POD_PHASE) == "Succeeded":
            self._tidy(claim, pod)
            return None
        if pod is None:
            return self._begin(claim) if self.may_run(claim) else None
        return self._follow(claim, pod)

    def _tidy(self, claim: Object, pod: Object | None) -> None:
        meta = claim["metadata"]
        service = names.upload_service(meta["name"])
        if self.runtime.api.get(SERVICE, service, meta["namespace"]) is not None:
            self.runtime.api.delete(SERVICE, service, meta["namespace"])
        if pod is not None and (meta.get("deletionTimestamp") or annotations_of(claim).get(names.RETAIN) != "true"):
            self.delete_pod(pod)

    def _begin(self, claim: Object) -> float | None:
        pod_name = names.upload_pod(claim["metadata"]["name"])
        claim = self.annotate(claim, {names.UPLOAD_POD: pod_name})
        if self.in_the_way(claim, pod_name):
            return LOOK_AGAIN_S
        if self.scratch_left_over(claim):
            return 0.5
        signed = self.runtime.api.get(SECRET, upload_certs.SERVER_SECRET, names.NAMESPACE)
        if signed is None:
            return LOOK_AGAIN_S
        for manifest in (certificate(claim, signed), service(claim)):
            try:
                self.runtime.api.create(manifest)
            except Taken:
                self.log.debug("%s is there already", manifest["metadata"]["name"])
        made = self.create_pod(claim, server_pod(claim, self.target_of(claim), self.config()))
        return QUOTA_RETRY_S if made is None else self._follow(claim, made)

    def _follow(self, claim: Object, pod: Object) -> float | None:
        if pod["metadata"].get("deletionTimestamp"):
            return None
        news = cdi_worker.report(pod, annotations_of(claim))
        if news.annotations.get(names.RUNNING_MESSAGE) == upload_server.DEADLINE_PASSED:
            self.annotate(claim, {names.POD_READY: "false", names.POD_PHASE: "Pending"})
            self.delete_pod(pod)
            return None
        ended = (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
        bound = ended or self.scratch(claim, pod)
        held = {} if bound else {names.BOUND_REASON: "CreatingScratchSpace", names.BOUND_MESSAGE: "Creating scratch space"}
        self.annotate(claim, {**news.annotations, names.BOUND: str(bound).lower(), **held})
        if news.replace:
            self.delete_pod(pod)
        return None if bound else LOOK_AGAIN_S


def _labels(claim: Mapping[str, Any]) -> dict[str, str]:
    return {"service": names.upload_service(claim["metadata"]["name"])}


def _meta(claim: Mapping[str, Any], name: str) -> Object:
    return {
        "name": name,
        "namespace": claim["metadata"]["namespace"],
        "labels": {**names.APP, names.WORKER: "cdi-upload-server"},
        "ownerReferences": [owner(claim, "PersistentVolumeClaim", api_version="v1")],
    }


def certificate(claim: Mapping[str, Any], signed: Mapping[str, Any]) -> Object:
    """Return the Secret with the server's certificate, in the claim's namespace."""
    meta = _meta(claim, names.upload_pod(claim["metadata"]["name"]))
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "kubernetes.io/tls", "data": dict(signed["data"])}


def service(claim: Mapping[str, Any]) -> Object:
    """Return the Service of an upload server."""
    spec = {
        "selector": _labels(claim),
        "ports": [{"protocol": "TCP", "port": 443, "targetPort": upload_server.PORT}],
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": _meta(claim, names.upload_service(claim["metadata"]["name"])), "spec": spec}


def server_pod(claim: Mapping[str, Any], target: Mapping[str, Any], config: Mapping[str, Any]) -> Object:
    """Return the upload server's pod."""
    name = names.upload_pod(claim["metadata"]["name"])
    values = {
        "TLS_CERT_FILE": "/certs/tls.crt",
        "TLS_KEY_FILE": "/certs/tls.key",
        "CLIENT_CERT_FILE": "/certs/ca.crt",
        "CLIENT_NAME": upload_certs.CLIENT_NAME,
        "UPLOAD_IMAGE_SIZE": cdi_import_pod.request_of(claim),
        "FILESYSTEM_OVERHEAD": f"{cdi_import_pod.overhead_of(claim, config):g}",
        "PREALLOCATION": (claim["metadata"].get("annotations") or {}).get(names.PREALLOCATION, "false"),
        "LISTEN_PORT": str(upload_server.PORT),
    }
    container: Object = {
        "name": "cdi-upload-server",
        "image": names.UPLOAD_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-v=3"],
        "env": [{"name": key, "value": value} for key, value in values.items()],
        "ports": [{"containerPort": upload_server.PORT, "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"path": "/healthz", "port": upload_server.PORT, "scheme": "HTTPS"},
            "initialDelaySeconds": 2,
            "periodSeconds": 5,
        },
        "resources": cdi_import_pod.resources(config),
        "volumeMounts": [{"name": "tls", "mountPath": "/certs"}],
    }
    pod = cdi_import_pod.frame(claim, target, name=name, worker="cdi-upload-server", container=container)
    pod["metadata"]["labels"] |= _labels(claim)
    pod["spec"]["volumes"].append({"name": "tls", "secret": {"secretName": name}})
    cdi_import_pod.mount_claim(pod["spec"], claim)
    cdi_import_pod.mount_scratch(pod["spec"], claim)
    return pod
