"""Who holds a claim: enough to tell a person, and enough to know at once that a runner of this very machine is dead."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Runner:
    """One process that runs migrations.

    `machine` joins machine id, boot id and the process-number namespace: only where all three are equal does a process number mean
    the same process. It is empty where the system does not tell (then death is known by silence only).
    """

    user: str
    host: str
    machine: str
    pid: int
    started: str
    """Start of the process in clock ticks since boot; tells a reused process number."""
    nonce: str

    def __str__(self) -> str:
        """Return the holder identity as it stands in the Lease."""
        return f"{self.user}@{self.host} machine={self.machine} pid={self.pid} started={self.started} run={self.nonce}"

    @property
    def person(self) -> str:
        """Who and where, for a screen."""
        return f"{self.user}@{self.host} (process {self.pid})"


def this_runner() -> Runner:
    """Return the identity of this process, with a fresh random part."""
    pid = os.getpid()
    fields = process_fields(pid)
    return Runner(
        user=_user(),
        host=socket.gethostname().replace(" ", "-"),
        machine=_machine(),
        pid=pid,
        started=fields[19] if fields is not None else "",
        nonce=secrets.token_hex(4),
    )


def read_runner(identity: str) -> Runner | None:
    """Parse a holder identity; None if it was not written by us."""
    person, *rest = identity.split(" ")
    fields = dict(word.partition("=")[::2] for word in rest)
    user, at, host = person.rpartition("@")
    pid = fields.get("pid", "")
    if not at or not pid.isdigit() or "machine" not in fields or "run" not in fields:
        return None
    return Runner(user=user, host=host, machine=fields["machine"], pid=int(pid), started=fields.get("started", ""), nonce=fields["run"])


def surely_dead(holder: Runner, me: Runner) -> bool:
    """Tell whether the holder was a process of this machine that is no more. In doubt it lives."""
    return _lives(holder, me) is False


def surely_alive(holder: Runner, me: Runner) -> bool:
    """Tell whether the holder is a process of this machine that runs now."""
    return _lives(holder, me) is True


def _lives(holder: Runner, me: Runner) -> bool | None:
    """None = cannot be told from here."""
    if not holder.machine or holder.machine != me.machine or not holder.started:
        return None
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    fields = process_fields(holder.pid)
    if fields is None:
        return None
    if fields[0] in "Tt" and fields[19] == holder.started:
        return None  # stopped (SIGSTOP, a debugger): it may be for good; whether it renews will tell
    return fields[0] not in "ZX" and fields[19] == holder.started


def process_fields(pid: int) -> list[str] | None:
    """Return what the system says of a process after its name: state first, start in clock ticks since boot twentieth."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _machine() -> str:
    try:
        machine = Path("/etc/machine-id").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        machine = "none"
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        processes = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return ""
    return f"{machine}/{boot}/{processes}"


def _user() -> str:
    try:
        return getpass.getuser().replace(" ", "-")
    except (KeyError, OSError):
        return str(os.getuid())
