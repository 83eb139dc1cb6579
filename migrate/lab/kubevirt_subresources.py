"""What virt-api does on request: start, stop and restart VMs, expand them, freeze and thaw guests.

Reference: kubevirt-export.md section 7, "Stop / start / restart". Everything is answered 202 or refused with 409 and the real words.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from migrate.kube.kinds import POD, VM, VMI, Kind
from migrate.lab import kubevirt_hotplug
from migrate.lab.api_status import ApiError, bad_request
from migrate.lab.gotime import duration
from migrate.lab.kubevirt_expand import Unexpandable, expanded
from migrate.lab.kubevirt_guest import GUEST, Guest
from migrate.lab.kubevirt_strategy import is_final, phase_of, requests_of, run_strategy
from migrate.model.errors import Conflict, Refused

if TYPE_CHECKING:
    from migrate.lab.api import ApiServer
    from migrate.lab.api_virtual import Answer, Call
    from migrate.lab.controller import Runtime

Object = dict[str, Any]

GROUP = "subresources.kubevirt.io"
_ACCEPTED: Answer = (202, "")
_NOT_RUNNING = "VM is not running"


def register(server: ApiServer, runtime: Runtime) -> None:
    """Answer the subresources of VMs and instances, in both served versions."""
    desk = Desk(runtime)
    for version in ("v1", "v1alpha3"):
        for word, responder in (("start", desk.start), ("stop", desk.stop), ("restart", desk.restart)):
            server.route("PUT", GROUP, version, "virtualmachines", word, responder, kind="VirtualMachine")
        server.route("GET", GROUP, version, "virtualmachines", "expand-spec", desk.expand, kind="VirtualMachine")
        for word, responder in (
            ("freeze", desk.freeze),
            ("unfreeze", desk.thaw),
            ("addvolume", kubevirt_hotplug.add_volume),
            ("removevolume", kubevirt_hotplug.remove_volume),
        ):
            server.route("PUT", GROUP, version, "virtualmachineinstances", word, responder, kind="VirtualMachineInstance")
        server.route("GET", GROUP, version, "virtualmachineinstances", "guestosinfo", desk.guest_info, kind="VirtualMachineInstance")


class Desk:
    """The answers. VMs are changed through the API, so that webhooks see it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def start(self, call: Call) -> Answer:
        """Start a VM: Halted becomes Always, Manual and RerunOnFailure get a start request."""
        options = _options(call)
        vm, instance = self._machine(call), self._look(VMI, call)
        if instance is not None and not is_final(instance) and phase_of(instance) not in {"", "Unknown"}:
            raise _conflict(VM, call.name, "VM is already running")
        strategy = run_strategy(vm)
        request: Object = {"action": "Start"}
        if options.get("paused"):
            request["data"] = {"paused": "true"}
        dry_run = _dry_run(call, options)
        match strategy:
            case "Halted" if options.get("paused"):
                self._request(vm, [request], dry_run=dry_run)
            case "Halted":
                self._set_running(vm, True, dry_run=dry_run)
            case "RerunOnFailure" if phase_of(instance) == "Failed":
                raise _conflict(VM, call.name, f"{strategy} does not support starting VM from failed state")
            case "RerunOnFailure" | "Manual":
                ended = [{"action": "Stop", "uid": instance["metadata"]["uid"]}] if instance is not None and is_final(instance) else []
                self._request(vm, [*ended, request], dry_run=dry_run)
            case _:
                raise _conflict(VM, call.name, f"{strategy} does not support manual start requests")
        return _ACCEPTED

    def stop(self, call: Call) -> Answer:
        """Stop a VM: Always and Once become Halted, Manual and RerunOnFailure get a stop request; a grace period is set on the way."""
        options = _options(call)
        vm, instance = self._machine(call), self._look(VMI, call)
        alive = instance is not None and not is_final(instance)
        grace, before = options.get("gracePeriod"), ((instance or {}).get("spec") or {}).get("terminationGracePeriodSeconds")
        dry_run = _dry_run(call, options)
        strategy = run_strategy(vm)
        if strategy in {"Halted", "Manual", "RerunOnFailure"} and not alive:
            raise _conflict(VM, call.name, _NOT_RUNNING)
        if strategy == "Halted" and (grace is None or (before is not None and grace >= before)):
            raise _conflict(VM, call.name, "Halted only supports manual stop requests with a shorter graceperiod")
        if alive and instance is not None and grace is not None and not dry_run:
            _set_grace(call, int(grace))
            self._hurry(instance, int(grace))
        match strategy:
            case "Halted" | "Manual" | "RerunOnFailure":
                assert instance is not None
                self._request(vm, [{"action": "Stop", "uid": instance["metadata"]["uid"]}], dry_run=dry_run)
            case _:
                self._set_running(vm, False, dry_run=dry_run)
        return _ACCEPTED

    def restart(self, call: Call) -> Answer:
        """Restart a running VM; with a grace period of 0 its pod is killed, other periods are refused."""
        options = _options(call)
        grace = options.get("gracePeriodSeconds")
        if grace is not None and grace != 0:
            words = (
                "For force restart, only gracePeriod=0 is supported for now" if grace > 0 else "gracePeriod has to be greater or equal to 0"
            )
            raise bad_request(words)
        vm = self._machine(call)
        strategy = run_strategy(vm)
        if strategy in {"Halted", "Once"}:
            raise _conflict(VM, call.name, f"RunStategy {strategy} does not support manual restart requests")
        instance = self._look(VMI, call)
        if instance is None:
            raise _conflict(VM, call.name, "VM is not running: Halted")
        dry_run = _dry_run(call, options)
        self._request(vm, [{"action": "Stop", "uid": instance["metadata"]["uid"]}, {"action": "Start"}], dry_run=dry_run)
        if grace == 0 and not dry_run:
            for pod in self._pods(instance):
                self._runtime.api.delete(POD, pod["metadata"]["name"], call.namespace, uid=pod["metadata"]["uid"], grace_s=0)
        return _ACCEPTED

    def expand(self, call: Call) -> Answer:
        """Return a VM with its instance type and preference applied."""
        vm = self._machine(call)
        api = self._runtime.api
        try:
            whole = expanded(vm, lambda kind, namespace, name: api.get(kind, name, namespace or None) if api.serves(kind) else None)
        except Unexpandable as error:
            raise ApiError(500, f"Internal error occurred: {error}") from error
        return 200, {key: value for key, value in whole.items() if key != "status"}

    def freeze(self, call: Call) -> Answer:
        """Freeze the file systems of a running guest with an agent, for at most the time asked for (five minutes by default)."""
        guest = self._guest_with_agent(call)
        order = self._runtime.trouble.find("freeze", "refuse", "expire", namespace=call.namespace, name=call.name)
        if order is not None and order.action == "refuse":
            raise _agent_error(
                order.text("message", "internal error: unable to execute QEMU agent command 'guest-fsfreeze-freeze': Timeout")
            )
        try:
            seconds = duration(str(_options(call).get("unfreezeTimeout") or "5m")).total_seconds()
        except ValueError as error:
            raise bad_request(str(error)) from error
        guest.freeze(seconds if seconds > 0 else float("inf"))
        if order is not None:
            guest.lose_freeze()
        self._nudge(call, "frozen")
        return _ACCEPTED

    def thaw(self, call: Call) -> Answer:
        """End a freeze."""
        held = self._guest_with_agent(call).thaw()
        self._nudge(call, "")
        if not held:
            words = "couldn't hold writes: fsfreeze is limited up to 10 seconds"
            raise _agent_error(f"internal error: unable to execute QEMU agent command 'guest-fsfreeze-thaw': {words}")
        return _ACCEPTED

    def guest_info(self, call: Call) -> Answer:
        """Return what the guest agent tells."""
        instance = self._instance(call)
        conditions = (instance.get("status") or {}).get("conditions") or ()
        if phase_of(instance) != "Running":
            raise _conflict(VMI, call.name, "VMI is not running")
        if not any(entry["type"] == "AgentConnected" and entry["status"] == "True" for entry in conditions):
            raise _conflict(VMI, call.name, "VMI does not have guest agent connected")
        return 200, {"guestAgentVersion": "1", "hostname": call.name, "os": instance["status"].get("guestOSInfo") or {}, "userList": []}

    def _look(self, kind: Kind, call: Call) -> Object | None:
        return call.server.look_up(kind, call.namespace, call.name)

    def _machine(self, call: Call) -> Object:
        found = self._look(VM, call)
        if found is None:
            raise _absent(VM, call.name)
        return found

    def _instance(self, call: Call) -> Object:
        found = self._look(VMI, call)
        if found is None:
            raise _absent(VMI, call.name)
        return found

    def _running_guest(self, call: Call) -> Guest:
        instance = self._instance(call)
        guests = [guest for pod in self._pods(instance) if (guest := self._guest(pod)) is not None]
        if phase_of(instance) != "Running" or not guests:
            raise _conflict(VMI, call.name, _NOT_RUNNING)
        return guests[0]

    def _guest_with_agent(self, call: Call) -> Guest:
        guest = self._running_guest(call)
        if not any(entry["type"] == "AgentConnected" for entry in (self._instance(call).get("status") or {}).get("conditions") or ()):
            raise _agent_error("Guest agent is not responding: QEMU guest agent is not connected")
        return guest

    def _pods(self, instance: Object) -> list[Object]:
        labels = {"kubevirt.io/created-by": instance["metadata"]["uid"]}
        return self._runtime.api.list(POD, instance["metadata"]["namespace"], labels=labels)

    def _guest(self, pod: Object) -> Guest | None:
        node = self._runtime.node
        container = node.container(pod["metadata"]["namespace"], pod["metadata"]["name"]) if node is not None else None
        return None if container is None else container.shared.get(GUEST)

    def _hurry(self, instance: Object, grace_s: int) -> None:
        for pod in self._pods(instance):
            guest = self._guest(pod)
            if guest is not None:
                guest.hurry(grace_s)

    def _nudge(self, call: Call, state: str) -> None:
        """Show in the instance's status at once whether its file systems are frozen."""

        def alter(instance: Object) -> Object:
            status = {key: value for key, value in (instance.get("status") or {}).items() if key != "fsFreezeStatus"}
            return {**instance, "status": {**status, **({"fsFreezeStatus": state} if state else {})}}

        _retouch(call, alter)

    def _set_running(self, vm: Object, running: bool, *, dry_run: bool) -> None:
        if vm["spec"].get("runStrategy") is not None:
            change: Object = {"op": "add", "path": "/spec/runStrategy", "value": "Always" if running else "Halted"}
        else:
            change = {"op": "add", "path": "/spec/running", "value": running}
        self._patch(vm, [change], subresource="", dry_run=dry_run)

    def _request(self, vm: Object, requests: list[Object], *, dry_run: bool) -> None:
        """Put state change requests on a VM. A stop replaces what waits; anything else must not find anything waiting."""
        waiting = list(requests_of(vm))
        only_stop = len(requests) == 1 and requests[0]["action"] == "Stop"
        if waiting and not only_stop:
            raise ApiError(500, "Internal error occurred: unable to complete request: stop/start already underway")
        test: list[Object] = [{"op": "test", "path": "/status/stateChangeRequests", "value": waiting}] if waiting else []
        first: list[Object] = [] if vm.get("status") else [{"op": "add", "path": "/status", "value": {}}]
        put = {"op": "add", "path": "/status/stateChangeRequests", "value": requests}
        forget: list[Object] = [{"op": "remove", "path": "/status/startFailure"}] if (vm.get("status") or {}).get("startFailure") else []
        self._patch(vm, [*first, *test, put, *forget], subresource="status", dry_run=dry_run)

    def _patch(self, vm: Object, operations: list[Object], *, subresource: str, dry_run: bool) -> None:
        metadata = vm["metadata"]
        try:
            self._runtime.api.patch(VM, metadata["name"], operations, metadata["namespace"], subresource=subresource, dry_run=dry_run)
        except Conflict as error:
            raise _conflict(VM, metadata["name"], error.why or str(error)) from error
        except Refused as error:
            raise ApiError(500, f"Internal error occurred: {error.why or error}") from error


