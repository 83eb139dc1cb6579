"""The command line as a person uses it: a process of its own, an empty home, and a lab that runs in real time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from migrate.lab.up import Lab

ROOT = Path(__file__).resolve().parents[2]
MIGRATE = [sys.executable, "-m", "migrate"]


class Shell:
    """Runs `migrate` against a lab, in a directory of its own."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.directory = directory
        for name in ("home", "tmp", "work"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(directory / "home"),
            "TMPDIR": str(directory / "tmp"),
            "KUBECONFIG": str(lab.kubeconfig),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def __call__(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code."""
        done = subprocess.run(
            [*MIGRATE, *words], env=self.environment, cwd=self.directory / "work", capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command; its stdout is read by the caller, its stderr goes to the file `stderr`."""
        with (self.directory / "stderr").open("a") as errors:
            return subprocess.Popen(
                [*MIGRATE, *words], env=self.environment, cwd=self.directory / "work", stdout=subprocess.PIPE, stderr=errors, text=True
            )

    def json(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        """Run a command with `-o json` and return the objects of its lines."""
        return [json.loads(line) for line in self(*words, "-o", "json", code=code).stdout.splitlines()]

    def writes(self, deed: Callable[[], object]) -> list[str]:
        """Return what `migrate` wrote on either side while the deed was done. Dry runs and access reviews are no writes."""
        marks = {name: cluster.requests.mark for name, cluster in self.lab.clusters.items()}
        deed()
        return [
            f"{name}: {asked.verb} {asked.resource}/{asked.name}"
            for name, cluster in self.lab.clusters.items()
            for asked in cluster.requests.since(marks[name], user_agent="kubevirt-migrate", sort="write")
        ]
