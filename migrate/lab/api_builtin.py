"""What the server itself puts into new objects of its own kinds: first status, addresses, the finalizers of its own controllers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from migrate.lab.crd import established
from migrate.lab.kinds import Resource
from migrate.lab.store import Object

CRD_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
NAME_LABEL = "kubernetes.io/metadata.name"
CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")
_CLIENT_STATUS = frozenset({"Node", "Event"})
"""Kinds whose status may be given at creation."""


def complete(resource: Resource, obj: Object, *, now: str, address: Callable[[], str]) -> Object:
    """Return a new object of a built-in kind as its registry strategy makes it. `address` hands out a free cluster IP."""
    if resource.kind not in _CLIENT_STATUS:
        obj = {name: value for name, value in obj.items() if name != "status"}
    match resource.kind:
        case "Namespace":
            return {**_labelled(obj), "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
        case "Pod":
            return {**obj, "status": {"phase": "Pending", "qosClass": _quality(obj.get("spec", {}))}}
        case "PersistentVolumeClaim" | "PersistentVolume":
            return {**obj, "status": {"phase": "Pending"}}
        case "Service":
            return {**obj, "spec": _addressed(obj.get("spec", {}), address), "status": {"loadBalancer": {}}}
        case "Ingress":
            return {**obj, "status": {"loadBalancer": {}}}
        case "CustomResourceDefinition":
            finalizers = [*(obj["metadata"].get("finalizers") or []), CRD_CLEANUP]
            return established({**obj, "metadata": {**obj["metadata"], "finalizers": list(dict.fromkeys(finalizers))}}, now)
        case "ResourceQuota":
            return {**obj, "status": {}}
        case _:
            return obj


def recomplete(resource: Resource, old: Object, new: Object, *, now: str) -> Object:
    """Return the changed object of a built-in kind with what the server keeps true about it."""
    match resource.kind:
        case "Namespace":
            return {**_labelled(new), "spec": old.get("spec", {})}
        case "CustomResourceDefinition" if old.get("spec") != new.get("spec"):
            return established(new, now)
        case "Service" if "clusterIP" in old.get("spec", {}):
            kept = {name: old["spec"][name] for name in ("clusterIP", "clusterIPs") if name in old["spec"]}
            return {**new, "spec": {**kept, **new.get("spec", {})}}
        case _:
            return new


def _labelled(obj: Object) -> Object:
    metadata = obj["metadata"]
    return {**obj, "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), NAME_LABEL: metadata["name"]}}}


def _quality(spec: dict[str, Any]) -> str:
    """Return the quality-of-service class of a pod."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    given = [container.get("resources") or {} for container in containers]
    if not any(part.get("requests") or part.get("limits") for part in given):
        return "BestEffort"
    for part in given:
        limits, requests = part.get("limits") or {}, part.get("requests") or {}
        for name in ("cpu", "memory"):
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                return "Burstable"
    return "Guaranteed"


def _addressed(spec: dict[str, Any], address: Callable[[], str]) -> dict[str, Any]:
    spec = {"type": "ClusterIP", "sessionAffinity": "None", **spec}
    if spec["type"] == "ExternalName":
        return spec
    found = spec.get("clusterIP") or address()
    return {
        **spec,
        "clusterIP": found,
        "clusterIPs": spec.get("clusterIPs") or [found],
        "ipFamilies": spec.get("ipFamilies") or ["IPv4"],
        "ipFamilyPolicy": spec.get("ipFamilyPolicy") or "SingleStack",
    }
