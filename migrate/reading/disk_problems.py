"""What a person is told about a disk that does not get on: the importer's words, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from migrate.model.errors import Problem
from migrate.model.observation import DiskProgress, State

_REMEDY = {
    "AnotherDisk": "take this migration back with `migrate undo` (it removes that disk), then move the VM anew",
    "StaleDisks": "take this migration back with `migrate undo` (it removes the stale copies), then move the VM anew",
    "NameTaken": "remove or rename that object, or move to another namespace",
    "QuotaExceeded": "raise the quota (target + hidden prime + scratch, three times a disk), or lower --parallel-disks; run again",
    "ClaimNotValid": "give the StorageProfile of its class claimPropertySets, then run again; or undo, and name another with --map-storage",
    "NoConsumer": "run again, so that it is made anew with immediate binding",
    "ImporterOutOfMemory": "raise spec.config.podResourceRequirements.limits.memory of the CDI object (2Gi is ample), then run again",
    "ImporterImage": "make CDI's importer image pullable on the target, then run again",
    "DiskTooSmall": "its file system leaves less room than CDI reckons with: raise filesystemOverhead of its storage class in the CDI "
    "object, then run again; or undo, and map it to another class",
    "TokenRefused": "see that no proxy on the way strips the header x-kubevirt-export-token; then run again",
    "LinkGone": "see whether the export is still there on the source and its Ingress leads to it; then run again",
    "CertificateRefused": "see the certificate of the source's export host, or give its CA with --source-ca FILE; then run again",
    "TransferBroken": "see the importer pod's log and the way between the clusters; then run again",
    "ImporterUnschedulable": "make room on a node of the target for the importer pod",
    "ClaimUnbound": "see the events of the claims prime-… and prime-…-scratch on the target: their class must make volumes, for "
    "scratch space Filesystem ones (spec.config.scratchSpaceStorageClass of the CDI object names another)",
    "ImporterNotStarted": "look at the events of the DataVolume and its claim on the target",
    "ScratchSpace": "give CDI a class for its scratch space that makes Filesystem volumes (spec.config.scratchSpaceStorageClass)",
    "DiskPending": "look at the events of the claim and of the hidden claim prime-… on the target: quota, class, provisioner",
    "UploadNotTrusted": "give the CA of the target's upload proxy with --target-ca FILE; then run again",
    "StateNotCarried": "see the way from here to both clusters and the pod cdi-upload-… on the target; then run again",
    "ImportFailed": "cure the cause, then run again: the disk is made anew",
}


def problem_of(disk: DiskProgress) -> Problem:
    """Return the four words about a disk that is BLOCKED or FAILED."""
    return Problem(f"disk {disk.name}: {disk.reason}", where="target", why=disk.message, now=_REMEDY.get(disk.reason, ""))


def failing(disks: Sequence[DiskProgress], state: State) -> tuple[Problem, ...]:
    """Return the problems of all disks in one state."""
    return tuple(problem_of(disk) for disk in disks if disk.state is state)
