"""The source VM as it travels: as it is, or with its instance type and preference written into it where the target has no equal ones.

A guest must not find other hardware because an instance type of the same name says something else on the target. What the VM runs with is
what its ControllerRevision says (or the live object, before there is one), so that is what is compared; KubeVirt itself writes it into the
VM (`expand-spec`), as it does for exports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONTROLLERREVISION, KNOWN, VM, Kind
from migrate.model.errors import Problem
from migrate.model.migration import References
from migrate.model.objects import Object, dig
from migrate.reading.references import MATCHERS, matcher_kind
from migrate.steps.base import Crossing

_OTHER, _NONE = "has another one of that name", "has none"


@dataclass(frozen=True, slots=True)
class Travelling:
    """A VM as it is rendered for the target, and what is to be said about it."""

    vm: Object
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def matcher_kinds(vm: Object) -> tuple[Kind, ...]:
    """Return the kinds of the instance type and preference that a VM names."""
    named = {matcher_kind(matcher, field) for field in MATCHERS if (matcher := dig(vm, "spec", field))}
    return tuple(kind for kind in KNOWN.values() if kind.kind in named)


def travelling(x: Crossing, vm: Object) -> Travelling:
    """Return the VM as it will be rendered. Asks the source to expand it only where the target's instance types are not equal."""
    if x.migration.options.references is References.SKIP:
        return Travelling(vm)
    notes: list[str] = []
    problems: list[Problem] = []
    for field in MATCHERS:
        matcher = dig(vm, "spec", field)
        if not matcher:
            continue
        kind = next(kind for kind in KNOWN.values() if kind.kind == matcher_kind(matcher, field))
        words = f"{kind} {matcher.get('name')}"
        meant, theirs = _meant(x, vm, field, kind), _live(x.target, kind, str(matcher.get("name")))
        if meant is None:
            problems.append(_lost(x, words, field))
        elif theirs is None or _plain(theirs) != _plain(meant):
            notes.append(f"{words} is written into the VM: the target {_NONE if theirs is None else _OTHER}")
    if not notes or problems:
        return Travelling(vm, problems=tuple(problems))
    if x.migration.copies and not alike(vm, x.source.get(VM, x.migration.source.name)):
        return Travelling(vm, problems=(_went_on(x, notes),))
    return Travelling(expanded(x.source, vm, x.migration.source.name), tuple(notes))


def expanded(source: Cluster, vm: Object, name: str) -> Object:
    """Return a VM with the spec into which KubeVirt writes instance type and preference of the live VM of that name."""
    path = f"/apis/subresources.kubevirt.io/v1/namespaces/{source.namespace}/virtualmachines/{name}/expand-spec"
    whole = source.call("GET", path)
    return {**vm, "spec": dig(whole if isinstance(whole, Mapping) else {}, "spec")}


def alike(vm: Object, live: Object | None) -> bool:
    """Tell whether a VM that a snapshot holds is, in all that its hardware follows from, the one that the source is asked to expand."""
    return all(_same(vm, live, field) for field in MATCHERS) and dig(vm, "spec", "template") == dig(live, "spec", "template")


def _same(vm: Object, live: Object | None, field: str) -> bool:
    return all(dig(vm, "spec", field, key) == dig(live, "spec", field, key) for key in ("kind", "name"))


def _meant(x: Crossing, vm: Object, field: str, kind: Kind) -> Mapping[str, Any] | None:
    """Return the spec of the instance type or preference that the VM runs with; None when nothing tells it any more.

    A snapshot holds no status, where KubeVirt names the revision, so that of the live source tells it then, if it names the same.
    """
    revision = _revision(vm, field)
    if not revision and x.migration.copies and _same(vm, live := x.source.get(VM, x.migration.source.name), field):
        revision = _revision(live, field)
    kept = x.source.get(CONTROLLERREVISION, revision) if revision else None
    if kept is not None:
        return dict(dig(kept, "data", "spec", default={}))
    return _live(x.source, kind, str(dig(vm, "spec", field, "name")))


def _revision(vm: Object | None, field: str) -> str:
    return str(dig(vm, "spec", field, "revisionName") or dig(vm, "status", f"{field}Ref", "controllerRevisionRef", "name") or "")


def _live(cluster: Cluster, kind: Kind, name: str) -> Mapping[str, Any] | None:
    found = cluster.get(kind, name) if cluster.serves(kind) is not None else None
    return None if found is None else dict(dig(found, "spec", default={}))


def _plain(value: Any) -> Any:
    """Return a value without what is empty, so that defaults of another version make no difference."""
    match value:
        case Mapping():
            found = {key: _plain(entry) for key, entry in value.items()}
            return {key: entry for key, entry in found.items() if entry not in (None, {}, [], "")}
        case list():
            return [_plain(entry) for entry in value]
        case _:
            return value


def _went_on(x: Crossing, notes: Sequence[str]) -> Problem:
    return Problem(
        f"{x.migration.source} is not as its snapshot holds it any more, so what its instance type says cannot be written into the copy",
        where=f"{x.source.context}, namespace {x.source.namespace}",
        why=f"KubeVirt writes it into the VM as it is now; {'; '.join(notes)}",
        now="create the same instance type and preference on the target; or restart the VM if its guest runs with an older spec; "
        f"or migrate undo {x.migration.words}, then copy the VM anew",
    )


def _lost(x: Crossing, words: str, field: str) -> Problem:
    return Problem(
        f"{words}, which the VM names, is gone on the source",
        where=f"{x.source.context}, namespace {x.source.namespace}",
        why=f"spec.{field} names it, and neither it nor a ControllerRevision of it is there, so nobody knows the VM's hardware",
        now="create it again on the source; or say --references skip to take the target's",
    )
