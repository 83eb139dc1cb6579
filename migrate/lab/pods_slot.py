"""One container of a pod over all its restarts: its thread, its state, its back-off."""

from __future__ import annotations

import threading
import traceback
from typing import TYPE_CHECKING, Any

from migrate.lab.pods import Container, Killed, Program
from migrate.lab.pods_probe import Probe

if TYPE_CHECKING:
    from datetime import datetime

    from migrate.lab.clock import LabClock

FIRST_BACK_OFF_S = 10.0
LONGEST_BACK_OFF_S = 300.0
FORGIVEN_AFTER_S = 600.0
"""A container that ran so long starts its back-off anew."""
KILL_S = 5.0
"""Seconds that a killed program may take to notice; after that it is left to itself and the log says so."""


def stamp(moment: datetime) -> str:
    """Return a time as the API spells it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Slot:
    """State of one container. All methods are called from the pod's own thread."""

    def __init__(self, spec: dict[str, Any], clock: LabClock, changed: threading.Event) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.clock = clock
        self.container: Container | None = None
        self.previous: Container | None = None
        self.probe = Probe(None, 0)
        self.restarts = 0
        self.restart_at: float | None = None
        self.waiting = ("ContainerCreating", "")
        self.state: dict[str, Any] = {}
        self.last: dict[str, Any] = {}
        self._changed = changed
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._code: int | None = None
        self._fate: tuple[int, str] | None = None
        self._began = 0.0
        self._back_off_s = 0.0

    @property
    def running(self) -> bool:
        return "running" in self.state

    @property
    def ended(self) -> bool:
        """Whether the program has returned and nobody has taken notice yet."""
        return self.running and self._code is not None

    @property
    def exit_code(self) -> int | None:
        """The exit code of a terminated container."""
        code: int | None = self.state.get("terminated", {}).get("exitCode")
        return code

    def start(self, container: Container, program: Program) -> None:
        """Run the program in a thread of its own."""
        self.previous, self.container = self.container, container
        self._code, self._fate, self.restart_at = None, None, None
        self._done = threading.Event()
        self._began = self.clock.monotonic()
        self.probe = Probe(self.spec.get("readinessProbe"), self._began)
        self.state = {"running": {"startedAt": stamp(self.clock.now())}}
        name = f"lab-{container.pod_name[:40]}-{self.name}"
        self._thread = threading.Thread(target=self._run, args=(container, program, self._done), name=name, daemon=True)
        self._thread.start()

    def _run(self, container: Container, program: Program, done: threading.Event) -> None:
        code = 1
        with self.clock.busy():
            try:
                code = program(container)
            except Killed:
                code = 137
            except Exception as error:
                if not container.killed.is_set():
                    container.log(traceback.format_exc())
                    container.terminate(container.message or f"{type(error).__name__}: {error}")
            finally:
                container.close()
                if container is self.container:
                    self._code = code
                done.set()
                self._changed.set()

    def kill(self, code: int, reason: str) -> None:
        """Kill the program (SIGKILL, OOM); its exit code and reason will be these."""
        if self.container is None or not self.running:
            return
        self._fate = (code, reason)
        self.container.killed.set()
        self.container.stop.set()
        self.container.close()

    def stop(self) -> None:
        """Ask the program to end (SIGTERM)."""
        if self.container is not None and self.running:
            self.container.stop.set()

    def wait_ended(self, seconds: float) -> bool:
        """Wait until the program has returned, at most so long."""
        return not self.running or self.clock.wait(self._done, seconds)

    def note_end(self) -> None:
        """Turn a returned program into the state `terminated`."""
        assert self.container is not None
        code, reason = self._fate or (self._code if self._code is not None else 137, "")
        killed = self._fate is not None
        ended: dict[str, Any] = {
            "exitCode": code,
            "reason": reason or ("Completed" if code == 0 else "Error"),
            "startedAt": self.state["running"]["startedAt"],
            "finishedAt": stamp(self.clock.now()),
            "containerID": f"lab://{self.container.pod['metadata']['uid']}/{self.name}/{self.restarts}",
        }
        if self.container.message and not killed:
            ended["message"] = self.container.message
        self.state = {"terminated": ended}
        self.probe.ready = False
        self.probe.next = None

    def plan_restart(self) -> None:
        """Choose the moment of the next start: at once for the first time, then 10 s, doubling to 5 minutes."""
        moment = self.clock.monotonic()
        if moment - self._began > FORGIVEN_AFTER_S:
            self._back_off_s = 0.0
        self.restart_at = moment + max(1.0, self._back_off_s)
        if self._back_off_s:
            self.last = self.state
            self.state = {}
            pod = self.container.pod_name if self.container else ""
            self.waiting = ("CrashLoopBackOff", f"back-off {self._back_off_s:g}s restarting failed container={self.name} pod={pod}")
        self._back_off_s = min(max(FIRST_BACK_OFF_S, self._back_off_s * 2), LONGEST_BACK_OFF_S)

    def note_restart(self) -> None:
        """Count a restart; the state until now becomes the last one."""
        self.restarts += 1
        if self.state:
            self.last = self.state

    def status(self) -> dict[str, Any]:
        """Return the containerStatuses entry."""
        image = self.spec.get("image", "")
        waiting = {"reason": self.waiting[0]} | ({"message": self.waiting[1]} if self.waiting[1] else {})
        return {
            "name": self.name,
            "image": image,
            "imageID": f"lab://{image}" if self.container else "",
            "ready": self.running and self.probe.ready,
            "started": self.running,
            "restartCount": self.restarts,
            "state": self.state or {"waiting": waiting},
            "lastState": self.last,
        } | ({"containerID": f"lab://{self.container.pod['metadata']['uid']}/{self.name}/{self.restarts}"} if self.container else {})
