"""Claim the name of the target VM, so that two sources never become one machine."""

from __future__ import annotations

from datetime import timedelta

from migrate.model.observation import Observation, done
from migrate.steps import claims
from migrate.steps.base import Crossing, Limits


class ClaimTarget:
    """Hold the Lease of the target's name, in its namespace. Renewed and given up together with the claim on the source."""

    name = "claim-target"
    limits = Limits(quiet=timedelta(minutes=5), acts=10)
    until: str | None = None

    def observe(self, x: Crossing) -> Observation:
        return claims.look(x, claims.TARGET)

    def act(self, x: Crossing) -> None:
        claims.take(x, claims.TARGET)

    def undo(self, x: Crossing) -> Observation:  # noqa: ARG002 - it goes with the other claim, as the last thing of an undo
        return done("Nothing", "the claim on the target's name is given up with the one on the source")
