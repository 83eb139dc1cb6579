"""What the fields of a VirtualMachineSnapshot mean to its controllers, and what those know of its source from their caches."""

from __future__ import annotations

from datetime import timedelta

from migrate.kube.kinds import DATAVOLUME, POD, PVC, SNAPSHOT, STORAGECLASS, STORAGEPROFILE, VMI, VOLUMESNAPSHOTCLASS
from migrate.lab.controller import Key, Object, Runtime
from migrate.lab.gotime import duration
from migrate.lab.kubevirt_snapshot_source import Storage, View

CONTENT_FINALIZER = "snapshot.kubevirt.io/vmsnapshotcontent-protection"
RETRY_S = 5.0
EVENT_SOURCE = "vmsnapshot-controller"
_DEADLINE = "5m0s"


def content_name(snapshot: Object) -> str:
    """Return the name of a snapshot's content."""
    return str(
        (snapshot.get("status") or {}).get("virtualMachineSnapshotContentName") or f"vmsnapshot-content-{snapshot['metadata']['uid']}"
    )


def snapshot_key(content: Object) -> list[Key]:
    """Return the key of a content's snapshot."""
    return [(content["metadata"]["namespace"], content["spec"].get("virtualMachineSnapshotName", ""))]


def failure_deadline(snapshot: Object) -> str:
    """Return how long a snapshot may take, as Go writes durations; `0` is for ever."""
    return str(snapshot["spec"].get("failureDeadline") or _DEADLINE)


def late_s(snapshot: Object, age: timedelta) -> float | None:
    """Return by how many seconds the deadline of a snapshot of this age has passed, negative before it; None without a deadline."""
    limit = duration(failure_deadline(snapshot))
    if limit <= timedelta(0):
        return None
    return (age - limit).total_seconds()


def in_progress(snapshot: Object) -> bool:
    """Tell whether a snapshot has neither succeeded nor failed."""
    return (snapshot.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}


def exceeded(snapshot: Object, age: timedelta) -> bool:
    """Tell whether a snapshot has failed, or is about to: nothing else but its deadline makes it fail."""
    if (snapshot.get("status") or {}).get("phase") == "Failed":
        return True
    late = late_s(snapshot, age)
    return in_progress(snapshot) and late is not None and late > 0


def is_deleted(snapshot: Object) -> bool:
    """Tell whether somebody has deleted a snapshot that is still there."""
    return bool(snapshot["metadata"].get("deletionTimestamp"))


def is_ending(snapshot: Object, age: timedelta) -> bool:
    """Tell whether a snapshot is deleted or over its deadline."""
    return is_deleted(snapshot) or exceeded(snapshot, age)


def drops_content(snapshot: Object, content: Object) -> bool:
    """Tell whether the content goes with its snapshot: by policy, and always while it cannot be used."""
    keeps = snapshot["spec"].get("deletionPolicy") == "Retain"
    return not keeps or not (content.get("status") or {}).get("readyToUse")


def view_of(runtime: Runtime, vm: Object) -> View:
    """Return the source of a snapshot as it is now."""
    namespace, name = vm["metadata"]["namespace"], vm["metadata"]["name"]
    claims = {claim["metadata"]["name"]: claim for claim in runtime.cache(PVC).all(namespace)}
    disks = {disk["metadata"]["name"]: disk for disk in runtime.cache(DATAVOLUME).all(namespace)}
    pods = tuple(runtime.cache(POD).all(namespace))
    return View(vm, runtime.api.get(VMI, name, namespace), claims, disks, pods)


def storage_of(runtime: Runtime) -> Storage:
    """Return what decides how claims are snapshotted."""
    classes, profiles = ({obj["metadata"]["name"]: obj for obj in runtime.cache(kind).all()} for kind in (STORAGECLASS, STORAGEPROFILE))
    return Storage(classes, profiles, tuple(runtime.cache(VOLUMESNAPSHOTCLASS).all()))


def snapshots_of(runtime: Runtime, machine: Object) -> list[Key]:
    """Return the keys of the snapshots of a VM, given as the VM or as its instance."""
    namespace, name = machine["metadata"]["namespace"], machine["metadata"]["name"]
    found = runtime.cache(SNAPSHOT).all(namespace)
    return [(namespace, each["metadata"]["name"]) for each in found if each["spec"]["source"]["name"] == name]
