"""What a VM is made of: its disks, what cannot be moved, and what is left behind on purpose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count
from typing import Any

from migrate.model.errors import Problem
from migrate.model.inventory import Inventory
from migrate.model.migration import Disk
from migrate.model.objects import Object, annotations_of, controller_of, dig, leaving, name_of, uid_of
from migrate.model.quantity import to_bytes
from migrate.reading.state import old_name, state_of

_CONTENT = "cdi.kubevirt.io/storage.contentType"
_DISK_CONTENT = frozenset({"", "kubevirt"})


def volumes_of(vm: Object) -> tuple[Mapping[str, Any], ...]:
    """Return the volumes of the VM's template."""
    return tuple(dig(vm, "spec", "template", "spec", "volumes", default=()))


def claim_of(volume: Mapping[str, Any]) -> str:
    """Return the PVC that a volume keeps its disk in, "" for any other kind of volume."""
    return str(dig(volume, "dataVolume", "name") or dig(volume, "persistentVolumeClaim", "claimName") or "")


def claims_of(vm: Object) -> tuple[str, ...]:
    """Return the names of the PVCs that hold the VM's disks, in volume order, without doubles."""
    return tuple(dict.fromkeys(claim for volume in volumes_of(vm) if (claim := claim_of(volume))))


def dumps_of(vm: Object) -> tuple[str, ...]:
    """Return the names of the PVCs that hold memory dumps of the VM; they are no disks, and are snapshotted with them."""
    return tuple(dict.fromkeys(str(claim) for volume in volumes_of(vm) if (claim := dig(volume, "memoryDump", "claimName"))))


def dump(pvc: Object) -> Disk:
    """Return a claim with a memory dump, as far as it takes room."""
    return Disk("", name_of(pvc), "", capacity_bytes(pvc), str(dig(pvc, "spec", "storageClassName", default="")))


def disks_of(
    vm: Object,
    pvcs: Mapping[str, Object],
    *,
    vmi: Object | None = None,
    data_volumes: Mapping[str, Object] | None = None,
    states: Sequence[Object] = (),
    target_vm: str = "",
    same_place: bool = False,
) -> Inventory:
    """List the disks of a VM in volume order, and last the claim with its TPM and EFI state.

    `pvcs` and `data_volumes`: by name, as far as they exist. `states`: the claims that KubeVirt would take for that state. A disk keeps
    its name on the target, except when the target is the same namespace of the same cluster (`same_place`): then it is renamed after
    `target_vm`.
    """
    problems = [*_claimed_twice(vm), *_shape(vm), *only_in_instance(vm, vmi)]
    claims = claims_of(vm)
    targets = _renamed(claims, name_of(vm), target_vm) if same_place else {claim: claim for claim in claims}
    disks: list[Disk] = []
    for volume in volumes_of(vm):
        claim = claim_of(volume)
        if not claim or any(disk.pvc == claim for disk in disks):
            continue
        pvc = pvcs.get(claim)
        said = _claim_problem(claim, pvc, (data_volumes or {}).get(claim))
        if said is not None:
            problems.append(said)
        disks.append(
            Disk(
                volume=str(volume.get("name", "")),
                pvc=claim,
                target=targets[claim],
                capacity_bytes=capacity_bytes(pvc),
                storage_class=str(dig(pvc, "spec", "storageClassName", default="")),
                volume_mode=str(dig(pvc, "spec", "volumeMode", default="Filesystem")),
                uid=str(dig(pvc, "metadata", "uid", default="")),
            )
        )
    state = state_of(vm, vmi, states)
    problems += [state.problem] if state.problem is not None else []
    if state.claim is not None:
        said = _claim_problem(name_of(state.claim), state.claim, None, archive=True)
        problems += [said] if said is not None else []
        disks.append(_state_disk(state.claim, old_name(target_vm) if same_place else name_of(state.claim)))
    return Inventory(tuple(disks), tuple(problems), tuple(_left_behind(vm)))


def _state_disk(claim: Object, target: str) -> Disk:
    storage_class = str(dig(claim, "spec", "storageClassName", default=""))
    return Disk("", name_of(claim), target, capacity_bytes(claim), storage_class, archive=True, uid=uid_of(claim))


def capacity_bytes(pvc: Object | None) -> int:
    """Return the upper bound of a disk's size: the capacity that its PVC got, else what it asked for, else 0."""
    for text in (dig(pvc, "status", "capacity", "storage"), dig(pvc, "spec", "resources", "requests", "storage")):
        if text is not None:
            try:
                return to_bytes(text)
            except ValueError:
                continue
    return 0


