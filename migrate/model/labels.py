"""Our mark on objects: what carries it is ours to change and remove, what does not is never touched.

The lab may import this module (and only this one of the model), so that seeds can plant objects that look like ours.
"""

from __future__ import annotations

PREFIX = "kubevirt-migrate.io"

ID = f"{PREFIX}/id"
"""Label: id of the migration that an object belongs to."""

ROLE = f"{PREFIX}/role"
"""Label: what the object is for: snapshot, export, token, ca, header, disk, vm, record, claim, proof, reference, before."""

MANAGED_BY = "app.kubernetes.io/managed-by"
OWNER = "kubevirt-migrate"
"""Value of the MANAGED_BY label on everything that we create; also our server-side apply field manager."""

DISK = f"{PREFIX}/source-pvc"
"""Annotation on a target disk: the source PVC that it is a copy of. A disk that names another one is not taken for this one's copy."""

DISK_UID = f"{PREFIX}/source-pvc-uid"
"""Annotation on a target disk: the uid that this PVC had then. One that was made anew under the name since is another disk."""

SOURCE_GENERATION = f"{PREFIX}/source-generation"
"""Annotation on a target disk, written with it: what it is a copy of, by the metadata.generation of the halted source or the uid of the
snapshot."""

PROOF = f"{PREFIX}/proof"
"""Annotation on a target disk: JSON {digest, coverage, bytes, sourceGeneration, at, claim}; `claim`: uid of the claim that was read."""

COMPARED = f"{PREFIX}/compared"
"""Annotation on a target disk, as PROOF: its latest comparison where that was less deep than the proof, which it does not replace."""

WAS = f"{PREFIX}/was"
"""Annotation on the source VM, written in the same write that halts it: JSON of what it was before. On a copy and its snapshot as well."""

HALTED_BY = f"{PREFIX}/halted-by"
"""Annotation on the source VM: id of the migration that halted it. On a record, with MOVED_TO: the one that moved the target on."""

HALTED_GENERATION = f"{PREFIX}/halted-generation"
"""Annotation on the source VM, written with HALTED_BY: the metadata.generation that our halt leaves it at."""

HALTED_AT = f"{PREFIX}/halted-at"
"""Annotation on the source VM, written with HALTED_BY: when, so that a runner that dies at once loses no time that it measured."""

MOVED_TO = f"{PREFIX}/moved-to"
"""Annotation on the source VM: where it runs now, CLUSTER-UID/NAMESPACE/NAME."""

DIFFERS = f"{PREFIX}/differs"
"""Annotation on a target disk whose proof failed: JSON {places, sourceGeneration, at, claim}. Such a disk is never called copied."""

CLAIM = f"{PREFIX}/claim"
"""Annotation on what a runner changes or deletes (both VMs, a snapshot, the target's disks, the record): the number of the claim under
which it may, LEASE-UID/TRANSITIONS. Whoever takes the claim writes the new number first; every write tests it."""

FENCED = f"{PREFIX}/fenced"
"""Key in the node selector of a source VM that was halted with --fence: no node has it, so nobody's start brings up a guest."""

RETIRED_BY = f"{PREFIX}/retired-by"
"""Annotation on a claim of the source, written right before its VM is deleted on request: ID/GENERATION, the id of the migration whose copy
is proven and the generation of the halted VM that it is proven for."""

STARTED = f"{PREFIX}/started"
"""Annotation on the target VM, written in the same write that starts it: when. From then on nothing is undone. Before that it is written on
each of its disks, with the claim that the guest will write to (reading/started.py): a VM can be deleted without its disks."""

GIVEN_TO = f"{PREFIX}/given-to"
"""Annotation on a target disk: uid of the target VM that was made on it. We take it off before we delete that VM. So where that VM is not
there and the note is, somebody else deleted it, and may have started it before."""

PASSING = f"{PREFIX}/made-for-a-download"
"""Annotation on an export that `migrate export download` made for itself: JSON list of the downloads that read it (HOST:FILE). It goes with
the one that ends last."""

START_ASKED = f"{PREFIX}/start-asked"
"""Annotation on a target VM of run strategy Manual, written with that strategy once its instance is there: when. It is started once."""

RECREATED = f"{PREFIX}/recreated"
"""Annotation on the CA ConfigMap: JSON {disk: how often its DataVolume was deleted to be made again}."""


REPLACED_BY = f"{PREFIX}/replaced-by"
"""Annotation on an object of the user on the target that a migration makes equal to the source's: its id, before those of
earlier ones that did (ID/ID). How the object was before is kept beside it (Names.before_of); an undo brings that back."""

BEFORE = f"{PREFIX}/before"
"""Annotation on an object that keeps another one as it was before it was replaced: KIND/NAME of that one."""


def ours(migration_id: str, role: str) -> dict[str, str]:
    """Return the labels of an object that belongs to one migration."""
    return {MANAGED_BY: OWNER, ID: migration_id, ROLE: role}


def is_ours(obj: dict[str, object], migration_id: str | None = None) -> bool:
    """Tell whether an object carries our mark, and, when an id is given, that very migration's.

    The id alone decides: MANAGED_BY is a key that everybody shares, and who adopts an object (Helm, GitOps) writes his own name there.
    """
    metadata = obj.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    if not isinstance(labels, dict) or not labels.get(ID):
        return False
    return migration_id is None or labels.get(ID) == migration_id
