"""The content of a snapshot: freezes the guest, has every volume cut, thaws it, and follows the volume snapshots until all can be used.

Reference: kubevirt-export.md section 6. There is one freeze before the first cut, and one thaw after the last.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

from migrate.kube.kinds import SNAPSHOT, SNAPSHOT_CONTENT, VM, VOLUMESNAPSHOT, Kind
from migrate.kube.retry import ONCE
from migrate.lab.controller import Controller, Key, Object, itself, owners
from migrate.lab.export_pod import owned_by
from migrate.lab.gotime import moment, stamp
from migrate.lab.kubevirt_snapshot_source import FREEZE_LIMIT
from migrate.lab.kubevirt_snapshot_state import (
    CONTENT_FINALIZER,
    EVENT_SOURCE,
    RETRY_S,
    drops_content,
    failure_deadline,
    is_deleted,
    is_ending,
    storage_of,
    view_of,
)
from migrate.lab.kubevirt_write import replace_if_there
from migrate.model.errors import MigrateError

_VM_LABEL, _NAMESPACE_LABEL = "snapshot.kubevirt.io/source-vm-name", "snapshot.kubevirt.io/source-vm-namespace"


class GuestRefused(Exception):
    """The guest could not be frozen or thawed; the words are its agent's."""


class ContentController(Controller):
    """Reconciles VirtualMachineSnapshotContents."""

    name = "vmsnapshotcontent-controller"

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [(SNAPSHOT_CONTENT, itself), (VOLUMESNAPSHOT, owners(SNAPSHOT_CONTENT.kind))]

    def reconcile(self, namespace: str, name: str) -> float | None:
        content = self.runtime.api.get(SNAPSHOT_CONTENT, name, namespace)
        if content is None:
            return None
        snapshot = self.runtime.api.get(SNAPSHOT, content["spec"]["virtualMachineSnapshotName"], namespace)
        if snapshot is None or is_ending(snapshot, self.runtime.age(snapshot)):
            if snapshot is not None:
                self._thaw_if_possible(snapshot)
            content = self._released(content)
            if snapshot is not None and drops_content(snapshot, content):
                return None
        if content["metadata"].get("deletionTimestamp"):
            return None
        return self._rest_s(content) or self._follow(content, snapshot)

    def _rest_s(self, content: Object) -> float:
        """Return how long the guest's refusal to have held a freeze stays to be seen, in seconds of lab time.

        KubeVirt's own write of it makes it look again at once: whether its snapshot controller sees the refusal in between is luck there.
        """
        error = (content.get("status") or {}).get("error") or {}
        if FREEZE_LIMIT not in (error.get("message") or ""):
            return 0.0
        return max(0.0, RETRY_S - (self.clock.now() - moment(error["time"])).total_seconds())

    def _follow(self, content: Object, snapshot: Object | None) -> float | None:
        """Make what volume snapshots are missing, and sum up what those that are there say."""
        status = copy.deepcopy(content.get("status") or {})
        namespace, done = content["metadata"]["namespace"], bool(status.get("creationTime"))
        cuts: list[Object] = []
        lost: list[str] = []
        skipped: list[str] = []
        frozen = False
        for backup in content["spec"].get("volumeBackups") or ():
            name = backup["volumeSnapshotName"]
            cut = self.runtime.api.get(VOLUMESNAPSHOT, name, namespace)
            if cut is None and done:
                words = f"VolumeSnapshot {name} no longer exists"
                self.runtime.event(content, "Warning", "VolumeSnapshotMissing", words, EVENT_SOURCE)
                lost.append(name)
                continue
            if cut is None and (snapshot is None or is_deleted(snapshot)):
                skipped.append(name)
                continue
            if cut is None:
                assert snapshot is not None
                try:
                    if not frozen:
                        self._freeze(snapshot)
                    frozen = True
                except GuestRefused as refusal:
                    return self._in_error(content, status, str(refusal))
                cut = self._cut(content, backup)
            cuts.append(_cut_status(cut))
        created = not lost and not skipped and all(cut.get("creationTime") for cut in cuts)
        if created and not done:
            status["creationTime"] = stamp(self.clock.now())
            try:
                self._thaw(snapshot)
            except GuestRefused as refusal:
                if FREEZE_LIMIT not in str(refusal):
                    raise
                del status["creationTime"]
                return self._in_error(content, status, str(refusal))
        self._sum_up(status, cuts, lost=lost, skipped=skipped)
        self._write(content, status)
        return None

    def _sum_up(self, status: Object, cuts: list[Object], *, lost: list[str], skipped: list[str]) -> None:
        ready = not lost and not skipped and all(cut.get("readyToUse") for cut in cuts)
        words = ""
        if lost:
            words = f"VolumeSnapshots ({','.join(lost)}) missing"
        elif skipped:
            words = f"VolumeSnapshots ({','.join(skipped)}) skipped because vm snapshot is deleted"
        elif broken := next((cut for cut in cuts if (cut.get("error") or {}).get("message")), None):
            words = f"VolumeSnapshot {broken['volumeSnapshotName']} error: {broken['error']['message']}"
        if not words:
            status.pop("error", None)
        elif not ready and (status.get("error") or {}).get("message") != words:
            status["error"] = {"message": words, "time": stamp(self.clock.now())}
        status["readyToUse"] = ready
        if cuts:
            status["volumeSnapshotStatus"] = cuts

    def _cut(self, content: Object, backup: Object) -> Object:
        """Ask for the snapshot of one volume."""
        machine = content["spec"]["source"]["virtualMachine"]["metadata"]
        claim = backup["persistentVolumeClaim"]
        manifest = {
            "apiVersion": VOLUMESNAPSHOT.api_version(),
            "kind": VOLUMESNAPSHOT.kind,
            "metadata": {
                "name": backup["volumeSnapshotName"],
                "namespace": content["metadata"]["namespace"],
                "labels": {_VM_LABEL: machine["name"], _NAMESPACE_LABEL: machine["namespace"]},
                "ownerReferences": [owned_by(content)],
            },
            "spec": {
                "source": {"persistentVolumeClaimName": claim["metadata"]["name"]},
                "volumeSnapshotClassName": storage_of(self.runtime).snapshot_class(claim["spec"].get("storageClassName") or ""),
            },
        }
        made = self.runtime.api.create(manifest)[0]
        words = f"Successfully created VolumeSnapshot {backup['volumeSnapshotName']}"
        self.runtime.event(content, "Normal", "SuccessfulVolumeSnapshotCreate", words, EVENT_SOURCE)
        return made

    def _freeze(self, snapshot: Object) -> None:
        """Freeze the guest if it can be and is not yet. Raise GuestRefused."""
        vm = self.runtime.api.get(VM, snapshot["spec"]["source"]["name"], snapshot["metadata"]["namespace"])
        if vm is None:
            raise LookupError("unable to get snapshot source")
        view = view_of(self.runtime, vm)
        if not view.locked_by(snapshot):
            raise GuestRefused("attempting to freeze unlocked VM")
        if view.online and view.agent and not view.paused and not view.frozen:
            self._ask(vm, "freeze", {"unfreezeTimeout": failure_deadline(snapshot)})

    def _thaw(self, snapshot: Object | None) -> None:
        """Let a frozen guest go on. Raise GuestRefused."""
        if snapshot is None:
            return
        vm = self.runtime.api.get(VM, snapshot["spec"]["source"]["name"], snapshot["metadata"]["namespace"])
        view = view_of(self.runtime, vm) if vm is not None else None
        if vm is not None and view is not None and view.locked_by(snapshot) and view.agent and not view.paused:
            self._ask(vm, "unfreeze", {})

    def _thaw_if_possible(self, snapshot: Object) -> None:
        try:
            self._thaw(snapshot)
        except GuestRefused as refusal:
            self.log.warning("source of %s not thawed: %s", snapshot["metadata"]["name"], refusal)

    def _ask(self, vm: Object, word: str, body: Object) -> None:
        metadata = vm["metadata"]
        base = f"/apis/subresources.kubevirt.io/v1/namespaces/{metadata['namespace']}/virtualmachineinstances"
        path = f"{base}/{metadata['name']}/{word}"
        try:
            self.runtime.api.session.call("PUT", path, action=f"{word} {metadata['name']}", policy=ONCE, body=body)
        except MigrateError as refusal:
            raise GuestRefused(refusal.why or str(refusal)) from refusal

    def _in_error(self, content: Object, status: Object, words: str) -> float:
        if (status.get("error") or {}).get("message") != words:
            status["error"] = {"message": words, "time": stamp(self.clock.now())}
        self._write(content, {**status, "readyToUse": False})
        return RETRY_S

    def _released(self, content: Object) -> Object:
        finalizers = content["metadata"].get("finalizers") or []
        if CONTENT_FINALIZER not in finalizers:
            return content
        test = {"op": "test", "path": "/metadata/resourceVersion", "value": content["metadata"]["resourceVersion"]}
        change = {"op": "add", "path": "/metadata/finalizers", "value": [word for word in finalizers if word != CONTENT_FINALIZER]}
        return self.runtime.api.patch(SNAPSHOT_CONTENT, content["metadata"]["name"], [test, change], content["metadata"]["namespace"])

    def _write(self, content: Object, status: Object) -> None:
        if status != content.get("status"):
            replace_if_there(self.runtime.api, {**content, "status": status}, subresource="status")


def _cut_status(cut: Object) -> Object:
    """Return what a content says of one of its volume snapshots."""
    status = cut.get("status") or {}
    told = {key: status[key] for key in ("creationTime", "readyToUse", "error") if key in status}
    return {"volumeSnapshotName": cut["metadata"]["name"], **told}
