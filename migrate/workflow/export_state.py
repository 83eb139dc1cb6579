"""In which state the disks of an export are: bytes of two states make no disk, so who reads asks before, at each break, and at the end."""

from __future__ import annotations

from collections.abc import Iterable

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import EXPORT, POD, PVC, SNAPSHOT, VM
from migrate.model.exports import Source
from migrate.model.objects import Object, name_of, uid_of
from migrate.reading.exports import served_since, state_of_claim, subject_of, users_of_claims

KINDS = {Source.VM: VM, Source.SNAPSHOT: SNAPSHOT, Source.PVC: PVC}
_GONE = "gone"


def state(cluster: Cluster, export: Object, claim: str) -> str:
    """Name the state that a claim of an export is in now; "" = it is not there. uids are unique, so nothing else needs to say where it is.

    A snapshot does not change, however often it is restored for an export. A claim of a VM, or a bare one, is itself (one made anew under
    its name is another), with what tells of those that may have written to it; for a bare one it counts, too, whether its export was
    served all the time, since KubeVirt takes that back while a pod uses the claim.
    """
    subject = subject_of(export)
    if subject is None:
        return f"{uid_of(export)}/{claim}"
    if subject.source is Source.SNAPSHOT:
        return f"{uid_of(cluster.get(SNAPSHOT, subject.name) or export)}/{claim}"
    there, now = cluster.get(PVC, claim), cluster.get(EXPORT, name_of(export)) if subject.source is Source.PVC else None
    if there is None:
        return ""
    served = (f"{uid_of(now)} {served_since(now)}" if now is not None else _GONE) if subject.source is Source.PVC else ""
    return "/".join((served, state_of_claim(there, cluster.list(VM)), *users_of_claims((claim,), cluster.list(POD))))


def users(cluster: Cluster, export: Object, claims: Iterable[str]) -> str:
    """Name the pods that may write just now to the claims that an export offers; "" = none, or they are those of a snapshot."""
    subject = subject_of(export)
    if subject is None or subject.source is Source.SNAPSHOT:
        return ""
    return ", ".join(users_of_claims(claims, cluster.list(POD)))
