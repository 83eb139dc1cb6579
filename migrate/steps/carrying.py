"""Fresh looks at what the VM names and the target gets a copy of, for the check and for the step that carries it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONFIGMAP, POD, SECRET, VM, Kind
from migrate.model import labels
from migrate.model.inventory import Carry, Reference, Rule, Standing
from migrate.model.migration import References
from migrate.model.objects import Object, annotations_of, controller_of, created_at, dig, name_of
from migrate.model.record import Record
from migrate.reading.carrying import CONTENT, names_used_by, read_carry
from migrate.reading.references import copied
from migrate.steps import stamps
from migrate.steps.base import Crossing

_NEVER = datetime.max.replace(tzinfo=UTC)
COPIED: dict[str, Kind] = {kind.kind: kind for kind in (SECRET, CONFIGMAP)}


@dataclass(frozen=True, slots=True)
class Load:
    """One reference that is copied, with the objects of both sides."""

    carry: Carry
    source: Object | None
    target: Object | None

    @property
    def kind(self) -> Kind:
        return COPIED[self.carry.reference.kind]

    @property
    def words(self) -> str:
        return f"{self.carry.reference.kind} {self.carry.reference.name}"


def loads(x: Crossing, references: Iterable[Reference], *, namespace_there: bool = True) -> list[Load]:
    """Look at everything of these that is copied, on both sides, by name. Nothing where somebody else manages the references."""
    if x.migration.options.references is References.SKIP:
        return []
    found = []
    for reference in references:
        if reference.rule is Rule.COPIED:
            kind = COPIED[reference.kind]
            source = x.source.get(kind, reference.name)
            target = x.target.get(kind, reference.name) if namespace_there else None
            found.append(Load(read_carry(reference, source, target), source, target))
    return found


def with_users(x: Crossing, found: Iterable[Load]) -> tuple[Carry, ...]:
    """Return how references stand, with those named who use what is to be replaced, as far as we may look for them."""
    carries = [load.carry for load in found]
    replacing = x.migration.options.references is References.REPLACE and any(one.standing is Standing.DIFFERS for one in carries)
    if not replacing or not all(x.target.can("list", kind) for kind in (CONFIGMAP, POD, VM)):
        return tuple(carries)
    users = used_by_others(x)
    return tuple(
        replace(one, used_by=users.get((one.reference.kind, one.reference.name), "")) if one.standing is Standing.DIFFERS else one
        for one in carries
    )


def made(x: Crossing) -> Iterator[tuple[Cluster, Kind, Object]]:
    """Yield what this migration copied, or marked to be replaced, on the target.

    Who leaves references to others may have no right to look at them; then none was made.
    """
    for word, found in _there(x):
        if labels.is_ours(found, x.migration.id) or replaced_by_us(x, found):
            yield x.target, COPIED[word], found


def _there(x: Crossing) -> Iterator[tuple[str, dict[str, Any]]]:
    skipped = x.migration.options.references is References.SKIP
    for word, name in known(x):
        found = x.target.get(COPIED[word], name) if not skipped or x.target.can("get", COPIED[word], name=name) else None
        if found is not None:
            yield word, found


def known(x: Crossing) -> tuple[tuple[str, str], ...]:
    """Name what this migration may have copied: (kind, name). What only a snapshot told stands in the record (`note`)."""
    record = _recorded(x) if x.migration.copies else None
    noted = record.migration.references if record is not None else ()
    return tuple(dict.fromkeys((*x.migration.references, *noted)))


def note(x: Crossing, vm: Object) -> None:
    """Write into the record what it does not know yet that the VM names, before any of it is copied, so that an undo finds it."""
    named, there = known(x), _recorded(x)
    wanted = tuple(dict.fromkeys((*named, *copied(vm))))
    if wanted == named or there is None:
        return
    anew = replace(there, migration=replace(there.migration, references=wanted)).to_data()
    x.target.patch(CONFIGMAP, x.migration.names.record, [*stamps.record_test(x), {"op": "add", "path": "/data", "value": anew}])


def replaced_by_us(x: Crossing, obj: Object) -> bool:
    """Tell whether an object of the user carries the note that this migration makes it equal to the source's, and no other one since."""
    return replacers(obj)[:1] == (x.migration.id,)


def replacers(obj: Object) -> tuple[str, ...]:
    """Return which migrations replaced an object of the user, the latest first. Each of them keeps what it found, and gives that back."""
    return tuple(filter(None, annotations_of(obj).get(labels.REPLACED_BY, "").split("/")))


def kept(x: Crossing, kind: str, name: str) -> Object | None:
    """Return what an object of the user held before this migration replaced it, if that is kept."""
    before = x.target.get(COPIED[kind], x.migration.names.before_of(kind, name))
    return before if before is not None and labels.is_ours(before, x.migration.id) else None


