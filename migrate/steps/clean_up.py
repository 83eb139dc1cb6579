"""Remove what only the move needed: exports, tokens, CA and header, and last of all the claims."""

from __future__ import annotations

import logging
from datetime import timedelta

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONFIGMAP, EXPORT, SECRET, SNAPSHOT, Kind
from migrate.model import labels
from migrate.model.errors import MigrateError
from migrate.model.objects import dig, leaving, name_of
from migrate.model.observation import Observation, State, done, needed, waiting
from migrate.reading.inventory import claims_of
from migrate.reading.snapshot import uploading
from migrate.steps import claims, exporting, looks, snapshots
from migrate.steps.base import Crossing, Limits

log = logging.getLogger("migrate.clean-up")


class CleanUp:
    """Delete by uid what carries this migration's mark, and see it gone. The record, the disks and the VMs stay."""

    name = "clean-up"
    limits = Limits(quiet=timedelta(minutes=5), acts=3)
    until: str | None = None

    def observe(self, x: Crossing) -> Observation:
        there = [(f"{kind} {name}", found) for cluster, kind, name in scaffold(x) if (found := cluster.get(kind, name)) is not None]
        ours = [(words, found) for words, found in there if labels.is_ours(found, x.migration.id)]
        left = [words for words, found in ours if not leaving(found)]
        if left:
            return needed("LeftOver", f"to be removed: {', '.join(left)}")
        if ours:
            return waiting(
                "BeingDeleted", f"waiting until {', '.join(words for words, _ in ours)} {'is' if len(ours) == 1 else 'are'} gone"
            )
        names = x.migration.names
        for cluster, export in ((x.source, names.export), (x.target, names.proof)):
            if exporting.exporter_pods(cluster, export):
                return waiting("ExporterLeaving", f"the server pod of export {export} is not gone yet")
        if left := snapshots.restored(x):
            return waiting("BeingDeleted", f"waiting until the claims {', '.join(left)} are gone")
        snapshot = x.source.get(SNAPSHOT, names.snapshot) if _removes_snapshot(x) else None
        if snapshot is not None and labels.is_ours(snapshot, x.migration.id):
            words = f"the snapshot {names.snapshot}"
            return waiting("BeingDeleted", f"waiting until {words} is gone") if leaving(snapshot) else needed("SnapshotLeft", words)
        if claims.left(x):
            return needed("ClaimLeft", "the claims on source and target are given up last")
        return done("CleanedUp", "nothing that only the move needed is left")

    def act(self, x: Crossing) -> None:
        x.works.cancel(x.migration.id)
        if looks.remove_all(x, *scaffold(x)).state is not State.DONE or snapshots.restored(x):
            return
        if not _removes_snapshot(x) or looks.remove(x, x.source, SNAPSHOT, x.migration.names.snapshot):
            claims.give_up(x)

    def undo(self, x: Crossing) -> Observation:  # noqa: ARG002 - there is nothing to take back
        return done("Nothing", "what was removed is made again when it is needed")


def _removes_snapshot(x: Crossing) -> bool:
    return x.migration.copies and not x.migration.options.keep_snapshot


def let_go(x: Crossing) -> str:
    """Ask once for everything to go that nobody needs, without waiting, when a run stops; say what stays, "" if nothing does. Never raises.

    While the target still imports, it does so without us: the source's export, its token and what carries it to the target stay until
    then (docs/decisions/0005). A snapshot stays as long as disks on the target are of it.
    """
    x.works.cancel(x.migration.id)
    try:
        pulled, pulling = pull(x), still_pulled(x)
        looks.remove_all(x, *(thing for thing in scaffold(x) if not pulling or thing not in pulled))
        snapshot = _snapshot_stays(x)
        export = x.source.get(EXPORT, x.migration.names.export) if pulling else None
    except MigrateError as error:
        log.warning("not everything could be removed (migrate cleanup does it later): %s", error)
        return f"what only the move needs may be left on either side: {error}; migrate cleanup removes it"
    names, place = x.migration.names, f"{x.migration.source.context}, namespace {x.migration.source.namespace}"
    if not pulling:
        return f"stays: snapshot {names.snapshot}, on {place}; the same command goes on with it, an undo removes it" if snapshot else ""
    until = dig(export, "status", "ttlExpirationTime", default="it is removed")
    beside = f" and snapshot {names.snapshot}" if snapshot else ""
    return (
        f"stays: export {names.export} and its token{beside}, on {place}, until {until}, since the target still imports by itself: "
        f"{', '.join(pulling)}; the same command goes on from there, an undo removes them"
    )


def _snapshot_stays(x: Crossing) -> bool:
    """Tell whether the snapshot stays; remove it if it has served, or if nothing is of it yet: the next run takes a fresh one then.

    One that storage still carries away stays, too: to begin that anew would take as long again.
    """
    snapshot = snapshots.found(x) if x.migration.copies else None
    if snapshot is None:
        return False
    made = looks.disks_there(x)
    stays = (x.migration.options.keep_snapshot or not snapshots.settled(x, made)) if made else uploading(snapshot) and _of_its_disks(x)
    if not stays:
        looks.remove(x, x.source, SNAPSHOT, x.migration.names.snapshot)
    return stays


def _of_its_disks(x: Crossing) -> bool:
    """Tell whether the snapshot holds the disks that are to be copied. The VM may have got others just before it was taken."""
    vm = snapshots.held(x)
    return vm is None or not looks.differing(x.migration.disks, claims_of(vm))


def still_pulled(x: Crossing) -> list[str]:
    """Name the disks that CDI is at: DataVolumes of this migration that have neither succeeded nor failed. None once they are stale.

    A claim that waits for files from us is not pulled.
    """
    if looks.unmoved(x) is not None:
        return []
    ended = ("Succeeded", "Failed")
    pulling = [found for found in looks.disks_there(x) if dig(found, "spec", "source", "http")]
    return [name_of(found) for found in pulling if not leaving(found) and dig(found, "status", "phase") not in ended]


def pull(x: Crossing) -> tuple[tuple[Cluster, Kind, str], ...]:
    """Name what an import needs that goes on by itself."""
    names = x.migration.names
    return (
        (x.source, EXPORT, names.export),
        (x.source, SECRET, names.token),
        (x.target, SECRET, names.header),
        (x.target, CONFIGMAP, names.ca),
    )


def scaffold(x: Crossing) -> tuple[tuple[Cluster, Kind, str], ...]:
    """Name what only the move needs, on both sides. It is made again when it is needed again."""
    names = x.migration.names
    return (*pull(x), (x.target, EXPORT, names.proof), (x.target, SECRET, names.proof_token))
