"""What CDI's controllers learn from a worker pod, written as annotations of its claim. Pure.

Source: reference/cdi-import.md sections 2.5, 3.5 and 3.7.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from migrate.lab import cdi_names as names
from migrate.lab.cdi_status import SCRATCH_MESSAGE

Object = dict[str, Any]

TOO_SMALL: Final = "DataVolume too small to contain image"
_SMALL_WORDS: Final = (
    "is larger than the reported available",
    "no space left on device",
    "file largest block is bigger than maxblock",
    "disk quota exceeded",
)
_PULL_FAILURES: Final = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName"})
_PULL_WORDS: Final = "failed to pull image"


@dataclass(frozen=True, slots=True)
class Report:
    """News from a worker: annotations to set, whether the pod must make room for another, and the text of a failed run."""

    annotations: dict[str, str] = field(default_factory=dict)
    replace: bool = False
    failure: str = ""


def report(pod: Mapping[str, Any], before: Mapping[str, str]) -> Report:
    """Read a worker pod. `before` holds the claim's present annotations: restarts never go back, the last message of a crash stays."""
    status = pod.get("status") or {}
    container: Mapping[str, Any] = next(iter(status.get("containerStatuses") or ()), {})
    state = container.get("state") or {}
    said: dict[str, str] = {names.POD_SCHEDULABLE: "false" if _unschedulable(status) else "true"}
    restarts = max(int(container.get("restartCount") or 0), _number(before.get(names.POD_RESTARTS)))
    said[names.POD_RESTARTS] = str(restarts)
    said[names.POD_READY] = str(bool(container.get("ready"))).lower()
    ended = state.get("terminated") or (_last(container) if _backs_off(state) else None)
    if ended is not None:
        return _ended(pod, ended, said)
    if "running" in state:
        said |= _running(True, "Pod is running", "")
    elif _backs_off(state):
        said[names.RUNNING] = "false"
    elif "waiting" in state:
        said |= _waiting(state["waiting"], pod)
    said[names.POD_PHASE] = status.get("phase") or "Pending"
    return Report(said)


def _backs_off(state: Mapping[str, Any]) -> bool:
    return bool((state.get("waiting") or {}).get("reason") == "CrashLoopBackOff")


def _last(container: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return how the container ended before it backed off: CDI saw that a moment ago, and a slower watcher must not miss it."""
    found: Mapping[str, Any] | None = (container.get("lastState") or {}).get("terminated")
    return found


def _ended(pod: Mapping[str, Any], ended: Mapping[str, Any], said: dict[str, str]) -> Report:
    message = str(ended.get("message") or "")
    word = str(ended.get("reason") or "")
    if ended.get("exitCode") == 0 and (told := _json(message)) is not None:
        text = str(told.get("message") or "")
        if told.get("scratchSpaceRequired"):
            said |= _running(False, "Scratch space required", SCRATCH_MESSAGE) | {names.REQUIRES_SCRATCH: "true"}
            return Report(said, replace=True)
        if "checksum mismatch" in text:
            said |= _running(False, "ChecksumError", text) | {names.FATAL: "true"}
            return Report(said, replace=True, failure=text)
        said |= _running(False, word, simplified(text)) | {names.PREALLOCATED: str(bool(told.get("preallocationApplied"))).lower()}
    elif word == "OOMKilled":
        said |= _running(False, word, simplified(message)) | {names.REQUIRES_DIRECT_IO: "true"}
        return Report(said, replace=True, failure=message or "OOMKilled")
    else:
        said |= _running(False, "ImagePullFailed" if _PULL_WORDS in message else word, simplified(message))
    said[names.POD_PHASE] = (pod.get("status") or {}).get("phase") or "Running"
    return Report(said, failure=message if ended.get("exitCode") else "")


def _running(running: bool, reason: str, message: str) -> dict[str, str]:
    return {names.RUNNING: str(running).lower(), names.RUNNING_REASON: reason, names.RUNNING_MESSAGE: message}


def _waiting(waiting: Mapping[str, Any], pod: Mapping[str, Any]) -> dict[str, str]:
    reason = str(waiting.get("reason") or "")
    if reason in _PULL_FAILURES:
        image = pod["spec"]["containers"][0].get("image", "")
        return _running(False, "ImagePullFailed", f"{_PULL_WORDS}: {image}")
    return _running(False, reason, str(waiting.get("message") or ""))


def simplified(message: str) -> str:
    """Return the message as users see it: every way of being too small has the same words."""
    return TOO_SMALL if any(words in message for words in _SMALL_WORDS) else message


def _unschedulable(status: Mapping[str, Any]) -> bool:
    found: Mapping[str, Any] = next((item for item in status.get("conditions") or () if item["type"] == "PodScheduled"), {})
    return found.get("status") == "False" and found.get("reason") == "Unschedulable"


def _json(text: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
