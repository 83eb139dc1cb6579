"""Look for everything that the VM names, on both sides, by reads alone; what we may not look at is said and not tried."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from enum import Enum

from migrate.kube.kinds import KNOWN
from migrate.model.facts import Named
from migrate.model.inventory import Reference, Rule
from migrate.model.migration import References
from migrate.model.objects import Object
from migrate.reading.references import references_of
from migrate.rendering.mapping import network_on_target
from migrate.steps import carrying, expanding, permissions
from migrate.steps.base import Crossing


class _Seen(Enum):
    THERE = "there"
    MISSING = "missing"
    UNSEEN = "unseen"


def collect_named(x: Crossing, vm: Object, *, namespace_there: bool, known: Collection[Reference] = ()) -> Named:
    """Return what the VM names and how it stands on the target, `known` left out. `namespace_there`: the target's namespace exists."""
    references = tuple(one for one in references_of(vm) if one not in known)
    wanted = [_as_named_there(x, one) for one in references if one.rule in _wanted(x)] if namespace_there else []
    seen = [(one, _look(x, one)) for one in wanted]
    matchers, m = expanding.matcher_kinds(vm), x.migration
    may_copy = not permissions.denied(x.source, permissions.of_copying(m)) and not (
        namespace_there and permissions.denied(x.target, permissions.of_copying(m))
    )
    may_expand = not permissions.denied(x.source, permissions.of_expanding(matchers))
    shown = expanding.travelling(x, vm) if may_expand else expanding.Travelling(vm)
    return Named(
        references=references,
        missing=tuple(one for one, how in seen if how is _Seen.MISSING),
        unseen=tuple(one for one, how in seen if how is _Seen.UNSEEN),
        carries=carrying.with_users(x, carrying.loads(x, references, namespace_there=namespace_there)) if may_copy else (),
        vm=shown.vm,
        expanded=shown.notes,
        unknown=shown.problems,
    )


def _wanted(x: Crossing) -> frozenset[Rule]:
    """Return the rules of what the target must have by itself."""
    own = frozenset({Rule.MUST_EXIST, Rule.MAPPED})
    return own | {Rule.COPIED, Rule.EXPANDED} if x.migration.options.references is References.SKIP else own


def _as_named_there(x: Crossing, reference: Reference) -> Reference:
    if reference.rule is not Rule.MAPPED:
        return reference
    named = f"{reference.namespace}/{reference.name}" if reference.namespace else reference.name
    namespace, slash, name = network_on_target(named, x.migration).rpartition("/")
    return replace(reference, name=name, namespace=namespace if slash else x.migration.target.namespace)


def _look(x: Crossing, reference: Reference) -> _Seen:
    kind = next(known for known in KNOWN.values() if known.kind == reference.kind)
    if x.target.serves(kind) is None:
        return _Seen.MISSING
    namespace = reference.namespace or x.target.namespace
    if not x.target.can("get", kind, namespace, name=reference.name):
        return _Seen.UNSEEN
    return _Seen.MISSING if x.target.get(kind, reference.name, namespace) is None else _Seen.THERE
