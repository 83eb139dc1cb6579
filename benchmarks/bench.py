"""What the benchmarks share: a lab of their own, child processes that are measured, and a table."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MIGRATE = [sys.executable, "-m", "migrate"]
FIGURES = Path(__file__).with_name("figures.md")
PEAK_MIB = 80


SEED = """apiVersion: v1
kind: Namespace
metadata: {{name: shop, annotations: {{lab.kubevirt-migrate.io/cluster: both}}}}
---
apiVersion: cdi.kubevirt.io/v1beta1
kind: DataVolume
metadata: {{name: {vm}-root, namespace: shop}}
spec:
  source: {{blank: {{}}}}
  storage: {{storageClassName: fast, volumeMode: Filesystem, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {mib}Mi}}}}}}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {{name: {vm}, namespace: shop}}
spec:
  runStrategy: Halted
  template:
    spec:
      domain: {{devices: {{disks: [{{name: root, disk: {{bus: virtio}}}}]}}, memory: {{guest: 512Mi}}}}
      volumes: [{{name: root, dataVolume: {{name: {vm}-root}}}}]
"""


def seed(vm: str, mib: int) -> str:
    """Return one halted VM with one disk, a quarter of it random."""
    return SEED.format(vm=vm, mib=mib)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took."""

    seconds: float
    cpu_s: float
    peak_mib: float
    """Peak resident size of the largest single process."""
    requests: dict[str, int]
    """Requests to each cluster's API server, those of the lab's own controllers left out."""


@contextmanager
def lab(seed: str) -> Iterator[Path]:
    """Start a lab of two clusters from a seed text; take it down at the end."""
    directory = Path(tempfile.mkdtemp(prefix="migrate-bench-"))
    (directory / "seed.yaml").write_text(seed, encoding="utf-8")
    home = directory / "lab"
    try:
        subprocess.run(
            [*MIGRATE, "lab", "up", "--dir", str(home), "--detach", "--seed", str(directory / "seed.yaml")], check=True, stdout=2
        )
        os.environ["KUBECONFIG"] = str(home / "kubeconfig")
        yield home
    finally:
        subprocess.run([*MIGRATE, "lab", "down", "--dir", str(home)], check=False, stdout=2)
        shutil.rmtree(directory, ignore_errors=True)


def requests(home: Path) -> dict[str, int]:
    """Count the requests that came from outside the lab, by cluster."""
    said = subprocess.run([*MIGRATE, "lab", "status", "--dir", str(home), "-o", "json"], check=True, capture_output=True, text=True)
    return {
        cluster["cluster"]: sum(sum(counts.values()) for agent, counts in cluster["requests"].items() if agent != "lab")
        for cluster in json.loads(said.stdout)
    }


def measured(words: Sequence[str], home: Path, out: IO[str] | None = None) -> Cost:
    """Run a command to its end and measure it; what it prints goes to `out`, or is thrown away. Raises CalledProcessError."""
    before = requests(home)
    began = time.monotonic()
    child = subprocess.Popen(words, stdout=out or subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    took = time.monotonic() - began
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, words)
    after = requests(home)
    return Cost(took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, {name: after[name] - before[name] for name in after})


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure should be: at least so much, or at most."""

    what: str
    found: float
    least: float | None = None
    most: float | None = None

    @property
    def met(self) -> bool:
        """Whether the figure is within its bounds."""
        return (self.least is None or self.found >= self.least) and (self.most is None or self.found <= self.most)

    @property
    def row(self) -> tuple[str, str, str, str]:
        """The aim as a row of a table."""
        wanted = f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"
        return self.what, wanted, f"{self.found:.2f}", "met" if self.met else "MISSED"


def judged(what: str, aims: Sequence[Aim], *, keep: bool) -> int:
    """Print each figure beside its aim, and keep them in figures.md if asked. Return the exit code: 1 when an aim is missed."""
    print()
    heads = ("figure", "aim", "found", "")
    table(heads, [aim.row for aim in aims])
    if keep:
        commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True).stdout.strip()
        lines = ["", f"## {what}", "", f"{time.strftime('%Y-%m-%d', time.gmtime())}, commit {commit}, {os.cpu_count()} cores", ""]
        lines += [f"| {' | '.join(cells)} |" for cells in (heads, ("---",) * len(heads), *(aim.row for aim in aims))]
        with FIGURES.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    return 0 if all(aim.met for aim in aims) else 1


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under heads."""
    lines = [[str(cell) for cell in line] for line in (heads, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
