"""Run the credential command of a kubeconfig (`users[].user.exec`).

The official client's runner starts one process per thread, and goes on without credentials when the command fails. Here a failing command
is an error that names it and shows what it wrote on stderr. Protocol: client.authentication.k8s.io/v1 and v1beta1 (ExecCredential).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from migrate.kube.answer import clean
from migrate.kube.config import Stanza
from migrate.kube.errors import place
from migrate.kube.tls import ClientCertificate, pem
from migrate.model.errors import Refused, UsageError

_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_CLUSTER_FIELDS = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url", "disable-compression")
ALONE_S = 60.0
"""A command that nobody can answer must finish in this time."""
WITH_PERSON_S = 600.0
"""A command that may ask a person (device login, password) has this long."""


@dataclass(frozen=True, slots=True)
class ExecCredential:
    """What the command printed. `expires` is None for "as long as it works"."""

    token: str = field(default="", repr=False)
    certificate: ClientCertificate | None = field(default=None, repr=False)
    expires: datetime | None = None


def run_plugin(stanza: Stanza) -> ExecCredential:
    """Run the command once. Raise UsageError if the stanza is malformed, Refused if the command fails or prints nonsense."""
    plugin = stanza.user["exec"]
    if not isinstance(plugin, dict) or not plugin.get("command"):
        raise UsageError("the exec stanza has no command", where=_place(stanza), now="Correct the kubeconfig.")
    version = str(plugin.get("apiVersion") or "")
    if version not in _VERSIONS:
        raise UsageError(
            f'the exec stanza has apiVersion "{version}"',
            where=_place(stanza),
            why=f"supported are {' and '.join(_VERSIONS)}",
            now="Update the credential plugin and fetch a fresh kubeconfig.",
        )
    command = _command(str(plugin["command"]), stanza.user_folder)
    person = _person(plugin, stanza)
    output = _run([command, *map(str, plugin.get("args") or ())], _environment(plugin, stanza, version, person), stanza, person=person)
    return _read(output, version, stanza)


def _command(command: str, folder: Path) -> str:
    """Resolve a relative path against the kubeconfig's folder, as kubectl does; a bare name is looked up in PATH."""
    return str(folder / command) if "/" in command and not Path(command).is_absolute() else command


def _person(plugin: Mapping[str, Any], stanza: Stanza) -> bool:
    """Tell whether the command gets the terminal: `interactiveMode` and whether there is one."""
    mode, terminal = plugin.get("interactiveMode") or "IfAvailable", sys.stdin is not None and sys.stdin.isatty()
    if mode == "Always" and not terminal:
        raise _failed(
            stanza, "it asks for a terminal (interactiveMode: Always), and there is none", "Log in beforehand, or use other credentials."
        )
    return terminal and mode != "Never"


def _environment(plugin: Mapping[str, Any], stanza: Stanza, version: str, person: bool) -> dict[str, str]:
    environment = dict(os.environ)
    for item in plugin.get("env") or ():
        if isinstance(item, dict) and "name" in item:
            environment[str(item["name"])] = str(item.get("value") or "")
    spec: dict[str, Any] = {"interactive": person}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = _cluster_info(stanza)
    environment["KUBERNETES_EXEC_INFO"] = json.dumps({"apiVersion": version, "kind": "ExecCredential", "spec": spec})
    return environment


def _cluster_info(stanza: Stanza) -> dict[str, Any]:
    """Describe the cluster as the ExecCredential type has it: authority inlined, `config` from the extension of that name."""
    info: dict[str, Any] = {name: stanza.cluster[name] for name in _CLUSTER_FIELDS if stanza.cluster.get(name)}
    authority = pem(stanza.cluster, "certificate-authority", stanza.cluster_folder, where=_place(stanza))
    if authority:
        info["certificate-authority-data"] = base64.b64encode(authority.encode()).decode()
    for extension in stanza.cluster.get("extensions") or ():
        if isinstance(extension, dict) and extension.get("name") == "client.authentication.k8s.io/exec":
            info["config"] = extension.get("extension")
    return info


