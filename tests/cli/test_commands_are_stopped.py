"""Ctrl-C and SIGTERM end every command in words and with 130, so that a script does not take it for done."""

from __future__ import annotations

import signal
import threading

import pytest

from migrate.kube.kinds import EXPORT
from tests.cli.conftest import Plant
from tests.cli.shell import Shell


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_waits_for_a_cluster(shell: Shell, plant: Plant, number: int) -> None:
    """An export of a VM that runs is waited for; whoever has enough of that is told that it was he who stopped it."""
    flow = plant(strategy="Always")
    name = f"{flow.name}-ex"
    process = shell.start("export", "create", name, "--vm", flow.name, "--wait", "--context", "east", "-n", "shop")
    with process, flow.lab.clock.idle():
        for _ in range(1000):
            if "in use" in (shell.directory / "stderr").read_text():
                break
            threading.Event().wait(0.05)
        process.send_signal(number)
        assert process.wait(60) == 130
    assert (shell.directory / "stderr").read_text().rstrip().endswith("stopped by you")
    flow.east.delete(EXPORT, name)
