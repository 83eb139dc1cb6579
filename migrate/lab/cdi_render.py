"""From a DataVolume to the claim that holds its disk: defaulting by profile, inflation for file systems, labels and annotations.

Source: reference/cdi-import.md section 1.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from migrate.lab import cdi_names as names
from migrate.lab.cdi_profiles import overhead, pick_class
from migrate.lab.cdi_sizes import quantity_bytes, required

Object = dict[str, Any]


class NotRenderable(Exception):
    """No claim can be made of this DataVolume now. The text goes into its Bound condition."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What rendering looks at besides the DataVolume."""

    classes: Sequence[Mapping[str, Any]] = ()
    profiles: Sequence[Mapping[str, Any]] = ()
    volumes: Sequence[Mapping[str, Any]] = ()
    """PersistentVolumes; asked only when there is no class."""
    config: Mapping[str, Any] = field(default_factory=dict)


def source_kind(dv: Mapping[str, Any]) -> str:
    """Return `http`, `blank`, `upload`, `registry`, ...; empty for externally populated ones."""
    return next(iter((dv["spec"].get("source") or {}).keys()), "")


def content_type(dv: Mapping[str, Any]) -> str:
    """Return the content type: `kubevirt` unless it says archive."""
    return str(dv["spec"].get("contentType") or "kubevirt")


def claim_spec(dv: Mapping[str, Any], around: Surroundings) -> Object:
    """Return the spec of the claim. A `pvc:` goes in verbatim; a `storage:` is completed. Raise NotRenderable."""
    if dv["spec"].get("pvc") is not None:
        return dict(dv["spec"]["pvc"])
    spec: Object = {key: value for key, value in dv["spec"]["storage"].items() if value is not None}
    archive = content_type(dv) == "archive"
    if archive and spec.get("volumeMode") == "Block":
        raise NotRenderable("ContentType Archive cannot have block volumeMode")
    if archive:
        spec["volumeMode"] = "Filesystem"
    cls = pick_class(around.classes, spec.get("storageClassName"), virtual=not archive)
    if cls is not None:
        spec["storageClassName"] = cls["metadata"]["name"]
        profile = next((item for item in around.profiles if item["metadata"]["name"] == cls["metadata"]["name"]), None)
        _complete(spec, profile or {"metadata": {"name": cls["metadata"]["name"]}})
    else:
        _from_volume(spec, around.volumes)
    size = _size(dv, spec)
    if spec.get("volumeMode", "Filesystem") == "Filesystem":
        size = required(overhead(around.config, spec.get("storageClassName")), size)
    least = _minimum(around.profiles, spec.get("storageClassName"))
    spec["resources"] = {**(spec.get("resources") or {}), "requests": {"storage": str(max(size, least))}}
    return spec


def _complete(spec: Object, profile: Mapping[str, Any]) -> None:
    """Fill in volume mode and access modes from a profile, in CDI's order of preference."""
    name = profile["metadata"]["name"]
    sets = (profile.get("status") or {}).get("claimPropertySets") or []
    access, mode = spec.get("accessModes"), spec.get("volumeMode")
    if access and mode:
        return
    if not access and not mode:
        if not sets:
            raise NotRenderable(
                "no accessMode specified in StorageProfile " + name + ", spec.storage.accessModes is empty in the DataVolume",
            )
        spec["accessModes"], spec["volumeMode"] = list(sets[0]["accessModes"]), sets[0]["volumeMode"]
    elif not access:
        fitting = [item for item in sets if item["volumeMode"] == mode]
        if not fitting:
            raise NotRenderable(f"no accessMode defined on StorageProfile for {name} StorageClass and volumeMode {mode}")
        spec["accessModes"] = list(fitting[0]["accessModes"])
    else:
        fitting = [item for item in sets if set(item["accessModes"]) & set(access or ())]
        if fitting:
            spec["volumeMode"] = fitting[0]["volumeMode"]


