"""Exports that were made for a download, and go with it: who reads one is written on it, and whoever ends last takes it away.

What a person made, or made his own by `migrate export create`, carries no such mark and is never taken away.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import EXPORT
from migrate.model import labels
from migrate.model.errors import Conflict, Refused
from migrate.model.objects import Object, leaving, name_of, uid_of
from migrate.reading.exports import readers_of
from migrate.steps import patches

_LOOKS = 20
"""KubeVirt writes the status of an export all the time, so a change may have to be made on a fresh look again."""


def mark(readers: Sequence[str]) -> str:
    """Return the value of the mark."""
    return json.dumps(sorted(set(readers)))


def joins(cluster: Cluster, export: Object, reader: str) -> bool:
    """Write a reader on an export that was made for a download, so that nobody takes it away meanwhile.

    `reader`: name of the download, the same for the same command; "" = it does not care. False: the export has changed or gone, look anew.
    """
    readers = readers_of(export)
    if readers is None or not reader or reader in readers:
        return True
    try:
        cluster.patch(
            EXPORT, name_of(export), patches.guarded(export, patches.annotate(export, {labels.PASSING: mark((*readers, reader))}))
        )
    except Conflict:
        return False
    except Refused as error:
        if error.status != 404:
            raise
        return False
    return True


def keep(cluster: Cluster, export: Object) -> Object:
    """Take the mark off: somebody wants the export for itself. Return it as it is now. Raises Conflict when it never stands still."""
    uid = uid_of(export)
    for _ in range(_LOOKS):
        if readers_of(export) is None:
            return export
        try:
            return cluster.patch(EXPORT, name_of(export), _marking(export, None))
        except Conflict:
            found = cluster.get(EXPORT, name_of(export))
            if found is None or uid_of(found) != uid:
                raise
            export = found
    raise _restless(name_of(export))


def leave(cluster: Cluster, name: str, uid: str, reader: str, *, remove: bool | None = None, through: bool = True) -> str:
    """End a download from the export with that uid. Return in words what became of the export; "" = it is nobody's business.

    `remove`: True = take it away whoever made it; False = it stays; None = it goes if it was made for a download and nobody else
    reads it. `through` False: the download failed and only takes its name off (`uid` "" = of whichever it is).
    Raises Conflict when the export never stands still.
    """
    for _ in range(_LOOKS):
        found = cluster.get(EXPORT, name)
        if found is None or leaving(found):
            return f"export {name} is gone already"
        if uid and uid_of(found) != uid:
            return f"export {name} stays: it is another one by now than the one that was read"
        readers = readers_of(found)
        others = tuple(one for one in readers or () if one != reader)
        with contextlib.suppress(Conflict):
            if remove or (remove is None and through and readers is not None and not others):
                cluster.delete(EXPORT, name, uid=uid, version=str(found["metadata"]["resourceVersion"]))
                return f"export {name} is removed"
            if readers is None:
                return ""
            cluster.patch(EXPORT, name, _marking(found, None if remove is False else others))
            if remove is None and through:
                return f"export {name} stays: it is read by another download, or kept for one that was cut: {', '.join(others)}"
            return f"export {name} stays"
    raise _restless(name)


def _marking(export: Object, readers: Sequence[str] | None) -> patches.Operations:
    return patches.guarded(export, patches.annotate(export, {labels.PASSING: mark(readers) if readers is not None else None}))


def _restless(name: str) -> Conflict:
    return Conflict(f"export {name} changes all the time", now="see who changes it, and run the same again", status=409)
