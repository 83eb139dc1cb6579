"""The VM controller: makes the DataVolumes of templates, starts and stops instances as the run strategy says, keeps the VM's status.

Reference: kubevirt-export.md section 7. It never changes a VM's spec, but for a Halted VM that was asked to start paused, and for the
firmware uuid that releases before the webhook wrote it left to the controller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from migrate.kube.kinds import CONTROLLERREVISION, DATAVOLUME, KUBEVIRT, PVC, VM, VMI, VOLUMESNAPSHOTCLASS, Kind
from migrate.lab import kubevirt_instance, kubevirt_status
from migrate.lab.controller import Controller, Key, Object, Runtime, itself, key_of, owners
from migrate.lab.export_source import STATE_LABEL, backend_claim, claim_name, needs_backend_storage
from migrate.lab.kubevirt_expand import FIELDS, Unexpandable, expanded, live, revision, revision_named
from migrate.lab.kubevirt_release import Release
from migrate.lab.kubevirt_snapshot_source import snapshot_statuses
from migrate.lab.kubevirt_snapshot_state import storage_of
from migrate.lab.kubevirt_status import View
from migrate.lab.kubevirt_strategy import RECEIVER, STRATEGIES, Verdict, Wish, back_off_s, decide, run_strategy, start_failure
from migrate.lab.kubevirt_write import replace_if_there
from migrate.model.errors import Taken

FINALIZER = "kubevirt.io/virtualMachineControllerFinalize"
_SOURCE = "virtualmachine-controller"


class MachineController(Controller):
    """Reconciles VirtualMachines."""

    name = "vm-controller"

    def __init__(self, runtime: Runtime, release: Release) -> None:
        super().__init__(runtime)
        self._release = release

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [
            (VM, itself),
            (VMI, owners("VirtualMachine")),
            (DATAVOLUME, self._users),
            (PVC, self._users),
            (VOLUMESNAPSHOTCLASS, lambda _: [key_of(vm) for vm in self.runtime.cache(VM).all()]),
            (KUBEVIRT, lambda _: ()),
        ]

    def _users(self, disk: Object) -> Iterable[Key]:
        """Return the VMs that use a disk, or own it."""
        namespace, name = disk["metadata"].get("namespace", ""), disk["metadata"]["name"]
        for vm in self.runtime.cache(VM).all(namespace):
            if any(claim_name(volume) == name for volume in vm["spec"]["template"]["spec"].get("volumes") or ()):
                yield namespace, vm["metadata"]["name"]
        yield from owners("VirtualMachine")(disk)

    def reconcile(self, namespace: str, name: str) -> float | None:
        vm = self.runtime.api.get(VM, name, namespace)
        if vm is None:
            return None
        instance = self._instance_of(vm)
        if vm["metadata"].get("deletionTimestamp"):
            self._remove(vm, instance)
            return None
        if FINALIZER not in (vm["metadata"].get("finalizers") or ()):
            vm = self._patched(vm, "/metadata/finalizers", [*(vm["metadata"].get("finalizers") or ()), FINALIZER])
        if self._release.minor >= 6 and not self._uuid_of(vm):
            vm = self._write_uuid(vm)
        vm = self._keep_revisions(vm)
        self._make_disks(vm)
        now = self.clock.now()
        status = dict(vm.get("status") or {})
        failure = start_failure(vm, instance, now)
        if failure != status.get("startFailure"):
            status["startFailure"] = failure
            vm = {**vm, "status": status}
        verdict = decide(vm, instance) if self._knows(run_strategy(vm)) else Verdict(Wish.NOTHING)
        again = self._obey(vm, instance, verdict)
        if verdict.requests is not None and again is None:
            status["stateChangeRequests"] = list(verdict.requests)
        if self._knows(run_strategy(vm)) and not (verdict.wish is Wish.START and again is not None):
            status["runStrategy"] = run_strategy(vm)
        self._write_status({**vm, "status": status})
        return again

    def _knows(self, strategy: str) -> bool:
        return strategy in STRATEGIES or (strategy == RECEIVER and self._release.receives_migrations)

    def _instance_of(self, vm: Object) -> Object | None:
        found = self.runtime.api.get(VMI, vm["metadata"]["name"], vm["metadata"]["namespace"])
        if found is None or not any(ref["uid"] == vm["metadata"]["uid"] for ref in found["metadata"].get("ownerReferences") or ()):
            return None
        return found

    def _remove(self, vm: Object, instance: Object | None) -> None:
        """Let a VM go once its instance is stopped; one that is deleted as an orphan's owner leaves the instance running."""
        if instance is not None and "orphan" not in (vm["metadata"].get("finalizers") or ()):
            self._stop_instance(vm, instance)
            self._write_status(vm)
        elif FINALIZER in (vm["metadata"].get("finalizers") or ()):
            self._patched(vm, "/metadata/finalizers", [word for word in vm["metadata"]["finalizers"] if word != FINALIZER])

    def _patched(self, vm: Object, path: str, value: object) -> Object:
        metadata = vm["metadata"]
        test = {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
        change = {"op": "add", "path": path, "value": value}
        return self.runtime.api.patch(VM, metadata["name"], [test, change], metadata["namespace"])

    @staticmethod
    def _uuid_of(vm: Object) -> str:
        domain = vm["spec"]["template"]["spec"].get("domain") or {}
        return str((domain.get("firmware") or {}).get("uuid") or "")

    def _write_uuid(self, vm: Object) -> Object:
        domain = vm["spec"]["template"]["spec"].get("domain") or {}
        firmware = {**(domain.get("firmware") or {}), "uuid": kubevirt_instance.legacy_uuid(vm["metadata"]["name"])}
        return self._patched(vm, "/spec/template/spec/domain/firmware", firmware)

    def _keep_revisions(self, vm: Object) -> Object:
        """Keep what a VM's instance type and preference say, the first time they are seen, and note where."""
        for field in FIELDS:
            if not vm["spec"].get(field) or revision_named(vm, field):
                continue
            try:
                found = live(vm, field, self._lookup)
            except Unexpandable as error:
                self._tell(vm, "Warning", "FailedFindInstancetype" if field == "instancetype" else "FailedFindPreference", str(error))
                continue
            kept = revision(vm, found)
            name = kept["metadata"]["name"]
            if self.runtime.api.get(CONTROLLERREVISION, name, vm["metadata"]["namespace"]) is None:
                self.runtime.api.create(kept)
            if self._release.revisions_in_status:
                said = {"name": found["metadata"]["name"], "kind": found["kind"], "controllerRevisionRef": {"name": name}}
                vm = {**vm, "status": {**(vm.get("status") or {}), f"{field}Ref": said}}
            else:
                vm = self._patched(vm, f"/spec/{field}/revisionName", name)
        return vm

    def _make_disks(self, vm: Object) -> None:
        """Make the DataVolumes of templates that do not exist yet, whether the VM is to run or not."""
        namespace = vm["metadata"]["namespace"]
        for template in vm["spec"].get("dataVolumeTemplates") or ():
            name = template["metadata"]["name"]
            if self.runtime.cache(DATAVOLUME).get(namespace, name) is not None:
                continue
            try:
                self.runtime.api.create(kubevirt_instance.templated_disk(vm, template))
            except Taken:
                continue
            self._tell(vm, "Normal", "SuccessfulDataVolumeCreate", f"Created DataVolume {name}")

    def _obey(self, vm: Object, instance: Object | None, verdict: Verdict) -> float | None:
        """Do what the run strategy asks for; return the seconds after which to try again if it cannot be done yet."""
        match verdict.wish:
            case Wish.START:
                return self._start(vm)
            case Wish.STOP:
                assert instance is not None
                self._stop_instance(vm, instance)
            case Wish.RUN:
                legacy = vm["spec"].get("runStrategy") is None
                self._patched(vm, "/spec/running" if legacy else "/spec/runStrategy", True if legacy else "Always")
            case Wish.NOTHING:
                pass
        return None

    def _start(self, vm: Object) -> float | None:
        wait_s = back_off_s(vm, self.clock.now())
        if wait_s > 0:
            return wait_s
        if not kubevirt_status.disks_ready(self._view(vm, None)):
            return 3.0
        name = vm["metadata"]["name"]
        try:
            whole = expanded(vm, self._lookup)
        except Unexpandable as error:
            self._tell(vm, "Warning", "FailedCreate", str(error))
            return 10.0
        if needs_backend_storage(vm):
            self._keep_state(vm)
        self._record(vm)
        try:
            self.runtime.api.create(kubevirt_instance.instance(whole, revision=kubevirt_instance.revision_name(vm)))
        except Taken:
            return 1.0
        self._tell(vm, "Normal", "SuccessfulCreate", f"Started the virtual machine by creating the new virtual machine instance {name}")
        return None

    def _keep_state(self, vm: Object) -> None:
        """Make the claim of a VM's persistent state, or label the one of old."""
        metadata = vm["metadata"]
        found = backend_claim(vm, self.runtime.api.list(PVC, metadata["namespace"]))
        if found is None:
            self.runtime.api.create(kubevirt_instance.state_claim(vm, self._state_class(), labelled=self._release.state_claims_labelled))
        elif self._release.state_claims_labelled and STATE_LABEL not in (found["metadata"].get("labels") or {}):
            labels = {"metadata": {"labels": {STATE_LABEL: metadata["name"]}}}
            self.runtime.api.merge(PVC, found["metadata"]["name"], labels, metadata["namespace"])

    def _lookup(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self.runtime.api.get(kind, name, namespace or None) if self.runtime.api.serves(kind) else None

    def _state_class(self) -> str:
        for kubevirt in self.runtime.cache(KUBEVIRT).all():
            return str((kubevirt["spec"].get("configuration") or {}).get("vmStateStorageClass") or "")
        return ""

    def _record(self, vm: Object) -> None:
        """Write down what is started, and drop the records of earlier starts."""
        namespace, current = vm["metadata"]["namespace"], kubevirt_instance.revision_name(vm)
        for found in self.runtime.api.list(CONTROLLERREVISION, namespace, labels={"kubevirt.io/vm": vm["metadata"]["name"]}):
            if found["metadata"]["name"] != current:
                self.runtime.api.delete(CONTROLLERREVISION, found["metadata"]["name"], namespace)
        if self.runtime.api.get(CONTROLLERREVISION, current, namespace) is None:
            self.runtime.api.create(kubevirt_instance.revision(vm))

    def _stop_instance(self, vm: Object, instance: Object) -> None:
        metadata = instance["metadata"]
        if metadata.get("deletionTimestamp"):
            return
        self.runtime.api.delete(VMI, metadata["name"], metadata["namespace"], uid=metadata["uid"])
        words = f"Stopped the virtual machine by deleting the virtual machine instance {metadata['uid']}"
        self._tell(vm, "Normal", "SuccessfulDelete", words)

    def _view(self, vm: Object, instance: Object | None) -> View:
        namespace = vm["metadata"]["namespace"]
        claims = {claim["metadata"]["name"]: claim for claim in self.runtime.cache(PVC).all(namespace)}
        disks = {disk["metadata"]["name"]: disk for disk in self.runtime.cache(DATAVOLUME).all(namespace)}
        return View(vm, instance, claims, disks, self.clock.now())

    def _write_status(self, vm: Object) -> None:
        """Bring the status up to date with what there is now."""
        instance = self._instance_of(vm)
        view = self._view(vm, instance)
        status = dict(vm.get("status") or {})
        status["created"] = instance is not None
        status["conditions"] = kubevirt_status.conditions(view, changed=self._changed(vm, instance))
        status["ready"] = any(entry["type"] == "Ready" and entry["status"] == "True" for entry in status["conditions"])
        status["printableStatus"] = kubevirt_status.printable_status(view)
        status["volumeSnapshotStatuses"] = snapshot_statuses(vm, view.claims, storage_of(self.runtime), self._release)
        status["desiredGeneration"] = status["observedGeneration"] = vm["metadata"]["generation"]
        for key in ("stateChangeRequests", "startFailure", "volumeSnapshotStatuses"):
            if not status.get(key):
                status.pop(key, None)
        live = self.runtime.api.get(VM, vm["metadata"]["name"], vm["metadata"]["namespace"])
        if live is not None and live["metadata"]["uid"] == vm["metadata"]["uid"] and live.get("status") != status:
            replace_if_there(self.runtime.api, {**vm, "status": status}, subresource="status")

    def _changed(self, vm: Object, instance: Object | None) -> bool:
        """Tell whether the running instance was started from another template than the one stored now."""
        name = ((instance or {}).get("status") or {}).get("virtualMachineRevisionName")
        if not name or name == kubevirt_instance.revision_name(vm):
            return False
        started = self.runtime.api.get(CONTROLLERREVISION, name, vm["metadata"]["namespace"])
        return started is not None and started["data"]["spec"]["template"] != vm["spec"]["template"]

    def _tell(self, vm: Object, type_: str, reason: str, message: str) -> None:
        self.runtime.event(vm, type_, reason, message, _SOURCE)
