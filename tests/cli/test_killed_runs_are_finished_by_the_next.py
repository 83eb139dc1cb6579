"""Killed at any instant, a move is finished by the same command, with the bytes in their places."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cli.conftest import Plant
from tests.cli.shell import Shell
from tests.flows.flow import Flow

EVENTS = 110
"""About how many events such a move tells."""
BETWEEN_S = 0.3
"""About the longest time between two of them."""
INTERRUPTED = 130
SEED = os.environ.get("KILL_SEED") or str(random.SystemRandom().randrange(10**9))
"""What the random instants follow from: give a printed one again to have the same."""


def words(flow: Flow) -> list[str]:
    return ["vm", f"east:shop/{flow.name}", "west:shop", "--start", "never"]


def finished(shell: Shell, flow: Flow, before: list[str]) -> list[dict[str, Any]]:
    """Run the command once more, check both sides, and return what it said."""
    said = shell.json(*words(flow))
    report = said[-1]
    assert report["outcome"] in ("moved", "nothing left to do"), report
    assert flow.unequal() == []
    assert not flow.runs()
    assert not flow.runs("west")
    assert all(disk["digest"] for disk in report["disks"])
    left = set(flow.ours()) - set(before)
    assert not [line for line in left if any(kind in line for kind in ("Export", "Secret", "Lease", "-ca"))], left
    return said


@pytest.mark.slow
def test_a_dead_runners_claim_is_taken_over_at_once(shell: Shell, plant: Plant) -> None:
    """Killed while it imports, it leaves its claim behind; the next run on this machine knows it dead and does not wait."""
    flow = plant(disks=("root", "data"), strategy="Always")
    before = flow.ours()
    flow.lab.west.trouble.set("importer", "delay", seconds=30, times=1)
    process = shell.start(*words(flow), "-o", "json")
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if json.loads(line).get("step") == "import-disks":
                process.kill()
                break
    flow.lab.west.trouble.clear()
    assert [line for line in flow.ours() if "Lease" in line]
    said = [event["reason"] for event in finished(shell, flow, before) if event.get("step") == "claim-source"]
    assert said == ["HolderDead", "Claimed"]


def test_ctrl_c_lets_go_of_the_claim(shell: Shell, plant: Plant) -> None:
    """Interrupted while it imports, it ends with 130, says how things stand, and has given up its claim."""
    flow = plant()
    flow.lab.west.trouble.set("importer", "delay", seconds=30, times=1)
    process = shell.start(*words(flow), "-o", "json")
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            told = json.loads(line)
            if told.get("step") == "import-disks":
                process.send_signal(signal.SIGINT)
    assert (process.returncode, told["outcome"]) == (130, "interrupted")
    assert any("same command again" in now for now in told["now"])
    assert not [line for line in flow.ours() if "Lease" in line]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_sigkill_at_a_random_moment(shell: Shell, plant: Plant, number: int) -> None:
    """Ten kills at random instants, each followed by one run of the same command, which ends right."""
    flow = plant(disks=("root", "data", "more"), mib=4, strategy="Always")
    before = flow.ours()
    end = cut_short(shell, flow, signal.SIGKILL, number)
    assert end.code in (0, -signal.SIGKILL), end
    said = finished(shell, flow, before)
    assert "HolderMaybeDead" not in [event.get("reason") for event in said]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_sigterm_at_a_random_moment(shell: Shell, plant: Plant, number: int) -> None:
    """Ten requests to end, as a drained node makes them: each lets go of the claim and says how things stand; the next run ends right."""
    flow = plant(disks=("root", "data", "more"), mib=4, strategy="Always")
    before = flow.ours()
    end = cut_short(shell, flow, signal.SIGTERM, number)
    assert end.last.get("outcome") == "moved" or (end.code, end.last.get("outcome")) == (INTERRUPTED, "interrupted"), end
    assert not [line for line in flow.ours() if "Lease" in line]
    said = finished(shell, flow, before)
    assert not {"HolderDead", "HolderMaybeDead"} & {event.get("reason") for event in said}


@dataclass(frozen=True)
class End:
    """How a process ended that was sent a signal."""

    code: int
    last: dict[str, Any]
    """The last line of its JSON."""


def cut_short(shell: Shell, flow: Flow, sent: signal.Signals, number: int) -> End:
    """Start a move and send it a signal some time after some event. KILL_SEED chooses the instants; what was chosen is printed."""
    chance = random.Random(f"{SEED} {sent.name} {number}")
    event, later_s = chance.randrange(1, EVENTS), chance.uniform(0, BETWEEN_S)
    print(f"KILL_SEED={SEED}: {sent.name} no. {number}, {later_s:.3f} s after event {event}")
    process = shell.start(*words(flow), "-o", "json")
    assert process.stdout is not None
    with process:
        told = [line for line, _ in zip(process.stdout, range(event), strict=False)]
        try:
            process.wait(later_s)
        except subprocess.TimeoutExpired:
            process.send_signal(sent)
        told += process.stdout
    whole = [json.loads(line) for line in told if line.endswith("\n")]
    steps = [line["step"] for line in whole if "step" in line]
    print(f"it ended with {process.returncode} in {steps[-1]}: {sorted(flow.ours())}")
    return End(process.returncode, whole[-1])
