"""The fence behind the claim: every object that a runner changes or deletes carries the number of the claim, and every such write tests it.

A Lease tells who may write; it cannot hold back a request that a frozen runner sends an hour later. An API server can: a precondition on
the very object of the request. So whoever takes the claim first writes its number on all there is, and no write of an earlier holder
passes from then on (docs/decisions/0006-a-stamp-on-every-object.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import Kind
from migrate.model import labels
from migrate.model.errors import Conflict
from migrate.model.objects import Object, annotations_of, dig, name_of, uid_of
from migrate.steps import patches
from migrate.steps.base import Crossing
from migrate.steps.work import Works

PATH = patches.annotation_path(labels.CLAIM)


@dataclass(slots=True)
class _Held:
    """What this process knows of its claim's number."""

    number: str = ""
    doubted: bool = False
    """An object was met that carries another number: look whether the claim is still ours before anything else."""


_held: WeakKeyDictionary[Works, _Held] = WeakKeyDictionary()


def number(x: Crossing) -> str:
    """Return the number of the claim that this process took last, "" before it took one. It stays when the claim is given up or lost."""
    return _of(x).number


def take(x: Crossing, number: str) -> None:
    """Note the number of the claim that this process has just taken."""
    _of(x).number = number


def doubted(x: Crossing, now: bool | None = None) -> bool:
    """Tell whether a write met another number than ours; `now` sets that."""
    if now is not None:
        _of(x).doubted = now
    return _of(x).doubted


def carries(x: Crossing, obj: Object) -> bool:
    """Tell whether an object carries the number of our claim."""
    return annotations_of(obj).get(labels.CLAIM) == number(x) != ""


def claimed(x: Crossing, obj: Object, *parts: patches.Operations) -> patches.Operations:
    """Return the operations behind tests on the object's uid and our number."""
    _suspect(x, obj)
    return [{"op": "test", "path": "/metadata/uid", "value": uid_of(obj)}, _test(x), *(one for part in parts for one in part)]


def guarded(x: Crossing, obj: Object, *parts: patches.Operations) -> patches.Operations:
    """Return the operations behind tests on the uid and resourceVersion of the object as it was read, and on our number."""
    _suspect(x, obj)
    return patches.guarded(obj, [_test(x)], *parts)


def record_test(x: Crossing) -> patches.Operations:
    """Return the test on our number alone, for an object that is named by the migration's id."""
    return [_test(x)]


def delete(x: Crossing, cluster: Cluster, kind: Kind, obj: Object, *, propagation: str = "Background") -> None:
    """Delete an object that was read with our number on it, at the version it was read at. Raises Conflict if it is another by now.

    `propagation`: what becomes of what it owns, as Kubernetes words it.
    """
    if not carries(x, obj):
        _suspect(x, obj)
        raise Conflict(
            f"{kind} {name_of(obj)} is not deleted",
            where=cluster.context,
            why=f"it carries the claim {annotations_of(obj).get(labels.CLAIM)!r}, ours is {number(x)!r}",
            now="It changed meanwhile. Run the same command again.",
            status=409,
        )
    cluster.delete(kind, name_of(obj), uid=uid_of(obj), version=dig(obj, "metadata", "resourceVersion"), propagation=propagation)


def written(x: Crossing) -> dict[str, str]:
    """Return the annotation that an object of ours is made with."""
    return {labels.CLAIM: number(x)} if number(x) else {}


def _test(x: Crossing) -> dict[str, str]:
    if not number(x):
        raise RuntimeError("a write to a claimed object without the claim")
    return {"op": "test", "path": PATH, "value": number(x)}


def _suspect(x: Crossing, obj: Object) -> None:
    if not carries(x, obj):
        _of(x).doubted = True


def _of(x: Crossing) -> _Held:
    return _held.setdefault(x.works, _Held())
