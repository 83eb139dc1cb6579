"""What is told while it happens (Event) and what remains to be told (Report). Both are versioned JSON for scripts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from migrate.model.errors import Problem
from migrate.model.observation import Observation, State
from migrate.model.snapshot import Taken

EVENT_SCHEMA = "kubevirt-migrate.io/event/v1"
REPORT_SCHEMA = "kubevirt-migrate.io/report/v1"


class Outcome(StrEnum):
    """How a run ended. The words of the error family, and the good ends."""

    MOVED = "moved"
    COPIED = "copied"
    NOTHING_LEFT = "nothing left to do"
    UNDONE = "undone"
    PROVEN = "proven"
    """The disks of a finished move were compared once more, and are equal."""
    RETIRED = "retired"
    """The source VM and its disks were deleted, on request."""
    UNFENCED = "unfenced"
    """The source of a finished move may be started again."""
    PLANNED = "planned"
    """A dry run: nothing was written."""
    UNFINISHED = "unfinished"
    """Begun, and neither finished nor stopped by an error: it runs now, or its runner died."""
    FAILED = "failed"
    USAGE = "usage"
    BLOCKED = "blocked"
    STALLED = "stalled"
    HELD = "held"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that was seen: of a step, or (`disk` not empty) of one disk within it."""

    time: datetime
    migration: str
    step: str
    state: State
    reason: str
    message: str
    progress: float | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None
    disk: str = ""
    problems: tuple[Problem, ...] = ()
    """What is wrong, or with DONE what is worth knowing."""

    def to_json(self) -> dict[str, Any]:
        """Return the flat object of schema EVENT_SCHEMA; every key is always there."""
        return {
            "schema": EVENT_SCHEMA,
            "time": stamp(self.time),
            "migration": self.migration,
            "step": self.step,
            "disk": self.disk,
            "state": self.state.value,
            "reason": self.reason,
            "message": self.message,
            "progress": self.progress,
            "bytesDone": self.bytes_done,
            "bytesTotal": self.bytes_total,
            "problems": [problem_json(problem) for problem in self.problems],
        }


def problem_json(problem: Problem) -> dict[str, str]:
    """Return the four words of a problem."""
    return {"what": problem.what, "where": problem.where, "why": problem.why, "now": problem.now}


def events_of(seen: Observation, *, time: datetime, migration: str, step: str) -> tuple[Event, ...]:
    """Return the event of a step, then one for each of its disks. Bytes of the step are the sums of its disks, as far as all are known."""
    totals = [disk.bytes_total for disk in seen.disks]
    dones = [disk.bytes_done for disk in seen.disks]
    whole = Event(
        time,
        migration,
        step,
        seen.state,
        seen.reason,
        seen.message,
        progress=seen.progress,
        bytes_done=sum(done for done in dones if done is not None) if any(done is not None for done in dones) else None,
        bytes_total=sum(total or 0 for total in totals) if totals and None not in totals else None,
        problems=seen.problems,
    )
    parts = (
        Event(
            time,
            migration,
            step,
            disk.state,
            disk.reason,
            disk.message,
            progress=disk.bytes_done / disk.bytes_total if disk.bytes_done is not None and disk.bytes_total else None,
            bytes_done=disk.bytes_done,
            bytes_total=disk.bytes_total,
            disk=disk.name,
        )
        for disk in seen.disks
    )
    return (whole, *parts)


def stamp(time: datetime | None) -> str | None:
    """Write a time as Kubernetes does: RFC 3339, in UTC, to the second."""
    return None if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step came to. `seconds` of work and waiting, `acts` writes, `bytes` moved."""

    step: str
    state: State
    reason: str
    message: str
    seconds: float = 0.0
    acts: int = 0
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class DiskReport:
    """One disk and its proof. `coverage`: off, size, sample or full; `digest` as the proof names it."""

    source: str
    target: str
    bytes: int | None = None
    coverage: str = ""
    digest: str = ""
    proven_at: str = ""
    seconds: float | None = None
    differs: str = ""
    """Where it differs from its source, if its latest comparison found that; no proof is shown then."""


@dataclass(frozen=True, slots=True)
class Stand:
    """How one side stands now. None = we do not know."""

    place: str
    """CONTEXT:NAMESPACE/NAME."""
    exists: bool | None = None
    run_strategy: str = ""
    running: bool | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What remains of a run: the last line of `-o json`, and what `status` prints."""

    migration: str
    playbook: str
    attempt: int
    outcome: Outcome
    source: Stand
    target: Stand
    steps: tuple[StepReport, ...] = ()
    disks: tuple[DiskReport, ...] = ()
    started: datetime | None = None
    finished: datetime | None = None
    downtime_s: float | None = None
    """Seconds from the halt of the source until the target was ready; None when either did not happen."""
    snapshot: Taken | None = None
    """Of a copy: the snapshot that it was made from."""
    reason: str = ""
    """Why it stopped, in one word of docs/reasons.md; "" where it ended well."""
    problems: tuple[Problem, ...] = ()
    now: tuple[str, ...] = ()
    """What to do now: how to go on, how to go back."""
    writes: tuple[str, ...] = ()
    """Of a dry run: what would be written."""

    def to_json(self) -> dict[str, Any]:
        """Return the object of schema REPORT_SCHEMA; every key is always there."""
        return {
            "schema": REPORT_SCHEMA,
            "migration": self.migration,
            "playbook": self.playbook,
            "attempt": self.attempt,
            "outcome": self.outcome.value,
            "source": _stand(self.source),
            "target": _stand(self.target),
            "started": stamp(self.started),
            "finished": stamp(self.finished),
            "downtimeSeconds": self.downtime_s,
            "snapshot": self.snapshot.to_json() if self.snapshot is not None else None,
            "steps": [
                {
                    "step": step.step,
                    "state": step.state.value,
                    "reason": step.reason,
                    "message": step.message,
                    "seconds": round(step.seconds, 3),
                    "acts": step.acts,
                    "bytes": step.bytes,
                }
                for step in self.steps
            ],
            "disks": [
                {
                    "source": disk.source,
                    "target": disk.target,
                    "bytes": disk.bytes,
                    "coverage": disk.coverage,
                    "digest": disk.digest,
                    "provenAt": disk.proven_at or None,
                    "seconds": disk.seconds,
                    "differs": disk.differs,
                }
                for disk in self.disks
            ],
            "reason": self.reason,
            "problems": [problem_json(problem) for problem in self.problems],
            "now": list(self.now),
            "writes": list(self.writes),
        }


def _stand(stand: Stand) -> dict[str, Any]:
    return {
        "place": stand.place,
        "exists": stand.exists,
        "runStrategy": stand.run_strategy,
        "running": stand.running,
        "message": stand.message,
    }
