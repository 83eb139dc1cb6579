"""One pod on its node, from its volumes to its end; one thread each."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from migrate.kube.kinds import POD
from migrate.lab.pods import PORTS, PROGRAMS, Container
from migrate.lab.pods_mounts import Mounts, NotYet
from migrate.lab.pods_slot import KILL_S, Slot, stamp
from migrate.lab.pods_status import condition, pod_status
from migrate.model.errors import MigrateError

if TYPE_CHECKING:
    from pathlib import Path

    from migrate.lab.controller import Runtime
    from migrate.lab.storage import Volumes
    from migrate.lab.trouble import Order

REFRESH_S = 10.0
"""How often mounted Secrets and ConfigMaps are brought up to date (the real kubelet: up to about a minute and a half late)."""
RETRY_S = 2.0
MINIMUM_WAIT_S = 0.001


class PodRun:
    """The life of one pod. `wake` makes its thread look again; the thread alone touches the slots."""

    def __init__(self, runtime: Runtime, volumes: Volumes, directory: Path, pod: dict[str, Any]) -> None:
        self.runtime = runtime
        self.clock = runtime.clock
        self.pod = pod
        self.wake = threading.Event()
        self.ports: dict[int, int] = {}
        self.slots = [Slot(spec, runtime.clock, self.wake) for spec in pod["spec"]["containers"]]
        self.mounts = Mounts(runtime, volumes, directory / pod["metadata"]["uid"], pod)
        self.finished = False
        """The pod has come to its own end (Succeeded or Failed), or was taken away."""
        self._deletion: float | None = None
        """Seconds of grace, once deletion was asked for."""
        self._gone = False
        self._refresh_at: float | None = None
        self._told: set[str] = set()
        self._patched: dict[str, Any] = {}
        self._ports_told: dict[int, int] = {}
        self._started = stamp(runtime.clock.now())
        self._eviction = ""
        self._prepared = False
        self._waits_for: tuple[str, float] | None = None
        self._thread = threading.Thread(target=self._live, name=f"lab-pod-{pod['metadata']['name'][:60]}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def delete(self, grace_s: float) -> None:
        """Ask for the end, with so much grace."""
        if self._deletion is None or grace_s < self._deletion:
            self._deletion = grace_s
            self.wake.set()

    def vanish(self) -> None:
        """The object is gone from the API: kill what still runs, say nothing."""
        self._gone = True
        self._deletion = 0.0
        self.wake.set()

    def join(self, seconds: float) -> None:
        """Wait for the thread, in real seconds."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _live(self) -> None:
        try:
            with self.clock.busy():
                while self._deletion is None and not self.finished:
                    wait_s = self._step()
                    if self._deletion is None and not self.finished and not self.wake.is_set():
                        self.clock.wait(self.wake, wait_s)
                    self.wake.clear()
                if self._deletion is not None:
                    self._end()
        except Exception:
            self.runtime.log.exception(
                "the pod %s/%s was lost by its node", self.pod["metadata"]["namespace"], self.pod["metadata"]["name"]
            )

    def _step(self) -> float | None:
        """Do what is due now; return the seconds until something else is."""
        if not self._prepared and not self._prepare():
            self._publish()
            return RETRY_S
        moment = self.clock.monotonic()
        if self._refresh_at is not None and self._refresh_at <= moment:
            self._refresh_at = moment + REFRESH_S
            self.mounts.refresh()
        self._obey()
        for slot in self.slots:
            self._advance(slot, moment)
        self._publish()
        dues = [self._refresh_at, *(slot.probe.next for slot in self.slots), *(slot.restart_at for slot in self.slots)]
        soonest = min((due for due in dues if due is not None), default=None)
        return None if soonest is None else max(MINIMUM_WAIT_S, soonest - self.clock.monotonic())

    def _prepare(self) -> bool:
        order = None if self._waits_for else self._order("delay")
        if order is not None:
            self._waits_for = ("delay", self.clock.monotonic() + order.number("seconds", 10))
        if self._waits_for and self._waits_for[1] > self.clock.monotonic():
            return False
        try:
            self.mounts.prepare()
        except NotYet as missing:
            self._tell("Warning", missing.reason, str(missing))
            return False
        self._prepared = True
        if self.mounts.projects:
            self._refresh_at = self.clock.monotonic() + REFRESH_S
        return True

    def _advance(self, slot: Slot, moment: float) -> None:
        if slot.ended:
            slot.note_end()
            if self._restarts(slot):
                slot.plan_restart()
            return
        if slot.running:
            if slot.probe.next is not None and slot.probe.next <= moment:
                slot.probe.ask(moment, self.ports)
            return
        if slot.exit_code is not None and slot.restart_at is None:
            return
        if slot.restart_at is None or slot.restart_at <= moment:
            self._start(slot, moment)

    def _restarts(self, slot: Slot) -> bool:
        if self._eviction:
            return False
        match self.pod["spec"].get("restartPolicy", "Always"):
            case "Always":
                return True
            case "OnFailure":
                return slot.exit_code != 0
            case _:
                return False

    def _start(self, slot: Slot, moment: float) -> None:
        program = PROGRAMS.get(slot.spec.get("image", ""))
        if program is None:
            image = slot.spec.get("image", "")
            slot.waiting = ("ImagePullBackOff", f'Back-off pulling image "{image}"')
            self._tell("Warning", "Failed", f'Failed to pull image "{image}": not found')
            slot.restart_at = moment + 30
            return
        try:
            environment, mounted = self.mounts.environment(slot.spec), self.mounts.of(slot.spec)
        except NotYet as missing:
            slot.waiting = (missing.reason if missing.reason == "CreateContainerConfigError" else "ContainerCreating", str(missing))
            self._tell("Warning", missing.reason, str(missing))
            slot.restart_at = moment + RETRY_S
            return
        if slot.container is not None:
            slot.note_restart()
        container = Container(
            self.pod,
            slot.spec,
            clock=self.clock,
            trouble=self.runtime.trouble,
            env=environment,
            volumes=mounted,
            on_listen=self._listens,
        )
        slot.start(container, program)
        self._tell("Normal", "Started", f"Started container {slot.name}", again=True)

    def _listens(self, container_port: int, port: int) -> None:
        self.ports = {**self.ports, container_port: port}
        self.wake.set()

    def _order(self, *actions: str, slot: Slot | None = None) -> Order | None:
        meta = self.pod["metadata"]
        labels = meta.get("labels") or {}
        spec = slot.spec if slot else self.pod["spec"]["containers"][0]
        return self.runtime.trouble.find(
            "node",
            *actions,
            namespace=meta["namespace"],
            name=meta["name"],
            image=spec.get("image", ""),
            container=spec["name"],
            app=labels.get("kubevirt.io") or labels.get("cdi.kubevirt.io") or labels.get("app", ""),
        )

    def _obey(self) -> None:
        """Follow the orders for this node: kill a container, or evict the pod."""
        for slot in self.slots:
            order = self._order("evict", "restart", "oom", slot=slot) if slot.running and not slot.ended else None
            if order is None:
                continue
            if order.action == "evict":
                self._eviction = order.text("message", "The node was low on resource: memory.")
                self._tell("Warning", "Evicted", self._eviction)
                for each in self.slots:
                    each.kill(137, "Error")
                    each.wait_ended(KILL_S)
            elif order.action == "oom":
                slot.kill(137, "OOMKilled")
            else:
                slot.kill(order.count("code", 1), "Error")
            slot.wait_ended(KILL_S)

    def _end(self) -> None:
        """Stop all containers, kill what does not stop in time, and let the object go."""
        asked = self.clock.monotonic()
        if not self._gone and any(slot.running for slot in self.slots):
            self._tell("Normal", "Killing", f"Stopping container {self.slots[0].name}")
        for slot in self.slots:
            slot.stop()
        for slot in self.slots:
            self._grant(slot, asked)
            if slot.running and not slot.ended:
                slot.kill(137, "Error")
                if not slot.wait_ended(KILL_S):
                    self.runtime.log.error("container %s of %s ignores its kill", slot.name, self.pod["metadata"]["name"])
            if slot.running:
                slot.note_end()
        self.finished = True
        if not self._gone:
            self._publish()
            meta = self.pod["metadata"]
            self.runtime.api.delete(POD, meta["name"], meta["namespace"], uid=meta["uid"], grace_s=0)

    def _grant(self, slot: Slot, asked: float) -> None:
        """Wait for a stopped container, as long as the grace lasts (a second deletion may shorten it)."""
        while slot.running and not slot.ended and not self._gone:
            left = asked + (self._deletion or 0.0) - self.clock.monotonic()
            if left <= 0:
                return
            self.wake.clear()
            if not slot.ended:
                self.clock.wait(self.wake, left)

    def _tell(self, type_: str, reason: str, message: str, *, again: bool = False) -> None:
        if again or message not in self._told:
            self._told.add(message)
            self.runtime.event(self.pod, type_, reason, message, "kubelet")

    def _publish(self) -> None:
        """Write the pod's status if it differs from what was last written."""
        status = self._status()
        meta = self.pod["metadata"]
        try:
            if self.ports != self._ports_told:
                self._ports_told = self.ports
                mark = {PORTS: json.dumps({str(inside): port for inside, port in self.ports.items()})}
                self.runtime.api.merge(POD, meta["name"], {"metadata": {"annotations": mark}}, meta["namespace"])
            if status != self._patched:
                self.runtime.api.merge(POD, meta["name"], {"status": status}, meta["namespace"], subresource="status")
                self._patched = status
            self.finished = self.finished or status["phase"] in ("Succeeded", "Failed")
        except MigrateError as error:
            self._ports_told = {}
            self.runtime.log.info("status of pod %s not written: %s", meta["name"], error)
            if getattr(error, "status", 0) == 404:
                self.finished = True
            else:
                self.wake.set()
                self.clock.sleep(0.2)

    def _phase(self) -> str:
        if self._eviction:
            return "Failed"
        if not any(slot.container for slot in self.slots):
            return "Pending"
        if all(slot.exit_code is not None and slot.restart_at is None for slot in self.slots):
            return "Succeeded" if all(slot.exit_code == 0 for slot in self.slots) else "Failed"
        return "Running"

    def _status(self) -> dict[str, Any]:
        before = {entry["type"]: entry for entry in self._patched.get("conditions", ())}
        now = stamp(self.clock.now())
        return pod_status(
            self._phase(),
            [slot.status() for slot in self.slots],
            started=self._started,
            prepared=self._prepared,
            eviction=self._eviction,
            condition=lambda type_, true, why_not: condition(type_, true, why_not, before=before.get(type_), now=now),
        )
