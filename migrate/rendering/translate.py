"""From the source VM to the target VM: what must not travel is left, what identifies the guest is pinned."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from migrate.model import labels as marks
from migrate.model.errors import Blocked, Problem
from migrate.model.migration import Migration
from migrate.model.objects import annotations_of, dig, labels_of
from migrate.model.was import Was
from migrate.rendering.identity import identify, rename
from migrate.rendering.mapping import network_on_target

_STAYS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubevirt.io/latest-observed-api-version",
    "kubevirt.io/storage-observed-api-version",
    "kubevirt.io/restore-run-strategy",
    "kubevirt.io/generation",
    "restore.kubevirt.io/",
    "kubemacpool.io/",
    f"{marks.PREFIX}/",
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "meta.helm.sh/",
)
"""Prefixes of labels and annotations that belong to the source: observations, ours, and those of managers that do not know the target."""
_HOSTNAME = "kubernetes.io/hostname"


@dataclass(frozen=True, slots=True)
class Translated:
    """The target VM, halted, and a sentence about each thing that was changed or dropped."""

    labels: dict[str, str]
    annotations: dict[str, str]
    spec: dict[str, Any]
    notes: tuple[str, ...] = ()


def translate(vm: Mapping[str, Any], *, migration: Migration, was: Was) -> Translated:
    """Return the target VM. Its volumes refer to the standalone disks of the migration (reference section 7, Identity; pitfalls 8, 27)."""
    spec = copy.deepcopy(dict(vm["spec"]))
    notes: list[str] = []
    spec.pop("running", None)
    spec["runStrategy"] = "Halted"
    if spec.pop("dataVolumeTemplates", None):
        notes.append("dataVolumeTemplates are left out: the disks are DataVolumes of their own, which outlive the VM")
    for matcher in ("instancetype", "preference"):
        if isinstance(spec.get(matcher), dict) and spec[matcher].pop("revisionName", None):
            notes.append(f"{matcher}: the target makes a revision of its own, that of the source is not carried")
    template = spec.setdefault("template", {})
    described = template.setdefault("metadata", {})
    described.pop("creationTimestamp", None)
    if described.get("labels"):
        described["labels"] = rename(described["labels"], migration, "template", notes)
    inner = template.setdefault("spec", {})
    _point_volumes(inner, migration, notes)
    identify(inner, migration, was, notes)
    _free_from_node(inner, notes)
    _move_networks(inner, migration, notes)
    if was.grace_s is not None:
        inner["terminationGracePeriodSeconds"] = was.grace_s
    labels = rename(travelling(labels_of(vm)), migration, "VM", notes)
    return Translated(labels, travelling(annotations_of(vm)), spec, tuple(notes))


def travelling(entries: Mapping[str, str]) -> dict[str, str]:
    """Return the labels or annotations that an object keeps on the target."""
    return {key: value for key, value in entries.items() if not key.startswith(_STAYS) and key != marks.MANAGED_BY}


def _point_volumes(spec: dict[str, Any], migration: Migration, notes: list[str]) -> None:
    """Let every disk volume name its copy; drop memory dumps, which are no disks of the guest. Raises Blocked for a disk without a copy."""
    targets = {disk.pvc: disk.target for disk in migration.disks}
    kept = []
    for volume in spec.get("volumes") or ():
        if "memoryDump" in volume:
            notes.append(f"volume {volume.get('name')}: a memory dump is not moved")
            continue
        claim = dig(volume, "dataVolume", "name") or dig(volume, "persistentVolumeClaim", "claimName")
        if claim and claim not in targets:
            raise Blocked.of([_without_copy(volume, claim, migration)], reason="DisksChanged")
        if "dataVolume" in volume:
            volume["dataVolume"]["name"] = targets[claim]
        elif claim:
            volume["persistentVolumeClaim"]["claimName"] = targets[claim]
        kept.append(volume)
    if "volumes" in spec:
        spec["volumes"] = kept
    if spec.pop("utilityVolumes", None):
        notes.append("utilityVolumes are left out: they hold backups and memory dumps, no disks of the guest")
    names = {volume.get("name") for volume in kept}
    devices = dig(spec, "domain", "devices", default={})
    for part in ("disks", "filesystems"):
        if devices.get(part):
            devices[part] = [device for device in devices[part] if device.get("name") in names]


def _without_copy(volume: Mapping[str, Any], claim: str, migration: Migration) -> Problem:
    return Problem(
        what=f"volume {volume.get('name')} is on the claim {claim}, which is no disk of this migration",
        where=str(migration.source),
        why="the target VM would be made on whatever has that name there",
        now="run the same again; if a disk was copied already, undo this migration and move the VM anew",
    )


def _free_from_node(spec: dict[str, Any], notes: list[str]) -> None:
    """Leave out the selectors that hold for the source alone: a node's name, and our fence."""
    selector = spec.get("nodeSelector") or {}
    if _HOSTNAME in selector:
        notes.append(f"nodeSelector {_HOSTNAME}={selector[_HOSTNAME]} is left out: it names a node of the source")
    rest = {key: value for key, value in selector.items() if key not in (_HOSTNAME, marks.FENCED)}
    if rest:
        spec["nodeSelector"] = rest
    else:
        spec.pop("nodeSelector", None)


def _move_networks(spec: dict[str, Any], migration: Migration, notes: list[str]) -> None:
    """Let every network of a definition name the target's."""
    for network in spec.get("networks") or ():
        named = str(dig(network, "multus", "networkName", default=""))
        if named and (other := network_on_target(named, migration)) != named:
            network["multus"]["networkName"] = other
            notes.append(f"network {network.get('name')}: {named} became {other}")
