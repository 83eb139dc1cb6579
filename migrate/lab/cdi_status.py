"""The status of a DataVolume as a function of what is there: phases that may go back, three conditions, and the events of their changes.

Source: reference/cdi-import.md sections 3.1, 3.3, 3.5 and 3.6. Pure, so that the tables of the reference can be tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from migrate.lab import cdi_names as names

Object = dict[str, Any]

SCRATCH_MESSAGE: Final = "scratch space required and none found"
IN_PROGRESS: Final = frozenset({"ImportInProgress"})
_PHASE_OF_POD: Final = {
    "import": {"Pending": "ImportScheduled", "Running": "ImportInProgress", "Succeeded": "Succeeded"},
    "upload": {"Pending": "UploadScheduled", "Succeeded": "Succeeded"},
}
_PHASE_WORDS: Final = {
    "ImportScheduled": ("ImportScheduled", "Import into {} scheduled"),
    "ImportInProgress": ("ImportInProgress", "Import into {} in progress"),
    "UploadScheduled": ("UploadScheduled", "Upload into {} scheduled"),
    "UploadReady": ("UploadReady", "Upload into {} ready"),
}
_FRESH: Final = frozenset({"", "Pending", "WaitForFirstConsumer", "Unknown"})


class Happening(NamedTuple):
    """An event to record on the DataVolume."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class View:
    """All that the status depends on. `refusal` is (reason, message) when no claim could be made."""

    dv: Mapping[str, Any]
    claim: Mapping[str, Any] | None
    kind: str
    """`import` or `upload`."""
    waits: bool = False
    """The claim's class binds at the first consumer."""
    populated: bool = False
    needs_work: bool = True
    """False for claims that were adopted or filled by somebody else."""
    refusal: tuple[str, str] | None = None
    scraped: str = ""
    """Progress of a legacy import, as text; empty = nothing new."""


def next_status(view: View, now: str) -> tuple[Object, list[Happening]]:
    """Return the new status and the events that its changes are worth. `now` is the time for condition changes."""
    old = view.dv.get("status") or {}
    status: Object = {key: value for key, value in old.items() if key != "conditions"}
    happened: list[Happening] = []
    annotations = (view.claim or {}).get("metadata", {}).get("annotations") or {}
    status["phase"] = _phase(view, old.get("phase") or "", annotations, happened)
    if view.claim is not None:
        status["claimName"] = view.claim["metadata"]["name"]
        status["restartCount"] = max(int(old.get("restartCount") or 0), _number(annotations.get(names.POD_RESTARTS)))
        status["progress"] = _progress(view, status["phase"], str(old.get("progress") or ""), annotations)
    wanted = _conditions(view, status["phase"], annotations)
    status["conditions"] = [_touched(old, condition, now) for condition in wanted]
    happened += _bound_event(old, wanted) + _running_event(view, old, wanted, status["phase"])
    return status, happened


def _phase(view: View, before: str, annotations: Mapping[str, str], happened: list[Happening]) -> str:
    if view.refusal is not None:
        return "" if view.refusal[0] == "ErrClaimNotValid" else "Pending"
    if view.claim is None:
        return before
    claim_phase = (view.claim.get("status") or {}).get("phase") or "Pending"
    if claim_phase == "Lost":
        if before != "Failed":
            happened.append(Happening("Warning", "ErrClaimLost", f"PVC {view.claim['metadata']['name']} lost"))
        return "Failed"
    if not view.needs_work:
        return "Succeeded"
    if claim_phase == "Pending" and (waiting := _waiting(view, annotations)):
        return waiting
    base = "PVCBound" if claim_phase == "Bound" and before in _FRESH else before or "Pending"
    if claim_phase == "Pending" and (not view.populated or before in {"Succeeded", "Failed"}):
        base = "Pending"  # the claim is a new one
    phase = _worked(view, base, annotations)
    if phase != before:
        name = view.claim["metadata"]["name"]
        happened += [Happening(*words) for words in _phase_events(view.kind, phase, name)]
    if annotations.get(names.POD_PHASE) == "Failed" and before != "Failed":
        happened.append(_failed(view.kind, view.claim["metadata"]["name"]))
    return phase


def _waiting(view: View, annotations: Mapping[str, str]) -> str:
    """Return the phase of a claim that nobody consumes yet; empty when it is not so."""
    if not view.waits:
        return ""
    if not view.populated:
        return "WaitForFirstConsumer"
    if names.IMMEDIATE in annotations or names.SELECTED_NODE in annotations:
        return ""
    return "PendingPopulation"


def _worked(view: View, base: str, annotations: Mapping[str, str]) -> str:
    if annotations.get(names.FATAL) == "true":
        return "Failed"
    pod = annotations.get(names.POD_PHASE, "")
    if view.kind == "upload" and pod == "Running":
        return "UploadReady" if annotations.get(names.POD_READY) == "true" else "UploadScheduled"
    return _PHASE_OF_POD[view.kind].get(pod, base)


