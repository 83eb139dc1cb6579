"""What an export of a snapshot offers: claims that are restored from its volume snapshots for this export alone. Pure.

Reference: kubevirt-export.md section 2, "Snapshot source details". A claim that has a restored one's name already is taken for it, whoever
made it: the real controller looks at nothing but the name.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from migrate.kube.kinds import VOLUMESNAPSHOT
from migrate.lab.export_manifests import claims_of
from migrate.lab.export_pod import owned_by
from migrate.lab.export_source import CONTENT_TYPE, NO_SNAPSHOTS, VOLUMES_CREATED, Condition, Source
from migrate.lab.storage import size_bytes

Object = dict[str, Any]

_POPULATED_FOR = "cdi.kubevirt.io/storage.populatedFor"
_DROPPED = (
    "pv.kubernetes.io",
    "volume.beta.kubernetes.io",
    "volume.kubernetes.io",
    "cdi.kubevirt.io",
    "k8s.io/CloneRequest",
    "k8s.io/CloneOf",
)


@dataclass(frozen=True, slots=True)
class SnapshotObjects:
    """What there is around a snapshot that is a source: itself, its content, what was restored of it, and the VM as it is now."""

    snapshot: Object | None
    content: Object | None = None
    restored: tuple[Object, ...] = ()
    vm: Object | None = None
    claims: Mapping[str, Object] = field(default_factory=dict)


def prefix(export: Object) -> str:
    """Return what the names of restored claims begin with; links leave it out, addresses keep it."""
    return f"{export['metadata']['name']}-"


def is_ready(snapshot: Object | None) -> bool:
    """Tell whether a snapshot can be exported."""
    return bool(((snapshot or {}).get("status") or {}).get("readyToUse"))


def restored_name(export: Object, backup: Object) -> str:
    """Return the name of the claim that a volume backup is restored into. It is not shortened."""
    return prefix(export) + str(backup["persistentVolumeClaim"]["metadata"]["name"])


def restored_claim(export: Object, backup: Object, cut: Object, content: Object) -> Object:
    """Return the claim that a volume backup is restored into; `cut` is its VolumeSnapshot."""
    source = backup["persistentVolumeClaim"]
    name = restored_name(export, backup)
    spec = copy.deepcopy(source["spec"])
    spec.pop("volumeName", None)
    requests = spec.setdefault("resources", {}).setdefault("requests", {})
    size = str((cut.get("status") or {}).get("restoreSize") or "0")
    if size_bytes(size) > size_bytes(requests.get("storage", "0")):
        requests["storage"] = size
    reference = {"apiGroup": VOLUMESNAPSHOT.group, "kind": VOLUMESNAPSHOT.kind, "name": cut["metadata"]["name"]}
    spec["dataSource"], spec["dataSourceRef"] = reference, dict(reference)
    annotations = {key: word for key, word in (source["metadata"].get("annotations") or {}).items() if not key.startswith(_DROPPED)}
    annotations[_POPULATED_FOR] = name
    if _is_disk(backup, content):
        annotations[CONTENT_TYPE] = "kubevirt"
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name,
            "namespace": export["metadata"]["namespace"],
            "labels": dict(source["metadata"].get("labels") or {}),
            "annotations": annotations,
            "ownerReferences": [owned_by(export)],
        },
        "spec": spec,
    }


def _is_disk(backup: Object, content: Object) -> bool:
    volumes = content["spec"]["source"]["virtualMachine"]["spec"]["template"]["spec"].get("volumes") or ()
    named = [volume for volume in volumes if volume["name"] == backup["volumeName"]]
    return any("dataVolume" in volume or "persistentVolumeClaim" in volume for volume in named)


def snapshot_source(export: Object, found: SnapshotObjects) -> Source:
    """Read a source of kind VirtualMachineSnapshot. Its manifest is made from the VM as it is now, not as it was."""
    title = f"VirtualMachineSnapshot {export['metadata']['namespace']}/{export['spec']['source']['name']}"
    empty = f"{title} does not contain any volume snapshots"
    if found.snapshot is None:
        missing = Condition("Ready", "False", "VMSnapshotNotFound", f"{title} not found")
        return Source(ready=missing, own=_volumes_created(NO_SNAPSHOTS, empty), vm_name="", look_again=True)
    vm = str(found.snapshot["spec"]["source"]["name"])
    if not is_ready(found.snapshot):
        waiting = Condition("Ready", "False", "NotAllPVCsCreated", empty)
        return Source(ready=waiting, own=_volumes_created("NotAllPVCsCreated", empty), vm_name=vm, look_again=True)
    restorable = len(((found.content or {}).get("status") or {}).get("volumeSnapshotStatus") or ())
    if not restorable:
        return Source(own=_volumes_created(NO_SNAPSHOTS, empty), vm_name=vm, look_again=True)
    if len(found.restored) != restorable:
        words = "Not all PVCs have been successfully restored"
        return Source(own=_volumes_created("NotAllPVCsCreated", words), vm_name=vm, look_again=True)
    return Source(
        volumes=found.restored,
        populated=True,
        own=_progress(found.restored),
        vm_name=vm,
        vm=found.vm,
        prefix=prefix(export),
        described=_claims_of_machine(found),
    )


def _progress(restored: Iterable[Object]) -> Condition:
    if all((claim.get("status") or {}).get("phase") == "Bound" for claim in restored):
        return Condition(VOLUMES_CREATED, "True", "AllPVCsReady")
    return _volumes_created("NotAllPVCsReady", "Not all PVCs are ready")


def _claims_of_machine(found: SnapshotObjects) -> tuple[Object, ...]:
    if found.vm is None:
        return ()
    return tuple(found.claims[name] for name in claims_of(found.vm) if name in found.claims)


def _volumes_created(reason: str, message: str) -> Condition:
    return Condition(VOLUMES_CREATED, "False", reason, message)
