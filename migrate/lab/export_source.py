"""What an export offers, and whether it can be had right now: pure readings of the source's objects.

Reference: kubevirt-export.md section 2, "Availability by source" and "Phase rules". Claims and VMs are known here, snapshots in
`export_snapshot`; another kind of source is one more function that returns a `Source`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from migrate.lab.kubevirt_release import Release

Object = dict[str, Any]

CONTENT_TYPE = "cdi.kubevirt.io/storage.contentType"
STATE_LABEL = "persistent-state-for"
VOLUMES_CREATED = "VolumesCreated"
NO_SNAPSHOTS = "VMSnapshotNoVolumes"
_FINAL = frozenset({"Succeeded", "Failed"})


class NotYetKnown(Exception):
    """Something needed to judge the source cannot be seen yet; the real controller fails this round and tries again."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What a condition says, without when."""

    type: str
    status: str
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """The source of one export: its claims in link order, its own view of readiness, and what its manifest is made from."""

    volumes: tuple[Object, ...] = ()
    in_use: bool = False
    populated: bool = False
    ready: Condition = Condition("Ready", "False", "Initializing")
    own: Condition | None = None
    look_again: bool = False
    vm_name: str | None = None
    vm: Object | None = field(default=None, repr=False)
    prefix: str = ""
    """What the claims' names have in front of the names that links show."""
    described: tuple[Object, ...] | None = None
    """The claims that the manifest describes, if they are not those that are exported."""

    @property
    def available(self) -> bool:
        return self.populated and not self.in_use

    @property
    def offered(self) -> bool:
        """Tell whether an exporter pod should run."""
        return self.available and bool(self.volumes)

    @property
    def skipped(self) -> bool:
        """Tell whether there is nothing to export, now or ever: the phase says Skipped, until something appears."""
        if self.own is not None and self.own.type == VOLUMES_CREATED:
            return self.own.reason == NO_SNAPSHOTS
        return self.vm_name is not None and not self.volumes


def is_populated(claim: Object, disks: Mapping[str, Object]) -> bool:
    """Tell whether a claim's content is there: always, unless a DataVolume controls it and has not Succeeded.

    `disks` are the namespace's DataVolumes by name. Raises NotYetKnown when the controlling one is missing.
    """
    owner = controller_of(claim)
    if owner is None or owner["kind"] != "DataVolume":
        return True
    disk = disks.get(owner["name"])
    if disk is None:
        raise NotYetKnown(f"datavolume {claim['metadata']['namespace']}/{owner['name']} not found")
    return bool((disk.get("status") or {}).get("phase") == "Succeeded")


def controller_of(obj: Object) -> Object | None:
    """Return the owner reference of the object's controller."""
    return next((owner for owner in obj["metadata"].get("ownerReferences") or () if owner.get("controller")), None)


def is_disk(claim: Object, disks: Mapping[str, Object]) -> bool:
    """Tell whether a claim holds a VM disk (raw and gzip links) or just files (dir and tar.gz)."""
    if claim["spec"].get("volumeMode") == "Block":
        return True
    if (claim["metadata"].get("annotations") or {}).get(CONTENT_TYPE, "none") in {"kubevirt", ""}:
        return True
    owner = controller_of(claim)
    if owner is None or owner["kind"] != "DataVolume" or owner["name"] not in disks:
        return False
    return disks[owner["name"]]["spec"].get("contentType", "kubevirt") in {"kubevirt", ""}


def wakes(source: Object, obj: Object) -> bool:
    """Tell whether an export of that source is looked at when an object of its namespace changes.

    An export of a claim is not when a VM starts that has the claim, since KubeVirt's handleVMI goes by the VM then: it stays Ready, and
    its server runs beside the guest, until the controller looks for another cause.
    """
    if source["kind"] != "PersistentVolumeClaim":
        return True
    match obj["kind"]:
        case "PersistentVolumeClaim":
            return bool(obj["metadata"]["name"] == source["name"])
        case "VirtualMachineInstance":
            return controller_of(obj) is None
        case _:
            return False


def claim_source(export: Object, claim: Object | None, *, disks: Mapping[str, Object], pods: Iterable[Object]) -> Source:
    """Read a source of kind PersistentVolumeClaim. `pods` are those of the namespace."""
    namespace, name = export["metadata"]["namespace"], export["spec"]["source"]["name"]
    title = f"PersistentVolumeClaim {namespace}/{name}"
    if claim is None:
        return Source(own=Condition("PVCReady", "False", "PVCNotFound", f"{title} not found"))
    own = _claim_condition(claim)
    if not is_populated(claim, disks):
        pending = Condition("Ready", "False", "PVCPending", f"{title} is not populated")
        return Source(volumes=(claim,), ready=pending, own=own, look_again=True)
    if any(_uses(pod, name) and not _controlled_by(pod, export) for pod in pods):
        busy = Condition("Ready", "False", "InUse", f"{title} is in use")
        return Source(volumes=(claim,), in_use=True, populated=True, ready=busy, own=own, look_again=True)
    return Source(volumes=(claim,), populated=True, ready=Condition("Ready", "False", ""), own=own)


