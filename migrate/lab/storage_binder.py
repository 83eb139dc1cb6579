"""The persistent volume controller, the provisioner and the protection of claims in use.

Written after the behaviour of Kubernetes' own (a claim follows the claimRef of a volume, even when somebody rewrites it): CDI's
populators rest on just that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from migrate.kube.kinds import POD, PV, PVC, STORAGECLASS, Kind
from migrate.lab.controller import Controller, Key, Object, Runtime, itself, key_of
from migrate.lab.storage import CLASSES, MIB, PROTECTION, SELECTED_NODE, Volumes, is_block, size_bytes, spelled
from migrate.lab.storage_snapshots import CannotRestore, handle_for, snapshot_of
from migrate.model.errors import Taken

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
SOURCE = "persistentvolume-controller"
WAIT_MESSAGE = "waiting for first consumer to be created before binding"


def claim_of(pv: Object) -> Iterable[Key]:
    """Map a volume to the claim that it names."""
    ref = pv["spec"].get("claimRef")
    return ((ref["namespace"], ref["name"]),) if ref else ()


def claims_of_pod(pod: Object) -> list[Key]:
    """Return the claims that a pod mounts."""
    namespace = pod["metadata"]["namespace"]
    volumes = pod["spec"].get("volumes") or ()
    return [(namespace, volume["persistentVolumeClaim"]["claimName"]) for volume in volumes if "persistentVolumeClaim" in volume]


class Binder(Controller):
    """Binds claims to volumes, makes volumes for claims that have none, and notices lost ones."""

    name = "pv-binder"

    def __init__(self, runtime: Runtime, volumes: Volumes) -> None:
        super().__init__(runtime)
        self.volumes = volumes
        self._told: set[tuple[str, str]] = set()
        self._late: dict[str, float] = {}

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [(PVC, itself), (PV, self._claims_around), (STORAGECLASS, self._pending)]

    def _claims_around(self, pv: Object) -> Iterable[Key]:
        """Map a volume to the claim that it names and to those that name it, which may have lost it."""
        name = pv["metadata"]["name"]
        naming = [pvc for pvc in self.runtime.cache(PVC).all() if pvc["spec"].get("volumeName") == name]
        return [*claim_of(pv), *(key_of(pvc) for pvc in naming)]

    def _pending(self, _: Object) -> Iterable[Key]:
        return [key for pvc in self.runtime.cache(PVC).all() if not pvc["spec"].get("volumeName") for key in itself(pvc)]

    def reconcile(self, namespace: str, name: str) -> float | None:
        claim = self.runtime.api.get(PVC, name, namespace)
        if claim is None:
            return None
        bound = claim["spec"].get("volumeName")
        if bound:
            return self._bound(claim, self.runtime.api.get(PV, bound))
        pv = self._volume_for(claim)
        if pv is not None:
            if (left := self._lag_s(claim)) > 0:
                return left
            self._bind(claim, pv)
            return None
        if claim["metadata"].get("deletionTimestamp"):
            return None
        return self._provide(claim)

    def _volume_for(self, claim: Object) -> Object | None:
        meta = claim["metadata"]
        for pv in self.runtime.cache(PV).all():
            ref = pv["spec"].get("claimRef") or {}
            if (ref.get("namespace"), ref.get("name")) == (meta["namespace"], meta["name"]) and ref.get("uid") in (None, "", meta["uid"]):
                fresh = self.runtime.api.get(PV, pv["metadata"]["name"])
                if fresh is not None and (fresh["spec"].get("claimRef") or {}).get("uid") in (None, "", meta["uid"]):
                    return fresh
        return None

    def _lag_s(self, claim: Object) -> float:
        """Return for how long a fault still keeps a claim from the volume that was handed to it."""
        meta, moment = claim["metadata"], self.clock.monotonic()
        key = f"{meta['uid']}/handed-over"
        if key not in self._late and claim["spec"].get("dataSourceRef"):
            facts = {"namespace": meta["namespace"], "name": meta["name"], "storage_class": claim["spec"].get("storageClassName", "")}
            order = self.runtime.trouble.find("storage", "lag", **facts)
            self._late[key] = moment + (order.number("seconds", 10) if order is not None else 0.0)
        return self._late.get(key, moment) - moment

    def _bound(self, claim: Object, pv: Object | None) -> float | None:
        phase = (claim.get("status") or {}).get("phase")
        if pv is None or (pv["spec"].get("claimRef") or {}).get("uid") not in (None, claim["metadata"]["uid"]):
            if phase == "Bound":
                self._status(claim, {"phase": "Lost", "accessModes": None, "capacity": None})
                message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
                reason = "ClaimLost"
                if pv is not None:
                    message, reason = "Two claims are bound to the same volume, this one is bound incorrectly", "ClaimMisbound"
                self.runtime.event(claim, "Warning", reason, message, SOURCE)
            return None
        if phase != "Bound" or (pv.get("status") or {}).get("phase") != "Bound":
            self._bind(claim, pv)
        return None

    def _bind(self, claim: Object, pv: Object) -> None:
        api, meta, pv_name = self.runtime.api, claim["metadata"], pv["metadata"]["name"]
        if (pv["spec"].get("claimRef") or {}).get("uid") != meta["uid"]:
            patch = {"metadata": {"resourceVersion": pv["metadata"]["resourceVersion"]}, "spec": {"claimRef": reference(claim)}}
            api.merge(PV, pv_name, patch)
        if (pv.get("status") or {}).get("phase") != "Bound":
            api.merge(PV, pv_name, {"status": {"phase": "Bound"}}, subresource="status")
        annotations = meta.get("annotations") or {}
        if claim["spec"].get("volumeName") != pv_name or annotations.get(BIND_COMPLETED) != "yes":
            marks = {BIND_COMPLETED: "yes", BOUND_BY_CONTROLLER: "yes"}
            if PROVISIONED_BY in (pv["metadata"].get("annotations") or {}):
                marks[PROVISIONER] = pv["metadata"]["annotations"][PROVISIONED_BY]
            spec = {"volumeName": pv_name}
            patch = {"metadata": {"resourceVersion": meta["resourceVersion"], "annotations": marks}, "spec": spec}
            api.merge(PVC, meta["name"], patch, meta["namespace"])
        self._status(claim, {"phase": "Bound", "accessModes": pv["spec"]["accessModes"], "capacity": pv["spec"]["capacity"]})

    def _status(self, claim: Object, status: dict[str, Any]) -> None:
        meta = claim["metadata"]
        self.runtime.api.merge(PVC, meta["name"], {"status": status}, meta["namespace"], subresource="status")

    def _provide(self, claim: Object) -> float | None:
        meta, spec = claim["metadata"], claim["spec"]
        if not spec.get("storageClassName"):
            return None
        cls = self.runtime.api.get(STORAGECLASS, spec["storageClassName"])
        if cls is None:
            message = f'storageclass.storage.k8s.io "{spec["storageClassName"]}" not found'
            self._tell_once(claim, "Warning", "ProvisioningFailed", message)
            return 15.0
        annotations = meta.get("annotations") or {}
        if cls.get("volumeBindingMode") == "WaitForFirstConsumer" and SELECTED_NODE not in annotations:
            self._tell_once(claim, "Normal", "WaitForFirstConsumer", WAIT_MESSAGE)
            return None
        if (spec.get("dataSourceRef") or spec.get("dataSource")) and not snapshot_of(claim):
            if annotations.get(PROVISIONER) != cls["provisioner"]:
                patch = {"metadata": {"annotations": {PROVISIONER: cls["provisioner"]}}}
                self.runtime.api.merge(PVC, meta["name"], patch, meta["namespace"])
            return None
        facts = {"namespace": meta["namespace"], "name": meta["name"], "storage_class": cls["metadata"]["name"]}
        waits = meta["uid"] in self._late
        order = None if waits else self.runtime.trouble.find("storage", "refuse", "delay", **facts)
        if order is not None and order.action == "refuse":
            message = order.text("message", "rpc error: code = ResourceExhausted desc = no space left in the pool")
            self.runtime.event(claim, "Warning", "ProvisioningFailed", f"failed to provision volume: {message}", cls["provisioner"])
            return 15.0
        moment = self.clock.monotonic()
        if order is not None:
            self._late[meta["uid"]] = moment + order.number("seconds", 10)
        if (left := self._late.get(meta["uid"], moment) - moment) > 0:
            return left
        try:
            self._create(claim, cls)
        except CannotRestore as problem:
            self._tell_once(claim, "Warning", "ProvisioningFailed", str(problem))
            return 2.0
        return None

    def _create(self, claim: Object, cls: Object) -> None:
        handle = handle_for(self.runtime.api, claim, cls) if snapshot_of(claim) else ""
        pv = volume(claim, cls)
        self.volumes.create(pv)
        if handle:
            self.volumes.restore(handle, pv)
        try:
            made = self.runtime.api.create(pv)[0]
        except Taken:
            found = self.runtime.api.get(PV, pv["metadata"]["name"])
            if found is None:
                raise
            made = found
        self._bind(claim, made)
        name = pv["metadata"]["name"]
        self.runtime.event(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {name}", cls["provisioner"])

    def _tell_once(self, claim: Object, type_: str, reason: str, message: str) -> None:
        """Tell the claim's fate in an event, not again with every look."""
        key = (claim["metadata"]["uid"], reason)
        if key not in self._told:
            self._told.add(key)
            self.runtime.event(claim, type_, reason, message, SOURCE)


