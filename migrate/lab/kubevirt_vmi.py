"""The instance controller, and what virt-handler does on a node: pods for instances, phases, conditions, clean ends.

Reference: kubevirt-export.md section 7. An instance goes Pending, Scheduling (its pod exists), Scheduled (its pod runs), Running (its
guest has booted), and ends Succeeded (the guest shut down by itself or in time) or Failed (it broke, or was cut off).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from migrate.kube.kinds import DATAVOLUME, POD, PVC, VMI, Kind
from migrate.lab import kubevirt_launcher, kubevirt_needs, kubevirt_state
from migrate.lab.controller import Controller, Key, Object, Runtime, itself, owners
from migrate.lab.export_pod import owned_by
from migrate.lab.export_source import backend_claim
from migrate.lab.gotime import stamp
from migrate.lab.kubevirt_guest import GUEST, Guest
from migrate.lab.kubevirt_instance import INSTANCE_FINALIZER, MIGRATION_TARGET
from migrate.lab.kubevirt_status import condition
from migrate.lab.kubevirt_strategy import is_final, phase_of
from migrate.lab.kubevirt_write import replace_if_there

_SOURCE = "virt-controller"
_AGENT_AFTER_S = 3.0
_LOOK_S = 1.0
_AGAIN_S = 5.0
"""After which an instance is tried again that lacks something."""
_BINDING = frozenset({"WaitForFirstConsumer", "PendingPopulation"})
_TEMPORARY = "kubevirt.io/ephemeral-provisioning"


class InstanceController(Controller):
    """Reconciles VirtualMachineInstances."""

    name = "vmi-controller"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self._agent_at: dict[str, float] = {}
        self._ends: dict[str, str] = {}

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [(VMI, itself), (POD, self._pod_heard), (DATAVOLUME, self._users), (PVC, self._users)]

    def _pod_heard(self, pod: Object) -> Iterable[Key]:
        """Note how a launcher pod ended, since it may be gone before anybody looks, and wake its instance."""
        phase = (pod.get("status") or {}).get("phase")
        for ref in pod["metadata"].get("ownerReferences") or ():
            if ref["kind"] == "VirtualMachineInstance" and phase in {"Succeeded", "Failed"}:
                self._ends[ref["uid"]] = phase
        return owners("VirtualMachineInstance")(pod)

    def _users(self, disk: Object) -> Iterable[Key]:
        namespace, name = disk["metadata"].get("namespace", ""), disk["metadata"]["name"]
        for instance in self.runtime.cache(VMI).all(namespace):
            if name in kubevirt_launcher.claims_of(instance).values():
                yield namespace, instance["metadata"]["name"]

    def reconcile(self, namespace: str, name: str) -> float | None:
        instance = self.runtime.api.get(VMI, name, namespace)
        if instance is None:
            return None
        pods = [pod for pod in self.runtime.api.list(POD, namespace) if _owned(pod, instance)]
        if instance["metadata"].get("deletionTimestamp"):
            return self._end(instance, pods)
        pod = next((pod for pod in pods if _TEMPORARY not in (pod["metadata"].get("annotations") or {})), None)
        status = dict(instance.get("status") or {})
        again = None
        match phase_of(instance):
            case "":
                receiver = (instance["metadata"].get("annotations") or {}).get(MIGRATION_TARGET) == "true"
                self._enter(status, "WaitingForSync" if receiver else "Pending")
            case "Pending":
                again = self._schedule(instance, status, pods)
            case "Scheduling" | "Scheduled":
                again = self._follow_start(instance, status, pod)
            case "Running":
                again = self._follow_guest(instance, status, pod)
            case _:
                return None
        if status != (instance.get("status") or {}):
            replace_if_there(self.runtime.api, {**instance, "status": status})
        return again

    def _schedule(self, instance: Object, status: Object, pods: list[Object]) -> float | None:
        """Make the launcher pod as soon as the disks are there; make waiting claims bind before that."""
        namespace = instance["metadata"]["namespace"]
        names = list(kubevirt_launcher.claims_of(instance).values())
        claims = {name: claim for name in names if (claim := self.runtime.api.get(PVC, name, namespace)) is not None}
        missing = [name for name in names if name not in claims]
        if missing:
            words = f"failed to render launch manifest: didn't find PVC {missing[0]}"
            self._say(status, "Synchronized", "False", "FailedPvcNotFound", words)
            return None
        phases = {name: self._disk_phase(namespace, claims[name]) for name in names}
        waiting = [name for name, phase in phases.items() if phase not in {"", "Succeeded"}]
        if waiting:
            self._say(status, "Provisioning", "True")
            if not pods and any(phases[name] in _BINDING for name in waiting):
                self.runtime.api.create(kubevirt_launcher.launcher_pod(instance, claims, provision=True))
            return None
        lacking = kubevirt_needs.lacks(instance, self._lookup)
        if lacking:
            self._say(status, "Synchronized", "False", "FailedCreate", lacking)
            return _AGAIN_S
        for pod in pods:
            self.runtime.api.delete(POD, pod["metadata"]["name"], namespace, uid=pod["metadata"]["uid"])
        self._drop(status, "Provisioning", "Synchronized")
        if pods:
            return _LOOK_S
        kept = kubevirt_state.wanted(instance)
        state = backend_claim(instance, self.runtime.api.list(PVC, namespace)) if kept else None
        pod = kubevirt_launcher.launcher_pod(instance, claims, state=state["metadata"]["name"] if state is not None else "")
        made = self.runtime.api.create(pod)[0]
        self._tell(instance, "Normal", "SuccessfulCreate", f"Created virtual machine pod {made['metadata']['name']}")
        self._enter(status, "Scheduling")
        return None

    def _lookup(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self.runtime.api.get(kind, name, namespace or None) if self.runtime.api.serves(kind) else None

    def _disk_phase(self, namespace: str, claim: Object) -> str:
        """Return the phase of the DataVolume that fills a claim; empty when none does."""
        for ref in claim["metadata"].get("ownerReferences") or ():
            if ref["kind"] == "DataVolume" and ref.get("controller"):
                disk = self.runtime.api.get(DATAVOLUME, ref["name"], namespace)
                return str(((disk or {}).get("status") or {}).get("phase") or "Pending") if disk is not None else ""
        return ""

    def _follow_start(self, instance: Object, status: Object, pod: Object | None) -> float | None:
        if pod is None or _phase(pod) in {"Failed", "Succeeded"}:
            self._finish(instance, status, pod)
            return None
        unscheduled = condition(pod, "PodScheduled") or {}
        if unscheduled.get("status") == "False":
            self._say(status, "PodScheduled", "False", unscheduled.get("reason", ""), unscheduled.get("message", ""))
            return None
        self._drop(status, "PodScheduled")
        if _phase(pod) != "Running":
            return None
        status["nodeName"] = pod["spec"].get("nodeName", "")
        status["activePods"] = {pod["metadata"]["uid"]: status["nodeName"]}
        if phase_of(instance) == "Scheduling":
            self._enter(status, "Scheduled")
            return 0.0
        if self._guest(pod) is None:
            return _LOOK_S
        self._enter(status, "Running")
        self._tell(instance, "Normal", "Started", "VirtualMachineInstance started.")
        self._describe(instance, status, pod)
        self._agent_at[instance["metadata"]["uid"]] = self.clock.monotonic() + _AGENT_AFTER_S
        return self._agent_due(instance, status)

    def _follow_guest(self, instance: Object, status: Object, pod: Object | None) -> float | None:
        if pod is None or _phase(pod) in {"Failed", "Succeeded"}:
            self._finish(instance, status, pod)
            return None
        self._describe(instance, status, pod)
        guest = self._guest(pod)
        if guest is not None and guest.frozen:
            status["fsFreezeStatus"] = "frozen"
            return _LOOK_S
        status.pop("fsFreezeStatus", None)
        return self._agent_due(instance, status)

    def _describe(self, instance: Object, status: Object, pod: Object) -> None:
        claims = {claim["metadata"]["name"]: claim for claim in self.runtime.cache(PVC).all(instance["metadata"]["namespace"])}
        status["interfaces"] = kubevirt_launcher.interfaces(instance, pod)
        status["volumeStatus"] = kubevirt_launcher.volume_statuses(instance, claims)
        status["guestOSInfo"] = status.get("guestOSInfo") or {}
        self._say(status, "Ready", "True")
        backing = [claims[name] for name in kubevirt_launcher.claims_of(instance).values() if name in claims]
        if all("ReadWriteMany" in (claim["spec"].get("accessModes") or ()) for claim in backing):
            self._say(status, "LiveMigratable", "True")
        else:
            words = "cannot migrate VMI: PVCs are not shared, live migration requires ReadWriteMany access mode for all of them"
            self._say(status, "LiveMigratable", "False", "DisksNotLiveMigratable", words)

    def _agent_due(self, instance: Object, status: Object) -> float | None:
        """Say that the guest agent has connected, or return the seconds until it will have."""
        if (instance["metadata"].get("annotations") or {}).get(kubevirt_launcher.AGENT) != "true":
            return None
        left = self._agent_at.get(instance["metadata"]["uid"], 0.0) - self.clock.monotonic()
        if left > 0:
            return left
        self._say(status, "AgentConnected", "True")
        status["guestOSInfo"] = {"id": "lab", "name": "Lab Linux", "prettyName": "Lab Linux 1", "version": "1", "versionId": "1"}
        return None

    def _end(self, instance: Object, pods: list[Object]) -> float | None:
        """Shut a deleted instance's guest down, and let the instance go when its pod has gone."""
        seconds = kubevirt_launcher.grace_s(instance)
        for pod in pods:
            if not pod["metadata"].get("deletionTimestamp"):
                guest = self._guest(pod)
                if guest is not None:
                    guest.grace_s = seconds
                    self._tell(instance, "Normal", "ShuttingDown", "Signaled Graceful Shutdown")
                self.runtime.api.delete(POD, pod["metadata"]["name"], pod["metadata"]["namespace"], uid=pod["metadata"]["uid"])
        if pods:
            return None
        status = dict(instance.get("status") or {})
        if not is_final(instance):
            self._finish(instance, status, None)
        kept = [word for word in instance["metadata"].get("finalizers") or () if word != INSTANCE_FINALIZER]
        metadata = {**instance["metadata"], "finalizers": kept}
        replace_if_there(self.runtime.api, {**instance, "metadata": metadata, "status": status})
        self._agent_at.pop(instance["metadata"]["uid"], None)
        self._ends.pop(instance["metadata"]["uid"], None)
        return None

    def _finish(self, instance: Object, status: Object, pod: Object | None) -> None:
        ended = _phase(pod) if pod is not None else self._ends.get(instance["metadata"]["uid"], "Failed")
        self._enter(status, ended)
        self._drop(status, "Ready", "AgentConnected")
        reason = "PodTerminating" if ended == "Failed" else "GuestNotRunning"
        self._say(status, "Ready", "False", reason, "Guest VM is not reported as running")
        if ended == "Failed":
            self._tell(instance, "Warning", "Stopped", "The VirtualMachineInstance crashed.")
        else:
            self._tell(instance, "Normal", "Stopped", "The VirtualMachineInstance was shut down.")

    def _guest(self, pod: Object) -> Guest | None:
        if self.runtime.node is None:
            return None
        container = self.runtime.node.container(pod["metadata"]["namespace"], pod["metadata"]["name"])
        return None if container is None else container.shared.get(GUEST)

    def _enter(self, status: Object, phase: str) -> None:
        status["phase"] = phase
        times = [*(status.get("phaseTransitionTimestamps") or ())]
        status["phaseTransitionTimestamps"] = [*times, {"phase": phase, "phaseTransitionTimestamp": stamp(self.clock.now())}]

    def _say(self, status: Object, type_: str, value: str, reason: str = "", message: str = "") -> None:
        said: Any = {"type": type_, "status": value}
        said |= {key: word for key, word in (("reason", reason), ("message", message)) if word}
        old = next((entry for entry in status.get("conditions") or () if entry["type"] == type_), None)
        if old is not None and {key: word for key, word in old.items() if not key.startswith("last")} == said:
            return
        self._drop(status, type_)
        said |= {"lastProbeTime": None, "lastTransitionTime": stamp(self.clock.now())}
        status["conditions"] = [*(status.get("conditions") or ()), said]

    @staticmethod
    def _drop(status: Object, *types: str) -> None:
        if status.get("conditions"):
            status["conditions"] = [entry for entry in status["conditions"] if entry["type"] not in types]

    def _tell(self, instance: Object, type_: str, reason: str, message: str) -> None:
        self.runtime.event(instance, type_, reason, message, _SOURCE)


def _owned(pod: Object, instance: Object) -> bool:
    uid = owned_by(instance)["uid"]
    return any(ref["uid"] == uid for ref in pod["metadata"].get("ownerReferences") or ())


def _phase(pod: Object | None) -> str:
    return str(((pod or {}).get("status") or {}).get("phase") or "Pending")
