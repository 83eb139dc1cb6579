"""What a VM's run strategy asks for, given its instance and the requests that wait. Pure.

Reference: kubevirt-export.md section 7, "Stop / start / restart". The legacy field `running` is Always or Halted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from migrate.lab.gotime import moment, stamp

Object = dict[str, Any]

STRATEGIES = ("Always", "Halted", "Manual", "RerunOnFailure", "Once")
RECEIVER = "WaitAsReceiver"
_FINAL = frozenset({"Succeeded", "Failed"})
_FIRST_BACK_OFF_S = 10
_LONGEST_BACK_OFF_S = 300


class Wish(Enum):
    """What should happen to the instance now."""

    NOTHING = "nothing"
    START = "start"
    STOP = "stop"
    RUN = "run"
    """The VM is Halted and was asked to start: its run strategy becomes Always."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and which requests remain afterwards (None = as they are)."""

    wish: Wish
    requests: tuple[Object, ...] | None = None


def run_strategy(vm: Object) -> str:
    """Return the strategy of a VM, whichever field holds it; a VM with neither field is Halted."""
    spec = vm["spec"]
    if spec.get("runStrategy"):
        return str(spec["runStrategy"])
    return "Always" if spec.get("running") else "Halted"


def phase_of(instance: Object | None) -> str:
    """Return the phase of an instance, empty for none and for a new one."""
    return str(((instance or {}).get("status") or {}).get("phase") or "")


def is_final(instance: Object | None) -> bool:
    """Tell whether an instance has ended and only its object is left."""
    return phase_of(instance) in _FINAL


def requests_of(vm: Object) -> tuple[Object, ...]:
    """Return the state change requests that wait on a VM."""
    return tuple((vm.get("status") or {}).get("stateChangeRequests") or ())


def decide(vm: Object, instance: Object | None) -> Verdict:
    """Say what the run strategy of a VM asks for right now."""
    requests = requests_of(vm)
    start_asked = bool(requests) and requests[0]["action"] == "Start"
    if instance is not None:
        return _with_instance(run_strategy(vm), instance, requests)
    stale = tuple(request for request in requests if request["action"] != "Stop")
    if stale != requests:
        return Verdict(Wish.NOTHING, stale)
    begun = (vm.get("status") or {}).get("runStrategy") == run_strategy(vm)
    rest = requests[1:] if start_asked else None
    match run_strategy(vm):
        case "Always" | "Once" | "WaitAsReceiver":
            return Verdict(Wish.START, rest)
        case "RerunOnFailure" if not begun or start_asked:
            return Verdict(Wish.START, rest)
        case "Manual" if start_asked:
            return Verdict(Wish.START, rest)
        case "Halted" if start_asked:
            return Verdict(Wish.RUN, rest)
        case _:
            return Verdict(Wish.NOTHING)


def _with_instance(strategy: str, instance: Object, requests: tuple[Object, ...]) -> Verdict:
    if instance["metadata"].get("deletionTimestamp"):
        return Verdict(Wish.NOTHING)
    stop_asked = bool(requests) and requests[0]["action"] == "Stop" and requests[0].get("uid") == instance["metadata"]["uid"]
    match strategy:
        case "Halted":
            return Verdict(Wish.STOP)
        case "Always" if stop_asked or is_final(instance):
            return Verdict(Wish.STOP)
        case "RerunOnFailure" if stop_asked or is_final(instance):
            again = phase_of(instance) == "Failed" and not stop_asked
            return Verdict(Wish.STOP, ({"action": "Start"},) if again else None)
        case "Manual" if stop_asked:
            return Verdict(Wish.STOP)
        case _:
            return Verdict(Wish.NOTHING)


def start_failure(vm: Object, instance: Object | None, now: datetime) -> Object | None:
    """Return the VM's record of failing starts after a look at its instance: longer waits for each, forgotten once one runs."""
    record: Object | None = (vm.get("status") or {}).get("startFailure")
    if instance is None:
        return record
    if phase_of(instance) == "Running":
        return None
    uid = instance["metadata"]["uid"]
    if phase_of(instance) != "Failed" or (record or {}).get("lastFailedVMIUID") == uid:
        return record
    count = int((record or {}).get("consecutiveFailCount", 0)) + 1
    wait_s = min(_FIRST_BACK_OFF_S * count * count, _LONGEST_BACK_OFF_S)
    return {"consecutiveFailCount": count, "lastFailedVMIUID": uid, "retryAfterTimestamp": stamp(now + timedelta(seconds=wait_s))}


def back_off_s(vm: Object, now: datetime) -> float:
    """Return the seconds for which a failing VM may not be started yet."""
    retry = ((vm.get("status") or {}).get("startFailure") or {}).get("retryAfterTimestamp")
    return max(0.0, (moment(retry) - now).total_seconds()) if retry else 0.0
