"""Does the target run, as far as KubeVirt and the guest agent can tell?"""

from __future__ import annotations

from migrate.model.errors import Problem
from migrate.model.objects import Object, condition, dig, leaving, name_of
from migrate.model.observation import Observation, blocked, done, needed, unknown, waiting
from migrate.reading.machine import agent_connected, strategy_of

_REMEDY = {
    "ErrorUnschedulable": "make room on a node, or mend the VM's node selector, affinity or CPU model",
    "ErrImagePull": "make the image pullable on the target (registry, imagePullSecret)",
    "ImagePullBackOff": "make the image pullable on the target (registry, imagePullSecret)",
    "ErrorPvcNotFound": "create the PVC that it names",
    "DataVolumeError": "look at the events of its DataVolumes",
    "CrashLoopBackOff": "look at the events and the launcher pod's log of the instance",
}
"""Values of printableStatus that a person must cure."""


def read_running(vm: Object | None, vmi: Object | None, *, strategy: str, want_agent: bool) -> Observation:
    """Say whether the VM was started with the run strategy and its instance is Running, Ready and, if wanted, its guest agent connected.

    NEEDED NotStarted: the spec has another run strategy, or a Manual VM has neither instance nor start request.
    """
    if vm is None:
        return blocked("TargetGone", Problem("the target VM is gone", where="target", why="somebody deleted it", now="run again"))
    name = name_of(vm)
    if leaving(vm):
        return waiting("BeingDeleted", f"VirtualMachine {name} is being deleted")
    if strategy_of(vm) != strategy:
        return needed("NotStarted", f"its run strategy is {strategy_of(vm)}, not {strategy} yet")
    phase = str(dig(vmi, "status", "phase", default=""))
    if vmi is None:
        return _without_instance(vm, strategy)
    if phase in {"Succeeded", "Failed"}:
        return _ended(vm, phase)
    if phase == "Unknown":
        return unknown("InstanceUnknown", f"the node that runs {name} does not answer")
    if phase != "Running":
        return _stuck(vm) or waiting("Starting", f"the instance is {phase or 'new'}")
    ready = condition(vmi, "Ready")
    if ready is None or not ready.true:
        words = f": {ready.message or ready.reason}" if ready and (ready.message or ready.reason) else ""
        return waiting("InstanceNotReady", f"the instance runs and is not ready yet{words}")
    if want_agent and not agent_connected(vmi):
        return waiting("AgentNotConnected", "the guest boots: its agent has not connected yet, as it had on the source")
    node = dig(vmi, "status", "nodeName", default="")
    return done("Running", f"runs{f' on node {node}' if node else ''}{', guest agent connected' if agent_connected(vmi) else ''}")


def _without_instance(vm: Object, strategy: str) -> Observation:
    asked = any(request.get("action") == "Start" for request in dig(vm, "status", "stateChangeRequests", default=()))
    if strategy == "Manual" and not asked:
        return needed("NotStarted", "its run strategy is Manual and nobody has asked for a start yet")
    return _stuck(vm) or waiting("Starting", "KubeVirt has not made the instance yet")


def _ended(vm: Object, phase: str) -> Observation:
    name = name_of(vm)
    if phase == "Succeeded":
        return blocked(
            "GuestStopped",
            Problem(
                f"the guest of {name} shut itself down after the start",
                where="target",
                why="its instance ended as Succeeded",
                now="look at its console; start it yourself and run again, or undo",
            ),
        )
    return _stuck(vm) or waiting("GuestFailed", "the instance failed, KubeVirt may start it again")


def _stuck(vm: Object) -> Observation | None:
    status = str(dig(vm, "status", "printableStatus", default=""))
    if status not in _REMEDY:
        return None
    failure = condition(vm, "Failure") or condition(vm, "Ready")
    why = failure.message if failure and failure.message else f"KubeVirt says {status}"
    return blocked(status, Problem(f"{name_of(vm)} does not start: {status}", where="target", why=why, now=_REMEDY[status]))
