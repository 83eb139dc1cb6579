"""What objects of the user held before a migration replaced them: kept for an undo, and for how long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import SECRET, VM, Kind
from migrate.model import labels
from migrate.model.migration import Names
from migrate.model.objects import Object, annotations_of, dig, name_of
from migrate.model.record import Record
from migrate.reading.references import copied
from migrate.steps.carrying import COPIED, replacers
from migrate.workflow.old_records import owner_of


def kept_secrets(target: Cluster, known: Iterable[Record], *, everywhere: bool) -> Iterator[tuple[Kind, Object]]:
    """Ask for the Secrets that migrations replaced, as they were before; ConfigMaps are listed.

    Which they are is told by the records, and without one by what VMs name: whose the VM is, and who replaced the Secret by its note.
    """
    asked = {
        (m.target.namespace, m.id, name)
        for m in (record.migration for record in known if record.finished is not None)
        for word, name in m.references
        if word == SECRET.kind
    }
    for vm in target.list(VM, everywhere=everywhere) if target.serves(VM) is not None else ():
        space = str(dig(vm, "metadata", "namespace"))
        for name in (name for word, name in copied(vm) if word == SECRET.kind):
            owners = {owner_of(vm), *replacers(target.get(SECRET, name, space) or {})}
            asked |= {(space, owner, name) for owner in owners if owner}
    for space, owner, name in sorted(asked):
        secret = target.get(SECRET, Names.of(owner, "").before_of(SECRET.kind, name), space)
        if secret is not None and labels.is_ours(secret, owner):
            yield SECRET, secret


def held_by(target: Cluster, kept: Object) -> str:
    """Name the object whose earlier content this is, as long as that object still says so; "" when it does not."""
    kind, _, name = annotations_of(kept).get(labels.BEFORE, "").partition("/")
    found = target.get(COPIED[kind], name, dig(kept, "metadata", "namespace")) if kind in COPIED else None
    return f"{kind} {name}" if owner_of(kept) in replacers(found or {}) else ""


def spared(kept: Object, was: str, *, place: str, known: bool) -> str:
    """Say why this is left alone. `was`: what `held_by` names; `known`: the record of the migration is there."""
    words = f"what {was} of {place} held before migration {owner_of(kept)} replaced it: "
    if known:
        return words + "an undo brings it back as long as the record of that migration stays"
    return words + f"its record is gone, so no undo brings it back; it is in {name_of(kept)}, delete that if you do not need it"
