"""What a VM's status says, from its instance, its disks and its requests. Pure.

Reference: kubevirt-export.md section 7; the printable status is the first of its list that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from migrate.lab.export_source import claim_name
from migrate.lab.gotime import stamp
from migrate.lab.kubevirt_strategy import RECEIVER, back_off_s, is_final, phase_of, requests_of, run_strategy

Object = dict[str, Any]

READY_TO_START = frozenset({"Succeeded", "WaitForFirstConsumer", "PendingPopulation"})


@dataclass(frozen=True, slots=True)
class View:
    """Everything that a VM's status is made from."""

    vm: Object
    instance: Object | None
    claims: Mapping[str, Object] = field(default_factory=dict)
    disks: Mapping[str, Object] = field(default_factory=dict)
    now: datetime = datetime.min

    @property
    def volumes(self) -> list[Object]:
        """Return the volumes of the VM's template."""
        return list(self.vm["spec"]["template"]["spec"].get("volumes") or [])

    @property
    def active(self) -> bool:
        """Tell whether there is an instance that has not ended."""
        return self.instance is not None and not is_final(self.instance)


def disks_ready(view: View) -> bool:
    """Tell whether the DataVolumes of a VM allow a start: populated, or waiting for a first pod."""
    for volume in view.volumes:
        name = (volume.get("dataVolume") or {}).get("name")
        disk = view.disks.get(name or "")
        if name and disk is None and name not in view.claims:
            return False
        if disk is not None and _phase(disk) not in READY_TO_START:
            return False
    return True


def _phase(disk: Object) -> str:
    return str((disk.get("status") or {}).get("phase") or "")


def condition(obj: Object | None, type_: str) -> Object | None:
    """Return one condition of an object's status."""
    found = ((obj or {}).get("status") or {}).get("conditions") or ()
    return next((entry for entry in found if entry["type"] == type_), None)


def _true(obj: Object | None, type_: str) -> bool:
    return (condition(obj, type_) or {}).get("status") == "True"


def printable_status(view: View) -> str:
    """Return the one word that `kubectl get vm` shows."""
    return next((word for word, fits in _WORDS if fits(view)), "Unknown")


def _terminating(view: View) -> bool:
    return bool(view.vm["metadata"].get("deletionTimestamp"))


def _stopping(view: View) -> bool:
    if not view.active or view.instance is None:
        return False
    if view.instance["metadata"].get("deletionTimestamp"):
        return True
    requests = requests_of(view.vm)
    stop_asked = bool(requests) and requests[0]["action"] == "Stop"
    return run_strategy(view.vm) == "Halted" or (stop_asked and phase_of(view.instance) == "Running")


def _paused(view: View) -> bool:
    return view.active and _true(view.instance, "Paused")


def _running(view: View) -> bool:
    return phase_of(view.instance) == "Running"


def _no_claim(view: View) -> bool:
    reason = (condition(view.instance, "Synchronized") or {}).get("reason")
    return view.active and reason == "FailedPvcNotFound"


def _disk_error(view: View) -> bool:
    for name in filter(None, map(claim_name, view.volumes)):
        disk = view.disks.get(name)
        if disk is None:
            continue
        failed = (condition(disk, "Running") or {}).get("reason") in {"Error", "ImagePullFailed", "CrashLoopBackOff"}
        if _phase(disk) in {"Failed", "Unknown"} or failed:
            return True
    return False


def _unschedulable(view: View) -> bool:
    scheduled = condition(view.instance, "PodScheduled") or {}
    return view.active and scheduled.get("reason") == "Unschedulable" and scheduled.get("status") == "False"


def _awaits_disks(view: View, phases: Callable[[str], bool]) -> bool:
    if phase_of(view.instance) not in {"", "Pending"}:
        return False
    wanted = view.instance is not None or run_strategy(view.vm) in {"Always", "Once", "RerunOnFailure"}
    names = [str((volume.get("dataVolume") or {}).get("name", "")) for volume in view.volumes]
    found = [_phase(view.disks[name]) for name in names if name in view.disks]
    return wanted and any(phases(phase) for phase in found)


