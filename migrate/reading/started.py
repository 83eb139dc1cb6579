"""What tells that a guest may have written to a copy: noted on the disk itself, since a VM can be deleted without its disks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from migrate.model import labels
from migrate.model.objects import Object, annotations_of, uid_of


@dataclass(frozen=True, slots=True)
class Started:
    """The note on one disk."""

    at: str
    """RFC 3339: when the target was about to be started, or was found to be started by somebody."""
    claim: str
    """Uid of the claim that held the disk's bytes then: another one never saw that guest."""
    seen: bool = False
    """Somebody else's start was seen: it has happened, whatever the VM looks like later. Our own note comes before our start."""

    def to_json(self) -> str:
        """Return the text of the annotation."""
        return json.dumps({"at": self.at, "claim": self.claim, "seen": self.seen}, sort_keys=True, separators=(",", ":"))


def started_of(disk: Object | None) -> Started | None:
    """Read the note; None when there is none. A broken one counts as a start at an unknown time: somebody wrote there what we write."""
    text = annotations_of(disk).get(labels.STARTED)
    if text is None:
        return None
    try:
        fields = json.loads(text)
        return Started(str(fields["at"]), str(fields["claim"]), bool(fields.get("seen", False)))
    except (ValueError, KeyError, TypeError):
        return Started("an unknown time", "", seen=True)


def orphaned(disks: Iterable[Object], vm: Object | None) -> bool:
    """Tell whether the VM that was made on any of these disks is gone, or another one by now, and it was not us who deleted it."""
    there = uid_of(vm) if vm is not None else None
    return any(annotations_of(disk).get(labels.GIVEN_TO, there) != there for disk in disks)