def _run(command: list[str], environment: dict[str, str], stanza: Stanza, *, person: bool) -> str:
    limit_s = WITH_PERSON_S if person else ALONE_S
    hint = str(stanza.user["exec"].get("installHint") or "").strip()
    try:
        # The command is the user's own, from the user's own kubeconfig, and runs without a shell.
        process = subprocess.Popen(  # noqa: S603
            command,
            env=environment,
            text=True,
            errors="replace",
            stdin=None if person else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=not person,
        )
    except OSError as problem:
        raise _failed(
            stanza, f"it cannot be started: {problem.strerror}", clean(hint) or "Install it, or correct the kubeconfig."
        ) from None
    with process:
        assert process.stderr is not None
        said: list[str] = []
        listener = threading.Thread(target=_listen, args=(process.stderr, said, person), daemon=True)
        listener.start()
        watchdog = threading.Timer(limit_s, _kill, (process, person))
        watchdog.start()
        try:
            assert process.stdout is not None
            output = process.stdout.read()
            code = process.wait()
        finally:
            watchdog.cancel()
            _kill(process, person)
        listener.join(timeout=1)
    words = clean("".join(said)) or "(nothing on stderr)"
    if code == -9:
        raise _failed(stanza, f"it did not finish in {limit_s:.0f} s: {words}", "Run it by hand to see what it waits for.")
    if code != 0:
        raise _failed(stanza, f"exit code {code}: {words}", "Log in again; run the command by hand to see more.")
    return output


def _kill(process: subprocess.Popen[str], person: bool) -> None:
    """End the command if it still runs, with its children: one that holds our pipe open would keep us waiting."""
    if process.poll() is None:
        if person:
            process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _listen(stream: IO[str], said: list[str], aloud: bool) -> None:
    """Keep what the command says, and pass it on while a person is meant to read it (`open this page and enter the code ...`)."""
    for line in stream:
        said.append(line)
        if aloud:
            sys.stderr.write(line)


def _read(output: str, version: str, stanza: Stanza) -> ExecCredential:
    nonsense = "Run it by hand: it must print one ExecCredential as JSON."
    try:
        credential = json.loads(output)
    except ValueError:
        raise _failed(stanza, "it did not print JSON", nonsense) from None
    status = credential.get("status") if isinstance(credential, dict) else None
    if not isinstance(status, dict) or credential.get("kind") != "ExecCredential":
        raise _failed(stanza, "it did not print an ExecCredential with a status", nonsense)
    if credential.get("apiVersion") != version:
        raise _failed(
            stanza, f"it answered in {credential.get('apiVersion')}, asked for {version}", "Correct apiVersion in the exec stanza."
        )
    token, certificate, key = (str(status.get(name) or "") for name in ("token", "clientCertificateData", "clientKeyData"))
    if bool(certificate) != bool(key):
        raise _failed(stanza, "it printed a client certificate without its key, or a key without its certificate", nonsense)
    if not token and not certificate:
        raise _failed(stanza, "it printed neither a token nor a client certificate", "Log in again.")
    pair = ClientCertificate(certificate, key) if certificate else None
    expires = _time(status.get("expirationTimestamp"), stanza)
    ends = pair.expires() if pair else None
    return ExecCredential(token, pair, min((moment for moment in (expires, ends) if moment), default=None))


def _time(value: object, stanza: Stanza) -> datetime | None:
    if not value:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise _failed(stanza, f"its expirationTimestamp is not a time: {clean(str(value))}", "") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _failed(stanza: Stanza, why: str, now: str) -> Refused:
    """Name the command without its arguments: those may hold secrets."""
    command = stanza.user["exec"]["command"]
    return Refused(f"cannot log in: the credential command `{command}` failed", where=_place(stanza), why=why, now=now, status=401)


def _place(stanza: Stanza) -> str:
    return place(stanza.context)