def _from_volume(spec: Object, volumes: Sequence[Mapping[str, Any]]) -> None:
    wanted = spec.get("storageClassName") or ""
    for volume in volumes:
        free = (volume.get("status") or {}).get("phase") == "Available"
        if free and (volume["spec"].get("storageClassName") or "") == wanted:
            spec.setdefault("accessModes", list(volume["spec"].get("accessModes") or ()))
            spec.setdefault("volumeMode", volume["spec"].get("volumeMode") or "Filesystem")
            break
    if not spec.get("accessModes"):
        raise NotRenderable("PVC spec is missing accessMode and no storageClass to choose profile")


def _size(dv: Mapping[str, Any], spec: Mapping[str, Any]) -> int:
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if asked is None:
        raise NotRenderable(f"{dv['metadata']['name']}: PVC Spec is not valid - missing storage size")
    return quantity_bytes(asked)


def _minimum(profiles: Sequence[Mapping[str, Any]], class_name: str | None) -> int:
    for profile in profiles:
        if profile["metadata"]["name"] == class_name:
            least = (profile["metadata"].get("annotations") or {}).get(names.MINIMUM_SIZE)
            return quantity_bytes(least) if least else 0
    return 0


def claim(dv: Mapping[str, Any], spec: Object, *, populated: bool, preallocate: bool) -> Object:
    """Return the claim of a DataVolume. With `populated`, it refers to its volume source; else it carries the import's annotations."""
    meta = dv["metadata"]
    kind = source_kind(dv)
    annotations = {
        **(meta.get("annotations") or {}),
        names.POD_RESTARTS: "0",
        names.CONTENT_TYPE: content_type(dv),
        names.PREALLOCATION: str(preallocate).lower(),
        names.CREATED_FOR: meta["uid"],
    }
    for key, annotation in (("priorityClassName", names.PRIORITY_CLASS), ("serviceAccountName", names.SERVICE_ACCOUNT)):
        if dv["spec"].get(key):
            annotations[annotation] = dv["spec"][key]
    if populated:
        upload = kind == "upload"
        name = names.upload_source(meta["uid"]) if upload else names.import_source(meta["uid"])
        spec["dataSourceRef"] = {"apiGroup": names.GROUP, "kind": "VolumeUploadSource" if upload else "VolumeImportSource", "name": name}
    elif kind == "upload":
        annotations[names.UPLOAD_TARGET] = ""
    elif kind:
        annotations |= import_annotations(dv["spec"]["source"])
    labels = {
        **(meta.get("labels") or {}),
        **names.APP,
        "app.kubernetes.io/component": "storage",
        "app.kubernetes.io/managed-by": "cdi-controller",
    }
    if spec.get("volumeMode", "Filesystem") == "Filesystem":
        labels["alerts.k8s.io/KubePersistentVolumeFillingUp"] = "disabled"
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner(dv, "DataVolume")],
        },
        "spec": spec,
    }


def import_annotations(source: Mapping[str, Any]) -> dict[str, str]:
    """Return the annotations by which the import controller knows what to fetch, from a DataVolume's or VolumeImportSource's source."""
    if source.get("blank") is not None:
        return {names.SOURCE: "none"}
    kind = "http" if source.get("http") is not None else "registry"
    part = source[kind]
    found = {names.SOURCE: kind, names.ENDPOINT: part.get("url") or ""}
    for key, annotation in (("secretRef", names.BASIC_AUTH), ("certConfigMap", names.CERT_CONFIG_MAP), ("checksum", names.CHECKSUM)):
        if part.get(key):
            found[annotation] = part[key]
    if part.get("insecureSkipVerify"):
        found[names.INSECURE] = "true"
    found |= {f"{names.EXTRA_HEADERS}{number}": line for number, line in enumerate(part.get("extraHeaders") or ())}
    found |= {f"{names.SECRET_HEADERS}{number}": secret for number, secret in enumerate(part.get("secretExtraHeaders") or ())}
    return found


def owner(obj: Mapping[str, Any], kind: str, *, api_version: str = "cdi.kubevirt.io/v1beta1") -> Object:
    """Return the controlling owner reference to an object."""
    meta = obj["metadata"]
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
