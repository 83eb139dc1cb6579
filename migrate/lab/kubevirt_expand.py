"""Instance types and preferences, put into a VM: what a start, an export's manifest and `expand-spec` see.

Of an instance type the lab knows CPU and memory, of a preference the bus of disks and the model of interfaces: enough to tell an
expanded VM from one that is not. Other fields of theirs have no effect in the lab.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from migrate.kube.kinds import CLUSTERINSTANCETYPE, CLUSTERPREFERENCE, INSTANCETYPE, PREFERENCE, Kind

Object = dict[str, Any]
Lookup = Callable[[Kind, str, str], "Object | None"]
"""(kind, namespace, name) -> object; the namespace of cluster-wide kinds is empty."""


class Unexpandable(Exception):
    """The VM names an instance type or preference that does not exist, or sets itself what they set."""


def expanded(vm: Object, lookup: Lookup) -> Object:
    """Return a VM with its instance type and preference applied and no longer named; a VM without them is returned as it is.

    Raises Unexpandable.
    """
    instancetype, preference = vm["spec"].get("instancetype"), vm["spec"].get("preference")
    if not instancetype and not preference:
        return vm
    made = copy.deepcopy(vm)
    domain = made["spec"]["template"]["spec"].setdefault("domain", {})
    namespace = vm["metadata"]["namespace"]
    if instancetype:
        _size(domain, _found(instancetype, (INSTANCETYPE, CLUSTERINSTANCETYPE), namespace, lookup))
    if preference:
        _prefer(domain, _found(preference, (PREFERENCE, CLUSTERPREFERENCE), namespace, lookup))
    made["spec"].pop("instancetype", None)
    made["spec"].pop("preference", None)
    return made


def _found(matcher: Object, kinds: tuple[Kind, Kind], namespace: str, lookup: Lookup) -> Object:
    own, shared = kinds
    kind = own if matcher.get("kind", "").lower() == own.kind.lower() else shared
    found = lookup(kind, namespace if kind.namespaced else "", matcher["name"])
    if found is None:
        raise Unexpandable(f"{kind.qualified} {matcher['name']!r} not found")
    spec: Object = found["spec"]
    return spec


def _size(domain: Object, spec: Object) -> None:
    cpu, memory = spec.get("cpu") or {}, spec.get("memory") or {}
    for key in ("cpu", "memory"):
        if domain.get(key):
            raise Unexpandable(f"VM field(s) spec.template.spec.domain.{key} conflicts with selected instance type")
    if "guest" in cpu:
        domain["cpu"] = {"sockets": cpu["guest"], "cores": 1, "threads": 1}
    if "guest" in memory:
        domain["memory"] = {"guest": memory["guest"]}


def _prefer(domain: Object, spec: Object) -> None:
    devices = spec.get("devices") or {}
    own = domain.get("devices") or {}
    if bus := devices.get("preferredDiskBus"):
        for disk in own.get("disks") or ():
            if "disk" in disk:
                disk["disk"].setdefault("bus", bus)
    if model := devices.get("preferredInterfaceModel"):
        for interface in own.get("interfaces") or ():
            interface.setdefault("model", model)