def reference(claim: Object) -> dict[str, Any]:
    """Return the claimRef that names a claim."""
    meta = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": meta["uid"],
        "resourceVersion": meta["resourceVersion"],
    }


def volume(claim: Object, cls: Object) -> Object:
    """Return the PersistentVolume that a provisioner makes for a claim: its request, rounded up to the class's step."""
    known = next((known for known in CLASSES if known.provisioner == cls["provisioner"]), None)
    step = known.step_bytes if known else MIB
    asked = size_bytes(claim["spec"]["resources"]["requests"]["storage"])
    name = f"pvc-{claim['metadata']['uid']}"
    spec: dict[str, Any] = {
        "accessModes": claim["spec"]["accessModes"],
        "capacity": {"storage": spelled(-(-asked // step) * step)},
        "claimRef": reference(claim),
        "persistentVolumeReclaimPolicy": cls.get("reclaimPolicy", "Delete"),
        "storageClassName": cls["metadata"]["name"],
        "volumeMode": "Block" if is_block(claim) else "Filesystem",
    }
    if known is None or known.csi:
        spec["csi"] = {"driver": cls["provisioner"], "volumeHandle": name}
    else:
        spec["hostPath"] = {"path": f"/var/lab/{name}"}
    if cls.get("volumeBindingMode") == "WaitForFirstConsumer":
        node = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE, "")
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [term]}}
    meta = {"name": name, "annotations": {PROVISIONED_BY: cls["provisioner"]}}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": spec}


