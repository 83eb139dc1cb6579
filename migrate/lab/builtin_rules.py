"""What the server knows about its own kinds beyond their schema: computed defaults, cross-field rules, immutable fields."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from migrate.lab import quantity
from migrate.lab.kinds import Resource
from migrate.lab.notation import Schema
from migrate.lab.schema_walk import DUPLICATE, FORBIDDEN, INVALID, NOT_SUPPORTED, REQUIRED, Cause, child, join, shown

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def prepare(resource: Resource, obj: dict[str, Any]) -> None:
    """Fill in place the defaults that depend on other fields."""
    match resource.kind:
        case "Secret":
            for key, text in (obj.pop("stringData", None) or {}).items():
                obj.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()
        case "Service":
            for port in obj.get("spec", {}).get("ports") or ():
                port.setdefault("targetPort", port.get("port"))
        case "Pod":
            _prepare_pod(obj.get("spec", {}))
        case "Job":
            _prepare_pod(obj.get("spec", {}).get("template", {}).get("spec", {}))
        case "PersistentVolumeClaim":
            _prepare_claim(obj.get("spec", {}))
        case "CustomResourceDefinition":
            names = obj.get("spec", {}).get("names", {})
            if names.get("kind"):
                names.setdefault("singular", names["kind"].lower())
                names.setdefault("listKind", f"{names['kind']}List")
            obj.get("spec", {}).setdefault("conversion", {"strategy": "None"})


def _prepare_pod(spec: dict[str, Any]) -> None:
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        image = container.get("image", "")
        tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
        latest = "@" not in image and tag in ("", "latest")
        container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
        resources = container.setdefault("resources", {})
        for name, limit in (resources.get("limits") or {}).items():
            resources.setdefault("requests", {}).setdefault(name, limit)


def _prepare_claim(spec: dict[str, Any]) -> None:
    """Keep `dataSource` and `dataSourceRef` the same where both can say it (references to other namespaces only fit the latter)."""
    old, new = spec.get("dataSource"), spec.get("dataSourceRef")
    if old and not new:
        spec["dataSourceRef"] = dict(old)
    elif new and not old and not new.get("namespace"):
        spec["dataSource"] = dict(new)


def missing(schema: Schema, value: Any, path: str = "") -> Iterator[Cause]:
    """Yield required fields that are there but empty: typed objects cannot tell that from absent."""
    match value:
        case dict():
            for key, item in value.items():
                below = child(schema, key)
                if below is None:
                    continue
                empty = item in ("", []) and "default" not in below
                if key in schema.get("required", ()) and empty and key not in ("verbs", "imageID", "image"):
                    yield Cause(join(path, key), REQUIRED, "Required value")
                yield from missing(below, item, join(path, key))
        case list():
            for number, item in enumerate(value):
                yield from missing(schema.get("items", {}), item, f"{path}[{number}]")


def one_of(path: str, value: Any, names: tuple[str, ...]) -> Iterator[Cause]:
    """Yield a cause when a given value is none of the names."""
    if value is not None and value not in names:
        listed = ", ".join(f'"{name}"' for name in names)
        yield Cause(path, NOT_SUPPORTED, f"Unsupported value: {shown(value)}: supported values: {listed}")


def causes(resource: Resource, obj: Mapping[str, Any]) -> Iterator[Cause]:
    """Yield what is wrong with a typed object beyond its schema."""
    match resource.kind:
        case "PersistentVolumeClaim":
            yield from _claim(obj.get("spec") or {})
        case "PersistentVolume":
            yield from _volume(obj.get("spec") or {})
        case "Pod":
            yield from _pod(obj.get("spec") or {})
        case "Service":
            yield from one_of("spec.type", (obj.get("spec") or {}).get("type"), ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"))
        case "StorageClass":
            yield from one_of("volumeBindingMode", obj.get("volumeBindingMode"), ("Immediate", "WaitForFirstConsumer"))
            yield from one_of("reclaimPolicy", obj.get("reclaimPolicy"), ("Delete", "Retain"))
        case "Secret":
            size = sum(len(text) * 3 // 4 for text in (obj.get("data") or {}).values())
            if size > 1024 * 1024:
                yield Cause("data", "FieldValueTooLong", "Too long: may not be more than 1048576 bytes")
        case "CustomResourceDefinition":
            yield from _definition(obj)


def _claim(spec: Mapping[str, Any]) -> Iterator[Cause]:
    modes = spec.get("accessModes") or []
    if not modes:
        yield Cause("spec.accessModes", REQUIRED, "Required value: at least 1 access mode is required")
    for mode in modes:
        yield from one_of("spec.accessModes", mode, ACCESS_MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        text = "Forbidden: may not use ReadWriteOncePod with other access modes"
        yield Cause("spec.accessModes", FORBIDDEN, text)
    yield from one_of("spec.volumeMode", spec.get("volumeMode"), ("Block", "Filesystem"))
    size = (spec.get("resources") or {}).get("requests", {}).get("storage")
    if size is None:
        yield Cause("spec.resources[storage]", REQUIRED, "Required value")
    elif quantity.value(size) <= 0:
        yield Cause("spec.resources[storage]", INVALID, f"Invalid value: {shown(size)}: must be greater than zero")


def _volume(spec: Mapping[str, Any]) -> Iterator[Cause]:
    if not spec.get("accessModes"):
        yield Cause("spec.accessModes", REQUIRED, "Required value")
    for mode in spec.get("accessModes") or ():
        yield from one_of("spec.accessModes", mode, ACCESS_MODES)
    if "storage" not in (spec.get("capacity") or {}):
        yield Cause("spec.capacity", REQUIRED, "Required value")
    yield from one_of("spec.persistentVolumeReclaimPolicy", spec.get("persistentVolumeReclaimPolicy"), ("Delete", "Recycle", "Retain"))
    yield from one_of("spec.volumeMode", spec.get("volumeMode"), ("Block", "Filesystem"))
    if not any(key in spec for key in ("csi", "hostPath", "local", "nfs", "rbd", "iscsi", "fc", "cephfs")):
        yield Cause("spec", REQUIRED, "Required value: must specify a volume type")


def _pod(spec: Mapping[str, Any]) -> Iterator[Cause]:
    yield from one_of("spec.restartPolicy", spec.get("restartPolicy"), ("Always", "Never", "OnFailure"))
    known = {volume.get("name") for volume in spec.get("volumes") or ()}
    for field in ("containers", "initContainers"):
        for number, container in enumerate(spec.get(field) or ()):
            path = f"spec.{field}[{number}]"
            if not container.get("image"):
                yield Cause(f"{path}.image", REQUIRED, "Required value")
            for kind in ("volumeMounts", "volumeDevices"):
                for place, mount in enumerate(container.get(kind) or ()):
                    if mount.get("name") not in known:
                        name = f"{path}.{kind}[{place}].name"
                        yield Cause(name, "FieldValueNotFound", f"Not found: {shown(mount.get('name'))}")


def _definition(obj: Mapping[str, Any]) -> Iterator[Cause]:
    spec = obj["spec"]
    wanted = f"{spec.get('names', {}).get('plural')}.{spec.get('group')}"
    name = obj["metadata"].get("name")
    if name != wanted:
        yield Cause("metadata.name", INVALID, f'Invalid value: {shown(name)}: must be spec.names.plural+"."+spec.group')
    yield from one_of("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"))
    versions = spec.get("versions") or []
    if sum(bool(v.get("storage")) for v in versions) != 1:
        yield Cause("spec.versions", INVALID, "Invalid value: must have exactly one version marked as storage version")
    for number, entry in enumerate(versions):
        if not entry.get("schema", {}).get("openAPIV3Schema"):
            path = f"spec.versions[{number}].schema.openAPIV3Schema"
            yield Cause(path, REQUIRED, "Required value: schemas are required")
    names = [v.get("name") for v in versions]
    if len(set(names)) < len(names):
        yield Cause("spec.versions", DUPLICATE, "Invalid value: must contain unique version names")


FROZEN: Mapping[str, tuple[str, ...]] = {
    "PersistentVolume": ("spec.volumeMode", "spec.csi", "spec.local", "spec.hostPath", "spec.nfs"),
    "Secret": ("type",),
    "PriorityClass": ("value",),
    "ControllerRevision": ("data",),
    "CustomResourceDefinition": ("spec.group", "spec.scope", "spec.names.kind", "spec.names.plural"),
}
"""Fields that never change, by kind."""


def update_causes(resource: Resource, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Cause]:
    """Yield what an update of a typed object may not change."""
    yield from _frozen(old, new, FROZEN.get(resource.kind, ()))
    match resource.kind:
        case "PersistentVolumeClaim":
            yield from _claim_update(old, new)
        case "Pod":
            yield from _pod_update(old, new)
        case "Secret" | "ConfigMap" if old.get("immutable"):
            for field in ("immutable", "data", "binaryData"):
                if old.get(field) != new.get(field):
                    yield Cause(field, FORBIDDEN, "Forbidden: field is immutable when `immutable` is set")
        case "StorageClass":
            for field in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
                if old.get(field) != new.get(field):
                    yield Cause(field, FORBIDDEN, f"Forbidden: updates to {field} are forbidden.")
        case "RoleBinding" | "ClusterRoleBinding" if old.get("roleRef") != new.get("roleRef"):
            yield Cause("roleRef", INVALID, f"Invalid value: {shown(new.get('roleRef'))}: cannot change roleRef")
        case "Service" if _at(old, "spec.clusterIP"):
            yield from _frozen(old, new, ("spec.clusterIP",))


def _at(obj: Mapping[str, Any], path: str) -> Any:
    value: Any = obj
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _frozen(old: Mapping[str, Any], new: Mapping[str, Any], paths: tuple[str, ...]) -> Iterator[Cause]:
    for path in paths:
        if _at(old, path) != _at(new, path):
            yield Cause(path, INVALID, f"Invalid value: {shown(_at(new, path))}: field is immutable")


CLAIM_TEXT = "Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def _claim_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Cause]:
    before, after = dict(old.get("spec") or {}), dict(new.get("spec") or {})
    was, now = (spec.pop("resources", {}).get("requests", {}).get("storage", "0") for spec in (before, after))
    bound = (old.get("status") or {}).get("phase") == "Bound"
    if not before.get("volumeName"):  # the binder writes these into a claim that is not bound yet
        before.pop("volumeName", None)
        after.pop("volumeName", None)
    if not before.get("storageClassName"):
        before.pop("storageClassName", None)
        after.pop("storageClassName", None)
    if bound:
        before.pop("volumeAttributesClassName", None)
        after.pop("volumeAttributesClassName", None)
    if before != after or (quantity.value(was) != quantity.value(now) and not bound):
        yield Cause("spec", FORBIDDEN, CLAIM_TEXT)
    elif quantity.value(now) < quantity.value(was):
        yield Cause("spec.resources.requests.storage", FORBIDDEN, "Forbidden: field can not be less than status.capacity")


POD_TEXT = (
    "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative)"
)


def _pod_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Cause]:
    def fixed(obj: Mapping[str, Any]) -> dict[str, Any]:
        spec = dict(obj.get("spec") or {})
        for field in ("containers", "initContainers"):
            spec[field] = [{key: value for key, value in item.items() if key != "image"} for item in spec.get(field) or ()]
        return {key: value for key, value in spec.items() if key not in ("activeDeadlineSeconds", "tolerations", "schedulingGates")}

    if fixed(old) != fixed(new):
        yield Cause("spec", FORBIDDEN, POD_TEXT)