def _phase_events(kind: str, phase: str, name: str) -> list[tuple[str, str, str]]:
    if phase == "Succeeded":
        word = "imported" if kind == "import" else "uploaded"
        return [("Normal", f"{kind.capitalize()}Succeeded", f"Successfully {word} into PVC {name}")]
    if phase == "Failed":
        return [_failed(kind, name)]
    if phase in _PHASE_WORDS:
        reason, message = _PHASE_WORDS[phase]
        return [("Normal", reason, message.format(name))]
    return []


def _failed(kind: str, name: str) -> Happening:
    return Happening("Warning", f"{kind.capitalize()}Failed", f"Failed to {kind} into PVC {name}")


def _progress(view: View, phase: str, before: str, annotations: Mapping[str, str]) -> str:
    if view.kind == "upload" or not view.needs_work:
        return before or "N/A"
    if phase == "Succeeded":
        return "100.0%"
    if view.populated:
        return annotations.get(names.PROGRESS) or before or "N/A"
    return view.scraped or before or "N/A"


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _conditions(view: View, phase: str, annotations: Mapping[str, str]) -> list[Object]:
    running = _running(view, annotations)
    if phase == "Succeeded":
        ready = {"type": "Ready", "status": "True", "reason": "", "message": ""}
    elif phase == "Unknown":
        ready = {"type": "Ready", "status": "Unknown", "reason": "", "message": ""}
    else:
        reason = "TransferRunning" if running["status"] == "True" else ""
        ready = {"type": "Ready", "status": "False", "reason": reason, "message": ""}
    return [ready, _bound(view, annotations), running]


def _bound(view: View, annotations: Mapping[str, str]) -> Object:
    def said(status: str, reason: str, message: str) -> Object:
        return {"type": "Bound", "status": status, "reason": reason, "message": message}

    if view.refusal is not None:
        return said("False", *view.refusal)
    if view.claim is None:
        return said("False", "NotFound", "No PVC found")
    name = view.claim["metadata"]["name"]
    held_back = annotations.get(names.BOUND) == "false"
    reason, message = annotations.get(names.BOUND_REASON, ""), annotations.get(names.BOUND_MESSAGE, "")
    match (view.claim.get("status") or {}).get("phase") or "Pending":
        case "Bound" if held_back and not view.populated:
            return said("False", reason, message)
        case "Bound":
            return said("True", "Bound", f"PVC {name} Bound")
        case "Pending" if held_back and view.populated:
            return said("False", reason, f"target PVC {name} Pending and {message}")
        case "Pending":
            return said("False", "Pending", f"PVC {name} Pending")
        case "Lost":
            return said("False", "ClaimLost", "Claim Lost")
        case phase:
            return said("Unknown", phase, f"PVC {name} {phase}")


def _running(view: View, annotations: Mapping[str, str]) -> Object:
    if annotations.get(names.POD_SCHEDULABLE) == "false":
        word = "Importer" if view.kind == "import" else "Upload"
        return {"type": "Running", "status": "False", "reason": "Unschedulable", "message": f"{word} pod cannot be scheduled"}
    status = {"true": "True", "false": "False", "": "False"}.get(annotations.get(names.RUNNING, "").lower(), "Unknown")
    return {
        "type": "Running",
        "status": status,
        "reason": annotations.get(names.RUNNING_REASON, ""),
        "message": annotations.get(names.RUNNING_MESSAGE, ""),
    }


def condition(status: Mapping[str, Any], type_: str) -> Mapping[str, Any]:
    """Return a condition of a status; empty when it is not there."""
    return next((item for item in status.get("conditions") or () if item["type"] == type_), {})


def _touched(old: Mapping[str, Any], wanted: Object, now: str) -> Object:
    """Stamp a condition: the transition time moves with the status, the heartbeat with any word of it."""
    before = condition(old, wanted["type"])
    if before.get("status") != wanted["status"]:
        return {**wanted, "lastTransitionTime": now, "lastHeartbeatTime": now}
    same = (before.get("reason", ""), before.get("message", "")) == (wanted["reason"], wanted["message"])
    beat = before.get("lastHeartbeatTime", now) if same else now
    return {**wanted, "lastTransitionTime": before.get("lastTransitionTime", now), "lastHeartbeatTime": beat}


def _words(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def _bound_event(old: Mapping[str, Any], wanted: list[Object]) -> list[Happening]:
    before, after = condition(old, "Bound"), wanted[1]
    if _words(before) == _words(after):
        return []
    bad = after["reason"].startswith("Err") or after["reason"] == "ClaimLost"
    return [Happening("Warning" if bad else "Normal", after["reason"], after["message"])]


def _running_event(view: View, old: Mapping[str, Any], wanted: list[Object], phase: str) -> list[Happening]:
    before, after = condition(old, "Running"), wanted[2]
    claimed = wanted[1]["status"] == "True" or (view.populated and view.claim is not None)
    quiet = not after["message"] or after["message"] == SCRATCH_MESSAGE or after["status"] == "True"
    if quiet or not claimed or phase == "Succeeded" or _words(before) == _words(after):
        return []
    return [Happening("Warning", after["reason"], after["message"])]
