"""The one family of errors: what, where, why, what now, and the exit code.

Every error that reaches a person is one of these. Anything else is a bug and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, in the four words that a person needs. `why` is the cluster's own sentence where there is one."""

    what: str
    where: str = ""
    why: str = ""
    now: str = ""


class MigrateError(Exception):
    """Base of the family. `problems` holds everything found at once; the first one gives `what, where, why, now`."""

    exit_code = 1
    word = "failed"
    reason = ""
    """One word of model/reasons.py: the last answer that made the run stop, or what the cluster did."""

    def __init__(self, what: str, *, where: str = "", why: str = "", now: str = "", more: Sequence[Problem] = ()) -> None:
        super().__init__(what)
        self.problems: tuple[Problem, ...] = (Problem(what, where, why, now), *more)

    @classmethod
    def of(cls, problems: Sequence[Problem], *, reason: str = "") -> MigrateError:
        """Build one error from several problems (at least one). `reason`: where it is another one than the class says."""
        first, *rest = problems
        error = cls(first.what, where=first.where, why=first.why, now=first.now, more=rest)
        error.reason = reason or cls.reason
        return error

    @property
    def what(self) -> str:
        return self.problems[0].what

    @property
    def where(self) -> str:
        return self.problems[0].where

    @property
    def why(self) -> str:
        return self.problems[0].why

    @property
    def now(self) -> str:
        return self.problems[0].now

    def __str__(self) -> str:
        first = self.problems[0]
        return ": ".join(part for part in (first.where, first.what, first.why) if part)


class StepFailed(MigrateError):
    """A step ended in a state that waiting does not cure. Exit code 1."""


class UsageError(MigrateError):
    """The command cannot mean anything: malformed reference, unknown context, impossible options. Exit code 2."""

    exit_code = 2
    word = "usage"


class Blocked(MigrateError):
    """Something that a person must change first. Nothing was changed by us, or nothing since the last line said so. Exit code 3."""

    exit_code = 3
    word = "blocked"


class Stalled(MigrateError):
    """Nothing moved for longer than the step's limit of standing still. Exit code 4."""

    exit_code = 4
    word = "stalled"


class Held(MigrateError):
    """Another runner holds the claim. Exit code 5."""

    exit_code = 5
    word = "held"


REFUSALS = {401: "Unauthorized", 403: "Forbidden", 422: "Invalid"}
"""Reason words of the refusals that a person can act on; every other one is "Refused"."""


class Refused(MigrateError):
    """The cluster said no: 401, 403, 422, a webhook. `status` is the HTTP status code. Exit code 6."""

    exit_code = 6
    word = "refused"

    def __init__(self, what: str, *, where: str = "", why: str = "", now: str = "", more: Sequence[Problem] = (), status: int = 0) -> None:
        super().__init__(what, where=where, why=why, now=now, more=more)
        self.status = status
        self.reason = self.reason or REFUSALS.get(status, "Refused")


class Taken(Refused):
    """409 AlreadyExists: the name is in use by an object that is not ours."""

    reason = "NameTaken"


class Conflict(Refused):
    """409 Conflict: the object changed under our hands (optimistic lock). Heals by a fresh look."""

    reason = "ChangedMeanwhile"


class OwnedByAnother(Refused):
    """409 of server-side apply: another field manager owns the field. Never heals by itself."""

    reason = "OwnedByAnother"


class Gone(Refused):
    """410: the resource version asked for is too old. Heals by listing anew."""


class Unreachable(MigrateError):
    """No answer: connection, TLS, timeout, 5xx after all retries. Says nothing about the state of anything. Exit code 7."""

    exit_code = 7
    word = "unreachable"
    reason = "Unreachable"
