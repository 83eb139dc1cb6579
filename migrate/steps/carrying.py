"""Fresh looks at what the VM names and the target gets a copy of, for the check and for the step that carries it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONFIGMAP, POD, SECRET, VM, Kind
from migrate.model import labels
from migrate.model.inventory import Carry, Reference, Rule, Standing
from migrate.model.migration import References
from migrate.model.objects import Object, annotations_of, controller_of, dig, name_of
from migrate.model.record import Record
from migrate.reading.carrying import CONTENT, names_used_by, read_carry
from migrate.reading.references import copied
from migrate.steps import stamps
from migrate.steps.base import Crossing

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
    skipped = x.migration.options.references is References.SKIP
    for word, name in known(x):
        if skipped and not x.target.can("get", COPIED[word], name=name):
            continue
        found = x.target.get(COPIED[word], name)
        if found is not None and (labels.is_ours(found, x.migration.id) or replaced_by_us(x, found)):
            yield x.target, COPIED[word], found


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
    """Tell whether an object of the user carries the note that this migration makes it equal to the source's."""
    return annotations_of(obj).get(labels.REPLACED_BY) == x.migration.id


def kept(x: Crossing, kind: str, name: str) -> Object | None:
    """Return what an object of the user held before this migration replaced it, if that is kept."""
    before = x.target.get(COPIED[kind], x.migration.names.before_of(kind, name))
    return before if before is not None and labels.is_ours(before, x.migration.id) else None


def only_noted(x: Crossing, kind: str, obj: Object) -> bool:
    """Tell whether a run died between its note on an object of the user and the rest, so that nothing was replaced and nothing is kept."""
    record, source = _recorded(x), x.source.get(COPIED[kind], name_of(obj))
    same = source is not None and all(dig(source, field, default={}) == dig(obj, field, default={}) for field in CONTENT)
    return record is not None and record.finished is None and not same


def stays_replaced(x: Crossing) -> str:
    """Say which objects of the user an undo could not give back what they held, "" for none: they carry our note to this day."""
    named = [f"{kind} {name_of(obj)}" for _, kind, obj in made(x) if not labels.is_ours(dict(obj), x.migration.id)]
    if not named:
        return ""
    return (
        f"stays replaced: {', '.join(named)} of {x.target.context}: what was there before is not kept any more; bring it back from "
        f"elsewhere if you need it, and take the annotation {labels.REPLACED_BY} off"
    )


def used_by_others(x: Crossing) -> dict[tuple[str, str], str]:
    """Return who beside this migration uses Secrets and ConfigMaps of the target's namespace: VMs, pods, unfinished migrations."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for manifest in x.target.list(CONFIGMAP, labels={labels.ID: None, labels.ROLE: "record"}):
        record = _record(manifest)
        if record is not None and record.finished is None and record.migration.id != x.migration.id:
            _used(found, record.migration.references, f"migration {record.migration.id}")
    for pod in x.target.list(POD):
        if controller_of(pod) != ("VirtualMachineInstance", x.migration.target.name):
            _used(found, names_used_by(pod), f"pod {name_of(pod)}")
    for vm in x.target.list(VM):
        if name_of(vm) != x.migration.target.name:
            _used(found, copied(vm), f"VM {name_of(vm)}")
    return {named: ", ".join(users) for named, users in found.items()}


def _used(found: dict[tuple[str, str], list[str]], names: Iterable[tuple[str, str]], user: str) -> None:
    for named in dict.fromkeys(names):
        if named[1]:
            found[named].append(user)


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
