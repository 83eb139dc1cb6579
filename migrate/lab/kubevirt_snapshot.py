"""The snapshot controller: locks a VM, makes the content of its snapshot, and tells how far that is.

Reference: kubevirt-export.md section 6. `Succeeded` means that every volume was cut and the guest goes on; `readyToUse` comes later.
Nothing fails but by the deadline. The content itself is the work of `kubevirt_snapshot_content`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

from migrate.kube.kinds import CONTROLLERREVISION, PVC, SNAPSHOT, SNAPSHOT_CONTENT, VM, VMI, Kind
from migrate.lab import kubevirt_snapshot_source as source
from migrate.lab.controller import Controller, Key, Object, Runtime, itself
from migrate.lab.gotime import stamp
from migrate.lab.kubevirt_release import Release
from migrate.lab.kubevirt_snapshot_source import SOURCE_FINALIZER, View
from migrate.lab.kubevirt_snapshot_state import (
    CONTENT_FINALIZER,
    EVENT_SOURCE,
    RETRY_S,
    content_name,
    drops_content,
    exceeded,
    in_progress,
    is_deleted,
    is_ending,
    late_s,
    snapshot_key,
    snapshots_of,
    storage_of,
    view_of,
)
from migrate.model.errors import Taken

FINALIZER = "snapshot.kubevirt.io/vmsnapshot-protection"
EXCEEDED = "snapshot deadline exceeded"
_LOCKED, _NOT_LOCKED = "Source locked and operation in progress", "Source not locked"


class SnapshotController(Controller):
    """Reconciles VirtualMachineSnapshots."""

    name = "vmsnapshot-controller"

    def __init__(self, runtime: Runtime, release: Release) -> None:
        super().__init__(runtime)
        self._release = release

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [
            (SNAPSHOT, itself),
            (SNAPSHOT_CONTENT, snapshot_key),
            (VM, lambda vm: snapshots_of(self.runtime, vm)),
            (VMI, lambda instance: snapshots_of(self.runtime, instance)),
        ]

    def reconcile(self, namespace: str, name: str) -> float | None:
        api = self.runtime.api
        snapshot = api.get(SNAPSHOT, name, namespace)
        if snapshot is None:
            return None
        vm = api.get(VM, snapshot["spec"]["source"]["name"], namespace)
        content = api.get(SNAPSHOT_CONTENT, content_name(snapshot), namespace)
        ending = is_ending(snapshot, self.runtime.age(snapshot))
        if not ending and FINALIZER not in (snapshot["metadata"].get("finalizers") or ()):
            snapshot = self._finalized(snapshot, [*(snapshot["metadata"].get("finalizers") or ()), FINALIZER])
        free, again, words = True, None, ""
        if vm is not None and snapshot.get("status"):
            if in_progress(snapshot) and not ending:
                free = False
                vm, again, words = self._advance(snapshot, vm, content)
            else:
                if not in_progress(snapshot) or content is None or not drops_content(snapshot, content):
                    vm = self._unlock(snapshot, vm)
                free = not view_of(self.runtime, vm).locked_by(snapshot)
        if ending and content is not None and drops_content(snapshot, content) and not content["metadata"].get("deletionTimestamp"):
            api.delete(SNAPSHOT_CONTENT, content["metadata"]["name"], namespace)
        snapshot = self._tell_state(snapshot, vm, words)
        if is_deleted(snapshot) and free:
            self._finalized(snapshot, [word for word in snapshot["metadata"].get("finalizers") or () if word != FINALIZER])
            return None
        if again is not None:
            return again
        late = late_s(snapshot, self.runtime.age(snapshot))
        return -late + 0.01 if in_progress(snapshot) and late is not None and late < 0 else None

    def _advance(self, snapshot: Object, vm: Object, content: Object | None) -> tuple[Object, float | None, str]:
        """Lock the VM, or make the content of a locked one; return the VM, when to look again, and what is in the way of the lock."""
        view = view_of(self.runtime, vm)
        if not view.locked_by(snapshot):
            words = source.obstacle(view, snapshot, self._release)
            return (vm if words else self._lock(snapshot, vm)), RETRY_S, words
        if content is None:
            self._make_content(snapshot, view)
        return vm, None, ""

    def _lock(self, snapshot: Object, vm: Object) -> Object:
        api, metadata = self.runtime.api, vm["metadata"]
        if not (vm.get("status") or {}).get("snapshotInProgress"):
            held = {**(vm.get("status") or {}), "snapshotInProgress": snapshot["metadata"]["name"]}
            vm = api.replace({**vm, "status": held}, subresource="status")
        if SOURCE_FINALIZER not in (metadata.get("finalizers") or ()):
            vm = self._patched(VM, vm, [*(vm["metadata"].get("finalizers") or ()), SOURCE_FINALIZER])
        return vm

    def _unlock(self, snapshot: Object, vm: Object) -> Object:
        status = vm.get("status") or {}
        if status.get("snapshotInProgress") != snapshot["metadata"]["name"]:
            return vm
        finalizers = vm["metadata"].get("finalizers") or ()
        if SOURCE_FINALIZER in finalizers:
            vm = self._patched(VM, vm, [word for word in finalizers if word != SOURCE_FINALIZER])
        kept = {key: value for key, value in (vm.get("status") or {}).items() if key != "snapshotInProgress"}
        return self.runtime.api.replace({**vm, "status": kept}, subresource="status")

    def _make_content(self, snapshot: Object, view: View) -> None:
        metadata = snapshot["metadata"]
        revision = None
        if view.instance is not None:
            name = (view.instance.get("status") or {}).get("virtualMachineRevisionName", "")
            revision = self.runtime.api.get(CONTROLLERREVISION, name, metadata["namespace"])
            if revision is None:
                raise LookupError(f"vm revision {name} doesn't exist")
        content = {
            "apiVersion": snapshot["apiVersion"],
            "kind": SNAPSHOT_CONTENT.kind,
            "metadata": {"name": content_name(snapshot), "namespace": metadata["namespace"], "finalizers": [CONTENT_FINALIZER]},
            "spec": {
                "virtualMachineSnapshotName": metadata["name"],
                "source": {"virtualMachine": source.machine_at(view, revision)},
                "volumeBackups": source.backups(snapshot, view, storage_of(self.runtime), self._release),
            },
        }
        try:
            self.runtime.api.create(content)
        except Taken:
            return
        words = f"Successfully created VirtualMachineSnapshotContent {content_name(snapshot)}"
        self.runtime.event(snapshot, "Normal", "SuccessfulVirtualMachineSnapshotContentCreate", words, EVENT_SOURCE)

    def _tell_state(self, snapshot: Object, vm: Object | None, words: str) -> Object:
        """Bring the status up to date with the content and the source; return the snapshot as it is then."""
        namespace = snapshot["metadata"]["namespace"]
        content = self.runtime.api.get(SNAPSHOT_CONTENT, content_name(snapshot), namespace)
        status = copy.deepcopy(snapshot.get("status") or {"readyToUse": False})
        if vm is not None:
            status["sourceUID"] = vm["metadata"]["uid"]
        if content is not None and content.get("status"):
            status["virtualMachineSnapshotContentName"] = content["metadata"]["name"]
            for key in ("creationTime", "readyToUse", "error"):
                status.pop(key, None)
                if key in content["status"]:
                    status[key] = content["status"][key]
        if exceeded({**snapshot, "status": status}, self.runtime.age(snapshot)):
            status["phase"] = "Failed"
            self._say(status, "Failure", "True", EXCEEDED)
            self._say(status, "Progressing", "False", "Operation failed")
        elif status.get("phase") == "Succeeded" or status.get("creationTime"):
            status["phase"] = "Succeeded"
            self._say(status, "Progressing", "False", "Operation complete")
            self._tell_volumes(status, content)
        else:
            self._tell_progress(status, snapshot, vm, words)
        ready = bool(status.get("readyToUse"))
        self._say(status, "Ready", "True" if ready else "False", "Ready" if ready else "Not ready")
        if status.get("error"):
            self._say(status, "Progressing", "False", "In error state")
        if status != snapshot.get("status"):
            snapshot = self.runtime.api.replace({**snapshot, "status": status}, subresource="status")
        return snapshot

    def _tell_progress(self, status: Object, snapshot: Object, vm: Object | None, words: str) -> None:
        status["phase"] = "InProgress"
        if vm is None:
            self._say(status, "Progressing", "False", "Source does not exist")
        else:
            view = view_of(self.runtime, vm)
            locked = view.locked_by(snapshot)
            self._say(status, "Progressing", "True" if locked else "False", _LOCKED if locked else (_NOT_LOCKED + words).rstrip())
            error = (status.get("error") or {}).get("message", "")
            self._indicate(status, source.indications(view, status.get("indications") or (), error=error, release=self._release))
        if is_deleted(snapshot):
            status["phase"] = "Deleting"
            self._say(status, "Progressing", "False", "VM snapshot is deleting")

    def _tell_volumes(self, status: Object, content: Object | None) -> None:
        if content is None:
            return
        claims = self.runtime.cache(PVC).all(content["metadata"]["namespace"])
        included, excluded, partial = source.covered(content, claims, self._release)
        lists = (("includedVolumes", included), ("excludedVolumes", excluded))
        status["snapshotVolumes"] = {key: names for key, names in lists if names}
        words = status.get("indications") or []
        if partial and self._release.partial_indication and "PartialSnapshot" not in words:
            self._indicate(status, [*words, "PartialSnapshot"])

    def _indicate(self, status: Object, words: list[str]) -> None:
        for key in ("indications", "sourceIndications"):
            status.pop(key, None)
        if words:
            status["indications"] = words
            if self._release.indications_told:
                status["sourceIndications"] = source.told(words)

    def _say(self, status: Object, type_: str, value: str, reason: str) -> None:
        conditions = status.setdefault("conditions", [])
        place = next((index for index, entry in enumerate(conditions) if entry["type"] == type_), len(conditions))
        said = {"type": type_, "status": value, "reason": reason}
        if place < len(conditions) and all(conditions[place].get(key) == word for key, word in said.items()):
            return
        conditions[place : place + 1] = [{**said, "lastProbeTime": None, "lastTransitionTime": stamp(self.clock.now())}]

    def _finalized(self, snapshot: Object, finalizers: list[str]) -> Object:
        if finalizers == (snapshot["metadata"].get("finalizers") or []):
            return snapshot
        return self._patched(SNAPSHOT, snapshot, finalizers)

    def _patched(self, kind: Kind, obj: Object, finalizers: list[str]) -> Object:
        metadata = obj["metadata"]
        test = {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
        change = {"op": "add", "path": "/metadata/finalizers", "value": finalizers}
        return self.runtime.api.patch(kind, metadata["name"], [test, change], metadata["namespace"])
