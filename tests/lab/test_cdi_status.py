"""Phases, conditions and events of a DataVolume as its claim and worker go on (reference/cdi-import.md sections 2.5 and 3)."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.lab import cdi_names as names
from migrate.lab.cdi_status import View, condition, next_status
from migrate.lab.cdi_worker import TOO_SMALL, report

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def view(phase: str = "", claim_phase: str | None = "Pending", **given: Any) -> View:
    """Build a view; `said` gives the claim's annotations without their prefix."""
    said = {names.P + key: value for key, value in given.pop("said", {}).items()} | given.pop("plain", {})
    claim = None
    if claim_phase is not None:
        claim = {"metadata": {"name": "disk", "annotations": said}, "status": {"phase": claim_phase}}
    dv = {"metadata": {"name": "disk"}, "status": {"phase": phase, **given.pop("status", {})}}
    return View(dv=dv, claim=claim, kind=given.pop("kind", "import"), **given)


def pod(phase: str = "Running", **state: Any) -> dict[str, Any]:
    entry = {"restartCount": state.pop("restarts", 0), "ready": state.pop("ready", False), "state": state}
    return {"spec": {"containers": [{"image": "lab/x"}]}, "status": {"phase": phase, "containerStatuses": [entry]}}


PHASES = [
    ("a fresh claim", view(populated=True), "Pending"),
    ("worker made", view("Pending", populated=True, said={"storage.pod.phase": "Pending"}), "ImportScheduled"),
    ("worker runs", view("ImportScheduled", populated=True, said={"storage.pod.phase": "Running"}), "ImportInProgress"),
    ("back for scratch", view("ImportInProgress", populated=True, said={"storage.pod.phase": "Pending"}), "ImportScheduled"),
    ("done before bound", view("ImportInProgress", populated=True, said={"storage.pod.phase": "Succeeded"}), "Succeeded"),
    ("no consumer, populated", view("Pending", populated=True, waits=True), "PendingPopulation"),
    ("no consumer, but at once", view("Pending", populated=True, waits=True, said={"storage.bind.immediate.requested": ""}), "Pending"),
    ("consumer chosen", view("PendingPopulation", populated=True, waits=True, plain={names.SELECTED_NODE: "n"}), "PendingPopulation"),
    ("no consumer, legacy, even at once", view(waits=True, said={"storage.bind.immediate.requested": ""}), "WaitForFirstConsumer"),
    ("legacy pending", view("WaitForFirstConsumer"), "Pending"),
    ("legacy bound", view("Pending", "Bound"), "PVCBound"),
    ("legacy scheduled", view("PVCBound", "Bound", said={"storage.pod.phase": "Pending"}), "ImportScheduled"),
    ("evicted worker changes nothing", view("ImportInProgress", "Bound", said={"storage.pod.phase": "Failed"}), "ImportInProgress"),
    ("wrong checksum", view("ImportInProgress", "Bound", said={"storage.import.fatalError": "true"}), "Failed"),
    ("lost", view("Succeeded", "Lost"), "Failed"),
    ("adopted while pending", view(needs_work=False), "Succeeded"),
    ("not valid", view(claim_phase=None, refusal=("ErrClaimNotValid", "why")), ""),
    ("over quota", view(claim_phase=None, refusal=("ErrExceededQuota", "why")), "Pending"),
    ("a new claim after the old one was lost", view("Succeeded", populated=True), "Pending"),
    ("upload made", view("Pending", kind="upload", populated=True, said={"storage.pod.phase": "Pending"}), "UploadScheduled"),
    ("upload runs", view("UploadScheduled", kind="upload", populated=True, said={"storage.pod.phase": "Running"}), "UploadScheduled"),
    (
        "upload ready",
        view("UploadScheduled", kind="upload", populated=True, said={"storage.pod.phase": "Running", "storage.pod.ready": "true"}),
        "UploadReady",
    ),
]


@pytest.mark.parametrize(("seen", "wanted"), [(seen, wanted) for _, seen, wanted in PHASES], ids=[name for name, _, _ in PHASES])
def test_phases(seen: View, wanted: str) -> None:
    """The phase follows claim and worker, backwards too."""
    assert next_status(seen, NOW)[0]["phase"] == wanted


