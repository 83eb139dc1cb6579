"""What an export's status says, from its pod and its source. Pure.

Reference: kubevirt-export.md section 2, "Phase rules (exact)", and section 1, "Condition types and reasons".
"""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any

from migrate.lab.export_pod import expiration
from migrate.lab.export_source import Condition, Source
from migrate.lab.gotime import stamp
from migrate.lab.kubevirt_release import Release

Object = dict[str, Any]


def pod_is_ready(pod: Object) -> bool:
    """Tell whether a pod's Ready condition is true and it is not going away."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def initial(export: Object, release: Release, now: datetime) -> Object:
    """Return the status as it stands after the first look."""
    status = copy.deepcopy(export.get("status") or {})
    if "phase" not in status:
        status["phase"] = "Pending"
        status["ttlExpirationTime"] = stamp(expiration(export))
        conditions = [Condition("Ready", "False", "Initializing")]
        if not release.clear_reasons:
            conditions.append(Condition("PVCReady", "False", "Unknown"))
        status["conditions"] = _updated([], conditions, now)
    return status


def judged(status: Object, source: Source, pod: Object | None, *, links: Object, now: datetime) -> Object:
    """Return the status after this look. `links` are used only while the pod is ready; otherwise the links are an empty object."""
    ready, phase = _ready(source, pod)
    judged = {**status, "phase": "Skipped" if source.skipped else phase, "links": links if phase == "Ready" else {}}
    if source.vm_name is not None:
        judged["virtualMachineName"] = source.vm_name
    judged["conditions"] = _updated(status["conditions"], [ready, *([source.own] if source.own else [])], now)
    return judged


def _ready(source: Source, pod: Object | None) -> tuple[Condition, str]:
    if pod is None:
        return source.ready, "Pending"
    if pod_is_ready(pod):
        return Condition("Ready", "True", "PodReady"), "Ready"
    match (pod.get("status") or {}).get("phase", "Pending"):
        case "Succeeded":
            return Condition("Ready", "False", "PodCompleted"), "Terminated"
        case "Pending":
            return Condition("Ready", "False", "PodPending"), "Pending"
        case _:
            return Condition("Ready", "False", "Unknown"), "Pending"


def _updated(conditions: list[Object], news: list[Condition], now: datetime) -> list[Object]:
    """Put conditions into a list, keeping the time of those that say nothing new."""
    updated = list(conditions)
    for new in news:
        entry = {"type": new.type, "status": new.status, "reason": new.reason, "message": new.message}
        place = next((index for index, old in enumerate(updated) if old["type"] == new.type), len(updated))
        if place < len(updated) and all(updated[place].get(key, "") == value for key, value in entry.items()):
            continue
        shown = {key: value for key, value in entry.items() if value}
        updated[place : place + 1] = [{**shown, "lastProbeTime": None, "lastTransitionTime": stamp(now)}]
    return updated