def _claim_condition(claim: Object) -> Condition:
    match (claim.get("status") or {}).get("phase"):
        case "Bound":
            return Condition("PVCReady", "True", "PVCBound")
        case "Pending":
            return Condition("PVCReady", "False", "PVCPending")
        case _:
            return Condition("PVCReady", "False", "Unknown")


def _uses(pod: Object, claim: str) -> bool:
    if (pod.get("status") or {}).get("phase") == "Succeeded":
        return False
    volumes = pod["spec"].get("volumes") or ()
    return any((volume.get("persistentVolumeClaim") or {}).get("claimName") == claim for volume in volumes)


def _controlled_by(obj: Object, owner: Object) -> bool:
    found = controller_of(obj)
    return found is not None and found["uid"] == owner["metadata"]["uid"]


@dataclass(frozen=True, slots=True)
class MachineObjects:
    """What there is around a VM that is a source: itself, its instance, and the namespace's claims and DataVolumes by name."""

    vm: Object | None
    instance: Object | None
    claims: Mapping[str, Object]
    disks: Mapping[str, Object]


def machine_source(export: Object, found: MachineObjects, release: Release) -> Source:
    """Read a source of kind VirtualMachine."""
    namespace, name = export["metadata"]["namespace"], export["spec"]["source"]["name"]
    title = f"Virtual Machine {namespace}/{name}"
    if found.vm is None:
        return Source(ready=_not_ready(release, "VMNotFound", f"{title} not found"), vm_name=name)
    volumes, populated = _volumes(found, release)
    known = {"volumes": volumes, "vm_name": name, "vm": found.vm}
    if not volumes:
        nothing = _not_ready(release, "VMNoVolumes", f"{title} has no volumes")
        return Source(**known, populated=True, ready=nothing)
    if not populated:
        waiting = _not_ready(release, "VolumesNotPopulated", f"Not all volumes in the {title} are populated")
        return Source(**known, ready=waiting, look_again=True)
    phase = ((found.instance or {}).get("status") or {}).get("phase", "")
    if found.instance is not None and not (phase in _FINAL and release.finished_instance_is_free):
        busy = Condition("Ready", "False", "InUse", f"{title} is running")
        return Source(**known, populated=True, in_use=True, ready=busy)
    return Source(**known, populated=True)


def unseen_source(export: Object, release: Release) -> Source:
    """Return a VM that the controller's own cache does not know yet, as just after its restart; it looks again when the cache is full."""
    namespace, name = export["metadata"]["namespace"], export["spec"]["source"]["name"]
    unseen = _not_ready(release, "VMNotFound", f"Virtual Machine {namespace}/{name} not found")
    return Source(ready=unseen, vm_name=name, look_again=True)


def _not_ready(release: Release, reason: str, message: str) -> Condition:
    return Condition("Ready", "False", reason if release.clear_reasons else "InUse", message)


def _volumes(found: MachineObjects, release: Release) -> tuple[tuple[Object, ...], bool]:
    """Return the claims of a VM that exist, in the order of its volumes, and whether all are populated."""
    assert found.vm is not None
    claims: list[Object] = []
    populated = True
    for volume in found.vm["spec"]["template"]["spec"].get("volumes") or []:
        name = claim_name(volume)
        claim = found.claims.get(name)
        if claim is not None:
            claims.append(claim)
            populated = populated and is_populated(claim, found.disks)
        elif "dataVolume" in volume:
            populated = False
    if release.backend_storage_exported and needs_backend_storage(found.vm):
        state = backend_claim(found.vm, found.claims.values())
        if state is None:
            return (), False
        claims.append(state)
    return tuple(claims), populated


def claim_name(volume: Object) -> str:
    """Return the claim behind a volume of a VM whose content is exported; empty for every other volume."""
    disk = (volume.get("dataVolume") or {}).get("name")
    return str(disk or (volume.get("persistentVolumeClaim") or volume.get("memoryDump") or {}).get("claimName") or "")


def needs_backend_storage(vm: Object) -> bool:
    """Tell whether a VM keeps TPM or EFI state in a claim of its own."""
    domain = vm["spec"]["template"]["spec"].get("domain") or {}
    tpm = (domain.get("devices") or {}).get("tpm") or {}
    efi = ((domain.get("firmware") or {}).get("bootloader") or {}).get("efi") or {}
    return bool(tpm.get("persistent") or efi.get("persistent"))


def backend_claim(vm: Object, claims: Iterable[Object]) -> Object | None:
    """Return the claim with a VM's persistent state: by label, or by the name of old; the newest that is not going away."""
    name = vm["metadata"]["name"]
    mine = [
        claim
        for claim in claims
        if not claim["metadata"].get("deletionTimestamp")
        and ((claim["metadata"].get("labels") or {}).get(STATE_LABEL) == name or claim["metadata"]["name"] == f"{STATE_LABEL}-{name}")
    ]
    return max(mine, key=lambda claim: str(claim["metadata"].get("creationTimestamp", "")), default=None)