BOUND = [
    (view(claim_phase=None), ("False", "NotFound", "No PVC found")),
    (view(), ("False", "Pending", "PVC disk Pending")),
    (view("Pending", "Bound"), ("True", "Bound", "PVC disk Bound")),
    (view("Succeeded", "Lost"), ("False", "ClaimLost", "Claim Lost")),
    (
        view(
            populated=True,
            said={
                "storage.condition.bound": "false",
                "storage.condition.bound.reason": "Pending",
                "storage.condition.bound.message": "[prime-1] : wait",
            },
        ),
        ("False", "Pending", "target PVC disk Pending and [prime-1] : wait"),
    ),
    (
        view(
            "PVCBound",
            "Bound",
            said={
                "storage.condition.bound": "false",
                "storage.condition.bound.reason": "CreatingScratchSpace",
                "storage.condition.bound.message": "Creating scratch space",
            },
        ),
        ("False", "CreatingScratchSpace", "Creating scratch space"),
    ),
]


@pytest.mark.parametrize(("seen", "wanted"), BOUND)
def test_the_bound_condition(seen: View, wanted: tuple[str, str, str]) -> None:
    """Bound tells of the claim, its hidden twin or the scratch space."""
    found = condition(next_status(seen, NOW)[0], "Bound")
    assert (found["status"], found["reason"], found["message"]) == wanted


WORKERS = [
    ("starting", pod("Pending", waiting={"reason": "ContainerCreating"}), ("false", "ContainerCreating", "")),
    ("running", pod(running={}), ("true", "Pod is running", "")),
    (
        "no image",
        pod("Pending", waiting={"reason": "ImagePullBackOff", "message": "Back-off"}),
        ("false", "ImagePullFailed", "failed to pull image: lab/x"),
    ),
    (
        "refused",
        pod(terminated={"exitCode": 1, "reason": "Error", "message": "Unable to connect to http data source: 401"}),
        ("false", "Error", "Unable to connect to http data source: 401"),
    ),
    (
        "cut",
        pod(terminated={"exitCode": 1, "reason": "Error", "message": "x: failed to pull image: unexpected EOF"}),
        ("false", "ImagePullFailed", "x: failed to pull image: unexpected EOF"),
    ),
    (
        "too small",
        pod(terminated={"exitCode": 1, "reason": "Error", "message": "size 2 is larger than the reported available storage 1."}),
        ("false", "Error", TOO_SMALL),
    ),
    (
        "full",
        pod(terminated={"exitCode": 1, "reason": "Error", "message": "write /scratch/tmpimage: no space left on device"}),
        ("false", "Error", TOO_SMALL),
    ),
    (
        "done",
        pod("Succeeded", terminated={"exitCode": 0, "reason": "Completed", "message": '{"message":"Import Complete"}'}),
        ("false", "Completed", "Import Complete"),
    ),
]


@pytest.mark.parametrize(("seen", "wanted"), [(seen, wanted) for _, seen, wanted in WORKERS], ids=[name for name, _, _ in WORKERS])
def test_workers(seen: dict[str, Any], wanted: tuple[str, str, str]) -> None:
    """The running condition tells of the worker's container in CDI's words."""
    found = report(seen, {}).annotations
    assert (found[names.RUNNING], found[names.RUNNING_REASON], found[names.RUNNING_MESSAGE]) == wanted


def test_a_worker_that_asks_for_scratch_is_replaced() -> None:
    """Its exit code 0 is not taken for success: the pod's phase is not noted."""
    message = '{"scratchSpaceRequired":true,"preallocationApplied":false,"message":"Import Complete"}'
    found = report(pod("Succeeded", terminated={"exitCode": 0, "reason": "Completed", "message": message}), {})
    assert found.replace
    assert names.POD_PHASE not in found.annotations
    assert found.annotations[names.REQUIRES_SCRATCH] == "true"
    assert found.annotations[names.RUNNING_REASON] == "Scratch space required"


def test_a_worker_killed_for_memory_is_replaced() -> None:
    """The next one reads and writes past the page cache."""
    found = report(pod(terminated={"exitCode": 137, "reason": "OOMKilled"}), {})
    assert found.replace
    assert found.annotations[names.REQUIRES_DIRECT_IO] == "true"
    assert found.annotations[names.RUNNING_REASON] == "OOMKilled"


def test_a_wrong_checksum_is_final() -> None:
    """Exit code 0 with those words is fatal."""
    message = '{"scratchSpaceRequired":false,"message":"Unable to process data: x: checksum mismatch: expected a, got b"}'
    found = report(pod("Succeeded", terminated={"exitCode": 0, "reason": "Completed", "message": message}), {})
    assert found.replace
    assert found.annotations[names.FATAL] == "true"
    assert found.annotations[names.RUNNING_REASON] == "ChecksumError"
    assert names.POD_PHASE not in found.annotations


