"""Which records are so old that nobody asks for them any more, so that they do not pile up on the target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import DATAVOLUME, VM
from migrate.model import labels
from migrate.model.objects import Object, annotations_of, labels_of
from migrate.model.record import Record


def old_records(
    target: Cluster,
    manifests: Iterable[Object],
    known: Mapping[str, Record],
    alive: set[str],
    *,
    older_than: datetime,
    most: int,
    everywhere: bool,
) -> Iterator[tuple[Object, str]]:
    """Choose records that are finished, old, beyond the number that is kept, and whose VM or disks are no longer on the target; say why.

    Attempts at the same question are numbered without gaps, so a record stays as long as a later attempt's does. That of a target that was
    moved on stays: nothing else keeps an undo from starting its source (steps/onward.py).
    """
    by_owner = {owner_of(one): one for one in manifests}
    newest = sorted(known.values(), key=lambda record: record.started, reverse=True)
    in_use = {owner_of(one) for kind in (VM, DATAVOLUME) for one in target.list(kind, labels={labels.ID: None}, everywhere=everywhere)}
    kept: set[tuple[str, ...]] = set()
    for place, record in enumerate(newest):
        m = record.migration
        question = (m.source_uid, m.target_cluster_uid, m.target.namespace, m.target.name, m.playbook)
        ended = record.finished
        stays = ended is None or ended > older_than or place < most or m.id in in_use | alive
        manifest = by_owner.get(m.id)
        if stays or question in kept or manifest is None or labels.MOVED_TO in annotations_of(manifest):
            kept.add(question)
        else:
            yield manifest, f"record of a migration that ended on {ended:%Y-%m-%d}; nothing of it is left"


def owner_of(obj: Object) -> str:
    """Return the id of the migration whose object this is, "" for none."""
    return labels_of(obj).get(labels.ID, "")
