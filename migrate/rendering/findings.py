"""What a check answers with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from migrate.model.errors import Problem
from migrate.model.facts import Side


class Severity(StrEnum):
    """Whether the move is impossible, or possible with a loss that is said."""

    BLOCKED = "blocked"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found."""

    severity: Severity
    problem: Problem


def block(what: str, *, where: str, why: str = "", now: str = "") -> Finding:
    """Shorthand for what makes the move impossible."""
    return Finding(Severity.BLOCKED, Problem(what, where, why, now))


def warn(what: str, *, where: str, why: str = "", now: str = "") -> Finding:
    """Shorthand for what the user should know before the move."""
    return Finding(Severity.WARNING, Problem(what, where, why, now))


def at(side: Side) -> str:
    """Say where a side is."""
    return f"{side.context}, namespace {side.namespace}"
