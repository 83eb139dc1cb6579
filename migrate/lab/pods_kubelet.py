"""The kubelet of a lab cluster's one node: starts and ends the pods that are bound to it, and answers for their logs and ports."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from migrate.kube.kinds import POD, Kind
from migrate.lab.controller import Controller, Key, Object, Runtime, itself
from migrate.lab.pods import Container
from migrate.lab.pods_run import PodRun
from migrate.lab.storage import Volumes
from migrate.lab.trouble import Order

END = ("Succeeded", "Failed")


class Kubelet(Controller):
    """Runs pods. It is also the `Node` that the API server asks for logs and connections."""

    name = "kubelet"

    def __init__(self, runtime: Runtime, volumes: Volumes, directory: Path, *, node: str) -> None:
        super().__init__(runtime)
        self.volumes = volumes
        self.directory = directory
        self.node = node
        self._runs: dict[Key, PodRun] = {}
        self._lock = threading.Lock()
        runtime.node = self
        runtime.trouble.listen(self._troubled)

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [(POD, itself)]

    def _troubled(self, order: Order) -> None:
        if order.where == "node":
            for run in self._all():
                run.wake.set()

    def _all(self) -> list[PodRun]:
        with self._lock:
            return list(self._runs.values())

    def reconcile(self, namespace: str, name: str) -> float | None:
        pod = self.runtime.cache(POD).get(namespace, name)
        run = self._runs.get((namespace, name))
        if run is not None and (pod is None or pod["metadata"]["uid"] != run.pod["metadata"]["uid"]):
            run.vanish()
            with self.clock.idle():
                run.join(5)
            run.mounts.remove()
            with self._lock:
                del self._runs[(namespace, name)]
            run = None
        if pod is None or pod["spec"].get("nodeName") != self.node:
            self._let_go(pod)
            return None
        deleted = pod["metadata"].get("deletionTimestamp")
        if run is None:
            if deleted:
                self._let_go(pod, force=True)
            elif (pod.get("status") or {}).get("phase") not in END:
                run = PodRun(self.runtime, self.volumes, self.directory, pod)
                with self._lock:
                    self._runs[(namespace, name)] = run
                run.start()
        elif deleted and run.finished:
            self._let_go(pod, force=True)
        elif deleted:
            run.delete(float(pod["metadata"].get("deletionGracePeriodSeconds") or 0))
        return None

    def _let_go(self, pod: Object | None, *, force: bool = False) -> None:
        """Remove a deleted pod that has nothing running: never bound to a node, or ended."""
        if pod is None or not pod["metadata"].get("deletionTimestamp"):
            return
        if force or not pod["spec"].get("nodeName"):
            meta = pod["metadata"]
            self.runtime.api.delete(POD, meta["name"], meta["namespace"], uid=meta["uid"], grace_s=0)

    def stop(self) -> None:
        """End all pods at once (the machine is switched off), then the controller."""
        super().stop()
        for run in self._all():
            run.vanish()
        with self.clock.idle():
            for run in self._all():
                run.join(2)

    def container(self, namespace: str, pod: str) -> Container | None:
        """Return the running (first) container of a pod."""
        run = self._runs.get((namespace, pod))
        return next((slot.container for slot in run.slots if slot.running), None) if run else None

    def dial(self, namespace: str, pod: str, port: int) -> socket.socket:
        """Connect to a port of a pod. Raise ConnectionRefusedError when nothing listens."""
        run = self._runs.get((namespace, pod))
        real = run.ports.get(port) if run else None
        if real is None:
            raise ConnectionRefusedError(f"nothing listens on port {port} of pod {namespace}/{pod}")
        return socket.create_connection(("127.0.0.1", real), timeout=10)

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        tail: int | None = None,
        since: str = "",
        follow: bool = False,
        previous: bool = False,
    ) -> Iterator[bytes]:
        """Return the lines of a container's log, each with its newline. Raise LookupError when there is no such container or run."""
        run = self._runs.get((namespace, pod))
        slot = next((slot for slot in run.slots if container in ("", slot.name)), None) if run else None
        if run is None or slot is None:
            raise LookupError(f"container {container} in pod {pod} is not available")
        shown = slot.previous if previous else slot.container
        if shown is None:
            what = "previous terminated container" if previous else "container"
            raise LookupError(
                f'{what} "{slot.name}" in pod "{pod}" not found'
                if previous
                else f'container "{slot.name}" in pod "{pod}" is waiting to start'
            )
        return self._lines(run, shown, tail, since, follow=follow)

    def _lines(self, run: PodRun, container: Container, tail: int | None, since: str, *, follow: bool) -> Iterator[bytes]:
        lines = [line for stamp, line in list(container.lines) if stamp >= since]
        yield from (f"{line}\n".encode() for line in (lines if tail is None else lines[max(0, len(lines) - tail) :]))
        sent = container.written
        while follow:
            fresh = container.after(sent)
            sent += len(fresh)
            yield from (f"{line}\n".encode() for _, line in fresh)
            ended = run.finished or all(slot.container is not container or not slot.running for slot in run.slots)
            if ended and container.written == sent:
                return
            if not fresh:
                container.logged.clear()
                if container.written == sent:
                    self.clock.wait(container.logged, 1.0)
