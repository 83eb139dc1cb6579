"""The proof of a copy, as it is written on the disk itself: whoever finds the disk finds what is known about it.

It is written on the DataVolume and is about the bytes of its claim, which can go and come while the DataVolume stays: CDI fills another
claim of the same name. So it says by uid of which claim it is (docs/decisions/0001).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from migrate.model import labels
from migrate.model.migration import SourceVersion
from migrate.model.objects import Object, annotations_of, dig, leaving, uid_of


@dataclass(frozen=True, slots=True)
class Proof:
    """One disk's proof. `digest` is "" where nothing was read (off, size)."""

    digest: str
    coverage: str
    """off, size, sample or full."""
    bytes: int
    """Size of the source disk, N."""
    source_generation: SourceVersion
    """Generation of the halted source VM, or uid of the snapshot, that the copy belongs to; another one makes it stale."""
    at: str
    """RFC 3339."""
    claim: str = ""
    """Uid of the claim whose bytes were read; "" in a proof of before this was noted."""

    def to_json(self) -> str:
        """Return the text of the PROOF annotation."""
        fields = {
            "digest": self.digest,
            "coverage": self.coverage,
            "bytes": self.bytes,
            "sourceGeneration": self.source_generation,
            "at": self.at,
            "claim": self.claim,
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def proof_of(disk: Object | None, key: str = labels.PROOF) -> Proof | None:
    """Read the PROOF (or COMPARED) annotation of a target disk, tolerant of newer fields; None when there is none or it is broken."""
    text = annotations_of(disk).get(key)
    if text is None:
        return None
    try:
        fields = json.loads(text)
        version = fields["sourceGeneration"]
        return Proof(
            str(fields["digest"]),
            str(fields["coverage"]),
            int(fields["bytes"]),
            version if isinstance(version, str) else int(version),
            str(fields["at"]),
            str(fields.get("claim") or ""),
        )
    except (ValueError, KeyError, TypeError):
        return None


def claim_there(claim: Object | None) -> str:
    """Return the uid of a claim whose bytes are there: bound and not on its way out; "" for any other."""
    return uid_of(claim) if claim is not None and dig(claim, "status", "phase") == "Bound" and not leaving(claim) else ""


def copied_from(disk: Object | None) -> str:
    """Return the uid of the claim that a disk on the target is a copy of; "" if it does not say."""
    return annotations_of(disk).get(labels.DISK_UID, "")
