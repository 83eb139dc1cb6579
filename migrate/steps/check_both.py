"""Look at everything before anything is changed, and say all that is wrong at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from migrate.kube.kinds import VM
from migrate.model.errors import Problem
from migrate.model.facts import Facts, Side
from migrate.model.inventory import Trust
from migrate.model.migration import Verify
from migrate.model.observation import Observation, blocked, done
from migrate.rendering.checks import blocking, findings, warnings
from migrate.steps import doors, looks, sending, snapshots
from migrate.steps.base import Crossing, Limits
from migrate.steps.doors import Door
from migrate.steps.gathering import collect


class CheckBoth:
    """Collect facts of both sides by reads and dry runs, judge them, and knock at the doors that the disks will go through.

    Objects of this very migration are not in the way, so the check may be repeated in the middle of a move. The warnings of a passed
    check are the `problems` of its DONE.
    """

    name = "check-both"
    limits = Limits(quiet=timedelta(minutes=5), acts=1)
    until: str | None = None

    def observe(self, x: Crossing) -> Observation:
        vm = x.source.get(VM, x.migration.source.name)
        lost = looks.moved_and_lost(x, vm)
        if lost is not None:
            return lost
        if looks.released(x, vm):
            return done("Released", "the source is marked as moved; there is nothing left to check")
        if not x.migration.copies:
            other = looks.other_disks(x, vm)
        elif snapshots.visible(x):
            other = _served(x) or (looks.other_disks(x, vm) if snapshots.found(x) is None else None)
        else:
            other = None
        if other is not None:
            return other
        facts, source_door, target_door = collect(x)
        found = findings(facts, x.migration)
        problems = (*blocking(found), *_knock(x, facts, source_door, target_door))
        if problems:
            return blocked("CheckFailed", *problems)
        told = warnings(found)
        count = f", {len(told)} thing{'' if len(told) == 1 else 's'} to know" if told else ""
        return done("Checked", f"nothing is in the way{count}").but(problems=told)

    def act(self, x: Crossing) -> None:
        """Do nothing: a check that is not passed is for a person."""

    def undo(self, x: Crossing) -> Observation:  # noqa: ARG002 - there is nothing to take back
        return done("Nothing", "a check leaves nothing behind")


def _served(x: Crossing) -> Observation | None:
    if not looks.served(x):
        return None
    return done("SnapshotServed", "every disk is there, and the snapshot is needed no more; there is nothing left to check")


def _knock(x: Crossing, facts: Facts, source_door: Door, target_door: Door) -> Iterator[Problem]:
    """Try the doors whose certificates look well; what is wrong with the others is said already."""
    options = x.migration.options
    tries = [(facts.source, source_door, options.source_ca, "source")]
    if options.verify is not Verify.OFF:
        tries.append((facts.target, target_door, options.target_ca, "target"))
    if any(disk.archive for disk in x.migration.disks) and "DataVolume" in facts.target.served:
        problem = sending.knock(x, facts.target.cdi_config)
        if problem is not None:
            yield problem
    for side, door, ca_given, word in tries if x.migration.disks else ():
        problem = doors.try_door(x, door, ca_given=ca_given, side=word) if _looks_well(side) else None
        if problem is not None:
            yield problem


def _looks_well(side: Side) -> bool:
    trust = side.given if side.given is not None else side.host.trust if side.host is not None else Trust.EMPTY
    return trust in (Trust.GOOD, Trust.LEAF_ONLY)
