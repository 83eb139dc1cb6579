"""Faults of the credentials in a kubeconfig: tokens in files, and commands that fetch them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.flows.faults import Harm, at_step, fault
from tests.flows.flow import Flow

SIDE = "west"


def log_in(flow: Flow, user: dict[str, Any]) -> Path:
    """Let the move use a kubeconfig whose target context has another user; return the folder that it lies in."""
    config = json.loads(flow.lab.kubeconfig.read_text())
    folder = flow.lab.kubeconfig.parent / f"login-{flow.name}"
    folder.mkdir()
    for entry in config["users"]:
        if entry["name"] == f"{SIDE}-admin":
            entry["user"] = user
    flow.login = folder / "kubeconfig"
    flow.login.write_text(json.dumps(config))
    flow.login.chmod(0o600)
    return folder


def accept(flow: Flow, token: str) -> None:
    flow.lab.west.api.authentication.allow_token(token, "joe", "system:masters")


def forget(flow: Flow, token: str) -> None:
    flow.lab.west.api.authentication.revoke_token(token)


def with_token_file(flow: Flow) -> Path:
    """Log in by a token in a file."""
    folder = log_in(flow, {"tokenFile": "token"})
    accept(flow, "first")
    (folder / "token").write_text("first")
    return folder / "token"


def with_command(flow: Flow) -> Path:
    """Log in by a command that prints what a file holds, and fails with words of its own without one."""
    answer = flow.lab.kubeconfig.parent / f"login-{flow.name}" / "answer"
    script = f'cat "{answer}" 2>/dev/null || {{ echo "your session has ended, run: cloud login" >&2; exit 1; }}'
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "/bin/sh",
        "args": ["-c", script],
        "interactiveMode": "Never",
        "env": [{"name": "PATH", "value": os.environ["PATH"]}],
    }
    log_in(flow, {"exec": plugin})
    return answer


def credential(token: str) -> str:
    return json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": token}})


@fault(runs=True)
def token_file_rotated(flow: Flow, step: str) -> Harm:
    file = with_token_file(flow)

    def rotate() -> None:
        file.write_text("second")
        forget(flow, "first")
        accept(flow, "second")

    at_step(flow, step, rotate)
    yield
    assert file.read_text() == "second"


@fault()
def token_expired(flow: Flow, step: str) -> Harm:
    file = with_token_file(flow)
    at_step(flow, step, lambda: forget(flow, "first"))
    yield
    file.write_text("second")
    accept(flow, "second")
    yield


@fault(runs=True)
def exec_token_expired(flow: Flow, step: str) -> Harm:
    answer = with_command(flow)
    accept(flow, "first")
    answer.write_text(credential("first"))

    def renew() -> None:
        forget(flow, "first")
        accept(flow, "second")
        answer.write_text(credential("second"))

    at_step(flow, step, renew)
    yield


@fault()
def exec_plugin_fails(flow: Flow, step: str) -> Harm:
    answer = with_command(flow)
    accept(flow, "first")
    yield
    answer.write_text(credential("first"))
    yield


@fault()
def exec_plugin_fails_later(flow: Flow, step: str) -> Harm:
    answer = with_command(flow)
    accept(flow, "first")
    answer.write_text(credential("first"))

    def end() -> None:
        forget(flow, "first")
        answer.unlink()

    at_step(flow, step, end)
    yield
    accept(flow, "second")
    answer.write_text(credential("second"))
    yield
