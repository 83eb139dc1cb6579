"""Instance types and preferences, put into a VM: what a start, an export's manifest and `expand-spec` see.

Of an instance type the lab knows CPU and memory, of a preference the bus of disks and the model of interfaces: enough to tell an
expanded VM from one that is not. Other fields of theirs have no effect in the lab.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from migrate.kube.kinds import CLUSTERINSTANCETYPE, CLUSTERPREFERENCE, CONTROLLERREVISION, INSTANCETYPE, PREFERENCE, Kind
from migrate.lab.export_pod import owned_by

Object = dict[str, Any]
Lookup = Callable[[Kind, str, str], "Object | None"]
"""(kind, namespace, name) -> object; the namespace of cluster-wide kinds is empty."""


FIELDS = {"instancetype": (INSTANCETYPE, CLUSTERINSTANCETYPE), "preference": (PREFERENCE, CLUSTERPREFERENCE)}
"""Field of a VM's spec → the kinds that it may name, the namespaced one first; the other is meant when it says none."""


class Unexpandable(Exception):
    """The VM names an instance type or preference that does not exist, or sets itself what they set."""


def expanded(vm: Object, lookup: Lookup) -> Object:
    """Return a VM with its instance type and preference applied and no longer named; a VM without them is returned as it is.

    Raises Unexpandable.
    """
    if not any(vm["spec"].get(field) for field in FIELDS):
        return vm
    made = copy.deepcopy(vm)
    domain = made["spec"]["template"]["spec"].setdefault("domain", {})
    if vm["spec"].get("instancetype"):
        _size(domain, meant(vm, "instancetype", lookup))
    if vm["spec"].get("preference"):
        _prefer(domain, meant(vm, "preference", lookup))
    for field in FIELDS:
        made["spec"].pop(field, None)
    return made


def kind_named(matcher: Object, field: str) -> Kind:
    """Return the kind that a matcher names; users write it in any case and in the plural."""
    own, shared = FIELDS[field]
    return own if str(matcher.get("kind", "")).lower().rstrip("s") == own.kind.lower() else shared


def live(vm: Object, field: str, lookup: Lookup) -> Object:
    """Return the instance type or preference that a VM names, as it is now. Raises Unexpandable."""
    matcher = vm["spec"][field]
    kind = kind_named(matcher, field)
    found = lookup(kind, vm["metadata"]["namespace"] if kind.namespaced else "", matcher["name"])
    if found is None:
        raise Unexpandable(f"{kind.qualified} {matcher['name']!r} not found".replace("'", '"'))
    return found


def revision_named(vm: Object, field: str) -> str:
    """Return the name of the ControllerRevision that says what the VM runs with, "" before there is one."""
    reference = (vm.get("status") or {}).get(f"{field}Ref") or {}
    return str(vm["spec"][field].get("revisionName") or (reference.get("controllerRevisionRef") or {}).get("name") or "")


def revision(vm: Object, found: Object) -> Object:
    """Return the ControllerRevision that keeps an instance type or preference as it was when the VM first named it."""
    metadata = found["metadata"]
    version = found["apiVersion"].rpartition("/")[2]
    name = f"{vm['metadata']['name']}-{metadata['name']}-{version}-{metadata['uid']}-{metadata['generation']}"
    shown = {"generation": metadata["generation"], "kind": found["kind"], "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": vm["metadata"]["namespace"],
            "labels": {f"instancetype.kubevirt.io/object-{key}": str(word) for key, word in (shown | {"version": version}).items()},
            "ownerReferences": [owned_by(vm)],
        },
        "data": {key: copy.deepcopy(found[key]) for key in ("apiVersion", "kind", "metadata", "spec")},
        "revision": 0,
    }


def meant(vm: Object, field: str, lookup: Lookup) -> Object:
    """Return the spec of what a VM runs with: as its revision keeps it, else as it is now."""
    name = revision_named(vm, field)
    if not name:
        spec: Object = live(vm, field, lookup)["spec"]
        return spec
    kept = lookup(CONTROLLERREVISION, vm["metadata"]["namespace"], name)
    if kept is None:
        raise Unexpandable(f'controllerrevisions.apps "{name}" not found')
    spec = kept["data"]["spec"]
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
