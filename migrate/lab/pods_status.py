"""How a pod's status is written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Condition = dict[str, Any]


def pod_status(
    phase: str,
    containers: list[dict[str, Any]],
    *,
    started: str,
    prepared: bool,
    eviction: str,
    condition: Callable[[str, bool, dict[str, str]], Condition],
) -> dict[str, Any]:
    """Return the status of a pod on its node; `prepared` = its volumes are there, `eviction` = why it was evicted, if it was."""
    ready = phase == "Running" and all(entry["ready"] for entry in containers)
    reason = {"reason": "PodCompleted"} if phase == "Succeeded" else {"reason": "ContainersNotReady"}
    conditions = [
        condition("PodScheduled", True, {}),
        condition("PodReadyToStartContainers", prepared, {}),
        condition("Initialized", True, {}),
        condition("ContainersReady", ready, reason),
        condition("Ready", ready, reason),
    ]
    status: dict[str, Any] = {
        "phase": phase,
        "startTime": started,
        "hostIP": "127.0.0.1",
        "containerStatuses": containers,
        "conditions": conditions,
    }
    if prepared:
        status |= {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
    if eviction:
        status |= {"reason": "Evicted", "message": eviction}
    return status


def condition(type_: str, true: bool, why_not: dict[str, str], *, before: Condition | None, now: str) -> Condition:
    """Return one condition; the time of its last transition is kept while its status is what it was before."""
    word = "True" if true else "False"
    since = before["lastTransitionTime"] if before and before["status"] == word else now
    return {"type": type_, "status": word, "lastProbeTime": None, "lastTransitionTime": since} | ({} if true else why_not)
