"""The programs of a control plane as child processes that never outlive us, however we end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from migrate.lab.clock import RealClock
from migrate.lab.places import LabError

STOP_S = 10.0
TAIL = 12
_GUARD = "trap '' TERM; cat >/dev/null; kill -TERM 0; sleep 5; kill -KILL 0"
"""Reads a pipe that nobody writes to: when our end of it is gone, for whatever reason, so is the process group."""


class Group:
    """A process group with a guard in it, which ends the group when this process is gone, killed included."""

    def __init__(self) -> None:
        self._guard = subprocess.Popen(["/bin/sh", "-c", _GUARD], stdin=subprocess.PIPE, process_group=0)
        self._children: list[Child] = []

    def spawn(self, words: list[str], log: Path) -> Child:
        """Start a program; what it says is appended to the log."""
        child = Child(words, log, group=self._guard.pid)
        self._children.append(child)
        return child

    def stop(self) -> None:
        """End every program, the last one first, and the guard."""
        for child in reversed(self._children):
            child.stop()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._guard.pid, signal.SIGKILL)
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()


class Child:
    """One program."""

    def __init__(self, words: list[str], log: Path, *, group: int) -> None:
        self.name = Path(words[0]).name
        self.log = log
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, process_group=group)

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raise LabError, with its last words, when the program has ended."""
        code = self._process.poll()
        if code is not None:
            raise LabError(f"{self.name} ended with code {code}:\n{self.last_words()}", now=f"See {self.log}.")

    def last_words(self) -> str:
        """Return the end of its log, indented."""
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL:]
        return "\n".join(f"  {line[:300]}" for line in lines)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the program, by force after ten seconds."""
        if self._process.poll() is not None:
            return
        self._process.send_signal(number)
        clock = RealClock()
        end = clock.monotonic() + STOP_S
        while self._process.poll() is None and clock.monotonic() < end:
            clock.sleep(0.05)
        self._process.kill()
        self._process.wait()
