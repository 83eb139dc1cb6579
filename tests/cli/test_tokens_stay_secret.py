"""Tokens live in Secrets alone: never in output, logs, process arguments, objects, events, or any file that we leave."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, EVENT, EXPORT, LEASE, POD, PVC, VM
from tests.cli.conftest import Plant
from tests.cli.shell import Shell
from tests.flows.flow import Flow, secrets


def tokens_now(flow: Flow) -> set[str]:
    """Return every export token that either cluster holds in a Secret now."""
    found = set()
    for secret in (*secrets(flow.east), *secrets(flow.west)):
        for key, value in (secret.get("data") or {}).items():
            if key in ("token", "header"):
                found.add(base64.b64decode(value).decode().rpartition(":")[2].strip())
    return found


def objects(flow: Flow) -> str:
    """Return everything but Secrets that both clusters hold, as text."""
    kinds = (CONFIGMAP, DATAVOLUME, EVENT, EXPORT, LEASE, POD, PVC, VM)
    return json.dumps([cluster.list(kind, everywhere=True) for cluster in (flow.east, flow.west) for kind in kinds])


@pytest.mark.slow
def test_no_token_is_seen_outside_secrets(shell: Shell, plant: Plant) -> None:
    """Both tokens of a move are read while they exist; afterwards neither is found anywhere, plain or encoded.

    The move is told to log all it can, and meets an exporter and an API that break down, so that errors are written too.
    """
    flow = plant(disks=("root", "data"), strategy="Always")
    before = tokens_now(flow)
    flow.lab.east.trouble.set("export", "refuse", times=3)
    flow.lab.east.trouble.set("proxy", "drop", after=100, times=1)
    flow.lab.west.trouble.set("api", "refuse", status=503, resource="secrets", user_agent="kubevirt-migrate*", times=1)
    tokens: set[str] = set()
    told: dict[str, object] = {}
    seen: list[str] = []
    process = shell.start("vm", f"east:shop/{flow.name}", "west:shop", "--verbose", "-o", "json")
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            seen.append(line)
            tokens |= tokens_now(flow) - before
            seen.append(Path(f"/proc/{process.pid}/cmdline").read_text())
            before_step, told = told.get("step"), json.loads(line)
            if told.get("step") != before_step:
                seen.append(objects(flow))
    assert (process.returncode, told["outcome"]) == (0, "moved")
    assert len(tokens) == 2, "one token for the pull, one for the proof"
    text = shell("status", f"east:shop/{flow.name}", "west:shop")
    again = shell("vm", f"east:shop/{flow.name}", "west:shop", "--verbose")
    seen += [text.stdout, text.stderr, again.stdout, again.stderr, objects(flow)]
    seen += [asked.path for cluster in flow.lab.clusters.values() for asked in cluster.requests.since(0)]
    files = [path for path in shell.directory.rglob("*") if path.is_file()]
    assert shell.directory / "stderr" in files
    assert "/secrets/" in (shell.directory / "stderr").read_text(), "the log tells of requests for Secrets"
    spelled = tokens | {base64.b64encode(token.encode()).decode().rstrip("=") for token in tokens}
    for token in spelled:
        assert not [text[:200] for text in seen if token in text]
        assert not [path for path in files if token.encode() in path.read_bytes()]
    assert tokens_now(flow) - before == set()
