"""Whether the claims of the halted source are those that were asked for: a name tells nothing once somebody makes one anew under it."""

from __future__ import annotations

from migrate.model.errors import Blocked, Problem
from migrate.model.migration import Disk
from migrate.model.objects import Object, uid_of
from migrate.reading.proof import copied_from
from migrate.steps.base import Crossing


def insist(x: Crossing, disk: Disk, claim: Object | None, copy: Object | None = None) -> None:
    """Raise Blocked if the source's claim of a disk is another one than was chosen, or than its copy (if there is one) was pulled from.

    A claim that is not there is said by its export. What a copy of a VM that goes on is made of is its snapshot.
    """
    known = {disk.uid, copied_from(copy)} - {""}
    if x.migration.copies or claim is None or known <= {uid_of(claim)}:
        return
    m = x.migration
    now = f"see what is on it; if that is what you want to move: migrate undo {m.words}, then move the VM anew"
    if copy is not None:
        now = f"the copy {disk.target} on the target may be all that is left of the old one: keep it, and see what is on both"
    raise Blocked.of(
        [
            Problem(
                f"the source's disk {disk.pvc} was made anew since this move was begun",
                where="source",
                why=f"the uid of its claim is {uid_of(claim)}, and was {' or '.join(sorted(known))}",
                now=now,
            )
        ],
        reason="DisksChanged",
    )
