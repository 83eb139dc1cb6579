"""Claim the source VM, so that two runners never move it at once, and write the number of the claim on all that a runner changes."""

from __future__ import annotations

from datetime import timedelta

from migrate.model.observation import Observation, State, done, needed, waiting
from migrate.steps import claims, stamping
from migrate.steps.base import Crossing, Limits
from migrate.steps.claims import holds, release, renew

__all__ = ["ClaimSource", "holds", "release", "renew"]


class ClaimSource:
    """Hold the Lease of the source VM. `renew` keeps it while the run lasts."""

    name = "claim-source"
    limits = Limits(quiet=timedelta(minutes=5), acts=10)
    until: str | None = None

    def observe(self, x: Crossing) -> Observation:
        seen = claims.look(x)
        lacking = stamping.lacking(x) if seen.state is State.DONE else []
        if lacking:
            return needed("ClaimNotWritten", f"the claim is to be written on {len(lacking)} object{'' if len(lacking) == 1 else 's'}")
        return seen

    def act(self, x: Crossing) -> None:
        if not claims.holds(x):
            claims.take(x)
        claims.stamp(x)

    def undo(self, x: Crossing) -> Observation:
        """Let the claims go; the last thing that an undo does."""
        claims.give_up(x)
        left = claims.left(x)
        return waiting("BeingDeleted", f"waiting until {', '.join(left)} is gone") if left else done("Removed", "the claims are given up")
