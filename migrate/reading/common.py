"""What is true of every object, asked before anything particular: is it going away, is it ours."""

from __future__ import annotations

from migrate.model import labels
from migrate.model.errors import Problem
from migrate.model.objects import Object, condition, dig, labels_of, leaving, name_of
from migrate.model.observation import Observation, blocked, waiting


def generic(obj: Object, migration_id: str) -> Observation | None:
    """Say what holds for any object we want under this name: not ours (BLOCKED), being deleted (WAITING), or None to read on."""
    kind, name = str(obj.get("kind", "object")), name_of(obj)
    if not labels.is_ours(dict(obj), migration_id):
        return blocked("NameTaken", taken(kind, name, obj))
    if leaving(obj):
        return waiting("BeingDeleted", f"{kind} {name} is being deleted")
    return None


def taken(kind: str, name: str, obj: Object) -> Problem:
    """Say in four words that a name we need is in use by an object without our mark."""
    other = labels_of(obj).get(labels.ID) if labels.is_ours(dict(obj)) else None
    return Problem(
        what=f"the name of {kind} {name} is taken",
        why=f"it belongs to the migration {other}" if other else "an object of that name is there and does not carry this migration's mark",
        now="remove or rename it, or give the VM another name on the target"
        if not other
        else f"finish or undo the migration {other} first",
    )


def words_of(pod: Object | None) -> str:
    """Return what keeps a pod from running, in its own words: no node, or a container that waits; "" if nothing does."""
    scheduled = condition(pod, "PodScheduled") if pod is not None else None
    if scheduled is not None and scheduled.false:
        return scheduled.message or scheduled.reason
    waits = (dig(status, "state", "waiting", default={}) for status in dig(pod, "status", "containerStatuses", default=()))
    return next((": ".join(filter(None, (wait.get("reason"), wait.get("message")))) for wait in waits if wait), "")