def _renamed(claims: Sequence[str], source_vm: str, target_vm: str) -> dict[str, str]:
    """Name copies beside their originals: after the new VM, in place of the old one's name where a claim begins with that.

    No copy gets the name of an original or of another copy; the order of the claims decides, so that a second look gives the same names.
    """
    names: dict[str, str] = {}
    for claim in claims:
        rest = claim.removeprefix(f"{source_vm}-") if claim != source_vm else ""
        plain = f"{target_vm}-{rest}" if rest else target_vm
        tries = chain([plain], (f"{plain}-{number}" for number in count(2)))
        names[claim] = next(name for name in tries if name not in claims and name not in names.values())
    return names


def _claimed_twice(vm: Object) -> Iterator[Problem]:
    counts = Counter(claim for volume in volumes_of(vm) if (claim := claim_of(volume)))
    for claim, times in counts.items():
        if times > 1:
            yield Problem(
                f"{times} volumes of the VM name the PVC {claim}",
                why="KubeVirt's export of such a VM never becomes ready: its pod would hold one volume name twice",
                now="remove one of the volumes from the VM",
            )


def _claim_problem(claim: str, pvc: Object | None, data_volume: Object | None, *, archive: bool = False) -> Problem | None:
    if pvc is None:
        return Problem(f"PVC {claim} is missing", why="the VM names it as a disk", now="remove the volume from the VM, or restore the PVC")
    if leaving(pvc):
        return Problem(f"PVC {claim} is being deleted", why="somebody deleted it", now="find out who, before the VM stops and it is gone")
    phase = dig(pvc, "status", "phase", default="Pending")
    if phase != "Bound":
        return Problem(f"PVC {claim} is {phase}, not Bound", why="there is no disk behind it yet", now="start the VM once, or mend the PVC")
    filled = dig(data_volume, "status", "phase", default="Succeeded")
    if filled not in {"Succeeded", "WaitForFirstConsumer", "PendingPopulation"}:
        return Problem(f"DataVolume {claim} is {filled}", why="the disk is still being filled", now="wait until it is Succeeded")
    if not archive and not _is_disk(pvc, data_volume):
        said = annotations_of(pvc).get(_CONTENT, "")
        return Problem(
            f"PVC {claim} would be exported as an archive, not as a disk",
            why=f"its content type is {said}" if said else "nothing on this Filesystem PVC says that it holds a disk",
            now="do not name it as a disk" if said else f"kubectl annotate pvc {claim} {_CONTENT}=kubevirt",
        )
    return None


def _is_disk(pvc: Object, data_volume: Object | None) -> bool:
    """Follow KubeVirt's choice between raw and archive (reference section 2, "Raw vs archive decision")."""
    if dig(pvc, "spec", "volumeMode") == "Block":
        return True
    if _CONTENT in annotations_of(pvc):
        return annotations_of(pvc)[_CONTENT] in _DISK_CONTENT
    owner = controller_of(pvc)
    if owner is None or owner[0] != "DataVolume":
        return False
    return dig(data_volume, "spec", "contentType", default="") in _DISK_CONTENT


def _shape(vm: Object) -> Iterator[Problem]:
    """Name what an export does not carry and a target cannot do without."""
    for volume in volumes_of(vm):
        name = volume.get("name", "")
        if "hostDisk" in volume:
            path = dig(volume, "hostDisk", "path", default="")
            yield Problem(
                f"volume {name} is a file on a node ({path})", why="exports do not carry host disks", now="copy it into a PVC first"
            )
        if "ephemeral" in volume:
            base = dig(volume, "ephemeral", "persistentVolumeClaim", "claimName", default="")
            yield Problem(
                f"volume {name} is an overlay on PVC {base}",
                why="an export of the VM does not carry the base of an ephemeral volume",
                now=f"name {base} as an ordinary disk, or drop the volume from the VM",
            )


def only_in_instance(vm: Object, vmi: Object | None) -> Iterator[Problem]:
    """Name the disks that were hot-added to the running instance only: the VM does not know them, so no export carries them."""
    known = set(claims_of(vm)) | {dig(volume, "memoryDump", "claimName") for volume in volumes_of(vm)}
    for volume in dig(vmi, "spec", "volumes", default=()):
        claim = claim_of(volume)
        if claim and claim not in known:
            yield Problem(
                f"PVC {claim} is attached to the running instance only",
                why="it was hot-added without being persisted in the VM, so no export carries it",
                now=f"persist it (virtctl addvolume --persist) or detach it (virtctl removevolume {name_of(vm)} ...) first",
            )


def _left_behind(vm: Object) -> Iterator[str]:
    for volume in volumes_of(vm):
        name = volume.get("name", "")
        if "memoryDump" in volume:
            yield f"volume {name}: a memory dump is not moved"
        elif "emptyDisk" in volume:
            yield f"volume {name}: an empty disk starts empty again"
