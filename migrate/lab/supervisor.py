"""`migrate lab up`, `down` and `status`: one process per cluster, found again by the lock that each of them holds.

A lock goes with its process, however that ends, so a dead lab is never taken for a running one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from migrate.lab.clock import RealClock
from migrate.lab.control import ControlFailed, call
from migrate.lab.places import CLUSTERS, LabError, Places, read_state, write_private

START_S = 180.0
STOP_S = 15.0
LOOK_S = 0.1
TAIL = 15
PATIENCE_S = 120.0
"""For answers over the control socket; hashing all disks takes a while."""


class Processes:
    """The processes of the lab in one directory."""

    def __init__(self, directory: Path) -> None:
        self.places = Places(directory.absolute())
        self._clock = RealClock()

    def pid(self, cluster: str) -> int | None:
        """Return the process of a cluster, or None if none runs."""
        path = self.places.lock(cluster)
        try:
            with path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    word = file.read().strip()
                    return int(word) if word.isdecimal() else 0
        except OSError:
            return None
        return None

    def running(self) -> list[str]:
        """Return the names of the clusters that run."""
        return [name for name in CLUSTERS if self.pid(name) is not None]

    def up(self, *, seed: str, releases: Mapping[str, str], speed: float, backend: str, tied: bool, say: Callable[[str], None]) -> None:
        """Start both clusters and return when they are ready with their seeds in place.

        `tied` processes end when this one does. Raise LabError when a lab runs here already, or when one does not come up; then
        nothing is left running.
        """
        self.places.prepare()
        with self._alone():
            self._up(seed=seed, releases=releases, speed=speed, backend=backend, tied=tied, say=say)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let only one `up` at a time work in the directory, and none beside a lab that runs."""
        with self.places.door.open("a") as door:
            try:
                fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LabError(
                    f"another lab is just starting in {self.places.directory}", now="Wait for it, or name another --dir."
                ) from None
            if self.running():
                raise LabError(
                    f"a lab is up in {self.places.directory} ({', '.join(self.running())})",
                    now=f"Use it: export KUBECONFIG={self.places.kubeconfig}. Or end it: migrate lab down --dir {self.places.directory}",
                )
            yield

    def _up(self, *, seed: str, releases: Mapping[str, str], speed: float, backend: str, tied: bool, say: Callable[[str], None]) -> None:
        self.purge(keep_directory=True)
        children: dict[str, subprocess.Popen[bytes]] = {}
        try:
            for name in CLUSTERS:
                children[name] = self._spawn(name, seed=seed, release=releases[name], speed=speed, backend=backend, tied=tied)
            for name, child in children.items():
                self._wait_ready(name, child)
                say(f"{name} is ready: KubeVirt {releases[name]} at {self._server(name)}")
            self._join_kubeconfigs()
        except BaseException:
            for child in children.values():
                child.terminate()
            for child in children.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(STOP_S)
                child.kill()
                child.wait()
            raise

    def _spawn(self, cluster: str, *, seed: str, release: str, speed: float, backend: str, tied: bool) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "migrate.lab.process", cluster, str(self.places.directory), release, seed, str(speed), backend]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(_root()), os.environ.get("PYTHONPATH", "")]))}
        descriptor = os.open(self.places.log(cluster), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "ab") as log:
            return subprocess.Popen(
                [*words, "tied"] if tied else words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def _wait_ready(self, cluster: str, child: subprocess.Popen[bytes]) -> None:
        end = self._clock.monotonic() + START_S
        while read_state(self.places.state(cluster)) is None:
            if child.poll() is not None:
                raise LabError(f"{cluster} ended while it started:\n{self._last_words(cluster)}", now=f"See {self.places.log(cluster)}.")
            if self._clock.monotonic() > end:
                raise LabError(
                    f"{cluster} is not ready after {START_S:g} s:\n{self._last_words(cluster)}", now=f"See {self.places.log(cluster)}."
                )
            self._clock.sleep(LOOK_S)

    def _last_words(self, cluster: str) -> str:
        try:
            lines = self.places.log(cluster).read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"  {line}" for line in lines[-TAIL:])

    def _server(self, cluster: str) -> str:
        return str((read_state(self.places.state(cluster)) or {}).get("url", ""))

    def _join_kubeconfigs(self) -> None:
        joined: dict[str, Any] = {}
        for name in CLUSTERS:
            part = json.loads((self.places.cluster(name) / "kubeconfig").read_text())
            for word in ("clusters", "users", "contexts"):
                joined.setdefault(word, []).extend(part[word])
            joined = {**part, **joined, "current-context": CLUSTERS[0]}
        write_private(self.places.kubeconfig, json.dumps(joined, indent=1) + "\n")

    def wait(self) -> list[str]:
        """Wait until a cluster's process has ended; return the names of those that have."""
        while len(self.running()) == len(CLUSTERS):
            self._clock.sleep(1.0)
        return [name for name in CLUSTERS if self.pid(name) is None]

    def down(self) -> list[str]:
        """End all processes, kindly first, by force after 15 seconds; return the names of the clusters that ran."""
        found = self.running()
        self._signal(signal.SIGTERM)
        end = self._clock.monotonic() + STOP_S
        while self.running() and self._clock.monotonic() < end:
            self._clock.sleep(LOOK_S)
        self._signal(signal.SIGKILL)
        while self.running() and self._clock.monotonic() < end + STOP_S:
            self._clock.sleep(LOOK_S)
        for name in CLUSTERS:
            self.places.state(name).unlink(missing_ok=True)
        return found

    def _signal(self, number: signal.Signals) -> None:
        for name in self.running():
            pid = self.pid(name)
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def purge(self, *, keep_directory: bool = False) -> None:
        """Remove what a lab put into its directory, and the directory when it is empty then. Nothing else is touched."""
        for path in [*self.places.made(), *([] if keep_directory else [self.places.door])]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if not keep_directory and self.places.directory.exists() and not any(self.places.directory.iterdir()):
            self.places.directory.rmdir()

    def status(self) -> list[dict[str, Any]]:
        """Return how each cluster stands: what its process says of itself, or why it says nothing."""
        return [self._status(name) for name in CLUSTERS]

    def _status(self, cluster: str) -> dict[str, Any]:
        pid = self.pid(cluster)
        if pid is None:
            left = self.places.log(cluster).exists()
            problem = f"its process has ended; see {self.places.log(cluster)}" if left else "never started"
            return {"cluster": cluster, "state": "down", "pid": None, "problem": problem}
        try:
            said = self.ask(cluster, "GET", "/status")
        except LabError as error:
            return {"cluster": cluster, "state": "starting", "pid": pid, "problem": str(error)}
        return {"cluster": cluster, "state": "up", "problem": "", **said}

    def ask(self, cluster: str, method: str, path: str, body: Any = None) -> Any:
        """Ask a running cluster over its control socket. Raise LabError when it does not run, does not answer, or refuses."""
        if cluster not in CLUSTERS:
            raise LabError(f"there is no cluster {cluster!r}", now=f"Known: {', '.join(CLUSTERS)}.")
        if self.pid(cluster) is None:
            start = f"migrate lab up --dir {self.places.directory}"
            raise LabError(f"{cluster} is not running in {self.places.directory}", now=f"Start a lab: {start}")
        try:
            return call(self.places.socket(cluster), method, path, body, timeout_s=PATIENCE_S)
        except ControlFailed as refusal:
            raise LabError(f"{cluster}: {refusal}") from None
        except (OSError, ValueError) as problem:
            raise LabError(
                f"{cluster} does not answer: {problem}", now=f"It may still be starting; see {self.places.log(cluster)}."
            ) from None


def _root() -> Path:
    """Return the directory that holds the package, so that the children run the same code."""
    return Path(__file__).resolve().parents[2]
