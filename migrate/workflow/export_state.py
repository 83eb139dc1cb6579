"""In which state the disks of an export are: bytes of two states make no disk, so who reads asks before, at each break, and at the end."""

from __future__ import annotations

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import EXPORT, POD, PVC, SNAPSHOT, VM
from migrate.model.exports import Source
from migrate.model.objects import Object, name_of, uid_of
from migrate.reading.exports import state_of, state_of_claim, subject_of, users_of_claim

KINDS = {Source.VM: VM, Source.SNAPSHOT: SNAPSHOT, Source.PVC: PVC}
_GONE = "gone"


def state(cluster: Cluster, export: Object) -> str:
    """Name the state that the disks of an export are in now. uids are unique, so nothing else needs to say where they are.

    A VM's disks change with a start (see `state_of`); a snapshot does not change; of a bare claim what tells of others that use it.
    """
    subject = subject_of(export)
    if subject is None:
        return uid_of(export)
    if subject.source is Source.PVC:
        now = cluster.get(EXPORT, name_of(export))
        if now is None or uid_of(now) != uid_of(export):
            return _GONE
        users = users_of_claim(subject.name, cluster.list(POD))
        return "/".join((state_of_claim(subject.name, now, cluster.list(VM)), *users))
    found = cluster.get(KINDS[subject.source], subject.name)
    if found is None:
        return uid_of(export)
    return state_of(found) if subject.source is Source.VM else uid_of(found)


def users(cluster: Cluster, export: Object) -> str:
    """Name the pods that may write just now to the claim that is exported; "" = none, or it is no claim that is exported."""
    subject = subject_of(export)
    if subject is None or subject.source is not Source.PVC:
        return ""
    return ", ".join(users_of_claim(subject.name, cluster.list(POD)))
