"""Real processes, stopped by SIGSTOP in the middle of a move: others take over after a minute, and the woken ones write nothing."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import pytest

from migrate.kube.kinds import LEASE
from tests.cli.conftest import Plant
from tests.cli.shell import Shell
from tests.flows.flow import Flow

MOMENTS = ("stop-source", "import-disks", "verify-disks")


def start(shell: Shell, flow: Flow) -> subprocess.Popen[str]:
    return shell.start("vm", f"east:shop/{flow.name}", "west:shop", "--start", "never", "-o", "json")


def stopped(shell: Shell, flow: Flow, step: str) -> subprocess.Popen[str]:
    """Start a move, and stop its process as soon as it tells of a step."""
    process = start(shell, flow)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("step") == step:
            process.send_signal(signal.SIGSTOP)
            break
    return process


def said(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """Read what a process says until it ends."""
    with process:
        assert process.stdout is not None
        return [json.loads(line) for line in process.stdout]


def versions(flow: Flow) -> list[object]:
    return [(flow.vm(side) or {}).get("metadata", {}).get("resourceVersion") for side in ("east", "west")]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_process_that_was_stopped_writes_nothing_when_it_wakes(shell: Shell, plant: Plant) -> None:
    """At three moments of three moves: silent for a minute, overtaken and finished by another process, then woken."""
    flows = [plant(disks=("root", "data"), strategy="Always") for _ in MOMENTS]
    frozen = [stopped(shell, flow, step) for flow, step in zip(flows, MOMENTS, strict=True)]
    others = [start(shell, flow) for flow in flows]
    for flow, other, process in zip(flows, others, frozen, strict=True):
        events = said(other)
        assert events[-1]["outcome"] == "moved", events[-1]
        assert [event["reason"] for event in events if event.get("step") == "claim-source"][:2] == ["HolderMaybeDead", "HolderSilent"]
        before, marks = versions(flow), {name: cluster.requests.mark for name, cluster in shell.lab.clusters.items()}
        process.send_signal(signal.SIGCONT)
        woken = said(process)[-1]
        assert (woken["outcome"], process.returncode) == ("held", 5), woken
        written = [asked for name, mark in marks.items() for asked in shell.lab.clusters[name].requests.since(mark, sort="write")]
        about = (flow.name, woken["migration"])
        assert [asked for asked in written if any(word in asked.path for word in about) and asked.status < 300] == []
        assert versions(flow) == before
        assert flow.unequal() == []
    assert not [lease for flow in flows for cluster in (flow.east, flow.west) for lease in cluster.list(LEASE)]