def _options(call: Call) -> Object:
    if call.body in (None, ""):
        return {}
    body = json.loads(call.body) if isinstance(call.body, str | bytes) else call.body
    if not isinstance(body, dict):
        raise bad_request(f"Can not unmarshal Request body to struct, error: {body!r}")
    return body


def _dry_run(call: Call, options: Object) -> bool:
    return call.dry_run or "All" in (options.get("dryRun") or ())


def _set_grace(call: Call, seconds: int) -> None:
    """Write a grace period into an instance's spec, from inside, as virt-api may."""
    _retouch(call, lambda instance: {**instance, "spec": {**instance["spec"], "terminationGracePeriodSeconds": seconds}})


def _retouch(call: Call, alter: Callable[[Object], Object]) -> None:
    call.server.rewrite(VMI, call.namespace, call.name, alter)


def _title(kind: Kind) -> str:
    return f"{kind.kind.lower()}.{kind.group}"


def _details(kind: Kind, name: str) -> Object:
    return {"name": name, "group": kind.group, "kind": kind.kind.lower()}


def _conflict(kind: Kind, name: str, why: str) -> ApiError:
    words = f'Operation cannot be fulfilled on {_title(kind)} "{name}": {why}'
    return ApiError(409, words, reason="Conflict", details=_details(kind, name))


def _agent_error(words: str) -> ApiError:
    return ApiError(500, f"Internal error occurred: unexpected return code 500 (500 Internal Server Error), message: {words}")


def _absent(kind: Kind, name: str) -> ApiError:
    return ApiError(404, f'{_title(kind)} "{name}" not found', reason="NotFound", details=_details(kind, name))
