"""What a snapshot of a VM sees of its source: volumes and their claims, what keeps it from being locked, what can be snapshotted. Pure.

Reference: kubevirt-export.md section 6.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from migrate.lab.cdi_names import DEFAULT_SNAPSHOT_CLASS
from migrate.lab.export_source import NotYetKnown, backend_claim, claim_name, is_populated, needs_backend_storage
from migrate.lab.kubevirt_release import Release
from migrate.lab.kubevirt_status import condition

Object = dict[str, Any]

FROZEN = "frozen"
SOURCE_FINALIZER = "snapshot.kubevirt.io/snapshot-source-protection"
FREEZE_LIMIT = "fsfreeze is limited"
"""What the guest agent's error says when Windows could not hold the freeze long enough."""

MESSAGES = {
    "Online": "Snapshot taken while the VM was running. Consistency depends on guest-agent quiescing.",
    "GuestAgent": "Guest agent was active and attempted to quiesce the filesystem for application consistency.",
    "NoGuestAgent": "Guest agent was not available. Snapshot is crash-consistent and may not be application-consistent.",
    "QuiesceTimeout": "Guest agent quiesced the filesystem, but the freeze window timed out before completion. "
    "Snapshot is crash-consistent and may not be application-consistent.",
    "Paused": "Snapshot taken while the VM was paused. Snapshot is crash-consistent and may not be application-consistent.",
    "PartialSnapshot": "Not all snapshotable volumes were included in the snapshot. "
    "Check status.snapshotVolumes for excluded volumes and VM VolumeSnapshotStatus for details.",
}
_MESSAGES = {**MESSAGES, "QuiesceFailed": MESSAGES["QuiesceTimeout"]}


class NoClass(Exception):
    """Several classes could snapshot a volume and none is the default one."""


@dataclass(frozen=True, slots=True)
class Storage:
    """What decides how a claim is snapshotted: the cluster's storage classes and profiles by name, and all snapshot classes."""

    classes: Mapping[str, Object] = field(default_factory=dict)
    profiles: Mapping[str, Object] = field(default_factory=dict)
    snapshot_classes: tuple[Object, ...] = ()

    def snapshot_class(self, storage_class: str) -> str:
        """Return the VolumeSnapshotClass for claims of a class, empty if there is none. Raise NoClass."""
        cls = self.classes.get(storage_class)
        if cls is None:
            return ""
        chosen = ((self.profiles.get(storage_class) or {}).get("status") or {}).get("snapshotClass")
        if chosen:
            return str(chosen) if any(found["metadata"]["name"] == chosen for found in self.snapshot_classes) else ""
        fitting = [found for found in self.snapshot_classes if found["driver"] == cls["provisioner"]]
        if len(fitting) > 1:
            marked = [found for found in fitting if DEFAULT_SNAPSHOT_CLASS in (found["metadata"].get("annotations") or {})]
            if not marked:
                raise NoClass(f"{len(fitting)} matching VolumeSnapshotClasses for {storage_class}")
            return str(marked[0]["metadata"]["name"])
        return str(fitting[0]["metadata"]["name"]) if fitting else ""


@dataclass(frozen=True, slots=True)
class View:
    """A VM as the snapshot controller sees it, with the namespace's claims and DataVolumes by name, and its pods."""

    vm: Object
    instance: Object | None
    claims: Mapping[str, Object]
    disks: Mapping[str, Object]
    pods: tuple[Object, ...] = ()

    @property
    def online(self) -> bool:
        return self.instance is not None

    @property
    def paused(self) -> bool:
        return (condition(self.instance, "Paused") or {}).get("status") == "True"

    @property
    def agent(self) -> bool:
        return condition(self.instance, "AgentConnected") is not None

    @property
    def frozen(self) -> bool:
        return ((self.instance or {}).get("status") or {}).get("fsFreezeStatus") == FROZEN

    def locked_by(self, snapshot: Object) -> bool:
        """Tell whether this snapshot holds the VM."""
        holder = (self.vm.get("status") or {}).get("snapshotInProgress")
        return bool(holder == snapshot["metadata"]["name"] and SOURCE_FINALIZER in (self.vm["metadata"].get("finalizers") or ()))


def volumes_of(vm: Object, claims: Iterable[Object], release: Release) -> list[Object]:
    """Return the volumes of a VM, the claim with its TPM and EFI state included, which no spec names."""
    found = list(vm["spec"]["template"]["spec"].get("volumes") or ())
    if release.backend_storage_exported and needs_backend_storage(vm) and (state := backend_claim(vm, claims)) is not None:
        found.append(state_volume(vm, state["metadata"]["name"]))
    return found


def state_volume(vm: Object, claim: str) -> Object:
    """Return the volume as which the claim with a VM's persistent state is known in snapshots."""
    return {"name": f"persistent-state-for-{vm['metadata']['name']}", "persistentVolumeClaim": {"claimName": claim}}


def claims_by_volume(vm: Object, claims: Iterable[Object], release: Release) -> dict[str, str]:
    """Return the claims that a snapshot of a VM covers, by volume name."""
    return {volume["name"]: claim_name(volume) for volume in volumes_of(vm, claims, release) if claim_name(volume)}


