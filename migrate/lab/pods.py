"""What a program in a pod sees of its node: environment, volumes, log, signals, sockets.

Programs are Python functions under an image name; the kubelet runs each in a thread of its own. What they see is what the real
programs see, so that a missing Secret, a full disk or a kill hurts them in the same places.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from migrate.lab.clock import LabClock
    from migrate.lab.trouble import Trouble

Program = Callable[["Container"], int]
"""Runs until the work is done or `stop` is set; returns the exit code. An exception is exit code 1 with its text in the log."""

PROGRAMS: dict[str, Program] = {}
"""Image name -> program; filled by lab/cluster.py from what KubeVirt and CDI bring along."""

PORTS = "lab.kubevirt-migrate.io/ports"
"""Pod annotation: JSON, container port -> the port on 127.0.0.1 that really listens."""

LOG_LINES = 5000
MESSAGE_BYTES = 4096
"""The kubelet cuts termination messages here."""


class Killed(Exception):
    """The container was killed (OOM, eviction, end of the grace period); raised by `Container.check` inside the program."""


class Node(Protocol):
    """What the API server and the agents of a node ask of it."""

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
        """Return the lines of a container's log; `since` is an RFC 3339 time. Raise LookupError when there is no such container."""
        ...

    def dial(self, namespace: str, pod: str, port: int) -> socket.socket:
        """Connect to a port of a pod. Raise ConnectionRefusedError when nothing listens."""
        ...

    def container(self, namespace: str, pod: str) -> Container | None:
        """Return the running (first) container of a pod."""
        ...


@dataclass(frozen=True, slots=True)
class Mounted:
    """The volumes of a container: directories by mount path, files by device path, and how big the claims behind them are."""

    mounts: Mapping[str, Path]
    devices: Mapping[str, Path]
    capacities: Mapping[Path, int]


class Container:
    """One run of one container. A restart gets a new one."""

    def __init__(
        self,
        pod: dict[str, Any],
        spec: dict[str, Any],
        *,
        clock: LabClock,
        trouble: Trouble,
        env: dict[str, str],
        volumes: Mounted,
        on_listen: Callable[[int, int], None],
    ) -> None:
        self.pod = pod
        self.spec = spec
        self.name: str = spec["name"]
        self.env = env
        self.args: list[str] = [*spec.get("command", ()), *spec.get("args", ())]
        self.mounts = volumes.mounts
        self.devices = volumes.devices
        self._capacities = volumes.capacities
        self.clock = clock
        self.trouble = trouble
        self.stop = threading.Event()
        """SIGTERM: finish within the grace period. Also set by a kill."""
        self.killed = threading.Event()
        """SIGKILL: touch nothing any more and return."""
        self.message = ""
        self.lines: deque[tuple[str, str]] = deque(maxlen=LOG_LINES)
        """(RFC 3339 time, line)"""
        self.logged = threading.Event()
        """Set with every line; whoever follows the log clears it."""
        self.shared: dict[str, Any] = {}
        """Between the program and the node's own agents (virt-handler), which on a real node talk over local sockets."""
        self.written = 0
        """Lines logged so far, those included that are no longer kept."""
        self._on_listen = on_listen
        self._sockets: list[socket.socket] = []

    @property
    def namespace(self) -> str:
        return str(self.pod["metadata"]["namespace"])

    @property
    def pod_name(self) -> str:
        return str(self.pod["metadata"]["name"])

    def path(self, inside: str) -> Path:
        """Map a path inside the container to the real one, through devices and the longest matching mount.

        Raises FileNotFoundError when no volume is mounted there: programs have no other files.
        """
        if inside in self.devices:
            return self.devices[inside]
        wanted = PurePosixPath(inside)
        for mount in sorted(self.mounts, key=len, reverse=True):
            if wanted.is_relative_to(mount):
                return self.mounts[mount] / wanted.relative_to(mount)
        raise FileNotFoundError(f"nothing is mounted at {inside} in container {self.name}")

    def free_bytes(self, inside: str) -> int:
        """Return the free space of the claim mounted at a path (statfs): its capacity less what its files really occupy."""
        root = self.mounts[inside]
        used = sum(file.stat().st_blocks * 512 for file in root.rglob("*") if file.is_file())
        return max(0, self._capacities[root] - used)

    def log(self, line: str) -> None:
        """Write one line to the container's log."""
        stamp = self.clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        for part in line.splitlines() or [""]:
            self.lines.append((stamp, part))
            self.written += 1
        self.logged.set()

    def after(self, count: int) -> list[tuple[str, str]]:
        """Return the lines that came after the first `count` ones."""
        fresh = self.written - count
        return list(self.lines)[-fresh:] if fresh > 0 else []

    def terminate(self, message: str) -> None:
        """Set the termination message (what /dev/termination-log is for)."""
        self.message = message.encode()[:MESSAGE_BYTES].decode(errors="ignore")

    def check(self) -> None:
        """Raise Killed when the container was killed; call it in every long loop, before every write to a disk."""
        if self.killed.is_set():
            raise Killed

    def listen(self, container_port: int) -> socket.socket:
        """Return a socket that listens on 127.0.0.1 in place of the pod's port; it is closed when the container ends."""
        server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._sockets.append(server)
        self._on_listen(container_port, server.getsockname()[1])
        return server

    def close(self) -> None:
        """Close what the program listened on (the kubelet calls it)."""
        for server in self._sockets:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
