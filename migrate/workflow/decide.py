"""The one place where an answer becomes a verdict. Pure: no clock, no cluster, only numbers that it is given."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from migrate.model.observation import Observation, State
from migrate.steps.base import Limits


class Verdict(Enum):
    """What the engine does next."""

    ADVANCE = "advance"
    ACT = "act"
    WAIT = "wait"
    GIVE_UP = "give up"
    """Failed, or our acts do not help."""
    STALL = "stall"
    """Nothing moved for longer than the limit of standing still."""
    STOP = "stop"
    """A person must change something first."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What the engine counted in the current step."""

    acts: int = 0
    """Acts since something last moved."""
    still_s: float = 0.0
    """Seconds since something last moved."""
    blocked_s: float = 0.0
    """Seconds since the first of the BLOCKED answers in a row."""


def decide(seen: Observation, limits: Limits, tally: Tally) -> Verdict:
    """Turn an observation into a verdict.

    Time limits measure standing still, not duration (design section 3): a disk that grows may take a night.
    """
    match seen.state:
        case State.DONE:
            return Verdict.ADVANCE
        case State.NEEDED:
            return Verdict.ACT if tally.acts < limits.acts else Verdict.GIVE_UP
        case State.WAITING | State.UNKNOWN:
            patience_s = max(limits.quiet.total_seconds(), seen.patience_s)
            return Verdict.WAIT if tally.still_s < patience_s else Verdict.STALL
        case State.BLOCKED:
            return Verdict.WAIT if tally.blocked_s < limits.blocked.total_seconds() else Verdict.STOP
        case State.FAILED:
            return Verdict.GIVE_UP
