"""What a finished move still allows: to compare its disks once more, to retire its source. No report offers what would be refused."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import VM, VMI
from migrate.model.clock import SystemClock
from migrate.model.errors import MigrateError, Problem
from migrate.model.migration import Migration, Verify
from migrate.model.objects import leaving, name_of
from migrate.model.observation import Observation, blocked
from migrate.model.report import DiskReport
from migrate.reading.halting import read_unmoved
from migrate.reading.machine import instance_alive, strategy_of
from migrate.steps import looks, snapshots
from migrate.steps.base import Crossing
from migrate.steps.strategies import HALTED, STARTS_WHEN_SET
from migrate.workflow.crossing import crossing

BY_BYTES = (Verify.SAMPLE, Verify.FULL)


def of_source(m: Migration, source: Cluster, target: Cluster, *, disks: Sequence[DiskReport]) -> str:
    """Say how a source that is kept can go: by `migrate retire`, after `migrate verify`, or by hand. Where nobody can look: the first."""
    x = crossing(m, source=source, target=target, clock=SystemClock(), bell=threading.Event())
    unproven = ", ".join(disk.target for disk in disks if disk.coverage not in BY_BYTES)
    try:
        if not looks.stands(x, source.get(VM, m.source.name)):
            return "the source is not as the halt left it, which is what was proven: delete it by hand when you are sure of the target"
        if unproven:
            against = impossible(x)
            then = f"migrate verify {m.words} does that, and only then can they be retired"
            by_hand = "; ".join(problem.what for problem in against) + ": delete the source by hand when you trust the target"
            return f"not proven by their bytes: {unproven}; {by_hand if against else then}"
    except MigrateError:
        pass
    return f"delete them when you no longer need them: migrate retire {m.words}"


def impossible(x: Crossing) -> tuple[Problem, ...]:
    """Say why the disks of a finished move cannot be compared any more; nothing if they can."""
    m, found = x.migration, []
    vm = x.source.get(VM, m.source.name)
    moved = _unmoved_copy(x) if m.copies else read_unmoved(vm, x.source.get(VMI, m.source.name), migration_id=m.id)
    if moved is not None:
        now = "nothing can be proven about the move any more; the proofs that were made then are in its record"
        found += [Problem(problem.what, "source", problem.why, now) for problem in moved.problems]
    target = x.target.get(VM, m.target.name)
    here = {name_of(volume) for volume in looks.disks_there(x) if not leaving(volume)}
    lacking = [disk.target for disk in m.disks if disk.target not in here]
    if target is None or lacking:
        gone = [f"VM {m.target.name}"] * (target is None) + [f"disk {name}" for name in lacking]
        found.append(Problem(f"there is no {', no '.join(gone)} on the target", where="target", now="find out who removed them"))
        return tuple(found)
    started = looks.started_at(x)
    alive = instance_alive(x.target.get(VMI, m.target.name))
    if started or alive or strategy_of(target) != HALTED:
        why = f"it was started at {started}" if started else "its instance runs" if alive else f"run strategy {strategy_of(target)}"
        sure = started or alive or strategy_of(target) in STARTS_WHEN_SET
        found.append(
            Problem(
                f"{m.target} {'was' if sure else 'may have been'} started, so its disks cannot be compared with the source any more",
                where="target",
                why=f"{why}; {'its' if sure else 'a'} guest {'has' if sure else 'may have'} written to them since",
                now="the proofs that were made before the start are in its record: migrate status",
            )
        )
    return tuple(found)


def _unmoved_copy(x: Crossing) -> Observation | None:
    """Say what keeps a copy from being compared with its snapshot: it was not kept, or is another one."""
    if snapshots.found(x) is not None:
        return looks.unmoved(x)
    name = x.migration.names.snapshot
    return blocked("SnapshotGone", Problem(f"the snapshot {name} that the copy was made from is not there any more", where="source"))