def _provisioning(view: View) -> bool:
    waiting = READY_TO_START | {"Failed", "Unknown"}
    return _awaits_disks(view, lambda phase: phase not in waiting) or (view.instance is None and _templates_missing(view))


def _templates_missing(view: View) -> bool:
    templates = view.vm["spec"].get("dataVolumeTemplates") or ()
    wanted = run_strategy(view.vm) == "Always"
    return wanted and any(template["metadata"]["name"] not in {*view.disks, *view.claims} for template in templates)


def _binding(view: View) -> bool:
    return _awaits_disks(view, lambda phase: phase in {"WaitForFirstConsumer", "PendingPopulation"})


def _synchronized(reason: str) -> Callable[[View], bool]:
    return lambda view: view.active and (condition(view.instance, "Synchronized") or {}).get("reason") == reason


def _starting(view: View) -> bool:
    if view.instance is not None:
        return view.active and phase_of(view.instance) in {"", "Pending", "Scheduling", "Scheduled"}
    requests = requests_of(view.vm)
    return bool(requests) and requests[0]["action"] == "Start"


def _crash_loop(view: View) -> bool:
    failing = bool((view.vm.get("status") or {}).get("startFailure"))
    again = run_strategy(view.vm) in {"Always", "RerunOnFailure", "Once"}
    return failing and again and (view.instance is None or is_final(view.instance)) and back_off_s(view.vm, view.now) >= 0


def _stopped(view: View) -> bool:
    return view.instance is None or is_final(view.instance)


def _receiving(view: View) -> bool:
    return run_strategy(view.vm) == RECEIVER and phase_of(view.instance) == "WaitingForSync"


_WORDS: tuple[tuple[str, Callable[[View], bool]], ...] = (
    ("Terminating", _terminating),
    ("Stopping", _stopping),
    ("Paused", _paused),
    ("Running", _running),
    ("ErrorPvcNotFound", _no_claim),
    ("DataVolumeError", _disk_error),
    ("ErrorUnschedulable", _unschedulable),
    ("Provisioning", _provisioning),
    ("WaitingForVolumeBinding", _binding),
    ("ErrImagePull", _synchronized("ErrImagePull")),
    ("ImagePullBackOff", _synchronized("ImagePullBackOff")),
    ("Starting", _starting),
    ("CrashLoopBackOff", _crash_loop),
    ("Stopped", _stopped),
    ("WaitingForReceiver", _receiving),
)


def conditions(view: View, *, changed: bool) -> list[Object]:
    """Return a VM's conditions: its instance's, Ready always, RestartRequired when it runs an older spec than stored (`changed`)."""
    if view.instance is None:
        wanted = [{"type": "Ready", "status": "False", "reason": "VMINotExists", "message": "VMI does not exist"}]
    else:
        wanted = [dict(entry) for entry in (view.instance.get("status") or {}).get("conditions") or ()]
        if not any(entry["type"] == "Ready" for entry in wanted):
            wanted.append(
                {"type": "Ready", "status": "False", "reason": "GuestNotRunning", "message": "Guest VM is not reported as running"}
            )
    if changed and view.active:
        message = "a non-live-updatable field was changed in the template spec"
        wanted.append({"type": "RestartRequired", "status": "True", "message": message})
    if (view.vm.get("status") or {}).get("startFailure") and view.instance is not None and phase_of(view.instance) == "Failed":
        wanted.append({"type": "Failure", "status": "True", "reason": "FailedCreate", "message": "the last start of the guest failed"})
    old = {entry["type"]: entry for entry in (view.vm.get("status") or {}).get("conditions") or ()}
    return [_dated(entry, old.get(entry["type"]), view.now) for entry in wanted]


def _dated(entry: Object, before: Object | None, now: datetime) -> Object:
    """Give a condition the time of its last change; the probe time is always null."""
    same = before is not None and all(before.get(key) == entry.get(key) for key in ("status", "reason", "message"))
    when = before["lastTransitionTime"] if same and before is not None and before.get("lastTransitionTime") else stamp(now)
    return {**entry, "lastProbeTime": None, "lastTransitionTime": when}
