"""What is known of a snapshot that a copy was made from; it outlives the snapshot in the record and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class Consistency(StrEnum):
    """What a guest finds on disks that were frozen in this moment."""

    APPLICATION = "application-consistent"
    """Its agent had brought its file systems (and, with hooks, its applications) to rest."""
    CRASH = "crash-consistent"
    """What it would find after a power cut: what was in its memory only is missing."""
    OFFLINE = "consistent"
    """It did not run."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One snapshot of the source."""

    name: str
    uid: str
    at: datetime | None
    """When the storage had taken all volumes, as KubeVirt says (status.creationTime)."""
    consistency: Consistency
    because: str
    """What tells, in words: the indications of the snapshot."""
    frozen: datetime | None = None
    """When the guest's file systems were first seen frozen; None = not seen, since it took less than the time between two looks."""
    thawed: datetime | None = None
    """When they were first seen going on after that."""

    @property
    def frozen_s(self) -> float | None:
        """Seconds for which the guest was seen unable to write; None when that was not seen."""
        return (self.thawed - self.frozen).total_seconds() if self.frozen is not None and self.thawed is not None else None

    @property
    def words(self) -> str:
        """Say what it is worth, in half a sentence."""
        frozen, seconds = "", self.frozen_s
        if seconds is not None:
            frozen = f"; its file systems were frozen for about {seconds:.0f} s"
        elif self.frozen is not None:
            frozen = f"; its file systems were frozen since {_text(self.frozen)}, and not seen going on"
        return f"{self.consistency} ({self.because}{frozen})"

    def to_json(self) -> dict[str, Any]:
        """Return the object that records and reports hold."""
        return {
            "name": self.name,
            "uid": self.uid,
            "takenAt": _text(self.at),
            "consistency": self.consistency.value,
            "because": self.because,
            "frozenAt": _text(self.frozen),
            "thawedAt": _text(self.thawed),
        }

    @classmethod
    def of_json(cls, said: Mapping[str, Any]) -> Taken:
        """Read what `to_json` wrote. Raises ValueError or KeyError."""
        moments = (_time(said.get(key)) for key in ("takenAt", "frozenAt", "thawedAt"))
        at, frozen, thawed = moments
        return cls(said["name"], said["uid"], at, Consistency(said["consistency"]), str(said.get("because") or ""), frozen, thawed)


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None
