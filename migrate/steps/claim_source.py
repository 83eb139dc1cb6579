"""Claim the source VM, so that two runners never move it at once."""

from __future__ import annotations

from datetime import timedelta

from migrate.kube.kinds import LEASE
from migrate.model.observation import Observation
from migrate.steps import claims, looks
from migrate.steps.base import Crossing, Limits
from migrate.steps.claims import holds, release, renew

__all__ = ["ClaimSource", "holds", "release", "renew"]


class ClaimSource:
    """Hold the Lease of the source VM. `renew` keeps it while the run lasts."""

    name = "claim-source"
    limits = Limits(quiet=timedelta(minutes=5), acts=3)
    until: str | None = None

    def observe(self, x: Crossing) -> Observation:
        return claims.look(x)

    def act(self, x: Crossing) -> None:
        claims.take(x)

    def undo(self, x: Crossing) -> Observation:
        """Let the claim go; the last thing that an undo does."""
        claims.forget(x)
        return looks.remove_all(x, (x.source, LEASE, x.migration.names.claim))
