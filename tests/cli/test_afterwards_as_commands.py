"""The commands that come after `migrate vm`, as processes: it is ended by SIGTERM, undone, proven again, its source retired, cleaned up."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from migrate.kube.kinds import EXPORT, PVC
from migrate.lab.clock import RealClock
from migrate.lab.up import Lab
from migrate.model import labels
from migrate.model.migration import Names
from tests.cli.conftest import Plant
from tests.cli.shell import MIGRATE, Shell
from tests.flows.flow import Flow
from tests.machines import disk, machine

pytestmark = pytest.mark.slow


def terminated(shell: Shell, flow: Flow, step: str, *words: str) -> dict[str, Any]:
    """Run a move, send it SIGTERM in a step, and return its last line."""
    process = shell.start("vm", str(flow.source), "west:shop", *words, "-o", "json")
    assert process.stdout is not None
    told: dict[str, Any] = {}
    with process:
        for line in process.stdout:
            told = json.loads(line)
            if told.get("step") == step and told["state"] == "waiting":
                process.send_signal(signal.SIGTERM)
    assert process.returncode == 130
    return told


@contextmanager
def importing_slowly(flow: Flow) -> Iterator[None]:
    flow.lab.west.trouble.set("importer", "delay", seconds=120, times=1)
    yield
    flow.lab.west.trouble.clear()


def test_sigterm_ends_a_move_in_good_order_and_undo_takes_it_back(shell: Shell, plant: Plant) -> None:
    """130, a report as last words, the claim let go, nothing half sent; what stays is named until when; then undo by command."""
    flow = plant(strategy="Always")
    flow.until(flow.runs)
    mark = flow.lab.west.requests.mark
    with importing_slowly(flow):
        report = terminated(shell, flow, "import-disks")
        assert (report["outcome"], report["target"]["exists"]) == ("interrupted", False)
        assert [line.split(":")[0] for line in report["now"][:2]] == ["go on", "go back"]
        export = flow.east.get(EXPORT, Names.of(report["migration"], "").export)
        assert export is not None
        assert export["status"]["ttlExpirationTime"] in report["now"][2]
        assert flow.left_behind(report["migration"], stays=True) == []
        sent = flow.lab.west.requests.since(mark, user_agent="kubevirt-migrate", sort="write")
        assert {asked.status for asked in sent} <= {200, 201, 404, 409}
    said = shell("undo", str(flow.source), "west:shop").stdout
    assert "undone: what the move had made is removed, the source is given back" in said
    flow.until(flow.runs)
    vm = flow.vm()
    assert vm is not None
    assert not [note for note in vm["metadata"].get("annotations") or {} if note.startswith(labels.PREFIX)]
    assert [line for line in flow.ours() if flow.name in line or report["migration"] in line] == [
        f"west: ConfigMap {Names.of(report['migration'], '').record}"
    ]


def test_sigterm_on_a_text_screen_has_last_words(shell: Shell, plant: Plant) -> None:
    """The same for people: the report on stdout says where the VM is and how to go on, and what stays."""
    flow = plant()
    with importing_slowly(flow):
        process = shell.start("vm", str(flow.source), "west:shop")
        log = shell.directory / "stderr"
        flow.until(lambda: process.poll() is not None or "import-disks: waiting" in log.read_text(), what="the import")
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    for part in (
        "not moved (interrupted)",
        "stopped by you",
        "halted",
        "go on: run the same command again",
        "go back: migrate undo",
        "until 2",
    ):
        assert part in said, said
    assert "Traceback" not in log.read_text()


def test_verify_then_retire(shell: Shell, plant: Plant) -> None:
    """A finished move is proven in full, and its source is deleted once its very name was said; a wrong name deletes nothing."""
    flow = plant(disks=("root", "data"))
    pair = (str(flow.source), "west:shop")
    shell("vm", *pair, "--start", "never", "--verify", "size")
    assert "proven by size" in shell("retire", *pair, "--yes", flow.name, code=3).stderr
    report = shell.json("verify", *pair)[-1]
    assert (report["outcome"], [disk["coverage"] for disk in report["disks"]]) == ("proven", ["full", "full"])
    asked = shell("retire", *pair, code=2).stderr
    assert f"say --yes {flow.name}" in asked
    assert f"disk {flow.name}-data" in asked
    assert "nothing was deleted" in shell("retire", *pair, "--yes", "another", code=2).stderr
    assert typed(shell, "retire", *pair, answer="yes")[0] == 2
    assert flow.vm() is not None
    code, screen = typed(shell, "retire", *pair, answer=flow.name)
    assert code == 0, screen
    assert "This cannot be taken back" in screen
    assert "the source VM and its disks are deleted" in screen
    assert flow.vm() is None
    assert [flow.east.get(PVC, f"{flow.name}-{word}") for word in ("root", "data")] == [None, None]
    assert "deleted" in shell("retire", *pair, "--yes", flow.name).stdout


def typed(shell: Shell, *words: str, answer: str) -> tuple[int, str]:
    """Run a command on a terminal, type an answer to its question, and return its exit code and screen."""
    ours, theirs = pty.openpty()
    environment = {**shell.environment, "TERM": "xterm", "COLUMNS": "140", "LINES": "40"}
    process = subprocess.Popen(
        [*MIGRATE, *words], env=environment, stdin=theirs, stdout=theirs, stderr=theirs, cwd=shell.directory / "work"
    )
    os.close(theirs)
    screen = b""
    asked = False
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other end is closed: the process has ended
            break
        if not data:
            break
        screen += data
        if not asked and b"Type the name" in screen:
            asked = True
            os.write(ours, f"{answer}\n".encode())
    os.close(ours)
    return process.wait(60), screen.decode(errors="replace")


def test_cleanup(tmp_path: Path) -> None:
    """What a terminated import left: spared while young, listed by a dry run that removes nothing, then removed; undo by id works after."""
    with Lab(tmp_path / "lab", clock=RealClock(), seed="none") as lab:  # ages are told by its time and by ours, so both run alike
        lab.plant([disk("left-root"), machine("left", ["left-root"])])
        cleaned(Shell(lab, tmp_path), Flow(lab, "left"))


def cleaned(shell: Shell, flow: Flow) -> None:
    sides = ("cleanup", "--source", "east:shop", "--target", "west:shop")
    with importing_slowly(flow):
        identity = terminated(shell, flow, "import-disks", "--start", "never")["migration"]
        assert identity not in shell(*sides).stdout
        planned: list[str] = []
        assert shell.writes(lambda: planned.append(shell(*sides, "--older-than", "0m", "--dry-run").stdout)) == []
        mine = [line for line in planned[0].splitlines() if identity in line]
        assert all(line.startswith("would remove ") for line in mine)
        words = ("VirtualMachineExport", "Secret", "ConfigMap")
        assert {word for word in words if any(f": {word} shop/migrate-{identity}" in line for line in mine)} == set(words)
        (done,) = shell.json(*sides, "--older-than", "0m")
        assert done["removed"]
        assert [line.removeprefix("would remove ") for line in mine] == [line for line in done["found"] if identity in line]
        names = Names.of(identity, "")
        flow.until(lambda: flow.east.get(EXPORT, names.export) is None)
        assert identity not in shell(*sides, "--older-than", "0m").stdout
    assert shell.json("undo", identity, "--target", "west:shop")[-1]["outcome"] == "undone"
    flow.close()