def only_noted(x: Crossing, kind: str, obj: Object) -> bool:
    """Tell whether a run died between its note on an object of the user and the rest, so that nothing was replaced and nothing is kept."""
    record, source = _recorded(x), x.source.get(COPIED[kind], name_of(obj))
    return record is not None and record.finished is None and not (source is not None and _same(source, obj))


def still_replaced(x: Crossing) -> Iterator[tuple[str, Object, Object | None]]:
    """Yield (kind, object, what it held before, if that is kept) of what was not given back: its note names us, or it differs."""
    for kind, obj in _there(x):
        before = kept(x, kind, name_of(obj)) if not labels.is_ours(obj, x.migration.id) else None
        if x.migration.id in replacers(obj) or (before is not None and not _same(before, obj)):
            yield kind, obj, before


def owed(x: Crossing) -> bool:
    """Tell whether an undo could give back now what an object of the user held."""
    return any(before is not None and replaced_by_us(x, obj) for _, obj, before in still_replaced(x))


def stays_replaced(x: Crossing) -> str:
    """Say which objects of the user an undo did not give back what they held, and why; "" for none."""
    found, left = defaultdict[str, list[str]](list), list(still_replaced(x))
    users = users_to_spare(x) if any(replaced_by_us(x, obj) for _, obj, before in left if before is not None) else {}
    for kind, obj, before in left:
        found[_why_replaced(x, obj, before, users.get((kind, name_of(obj)), ""))].append(f"{kind} {name_of(obj)}")
    words = [f"{', '.join(names)} of {x.target.context}: {why}" for why, names in found.items()]
    return f"stays replaced: {'; '.join(words)}" if words else ""


def _why_replaced(x: Crossing, obj: Object, before: Object | None, user: str) -> str:
    latest = next(iter(replacers(obj)), "")
    if before is None:
        gone = "what was there before is not kept any more; bring it back from elsewhere if you need it"
        return f"{gone}, and take the annotation {labels.REPLACED_BY} off"
    if latest and latest != x.migration.id:
        undo = f"migrate undo {latest} --target {x.target.context}:{x.target.namespace}"
        return f"by migration {latest}, after this one; take that one back ({undo}), then this one again"
    if latest:
        return f"used by {user or 'others'}, which came later; what it held before is kept, so undo this again when nobody uses it"
    return f"somebody changed it or its annotations since; what it held before is kept in {name_of(before)}"


def _same(one: Object, other: Object) -> bool:
    return all(dig(one, field, default={}) == dig(other, field, default={}) for field in CONTENT)


def users_to_spare(x: Crossing) -> dict[tuple[str, str], str]:
    """Return who beside this migration uses what it copied or replaced, and would miss it after an undo.

    Who used an object of the user before we replaced it knew it as it was; who came later knows it as it is.
    """
    since = dict[tuple[str, str], datetime]()
    for _, kind, obj in made(x):
        if not labels.is_ours(dict(obj), x.migration.id):
            before = kept(x, kind.kind, name_of(obj))
            since[kind.kind, name_of(obj)] = (created_at(before) if before is not None else None) or _NEVER
    return used_by_others(x, since=since)


def used_by_others(x: Crossing, *, since: Mapping[tuple[str, str], datetime] = MappingProxyType({})) -> dict[tuple[str, str], str]:
    """Return who beside this migration uses Secrets and ConfigMaps of the target's namespace: VMs, pods, unfinished migrations.

    `since`: of these objects, only who is no older than that.
    """
    found: dict[tuple[str, str], list[str]] = defaultdict(list)

    def note(names: Iterable[tuple[str, str]], user: str, made: datetime | None) -> None:
        for named in dict.fromkeys(names):
            if named[1] and (named not in since or (made is not None and made >= since[named])):
                found[named].append(user)

    for manifest in x.target.list(CONFIGMAP, labels={labels.ID: None, labels.ROLE: "record"}):
        record = _record(manifest)
        if record is not None and record.finished is None and record.migration.id != x.migration.id:
            note(record.migration.references, f"migration {record.migration.id}", record.started)
    vms = x.target.list(VM)
    of_vms = {("VirtualMachineInstance", name) for name in (x.migration.target.name, *map(name_of, vms))}
    for pod in x.target.list(POD):
        if controller_of(pod) not in of_vms:
            note(names_used_by(pod), f"pod {name_of(pod)}", created_at(pod))
    for vm in vms:
        if name_of(vm) != x.migration.target.name:
            note(copied(vm), f"VM {name_of(vm)}", created_at(vm))
    return {named: ", ".join(users) for named, users in found.items()}


def _recorded(x: Crossing) -> Record | None:
    """Read this migration's record; None without one that is ours and that we can read."""
    there = x.target.get(CONFIGMAP, x.migration.names.record)
    return _record(there) if there is not None and labels.is_ours(there, x.migration.id) else None


def _record(manifest: Object) -> Record | None:
    """Read a record; None for one that a newer version wrote and this one cannot read."""
    try:
        return Record.of_data(dig(manifest, "data", default={}))
    except ValueError:
        return None
