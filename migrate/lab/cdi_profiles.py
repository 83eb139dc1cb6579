"""What CDI knows of storage classes: StorageProfiles, CDIConfig, and the class that a claim gets when it names none.

Source: reference/cdi-import.md sections 1.4, 4 and 6. The capability table is CDI's own in spirit; its rows are the lab's provisioners.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from migrate.lab import cdi_names as names

Object = dict[str, Any]

_RWX, _RWO = "ReadWriteMany", "ReadWriteOnce"
_FS, _BLOCK = "Filesystem", "Block"

CAPABILITIES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "fast.csi.lab": ((_RWX, _FS), (_RWO, _FS), (_RWX, _BLOCK), (_RWO, _BLOCK)),
    "ceph.csi.lab": ((_RWX, _BLOCK), (_RWO, _BLOCK), (_RWO, _FS)),
    "local.csi.lab": ((_RWO, _FS), (_RWO, _BLOCK)),
    "lab/slow-legacy": ((_RWO, _FS),),
    "nfs.csi.k8s.io": ((_RWX, _FS),),
}
"""Provisioner -> (access mode, volume mode), the preferred first. An unknown provisioner has no row, as in CDI."""

OVERHEAD: Final = "0.06"
WORKER_RESOURCES: Final = {"limits": {"cpu": "750m", "memory": "600M"}, "requests": {"cpu": "100m", "memory": "60M"}}


def property_sets(provisioner: str) -> list[Object]:
    """Return the claimPropertySets of a provisioner; empty for one that CDI does not know."""
    return [{"accessModes": [access], "volumeMode": mode} for access, mode in CAPABILITIES.get(provisioner, ())]


def profile_status(cls: Mapping[str, Any], spec: Mapping[str, Any], snapshot_classes: Iterable[Mapping[str, Any]] = ()) -> Object:
    """Return the status of a class's StorageProfile; a property set in its spec wins over the table.

    Its snapshot class is the one that the spec names, if that exists and is of the same driver, else the driver's default one or first one.
    """
    sets = spec.get("claimPropertySets") or property_sets(cls["provisioner"])
    fitting = sorted(
        (found for found in snapshot_classes if found["driver"] == cls["provisioner"]), key=lambda found: found["metadata"]["name"]
    )
    fitting.sort(key=lambda found: (found["metadata"].get("annotations") or {}).get(names.DEFAULT_SNAPSHOT_CLASS) != "true")
    fitting.sort(key=lambda found: found["metadata"]["name"] != spec.get("snapshotClass"))
    chosen = {"snapshotClass": fitting[0]["metadata"]["name"]} if fitting else {}
    return {
        **chosen,
        "storageClass": cls["metadata"]["name"],
        "provisioner": cls["provisioner"],
        "claimPropertySets": sets,
        "cloneStrategy": spec.get("cloneStrategy") or "copy",
        "dataImportCronSourceFormat": spec.get("dataImportCronSourceFormat") or "pvc",
        "conditions": [_recognized(known=cls["provisioner"] in CAPABILITIES)],
    }


def _recognized(*, known: bool) -> Object:
    if known:
        return {
            "type": "Recognized",
            "status": "True",
            "reason": "RecognizedProvisioner",
            "message": "StorageProfile provisioner is recognized",
        }
    return {
        "type": "Recognized",
        "status": "False",
        "reason": "UnrecognizedProvisioner",
        "message": "StorageProfile provisioner is not recognized",
    }


def config_status(spec: Mapping[str, Any], classes: Iterable[Mapping[str, Any]], *, upload_url: str, upload_ca: str) -> Object:
    """Return the status of the CDIConfig for its spec and the storage classes there are."""
    found = sorted(cls["metadata"]["name"] for cls in classes)
    asked = spec.get("filesystemOverhead") or {}
    overall = asked.get("global") or OVERHEAD
    own = asked.get("storageClass") or {}
    status: Object = {
        "filesystemOverhead": {"global": overall, "storageClass": {name: own.get(name, overall) for name in found}},
        "defaultPodResourceRequirements": _resources(spec.get("podResourceRequirements") or {}),
        "preallocation": bool(spec.get("preallocation")),
        "importProxy": spec.get("importProxy") or {},
        "uploadProxyURL": spec.get("uploadProxyURLOverride") or upload_url,
        "uploadProxyCA": upload_ca,
    }
    scratch = spec.get("scratchSpaceStorageClass") or ""
    if scratch in found:
        status["scratchSpaceStorageClass"] = scratch
    return status


def _resources(asked: Mapping[str, Any]) -> Object:
    return {side: {**defaults, **(asked.get(side) or {})} for side, defaults in WORKER_RESOURCES.items()}


def overhead(config: Mapping[str, Any], class_name: str | None) -> float:
    """Return the overhead of a class for Filesystem claims: its own, else the global one; none for the class named by an empty word."""
    if class_name == "":
        return 0.0
    known = (config.get("status") or {}).get("filesystemOverhead") or {}
    return float((known.get("storageClass") or {}).get(class_name) or known.get("global") or OVERHEAD)


def pick_class(classes: Iterable[Mapping[str, Any]], wanted: str | None, *, virtual: bool) -> Mapping[str, Any] | None:
    """Return the named class, else the newest default one (for virtual machines, if `virtual` and there is one), else None."""
    known = list(classes)
    if wanted is not None:
        return next((cls for cls in known if cls["metadata"]["name"] == wanted), None)
    marks = [names.DEFAULT_VIRT_CLASS] if virtual else []
    for mark in [*marks, names.DEFAULT_CLASS]:
        marked = [cls for cls in known if (cls["metadata"].get("annotations") or {}).get(mark) == "true"]
        marked.sort(key=lambda cls: cls["metadata"]["name"])
        marked.sort(key=lambda cls: cls["metadata"].get("creationTimestamp", ""), reverse=True)
        if marked:
            return marked[0]
    return None
