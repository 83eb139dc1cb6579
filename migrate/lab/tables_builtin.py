"""The columns that `kubectl get` shows for builtin kinds."""

from __future__ import annotations

from collections.abc import Mapping

from migrate.lab import ages
from migrate.lab import tables_cells as cells
from migrate.lab.kinds import Column
from migrate.lab.tables_cells import Cell


def _columns(*parts: tuple[str, Cell] | tuple[str, Cell, int]) -> tuple[tuple[Column, Cell], ...]:
    return tuple((Column(part[0], "string", priority=part[2] if len(part) == 3 else 0), part[1]) for part in parts)


AGE: tuple[str, Cell] = ("Age", cells.age)
PLAIN = _columns(("Created At", cells.created))
"""Columns of a kind that has none of its own."""

COLUMNS: Mapping[str, tuple[tuple[Column, Cell], ...]] = {
    "Namespace": _columns(("Status", cells.field("status", "phase")), AGE),
    "Pod": _columns(
        ("Ready", cells.ready),
        ("Status", cells.pod_status),
        ("Restarts", cells.restarts),
        AGE,
        ("IP", cells.field("status", "podIP", default=cells.NONE), 1),
        ("Node", cells.field("spec", "nodeName", default=cells.NONE), 1),
        ("Nominated Node", cells.field("status", "nominatedNodeName", default=cells.NONE), 1),
        ("Readiness Gates", cells.gates, 1),
    ),
    "PersistentVolumeClaim": _columns(
        ("Status", cells.phase),
        ("Volume", cells.field("spec", "volumeName")),
        ("Capacity", cells.field("status", "capacity", "storage")),
        ("Access Modes", cells.modes("status", "accessModes")),
        ("StorageClass", cells.field("spec", "storageClassName")),
        ("VolumeAttributesClass", cells.field("spec", "volumeAttributesClassName", default=cells.UNSET)),
        AGE,
        ("VolumeMode", cells.field("spec", "volumeMode", default=cells.UNSET), 1),
    ),
    "PersistentVolume": _columns(
        ("Capacity", cells.field("spec", "capacity", "storage")),
        ("Access Modes", cells.modes("spec", "accessModes")),
        ("Reclaim Policy", cells.field("spec", "persistentVolumeReclaimPolicy")),
        ("Status", cells.phase),
        ("Claim", cells.claim),
        ("StorageClass", cells.field("spec", "storageClassName")),
        ("VolumeAttributesClass", cells.field("spec", "volumeAttributesClassName", default=cells.UNSET)),
        ("Reason", cells.field("status", "reason")),
        AGE,
        ("VolumeMode", cells.field("spec", "volumeMode", default=cells.UNSET), 1),
    ),
    "Secret": _columns(("Type", cells.field("type")), ("Data", cells.count("data")), AGE),
    "ConfigMap": _columns(("Data", lambda obj, now: cells.count("data")(obj, now) + cells.count("binaryData")(obj, now)), AGE),
    "Service": _columns(
        ("Type", cells.field("spec", "type")),
        ("Cluster-IP", cells.field("spec", "clusterIP", default=cells.NONE)),
        ("External-IP", cells.external),
        ("Port(s)", cells.ports),
        AGE,
        ("Selector", cells.selector, 1),
    ),
    "Endpoints": _columns(("Endpoints", cells.endpoints), AGE),
    "Event": _columns(
        ("Last Seen", cells.last_seen),
        ("Type", cells.field("type")),
        ("Reason", cells.field("reason")),
        ("Object", cells.about),
        ("Subobject", cells.field("involvedObject", "fieldPath"), 1),
        ("Source", cells.source, 1),
        ("Message", lambda obj, _now: str(obj.get("message", "")).strip()),
        ("First Seen", lambda obj, now: ages.since(obj.get("firstTimestamp") or obj.get("eventTime"), now), 1),
        ("Count", cells.field("count", default=1), 1),
    ),
    "Lease": _columns(("Holder", cells.field("spec", "holderIdentity")), AGE),
    "Node": _columns(
        ("Status", cells.node_status), ("Roles", cells.roles), AGE, ("Version", cells.field("status", "nodeInfo", "kubeletVersion"))
    ),
    "StorageClass": _columns(
        ("Provisioner", cells.field("provisioner")),
        ("ReclaimPolicy", cells.field("reclaimPolicy")),
        ("VolumeBindingMode", cells.field("volumeBindingMode")),
        ("AllowVolumeExpansion", cells.field("allowVolumeExpansion", default=False)),
        AGE,
    ),
    "CSIDriver": _columns(
        ("AttachRequired", cells.field("spec", "attachRequired", default=True)),
        ("PodInfoOnMount", cells.field("spec", "podInfoOnMount", default=False)),
        ("StorageCapacity", cells.field("spec", "storageCapacity", default=False)),
        AGE,
    ),
    "ServiceAccount": _columns(("Secrets", cells.count("secrets")), AGE),
    "CustomResourceDefinition": PLAIN,
    "Ingress": _columns(
        ("Class", cells.field("spec", "ingressClassName", default=cells.NONE)),
        ("Hosts", cells.hosts),
        ("Address", cells.points),
        ("Ports", cells.ingress_ports),
        AGE,
    ),
    "ResourceQuota": _columns(("Request", cells.used("requests")), ("Limit", cells.used("limits")), AGE),
    "Role": PLAIN,
    "ClusterRole": PLAIN,
    "RoleBinding": _columns(("Role", cells.role_ref), AGE),
    "ClusterRoleBinding": _columns(("Role", cells.role_ref), AGE),
    "ControllerRevision": _columns(("Controller", cells.controller), ("Revision", cells.field("revision", default=0)), AGE),
    "PriorityClass": _columns(
        ("Value", cells.field("value", default=0)), ("Global-Default", cells.field("globalDefault", default=False)), AGE
    ),
    "Job": _columns(("Status", cells.job_status), ("Completions", cells.completions), AGE),
    "CronJob": _columns(("Schedule", cells.field("schedule")), ("Suspend", cells.field("spec", "suspend", default=False)), AGE),
    "APIService": _columns(("Service", cells.api_service), ("Available", cells.available), AGE),
}
"""Columns after the name, by kind."""
