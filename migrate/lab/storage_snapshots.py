"""The CSI snapshotter: VolumeSnapshots with real bytes, and what a claim is restored from.

One volume after the other is cut, each in a moment of its own, as real storage does without a group snapshot: the copies of a guest's
disks are of one moment only if the guest holds still meanwhile. A snapshot can be used some time after it was cut.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from migrate.kube.kinds import PV, PVC, VOLUMESNAPSHOT, VOLUMESNAPSHOTCLASS, VOLUMESNAPSHOTCONTENT, Kind
from migrate.lab.controller import Controller, Key, Object, Runtime, itself
from migrate.lab.gotime import moment, stamp
from migrate.lab.kubevirt_write import replace_if_there
from migrate.lab.storage import Volumes, capacity_bytes, size_bytes, spelled
from migrate.model.errors import Taken

if TYPE_CHECKING:
    from migrate.kube.cluster import Cluster

FINALIZER = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection"
_CUT_S = 0.4
_READY_AFTER_S = 2.0
_AGAIN_S = 5.0
_LOOK_S = 1.0
_NS = 1_000_000_000
_SOURCE = "snapshot-controller"


class CannotRestore(Exception):
    """A claim cannot be made from its snapshot, now or ever; the provisioner says so and tries again."""


class NotCut(Exception):
    """A volume could not be snapshotted this time."""


def snapshot_of(claim: Object) -> str:
    """Return the VolumeSnapshot that a claim is to be restored from; empty for every other claim."""
    ref = claim["spec"].get("dataSourceRef") or claim["spec"].get("dataSource") or {}
    wanted = (ref.get("apiGroup"), ref.get("kind")) == (VOLUMESNAPSHOT.group, VOLUMESNAPSHOT.kind)
    return str(ref.get("name", "")) if wanted else ""


def handle_for(api: Cluster, claim: Object, cls: Object) -> str:
    """Return the handle of the snapshot that a claim is restored from. Raise CannotRestore in the provisioner's words."""
    name, namespace = snapshot_of(claim), claim["metadata"]["namespace"]
    found = api.get(VOLUMESNAPSHOT, name, namespace) if api.serves(VOLUMESNAPSHOT) else None
    lead = f"error getting handle for DataSource Type VolumeSnapshot by Name {name}"
    if found is None:
        raise CannotRestore(
            f'{lead}: error getting snapshot {name} from api server: volumesnapshots.{VOLUMESNAPSHOT.group} "{name}" not found'
        )
    status = found.get("status") or {}
    if not status.get("readyToUse"):
        raise CannotRestore(f"{lead}: snapshot {name} is not Ready")
    content = api.get(VOLUMESNAPSHOTCONTENT, status.get("boundVolumeSnapshotContentName", "")) or {}
    if (content.get("spec") or {}).get("driver") != cls["provisioner"]:
        raise CannotRestore(f"{lead}: snapshot {name} is not of the driver {cls['provisioner']}")
    asked = size_bytes(claim["spec"]["resources"]["requests"]["storage"])
    size = size_bytes(status.get("restoreSize", "0"))
    if asked < size:
        raise CannotRestore(f"{lead}: requested volume size {asked} is less than the size {size} for the source snapshot {name}")
    return handle(found)


def handle(snapshot: Object) -> str:
    """Return the name of a snapshot in the storage."""
    return f"snapshot-{snapshot['metadata']['uid']}"


def content_name(snapshot: Object) -> str:
    """Return the name of the cluster-wide object that stands for a snapshot in the storage."""
    return f"snapcontent-{snapshot['metadata']['uid']}"