class Reclaimer(Controller):
    """Releases volumes whose claim is gone, and with the policy Delete removes them and their files."""

    name = "pv-reclaimer"

    def __init__(self, runtime: Runtime, volumes: Volumes) -> None:
        super().__init__(runtime)
        self.volumes = volumes

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [(PV, itself), (PVC, lambda pvc: [("", pvc["spec"]["volumeName"])] if pvc["spec"].get("volumeName") else ())]

    def reconcile(self, namespace: str, name: str) -> float | None:  # noqa: ARG002
        pv = self.runtime.api.get(PV, name)
        if pv is None:
            self.volumes.remove(name)
            return None
        ref = pv["spec"].get("claimRef")
        if ref is None or not ref.get("uid"):
            if (pv.get("status") or {}).get("phase") != "Available":
                self.runtime.api.merge(PV, name, {"status": {"phase": "Available"}}, subresource="status")
            return None
        claim = self.runtime.api.get(PVC, ref["name"], ref["namespace"])
        if claim is not None and claim["metadata"]["uid"] == ref["uid"]:
            return None
        if (pv.get("status") or {}).get("phase") != "Released":
            self.runtime.api.merge(PV, name, {"status": {"phase": "Released"}}, subresource="status")
        if pv["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
            self.runtime.api.delete(PV, name, uid=pv["metadata"]["uid"])
            self.volumes.remove(name)
        return None


class ClaimProtection(Controller):
    """Lets a deleted claim go only when no pod that still runs mounts it."""

    name = "pvc-protection"

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [(PVC, lambda pvc: itself(pvc) if pvc["metadata"].get("deletionTimestamp") else ()), (POD, claims_of_pod)]

    def reconcile(self, namespace: str, name: str) -> float | None:
        cached = self.runtime.cache(PVC).get(namespace, name)
        if cached is None or not cached["metadata"].get("deletionTimestamp"):
            return None
        claim = self.runtime.api.get(PVC, name, namespace)
        if claim is None or PROTECTION not in claim["metadata"].get("finalizers", ()):
            return None
        for pod in self.runtime.api.list(POD, namespace):
            ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
            if not ended and (namespace, name) in claims_of_pod(pod):
                return None
        rest = [finalizer for finalizer in claim["metadata"]["finalizers"] if finalizer != PROTECTION]
        patch = {"metadata": {"resourceVersion": claim["metadata"]["resourceVersion"], "finalizers": rest}}
        self.runtime.api.merge(PVC, name, patch, namespace)
        return None
