"""Which objects carry the number of the claim, how it is brought onto them, and how it leaves the source again."""

from __future__ import annotations

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONFIGMAP, SNAPSHOT, VM, Kind
from migrate.kube.kinds import DATAVOLUME as DISK
from migrate.model import labels
from migrate.model.errors import Conflict, Refused
from migrate.model.objects import Object, leaving, name_of, uid_of
from migrate.steps import carrying, looks, patches, snapshots, stamps
from migrate.steps.base import Crossing

Thing = tuple[Cluster, Kind, Object]


def lacking(x: Crossing) -> list[Thing]:
    """List what is there of this migration and does not carry our number: both VMs, the snapshot, the disks, the record, references."""
    m = x.migration
    vm = x.source.get(VM, m.source.name)
    found: list[Thing] = [(x.source, VM, vm)] if vm is not None and uid_of(vm) == m.source_uid else []
    if m.copies and x.source.serves(SNAPSHOT) is not None and (taken := snapshots.found(x)) is not None:
        found.append((x.source, SNAPSHOT, taken))
    for kind, name in ((VM, m.target.name), (CONFIGMAP, m.names.record)):
        if x.target.serves(kind) is not None and (there := x.target.get(kind, name)) is not None and labels.is_ours(there, m.id):
            found.append((x.target, kind, there))
    found += [(x.target, DISK, disk) for disk in looks.disks_there(x)]
    found += carrying.made(x)
    return [thing for thing in found if not stamps.carries(x, thing[2]) and not leaving(thing[2])]


def put(x: Crossing, things: list[Thing]) -> None:
    """Write our number on objects as they were read. Raises Conflict if one has changed since."""
    for cluster, kind, obj in things:
        cluster.patch(kind, name_of(obj), patches.guarded(obj, patches.annotate(obj, {labels.CLAIM: stamps.number(x)})))


def take_off(x: Crossing) -> None:
    """Take our number off the source VM, if it is ours that stands there. On the target it stays: it holds back late writes."""
    vm = x.source.get(VM, x.migration.source.name)
    if vm is None or not stamps.carries(x, vm):
        return
    try:
        x.source.patch(VM, name_of(vm), stamps.claimed(x, vm, patches.annotate(vm, {labels.CLAIM: None})))
    except Conflict:
        return  # the next holder has written its own
    except Refused as error:
        if error.status != 404:  # a VM that went meanwhile carries nothing
            raise