def test_words_of_a_crash_stay_during_back_off() -> None:
    """In CrashLoopBackOff nothing is said about reason and message, and restarts never go back."""
    found = report(pod(waiting={"reason": "CrashLoopBackOff"}, restarts=1), {names.POD_RESTARTS: "3"}).annotations
    assert found[names.RUNNING] == "false"
    assert names.RUNNING_MESSAGE not in found
    assert found[names.POD_RESTARTS] == "3"


def test_progress_strings() -> None:
    """N/A, then percentages, then 100.0%; uploads stay at N/A."""
    assert next_status(view(populated=True), NOW)[0]["progress"] == "N/A"
    running = {"storage.pod.phase": "Running", "storage.populator.progress": "45.03%"}
    assert next_status(view("ImportInProgress", populated=True, said=running), NOW)[0]["progress"] == "45.03%"
    assert (
        next_status(view("ImportInProgress", "Bound", said={"storage.pod.phase": "Running"}, scraped="100.00%"), NOW)[0]["progress"]
        == "100.00%"
    )
    done = {"storage.pod.phase": "Succeeded"}
    assert next_status(view("ImportInProgress", populated=True, said=done), NOW)[0]["progress"] == "100.0%"
    assert next_status(view("UploadReady", kind="upload", populated=True, said=done), NOW)[0]["progress"] == "N/A"


def test_restarts_never_go_back() -> None:
    """A replaced pod starts at 0 again; the DataVolume does not."""
    seen = view("ImportInProgress", "Bound", said={"storage.pod.restarts": "0"}, status={"restartCount": 4})
    assert next_status(seen, NOW)[0]["restartCount"] == 4


def test_events_come_with_changes() -> None:
    """A change of phase or condition is an event, once; the scratch hand-over is no warning."""
    seen = view("ImportScheduled", populated=True, said={"storage.pod.phase": "Running", "storage.condition.running": "true"})
    status, happened = next_status(seen, NOW)
    assert ("Normal", "ImportInProgress", "Import into disk in progress") in happened
    again = View(dv={"metadata": {"name": "disk"}, "status": status}, claim=seen.claim, kind="import", populated=True)
    assert next_status(again, LATER)[1] == []
    assert next_status(again, LATER)[0] == status
    failed = {
        "storage.condition.running": "false",
        "storage.condition.running.reason": "Error",
        "storage.condition.running.message": "got 401",
    }
    crashed = view("ImportInProgress", populated=True, said={"storage.pod.phase": "Running", **failed}, status=status)
    assert ("Warning", "Error", "got 401") in next_status(crashed, LATER)[1]
    scratch = failed | {
        "storage.condition.running.reason": "Scratch space required",
        "storage.condition.running.message": "scratch space required and none found",
    }
    asked = view("ImportInProgress", populated=True, said={"storage.pod.phase": "Running", **scratch}, status=status)
    assert not [event for event in next_status(asked, LATER)[1] if event.type == "Warning"]


def test_times_of_conditions() -> None:
    """The transition time moves with the status only, the heartbeat with any word."""
    status, _ = next_status(view(populated=True), NOW)
    moved = view(
        "Pending", populated=True, said={"storage.condition.running": "false", "storage.condition.running.reason": "X"}, status=status
    )
    running = condition(next_status(moved, LATER)[0], "Running")
    assert (running["lastTransitionTime"], running["lastHeartbeatTime"]) == (NOW, LATER)
    ready = condition(next_status(moved, LATER)[0], "Ready")
    assert (ready["lastTransitionTime"], ready["lastHeartbeatTime"]) == (NOW, NOW)


def test_ready_follows_success() -> None:
    """Ready is true as soon as the phase is Succeeded, although the claim may not be bound yet."""
    status, _ = next_status(view("ImportInProgress", populated=True, said={"storage.pod.phase": "Succeeded"}), NOW)
    assert condition(status, "Ready")["status"] == "True"
    assert condition(status, "Bound")["status"] == "False"
    running = next_status(
        view("ImportScheduled", populated=True, said={"storage.pod.phase": "Running", "storage.condition.running": "true"}), NOW
    )[0]
    assert condition(running, "Ready")["reason"] == "TransferRunning"