class Snapshotter(Controller):
    """Reconciles VolumeSnapshots."""

    name = "csi-snapshotter"

    def __init__(self, runtime: Runtime, volumes: Volumes) -> None:
        super().__init__(runtime)
        self._volumes = volumes
        self._cut_at: dict[str, float] = {}
        self._ready_at: dict[str, float] = {}
        self._free_at = 0.0

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [(VOLUMESNAPSHOT, itself)]

    def reconcile(self, namespace: str, name: str) -> float | None:
        found = self.runtime.api.get(VOLUMESNAPSHOT, name, namespace)
        if found is None:
            return None
        if found["metadata"].get("deletionTimestamp"):
            return self._remove(found)
        if FINALIZER not in (found["metadata"].get("finalizers") or ()):
            metadata = {**found["metadata"], "finalizers": [*(found["metadata"].get("finalizers") or ()), FINALIZER]}
            replace_if_there(self.runtime.api, {**found, "metadata": metadata})
            return None
        status = found.get("status") or {}
        if not status.get("creationTime"):
            return self._cut(found)
        return None if status.get("readyToUse") else self._make_ready(found)

    def _cut(self, snapshot: Object) -> float | None:
        facts = self._facts(snapshot)
        try:
            pv, cls = self._source(snapshot)
            if (left := self._wait_s(snapshot, facts)) > 0:
                return left
            self._obey(facts)
        except NotCut as problem:
            self.runtime.event(snapshot, "Warning", "SnapshotCreationFailed", str(problem), _SOURCE)
            error = {"message": str(problem), "time": stamp(self.clock.now())}
            self._write(snapshot, {**(snapshot.get("status") or {}), "error": error, "readyToUse": False})
            return _AGAIN_S
        self._volumes.take(pv, handle(snapshot))
        now, size = stamp(self.clock.now()), capacity_bytes(pv)
        with contextlib.suppress(Taken):
            self.runtime.api.create(_content(snapshot, pv, cls))
        taken = int(moment(now).timestamp()) * _NS
        status: Object = {"creationTime": taken, "readyToUse": False, "restoreSize": size, "snapshotHandle": handle(snapshot)}
        self.runtime.api.merge(VOLUMESNAPSHOTCONTENT, content_name(snapshot), {"status": status}, subresource="status")
        order = self.runtime.trouble.find("snapshot", "delay", **facts)
        seconds = _READY_AFTER_S + (order.number("seconds", 10) if order is not None else 0.0)
        self._ready_at[snapshot["metadata"]["uid"]] = self.clock.monotonic() + seconds
        bound = {"boundVolumeSnapshotContentName": content_name(snapshot)}
        self._write(snapshot, {**bound, "creationTime": now, "readyToUse": False, "restoreSize": spelled(size)})
        return None

    def _obey(self, facts: dict[str, str]) -> None:
        order = self.runtime.trouble.find("snapshot", "refuse", **facts)
        if order is not None:
            raise NotCut(order.text("message", "rpc error: code = Internal desc = the pool takes no snapshots"))

    def _source(self, snapshot: Object) -> tuple[Object, Object]:
        """Return volume and class of a snapshot. Raise NotCut."""
        api, namespace = self.runtime.api, snapshot["metadata"]["namespace"]
        wanted = snapshot["spec"].get("volumeSnapshotClassName") or ""
        cls = api.get(VOLUMESNAPSHOTCLASS, wanted) if wanted else None
        if cls is None:
            words = f'volumesnapshotclass.{VOLUMESNAPSHOTCLASS.group} "{wanted}" not found'
            raise NotCut(f"Failed to get snapshot class with error {words}")
        name = snapshot["spec"]["source"].get("persistentVolumeClaimName", "")
        claim = api.get(PVC, name, namespace) if name else None
        if claim is None:
            words = f'failed to retrieve PVC {name} from the lister: "persistentvolumeclaim \\"{name}\\" not found"'
            raise NotCut(f"Failed to create snapshot content with error cannot get claim from snapshot: {words}")
        pv = api.get(PV, claim["spec"].get("volumeName", "")) if claim["spec"].get("volumeName") else None
        if pv is None or (claim.get("status") or {}).get("phase") != "Bound":
            raise NotCut(
                f"Failed to create snapshot content with error the PVC {name} is not yet bound to a PV, will not attempt to take a snapshot"
            )
        driver = (pv["spec"].get("csi") or {}).get("driver", "")
        if driver != cls["driver"]:
            raise NotCut(
                f"Failed to create snapshot content with error volume {pv['metadata']['name']} is not of the driver {cls['driver']}"
            )
        return pv, cls

    def _facts(self, snapshot: Object) -> dict[str, str]:
        meta, name = snapshot["metadata"], snapshot["spec"]["source"].get("persistentVolumeClaimName", "")
        claim = self.runtime.cache(PVC).get(meta["namespace"], name) or {}
        storage_class = (claim.get("spec") or {}).get("storageClassName") or ""
        return {"namespace": meta["namespace"], "name": meta["name"], "claim": name, "storage_class": storage_class}

    def _wait_s(self, snapshot: Object, facts: dict[str, str]) -> float:
        """Return for how long the storage still needs until the cut: volumes are taken one after the other."""
        uid, now = snapshot["metadata"]["uid"], self.clock.monotonic()
        if uid not in self._cut_at:
            order = self.runtime.trouble.find("snapshot", "lag", **facts)
            seconds = _CUT_S + (order.number("seconds", 10) if order is not None else 0.0)
            self._free_at = self._cut_at[uid] = max(now, self._free_at) + seconds
        return self._cut_at[uid] - now

    def _make_ready(self, snapshot: Object) -> float | None:
        uid, now = snapshot["metadata"]["uid"], self.clock.monotonic()
        left = self._ready_at.setdefault(uid, now + _READY_AFTER_S) - now
        if left > 0:
            return left
        if self.runtime.trouble.find("snapshot", "hang", **self._facts(snapshot)) is not None:
            return _AGAIN_S
        status = {key: value for key, value in snapshot["status"].items() if key != "error"}
        bound = status["boundVolumeSnapshotContentName"]
        self.runtime.api.merge(VOLUMESNAPSHOTCONTENT, bound, {"status": {"readyToUse": True}}, subresource="status")
        self._write(snapshot, {**status, "readyToUse": True})
        return None

    def _remove(self, snapshot: Object) -> float | None:
        """Remove the copy of a deleted snapshot, unless a claim is just being made from it."""
        meta = snapshot["metadata"]
        for claim in self.runtime.cache(PVC).all(meta["namespace"]):
            if snapshot_of(claim) == meta["name"] and (claim.get("status") or {}).get("phase") != "Bound":
                return _LOOK_S
        self._volumes.drop(handle(snapshot))
        bound = (snapshot.get("status") or {}).get("boundVolumeSnapshotContentName")
        if bound:
            self.runtime.api.delete(VOLUMESNAPSHOTCONTENT, bound)
        kept = [word for word in meta.get("finalizers") or () if word != FINALIZER]
        replace_if_there(self.runtime.api, {**snapshot, "metadata": {**meta, "finalizers": kept}})
        self._cut_at.pop(meta["uid"], None)
        self._ready_at.pop(meta["uid"], None)
        return None

    def _write(self, snapshot: Object, status: dict[str, Any]) -> None:
        if status != snapshot.get("status"):
            replace_if_there(self.runtime.api, {**snapshot, "status": status}, subresource="status")


def _content(snapshot: Object, pv: Object, cls: Object) -> Object:
    meta = snapshot["metadata"]
    about = {"apiVersion": snapshot["apiVersion"], "kind": snapshot["kind"], "uid": meta["uid"]}
    return {
        "apiVersion": VOLUMESNAPSHOTCONTENT.api_version(),
        "kind": VOLUMESNAPSHOTCONTENT.kind,
        "metadata": {"name": content_name(snapshot)},
        "spec": {
            "deletionPolicy": cls["deletionPolicy"],
            "driver": cls["driver"],
            "source": {"volumeHandle": pv["spec"]["csi"]["volumeHandle"]},
            "sourceVolumeMode": pv["spec"].get("volumeMode", "Filesystem"),
            "volumeSnapshotClassName": cls["metadata"]["name"],
            "volumeSnapshotRef": {**about, "namespace": meta["namespace"], "name": meta["name"]},
        },
    }