def obstacle(view: View, snapshot: Object, release: Release) -> str:
    """Return why a VM cannot be locked for a snapshot now; empty if it can."""
    if release.backend_storage_exported and needs_backend_storage(view.vm) and backend_claim(view.vm, view.claims.values()) is None:
        return " "  # the real controller waits without a word
    names = sorted(set(claims_by_volume(view.vm, view.claims.values(), release).values()))
    namespace, vm = view.vm["metadata"]["namespace"], view.vm["metadata"]["name"]
    for name in names:
        if problem := _unusable(view, name):
            return f" source {namespace}/{vm} {problem}: {name}"
    using = [pod for pod in view.pods for claim in _claims_of_pod(pod) if claim in names]
    if not view.online and using:
        return f" source is offline but {len(using)} pods using PVCs [{' '.join(names)}]"
    holder = (view.vm.get("status") or {}).get("snapshotInProgress")
    if holder and holder != snapshot["metadata"]["name"]:
        return f' snapshot "{holder}" in progress'
    return ""


def _unusable(view: View, name: str) -> str:
    claim = view.claims.get(name)
    if claim is None:
        return "volume doesnt exist"
    if claim["metadata"].get("deletionTimestamp"):
        return "volume is being deleted"
    if (claim.get("status") or {}).get("phase") != "Bound":
        return "volume not bound"
    try:
        return "" if is_populated(claim, view.disks) else "volume not populated"
    except NotYetKnown:
        return "volume not populated"


def _claims_of_pod(pod: Object) -> list[str]:
    volumes = pod["spec"].get("volumes") or ()
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]


def indications(view: View, before: Iterable[str], *, error: str, release: Release) -> list[str]:
    """Return the indications of a snapshot in progress, sorted; those said before stay. An offline VM gives none."""
    if not view.online:
        return []
    found = {*before, "Online"}
    if view.paused and release.indications_told:
        found.add("Paused")
    elif view.agent:
        found.add("GuestAgent")
        if FREEZE_LIMIT in error and release.quiesce_indication:
            found.add(release.quiesce_indication)
    else:
        found.add("NoGuestAgent")
    return sorted(found)


def told(words: Iterable[str]) -> list[Object]:
    """Return indications with their messages."""
    return [{"indication": word, "message": _MESSAGES[word]} for word in words]


def covered(content: Object, claims: Iterable[Object], release: Release) -> tuple[list[str], list[str], bool]:
    """Return which volumes of the VM a content holds, which not, and whether one that could have been is missing."""
    machine = content["spec"]["source"]["virtualMachine"]
    taken = {backup["volumeName"] for backup in content["spec"].get("volumeBackups") or ()}
    volumes = volumes_of(machine, claims, release)
    included = [volume["name"] for volume in volumes if volume["name"] in taken]
    missing = [volume for volume in volumes if volume["name"] not in taken]
    return included, [volume["name"] for volume in missing], any(claim_name(volume) for volume in missing)


def snapshot_statuses(vm: Object, claims: Mapping[str, Object], storage: Storage, release: Release) -> list[Object]:
    """Return `volumeSnapshotStatuses` of a VM: which of its volumes can be snapshotted, and why not."""
    return [_snapshot_status(volume, claims, storage) for volume in volumes_of(vm, claims.values(), release)]


def _snapshot_status(volume: Object, claims: Mapping[str, Object], storage: Storage) -> Object:
    name = volume["name"]
    if not claim_name(volume):
        return {"name": name, "enabled": False, "reason": f"Snapshot is not supported for this volumeSource type [{name}]"}
    claim = claims.get(claim_name(volume))
    if claim is None:
        return {"name": name, "enabled": False, "reason": "PVC not found"}
    storage_class = claim["spec"].get("storageClassName") or ""
    try:
        found = storage.snapshot_class(storage_class)
    except NoClass as problem:
        return {"name": name, "enabled": False, "reason": str(problem)}
    if found:
        return {"name": name, "enabled": True}
    lead = "No VolumeSnapshotClass: Volume snapshots are not configured for this StorageClass"
    return {"name": name, "enabled": False, "reason": f"{lead} [{storage_class}] [{name}]"}


def backups(snapshot: Object, view: View, storage: Storage, release: Release) -> list[Object]:
    """Return the volume backups of a content, in no particular order; claims that cannot be snapshotted are left out. Raise NoClass."""
    uid = snapshot["metadata"]["uid"]
    found = []
    for volume, name in claims_by_volume(view.vm, view.claims.values(), release).items():
        claim = view.claims.get(name)
        if claim is None or (claim.get("status") or {}).get("phase") != "Bound":
            continue
        if not storage.snapshot_class(claim["spec"].get("storageClassName") or ""):
            continue
        copied = {"metadata": simplified(claim["metadata"]), "spec": copy.deepcopy(claim["spec"])}
        found.append(
            {"volumeName": volume, "persistentVolumeClaim": copied, "volumeSnapshotName": f"vmsnapshot-{uid}-volume-{volume}"},
        )
    return sorted(found, key=lambda backup: sha256(f"{uid}/{backup['volumeName']}".encode()).digest())


def simplified(metadata: Object) -> Object:
    """Return metadata as a content keeps it: everything but the managed fields."""
    return {key: copy.deepcopy(value) for key, value in metadata.items() if key != "managedFields"}


def machine_at(view: View, revision: Object | None) -> Object:
    """Return the VM as a content keeps it: what its instance was started from, with the disks of now; offline, what is stored."""
    spec = copy.deepcopy(view.vm["spec"])
    if revision is not None:
        current, spec = spec, copy.deepcopy(revision["data"]["spec"])
        then, now = spec["template"]["spec"], current["template"]["spec"]
        _same(then, now, "volumes")
        _same(then.setdefault("domain", {}).setdefault("devices", {}), (now.get("domain") or {}).get("devices") or {}, "disks")
        _same(spec, current, "dataVolumeTemplates")
    return {"metadata": simplified(view.vm["metadata"]), "spec": spec, "status": {}}


def _same(then: Object, now: Object, key: str) -> None:
    then.pop(key, None)
    if key in now:
        then[key] = now[key]
