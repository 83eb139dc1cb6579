"""What every run strategy asks for, and what the one-word status says: tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from migrate.lab.gotime import stamp
from migrate.lab.kubevirt_status import View, conditions, printable_status
from migrate.lab.kubevirt_strategy import Wish, back_off_s, decide, run_strategy, start_failure

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
START = {"action": "Start"}
STOP = {"action": "Stop", "uid": "i1"}


def vm(
    strategy: str | bool | None, *requests: dict[str, Any], used: str = "", volumes: tuple[str, ...] = (), **status: Any
) -> dict[str, Any]:
    spec: dict[str, Any] = {"template": {"spec": {"volumes": [{"name": name, "dataVolume": {"name": name}} for name in volumes]}}}
    if isinstance(strategy, bool):
        spec["running"] = strategy
    elif strategy:
        spec["runStrategy"] = strategy
    told = {"stateChangeRequests": list(requests), "runStrategy": used, **status}
    return {"metadata": {"name": "db", "uid": "v1"}, "spec": spec, "status": told}


def instance(phase: str, *, going: bool = False, **status: Any) -> dict[str, Any]:
    metadata = {"name": "db", "uid": "i1", **({"deletionTimestamp": "x"} if going else {})}
    return {"metadata": metadata, "status": {"phase": phase, **status}}


@pytest.mark.parametrize(
    ("machine", "vmi", "wish", "requests"),
    [
        (vm("Always"), None, Wish.START, None),
        (vm("Always"), instance("Running"), Wish.NOTHING, None),
        (vm("Always"), instance("Succeeded"), Wish.STOP, None),
        (vm("Always"), instance("Failed"), Wish.STOP, None),
        (vm("Always", STOP, START), instance("Running"), Wish.STOP, None),
        (vm("Always", STOP, START), instance("Running", going=True), Wish.NOTHING, None),
        (vm("Always", STOP, START), None, Wish.NOTHING, (START,)),
        (vm("Always", START), None, Wish.START, ()),
        (vm(True), None, Wish.START, None),
        (vm(False), None, Wish.NOTHING, None),
        (vm(False), instance("Running"), Wish.STOP, None),
        (vm(None), None, Wish.NOTHING, None),
        (vm("Halted"), None, Wish.NOTHING, None),
        (vm("Halted"), instance("Running"), Wish.STOP, None),
        (vm("Halted"), instance("Succeeded"), Wish.STOP, None),
        (vm("Halted", START), None, Wish.RUN, ()),
        (vm("Manual"), None, Wish.NOTHING, None),
        (vm("Manual", START), None, Wish.START, ()),
        (vm("Manual"), instance("Running"), Wish.NOTHING, None),
        (vm("Manual"), instance("Succeeded"), Wish.NOTHING, None),
        (vm("Manual", STOP), instance("Running"), Wish.STOP, None),
        (vm("Manual", {"action": "Stop", "uid": "other"}), instance("Running"), Wish.NOTHING, None),
        (vm("RerunOnFailure"), None, Wish.START, None),
        (vm("RerunOnFailure", used="RerunOnFailure"), None, Wish.NOTHING, None),
        (vm("RerunOnFailure", used="Halted"), None, Wish.START, None),
        (vm("RerunOnFailure", START, used="RerunOnFailure"), None, Wish.START, ()),
        (vm("RerunOnFailure"), instance("Failed"), Wish.STOP, (START,)),
        (vm("RerunOnFailure"), instance("Succeeded"), Wish.STOP, None),
        (vm("RerunOnFailure", STOP), instance("Running"), Wish.STOP, None),
        (vm("Once"), None, Wish.START, None),
        (vm("Once"), instance("Succeeded"), Wish.NOTHING, None),
        (vm("Once"), instance("Failed"), Wish.NOTHING, None),
        (vm("WaitAsReceiver"), None, Wish.START, None),
    ],
)
def test_the_strategy_decides(machine: Any, vmi: Any, wish: Wish, requests: Any) -> None:
    """Strategy, instance and waiting requests together say start, stop, run or nothing, and which requests remain."""
    verdict = decide(machine, vmi)
    assert (verdict.wish, verdict.requests) == (wish, requests)


def test_the_old_field_is_always_or_halted() -> None:
    """`running` true is Always, false and nothing at all are Halted."""
    assert [run_strategy(vm(word)) for word in (True, False, None, "Once")] == ["Always", "Halted", "Halted", "Once"]


def test_failing_starts_wait_longer_each_time() -> None:
    """Each instance that fails is counted once; the wait grows with the square up to five minutes; a running one forgets all."""
    waits = []
    machine = vm("Always")
    for number in range(1, 8):
        failed = instance("Failed")
        failed["metadata"]["uid"] = f"i{number}"
        record = start_failure(machine, failed, NOW)
        machine["status"]["startFailure"] = record
        assert start_failure(machine, failed, NOW + timedelta(seconds=5)) == record
        waits.append(back_off_s(machine, NOW))
    assert waits == [10, 40, 90, 160, 250, 300, 300]
    assert start_failure(machine, instance("Running"), NOW) is None
    assert start_failure(machine, None, NOW) == machine["status"]["startFailure"]


def dv(phase: str, **status: Any) -> dict[str, Any]:
    return {"status": {"phase": phase, **status}}


def says(type_: str, status: str = "True", reason: str = "") -> list[dict[str, Any]]:
    return [{"type": type_, "status": status, "reason": reason}]


FAILING: dict[str, Any] = {"startFailure": {"retryAfterTimestamp": stamp(NOW)}}
CRASHED = {"one": dv("ImportInProgress", conditions=says("Running", "False", "Error"))}


@pytest.mark.parametrize(
    ("machine", "vmi", "disks", "word"),
    [
        ({**vm("Always"), "metadata": {"name": "db", "deletionTimestamp": "x"}}, instance("Running"), {}, "Terminating"),
        (vm("Halted"), instance("Running"), {}, "Stopping"),
        (vm("Always"), instance("Running", going=True), {}, "Stopping"),
        (vm("Manual", STOP), instance("Running"), {}, "Stopping"),
        (vm("Always"), instance("Running", conditions=says("Paused")), {}, "Paused"),
        (vm("Always"), instance("Running"), {}, "Running"),
        (vm("Always"), instance("Pending", conditions=says("Synchronized", "False", "FailedPvcNotFound")), {}, "ErrorPvcNotFound"),
        (vm("Always", volumes=("one",)), None, CRASHED, "DataVolumeError"),
        (vm("Halted", volumes=("one",)), None, CRASHED, "DataVolumeError"),
        (vm("Always"), instance("Scheduling", conditions=says("PodScheduled", "False", "Unschedulable")), {}, "ErrorUnschedulable"),
        (vm("Always", volumes=("one",)), None, {"one": dv("ImportInProgress")}, "Provisioning"),
        (vm("Halted", volumes=("one",)), None, {"one": dv("ImportInProgress")}, "Stopped"),
        (vm("Always", volumes=("one",)), instance("Pending"), {"one": dv("WaitForFirstConsumer")}, "WaitingForVolumeBinding"),
        (vm("Always", volumes=("one",)), instance("Scheduling"), {"one": dv("Succeeded")}, "Starting"),
        (vm("Manual", START), None, {}, "Starting"),
        (vm("Always", **FAILING), None, {}, "CrashLoopBackOff"),
        (vm("Always", **FAILING), instance("Failed"), {}, "CrashLoopBackOff"),
        (vm("Manual", **FAILING), None, {}, "Stopped"),
        (vm("Halted"), None, {}, "Stopped"),
        (vm("Manual"), instance("Succeeded"), {}, "Stopped"),
        (vm("WaitAsReceiver"), instance("WaitingForSync"), {}, "WaitingForReceiver"),
        (vm("Always"), instance("Unknown"), {}, "Unknown"),
    ],
)
def test_the_word_that_kubectl_shows(machine: Any, vmi: Any, disks: Any, word: str) -> None:
    """The printable status is the first of the list that fits."""
    assert printable_status(View(machine, vmi, {}, disks, NOW)) == word


def test_conditions_come_from_the_instance() -> None:
    """Without an instance Ready is false for want of one; with one its conditions are taken over, and an older template is told."""
    (alone,) = conditions(View(vm("Halted"), None, now=NOW), changed=False)
    assert (alone["type"], alone["status"], alone["reason"]) == ("Ready", "False", "VMINotExists")
    running = instance("Running", conditions=[*says("Ready"), *says("AgentConnected")])
    found = conditions(View(vm("Always"), running, now=NOW), changed=True)
    assert [entry["type"] for entry in found] == ["Ready", "AgentConnected", "RestartRequired"]
    again = conditions(View({**vm("Always"), "status": {"conditions": found}}, running, now=NOW + timedelta(hours=1)), changed=True)
    assert again == found
