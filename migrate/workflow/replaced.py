"""What objects of the user held before a migration replaced them: kept for an undo, and for how long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import SECRET, Kind
from migrate.model import labels
from migrate.model.objects import Object, annotations_of, dig
from migrate.model.record import Record
from migrate.steps.carrying import COPIED, replacers
from migrate.workflow.old_records import owner_of


def kept_secrets(target: Cluster, known: Iterable[Record]) -> Iterator[tuple[Kind, Object]]:
    """Ask for the Secrets that finished migrations replaced, as they were before; ConfigMaps are listed."""
    for m in (record.migration for record in known if record.finished is not None):
        for word, name in m.references:
            secret = target.get(SECRET, m.names.before_of(word, name), m.target.namespace) if word == SECRET.kind else None
            if secret is not None and labels.is_ours(secret, m.id):
                yield SECRET, secret


def replaced(target: Cluster, kept: Object) -> str:
    """Name the object whose earlier content this is, as long as that object still says so; "" when it does not."""
    kind, _, name = annotations_of(kept).get(labels.BEFORE, "").partition("/")
    found = target.get(COPIED[kind], name, dig(kept, "metadata", "namespace")) if kind in COPIED else None
    return f"{kind} {name}" if owner_of(kept) in replacers(found or {}) else ""
