"""What a look at the clusters can answer. Shared by reading, steps, workflow and screens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from migrate.model.errors import Problem


class State(Enum):
    """The whole vocabulary of states; nothing in this project is in any other."""

    NEEDED = "needed"
    """Not there, or not as wanted: act."""
    WAITING = "waiting"
    """On its way; somebody else is working."""
    BLOCKED = "blocked"
    """Stuck until a person changes something."""
    UNKNOWN = "unknown"
    """We could not see; losing contact is not failure."""
    DONE = "done"
    FAILED = "failed"
    """Will not get better by waiting."""


@dataclass(frozen=True, slots=True)
class DiskProgress:
    """Where one disk stands. `bytes_done` is None while nobody can know it (gzip imports)."""

    name: str
    state: State
    reason: str
    bytes_total: int | None = None
    bytes_done: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """The answer of one look.

    `reason` is one CamelCase word from `model/reasons.py`; `message` one sentence readable in a log line; `progress` a fraction 0..1.
    `problems` says all that is wrong at once (BLOCKED and FAILED); `disks` how each disk stands.
    """

    state: State
    reason: str
    message: str
    progress: float | None = None
    problems: tuple[Problem, ...] = ()
    disks: tuple[DiskProgress, ...] = ()
    patience_s: float = 0.0
    """WAITING only: how long this may last without a sign, where that is longer than the step's limit of standing still."""

    def but(self, **changes: object) -> Observation:
        """Return the same observation with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


def needed(reason: str, message: str) -> Observation:
    """Shorthand for NEEDED."""
    return Observation(State.NEEDED, reason, message)


def waiting(reason: str, message: str, *, progress: float | None = None, disks: tuple[DiskProgress, ...] = ()) -> Observation:
    """Shorthand for WAITING."""
    return Observation(State.WAITING, reason, message, progress=progress, disks=disks)


def done(reason: str, message: str, *, disks: tuple[DiskProgress, ...] = ()) -> Observation:
    """Shorthand for DONE."""
    return Observation(State.DONE, reason, message, progress=1.0, disks=disks)


def blocked(reason: str, *problems: Problem) -> Observation:
    """Shorthand for BLOCKED; the message is the first problem's."""
    return Observation(State.BLOCKED, reason, problems[0].what, problems=problems)


def failed(reason: str, *problems: Problem) -> Observation:
    """Shorthand for FAILED; the message is the first problem's."""
    return Observation(State.FAILED, reason, problems[0].what, problems=problems)


def unknown(reason: str, message: str) -> Observation:
    """Shorthand for UNKNOWN."""
    return Observation(State.UNKNOWN, reason, message)
