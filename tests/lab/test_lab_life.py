"""`migrate lab`: up, found again, asked, killed, down."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from migrate.cli.main import run

ROOT = Path(__file__).resolve().parents[2]
MIGRATE = [sys.executable, "-c", "from migrate.cli.main import run; run()", "lab"]


@dataclass(frozen=True)
class Said:
    """What a command wrote."""

    stdout: str
    stderr: str


class Shell:
    """A command line with one lab directory. Commands run in this process, which saves half a second each."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *words: str, code: int = 0) -> Said:
        out, err, ended = io.StringIO(), io.StringIO(), 0
        before, handler = sys.argv, signal.getsignal(signal.SIGTERM)
        sys.argv = ["migrate", "lab", words[0], "--dir", str(self.directory), *words[1:]]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                run()
        except SystemExit as leaving:
            ended = int(leaving.code or 0)
        finally:
            sys.argv = before
            signal.signal(signal.SIGTERM, handler)
        assert ended == code, out.getvalue() + err.getvalue()
        return Said(out.getvalue(), err.getvalue())

    def status(self) -> dict[str, dict[str, object]]:
        return {row["cluster"]: row for row in json.loads(self("status", "-o", "json").stdout)}


SEED = """
apiVersion: v1
kind: Namespace
metadata: {name: own, annotations: {lab.kubevirt-migrate.io/cluster: both}}
---
apiVersion: cdi.kubevirt.io/v1beta1
kind: DataVolume
metadata: {name: root, namespace: own}
spec:
  source: {blank: {}}
  storage: {resources: {requests: {storage: 2Mi}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: only-west, namespace: own, annotations: {lab.kubevirt-migrate.io/cluster: west}}
data: {a: b}
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    directory = tmp_path_factory.mktemp("life")
    (directory / "seed.yaml").write_text(SEED)
    made = Shell(directory / "lab")
    made("up", "--detach", "--seed", str(directory / "seed.yaml"), "--kubevirt", "v1.6", "--kubevirt", "west=v1.9", "--speed", "4")
    yield made
    made("down", "--purge")


def test_a_lab_is_private(shell: Shell) -> None:
    """The directory is for its owner alone, and so is the kubeconfig, which has both contexts."""
    kubeconfig = shell.directory / "kubeconfig"
    assert stat.S_IMODE(shell.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(kubeconfig.stat().st_mode) == 0o600
    assert [context["name"] for context in yaml.safe_load(kubeconfig.read_text())["contexts"]] == ["east", "west"]


def test_status_says_how_it_stands(shell: Shell) -> None:
    """Each cluster tells its release, address, process and who asked how much."""
    rows = shell.status()
    assert {name: row["release"] for name, row in rows.items()} == {"east": "v1.6", "west": "v1.9"}
    assert all(row["state"] == "up" and str(row["url"]).startswith("https://127.0.0.1:") for row in rows.values())
    assert "KubeVirt v1.6" in shell("status").stdout


def test_seeds_are_in_place(shell: Shell) -> None:
    """A blank DataVolume of the seed is a bound disk with content, on the cluster that it names."""
    rows = json.loads(shell("disks", "-o", "json").stdout)
    assert [(row["cluster"], row["namespace"], row["pvc"], row["bytes"]) for row in rows] == [("east", "own", "root", 2 << 20)]
    assert len(rows[0]["sha256"]) == 64
    assert "own/root" in shell("disks").stdout


def test_a_second_lab_is_refused(shell: Shell) -> None:
    """`up` beside a running lab ends with 2 and says what runs and what to do."""
    again = shell("up", "--detach", code=2)
    assert "a lab is up in" in again.stderr
    assert "migrate lab down" in again.stderr
    assert all(row["state"] == "up" for row in shell.status().values())


def test_trouble_is_ordered_listed_and_withdrawn(shell: Shell) -> None:
    """An order is taken, listed and cleared; what no part of the lab knows is refused with the known words."""
    shell("trouble", "east", "export", "drop", "after=2Mi", "times=1", "volume=root")
    listed = json.loads(shell("trouble", "--list", "-o", "json").stdout)
    assert [(row["cluster"], row["where"], row["action"], row["args"], row["match"], row["times"]) for row in listed] == [
        ("east", "export", "drop", {"after": "2Mi"}, {"volume": "root"}, 1)
    ]
    assert "cleared" in shell("trouble", "--clear").stdout
    assert json.loads(shell("trouble", "--list", "-o", "json").stdout) == []
    assert "known places" in shell("trouble", "east", "moon", "drop", code=2).stderr
    assert "it can:" in shell("trouble", "east", "export", "explode", code=2).stderr
    assert "it knows:" in shell("trouble", "east", "export", "drop", "colour=red", code=2).stderr
    assert "not a number" in shell("trouble", "east", "export", "delay", "seconds=long", code=2).stderr
    assert "no cluster 'north'" in shell("trouble", "north", "export", "drop", code=2).stderr


def test_mistakes_are_told_at_once(shell: Shell, tmp_path: Path) -> None:
    """Unknown releases, seeds that are none, directories with other things: exit code 2, and nothing is started or removed."""
    other = Shell(tmp_path)
    (tmp_path / "precious").write_text("x")
    assert "holds other things (precious" in " ".join(other("up", code=2).stderr.split())
    assert "v1.3, v1.6, v1.9" in other("up", "--kubevirt", "v1.5", code=2).stderr
    assert "cannot read the seed" in other("up", "--seed", "missing.yaml", code=2).stderr
    (tmp_path / "seed.yaml").write_text("a: b")
    assert "is not a manifest" in other("up", "--seed", str(tmp_path / "seed.yaml"), code=2).stderr
    assert "is not running" in other("disks", code=2).stderr
    other("down", "--purge")
    assert (tmp_path / "precious").read_text() == "x"


def test_a_dead_process_is_noticed(shell: Shell) -> None:
    """After a kill the status of that cluster is down, the other one's up; `up` brings both back, with new addresses and seeds."""
    pid = shell.status()["west"]["pid"]
    assert isinstance(pid, int)
    watched = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([watched], [], [], 30)[0], "the process outlives a SIGKILL"
    os.close(watched)
    rows = shell.status()
    assert (rows["west"]["state"], rows["east"]["state"]) == ("down", "up")
    assert "has ended" in str(rows["west"]["problem"])
    assert "west: down" in shell("status").stdout
    shell("down")
    shell("up", "--detach", "--seed", "none")
    assert {row["state"] for row in shell.status().values()} == {"up"}
    assert json.loads(shell("disks", "-o", "json").stdout) == []


def test_a_lab_in_the_foreground_ends_with_its_command(tmp_path: Path) -> None:
    """Without --detach the clusters live as long as the command: a signal ends both, and their files stay."""
    shell = Shell(tmp_path / "lab")
    words = [*MIGRATE, "up", "--dir", str(shell.directory), "--seed", "none"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as command:
        assert command.stderr is not None
        for line in command.stderr:
            if "Ctrl-C" in line:
                break
        assert {row["state"] for row in shell.status().values()} == {"up"}
        command.send_signal(signal.SIGTERM)
        assert command.wait(30) == 0
    assert {row["state"] for row in shell.status().values()} == {"down"}
    assert (shell.directory / "kubeconfig").exists()
    assert "--purge removes them" in shell("down").stderr
