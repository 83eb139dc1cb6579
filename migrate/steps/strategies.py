"""What stopping, starting and going back mean for every run strategy. Pure; docs/start-and-stop.md shows the same as a table.

The hard part is KubeVirt's: RerunOnFailure and Once start an instance as soon as the strategy is set on a VM that had another one, even
if the guest had shut itself down long ago. So a VM of these strategies that did not run is left Halted, and that is said.
"""

from __future__ import annotations

from dataclasses import dataclass

from migrate.model.migration import Start
from migrate.model.was import Was

HALTED = "Halted"
MANUAL = "Manual"
RECEIVER = "WaitAsReceiver"
"""Waits for a live migration to arrive. The check refuses such a VM; one that became it since is given back as it was, and not started."""
ALWAYS = "Always"
STARTS_WHEN_SET = frozenset({"Always", "RerunOnFailure", "Once"})
"""Strategies that bring up an instance when they are set on a halted VM."""
RUNS_ANYWAY = frozenset({"Always"})
"""Strategies under which a VM without an instance is merely not up yet."""


@dataclass(frozen=True, slots=True)
class Going:
    """How a halted VM is set going: the strategy it ends with, and whether it takes another to start it."""

    run_strategy: str
    request: bool = False
    """Manual: the strategy alone starts nothing, so it gets Always first, and its own as soon as its instance is there.

    A start request (`virtctl start`) would do it in one call, but takes no precondition: sent late by a frozen runner, it would start
    whatever VM has the name by then.
    """
    note: str = ""
    """What is not as it was, in words; "" if nothing is."""

    @property
    def first(self) -> str:
        """The strategy that is written first."""
        return ALWAYS if self.request else self.run_strategy

    @property
    def starts(self) -> bool:
        return self.request or self.run_strategy in STARTS_WHEN_SET


def on_target(was: Was, start: Start) -> Going:
    """Say how the target is set going: as the source was (auto), in any case (always), or not at all (never)."""
    if start is Start.NEVER or was.strategy == RECEIVER:
        return Going(HALTED)
    ran = was.ran or was.strategy in RUNS_ANYWAY
    return _going(was.strategy, starts=ran or start is Start.ALWAYS)


def on_source(was: Was) -> Going:
    """Say how the source is set going again by an undo: exactly as it was, as far as KubeVirt has a way there."""
    return _going(was.strategy, starts=was.ran or was.strategy in {*RUNS_ANYWAY, RECEIVER})


def _going(strategy: str, *, starts: bool) -> Going:
    match strategy:
        case "Halted":
            return Going("Always" if starts else HALTED)
        case "Manual":
            return Going(MANUAL, request=starts)
        case _ if starts:
            return Going(strategy)
        case _:
            return Going(
                HALTED, note=f"it had run strategy {strategy} and did not run; setting that again would start it, so it stays Halted"
            )
