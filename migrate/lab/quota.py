"""ResourceQuota: what an object costs, what a namespace uses, and the refusal of what does not fit, in the server's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from migrate.lab import quantity
from migrate.lab.kinds import Resource

Obj = Mapping[str, Any]
Amounts = dict[str, str]
"""Quantities by quota key, such as `requests.storage`."""

_LEGACY = frozenset({"configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services"})
_CLASS = ".storageclass.storage.k8s.io"


def cost(resource: Resource, obj: Obj) -> Amounts:
    """Return what one object counts for every quota key that it touches."""
    amounts = {f"count/{resource.group_resource}": "1"}
    if resource.group:
        return amounts
    match resource.plural:
        case "pods":
            if (obj.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
                amounts |= {"pods": "1", **_pod(obj.get("spec") or {})}
        case "persistentvolumeclaims":
            amounts |= _claim(obj)
        case "services":
            amounts["services"] = "1"
            kind = (obj.get("spec") or {}).get("type")
            if kind == "LoadBalancer":
                amounts["services.loadbalancers"] = "1"
            if kind in ("LoadBalancer", "NodePort"):
                amounts["services.nodeports"] = str(len(obj["spec"].get("ports") or ()))
        case plural if plural in _LEGACY:
            amounts[plural] = "1"
    return amounts


def _claim(obj: Obj) -> Amounts:
    spec = obj.get("spec") or {}
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")
    amounts = {"persistentvolumeclaims": "1", "requests.storage": str(size)}
    name = (obj["metadata"].get("annotations") or {}).get("volume.beta.kubernetes.io/storage-class") or spec.get("storageClassName")
    if name:
        amounts |= {f"{name}{_CLASS}/persistentvolumeclaims": "1", f"{name}{_CLASS}/requests.storage": str(size)}
    return amounts


def _pod(spec: Obj) -> Amounts:
    amounts: Amounts = {}
    for part in ("requests", "limits"):
        running = _summed((container.get("resources") or {}).get(part) or {} for container in spec.get("containers") or ())
        for container in spec.get("initContainers") or ():
            for name, size in ((container.get("resources") or {}).get(part) or {}).items():
                if name not in running or quantity.value(size) > quantity.value(running[name]):
                    running[name] = str(size)
        for name, size in running.items():
            amounts[f"{part}.{name}"] = size
            if part == "requests" and name in ("cpu", "memory", "ephemeral-storage"):
                amounts[name] = size
    return amounts


def _summed(parts: Iterable[Mapping[str, Any]]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        for key, amount in part.items():
            total[key] = quantity.plus(total.get(key, "0"), amount)
    return total


def usage(objects: Iterable[tuple[Resource, Obj]]) -> Amounts:
    """Return what the objects of one namespace count together."""
    return _summed(cost(resource, obj) for resource, obj in objects)


def hard(quota: Obj) -> Amounts:
    """Return the limits of a quota."""
    return dict((quota.get("spec") or {}).get("hard") or {})


def status(quota: Obj, used: Mapping[str, str]) -> dict[str, Amounts]:
    """Return the status of a quota: its limits and what is used of each."""
    limits = hard(quota)
    return {"hard": limits, "used": {key: used.get(key, "0") for key in limits}}


def check(quotas: Sequence[Obj], resource: Resource, obj: Obj, used: Mapping[str, str], *, old: Obj | None = None) -> str | None:
    """Return why the quotas of a namespace refuse an object (the part after `is forbidden: `); None when they let it in.

    `used` is the usage of the namespace before; `old` is the object before an update, whose cost is given back.
    """
    asked = cost(resource, obj)
    if old is not None:
        before = cost(resource, old)
        asked = {key: quantity.plus(amount, before.get(key, "0"), minus=True) for key, amount in asked.items()}
    for quota in sorted(quotas, key=lambda quota: str(quota["metadata"]["name"])):
        if not _in_scope(quota, resource, obj):
            continue
        limits = hard(quota)
        name = quota["metadata"]["name"]
        if old is None and (unsaid := _unsaid(limits, resource, obj)):
            return f"failed quota: {name}: must specify {unsaid}"
        over = sorted(key for key in asked if key in limits and _exceeds(asked[key], used.get(key, "0"), limits[key]))
        if over:
            texts = (
                ("requested", {key: asked[key] for key in over}),
                ("used", {key: used.get(key, "0") for key in over}),
                ("limited", {key: limits[key] for key in over}),
            )
            words = ", ".join(f"{word}: {','.join(f'{k}={quantity.canonical(v)}' for k, v in part.items())}" for word, part in texts)
            return f"exceeded quota: {name}, {words}"
    return None


def _exceeds(asked: str, used: str, limit: str) -> bool:
    more = quantity.value(asked)
    return more > 0 and quantity.value(used) + more > quantity.value(limit)


def _unsaid(limits: Amounts, resource: Resource, obj: Obj) -> str:
    """Return the compute resources that containers must state because a quota limits them, and do not."""
    if resource.group or resource.plural != "pods":
        return ""
    spec = obj.get("spec") or {}
    found = []
    for key in sorted(limits):
        part, _, name = key.rpartition(".")
        if name not in ("cpu", "memory") or part not in ("", "requests", "limits"):
            continue
        names = [
            container["name"]
            for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
            if name not in ((container.get("resources") or {}).get(part or "requests") or {})
        ]
        if names:
            found.append(f"{key} for: {','.join(sorted(names))}")
    return "; ".join(found)


def _in_scope(quota: Obj, resource: Resource, obj: Obj) -> bool:
    spec = quota.get("spec") or {}
    scopes = [(name, "Exists", ()) for name in spec.get("scopes") or ()]
    selector = (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    scopes += [(part["scopeName"], part["operator"], tuple(part.get("values") or ())) for part in selector]
    if not scopes:
        return True
    if resource.group or resource.plural != "pods":
        return False
    return all(_scope(name, operator, values, obj.get("spec") or {}) for name, operator, values in scopes)


def _scope(name: str, operator: str, values: tuple[str, ...], spec: Obj) -> bool:
    containers = spec.get("containers") or ()
    match name:
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return not any((c.get("resources") or {}).get("requests") or (c.get("resources") or {}).get("limits") for c in containers)
        case "NotBestEffort":
            return any((c.get("resources") or {}).get("requests") or (c.get("resources") or {}).get("limits") for c in containers)
        case "PriorityClass":
            given = spec.get("priorityClassName", "")
            found = {"In": given in values, "NotIn": given not in values, "Exists": bool(given), "DoesNotExist": not given}
            return found.get(operator, False)
        case _:
            return False
