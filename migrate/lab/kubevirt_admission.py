"""What KubeVirt's webhooks refuse and change. Pure functions over a review.

Reference: kubevirt-export.md section 1 (exports) and section 7 (VMs); texts and field names as the real webhooks give them.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from migrate.kube.kinds import Kind
from migrate.lab.admission import Admission, Cause, Denied, Review
from migrate.lab.kubevirt_expand import FIELDS, Unexpandable, meant
from migrate.lab.kubevirt_release import Release
from migrate.lab.kubevirt_strategy import RECEIVER, STRATEGIES, run_strategy

Object = dict[str, Any]

GATE = "VMExport"
SNAPSHOT_GATE = "Snapshot"
_INVALID = "FieldValueInvalid"
_REQUIRED = "FieldValueRequired"
_SOURCES = {
    "PersistentVolumeClaim": ("PVC", ""),
    "VirtualMachine": ("VM", "kubevirt.io"),
    "VirtualMachineSnapshot": ("VMSnapshot", "snapshot.kubevirt.io"),
    "VirtualMachineBackup": ("VirtualMachineBackup", "backup.kubevirt.io"),
}


def admissions(release: Release) -> list[Admission]:
    """Return the webhooks of a release, the changing ones first."""
    found: list[Admission] = []
    if release.firmware_at_create:
        found.append(give_firmware)
    found += [lambda review: admit_machine(review, release), admit_instance, lambda review: admit_export(review, release)]
    return [*found, lambda review: admit_snapshot(review, release)]


def _is(review: Review, group: str, plural: str) -> bool:
    return (review.resource.group, review.resource.plural, review.subresource) == (group, plural, "")


def _deny(webhook: str, causes: Iterable[Cause]) -> None:
    found = list(causes)
    if found:
        words = ", ".join(cause.message for cause in found)
        raise Denied(422, f'admission webhook "{webhook}" denied the request: {words}', found)


def give_firmware(review: Review) -> Object | None:
    """Write a random firmware uuid and serial into a new VM that has none."""
    if not _is(review, "kubevirt.io", "virtualmachines") or review.operation != "CREATE" or review.new is None:
        return None
    changed = copy.deepcopy(review.new)
    domain = (changed["spec"]["template"].get("spec") or {}).setdefault("domain", {})
    firmware = domain.setdefault("firmware", {})
    for key in ("uuid", "serial"):
        if not firmware.get(key):
            firmware[key] = str(uuid.uuid4())
    return changed


def admit_machine(review: Review, release: Release) -> None:
    """Refuse VMs that the webhook refuses: unknown or contradictory run strategies, disks without volumes, changes under a snapshot."""
    if not _is(review, "kubevirt.io", "virtualmachines") or review.operation == "DELETE" or review.new is None:
        return
    if review.operation == "UPDATE" and review.old is not None and review.new["metadata"].get("deletionTimestamp"):
        return
    causes = [*_strategy_causes(review.new, release), *_volume_causes(review.new), *_template_causes(review.new)]
    if review.operation == "CREATE":
        causes += _matcher_causes(review)
    if review.old is not None:
        causes += _lock_causes(review.old, review.new)
    _deny("virtualmachine-validator.kubevirt.io", causes)


def _strategy_causes(vm: Object, release: Release) -> list[Cause]:
    spec = vm["spec"]
    if spec.get("running") is not None and spec.get("runStrategy") is not None:
        words = "Running and RunStrategy are mutually exclusive. Note that Running is deprecated, please use RunStrategy instead"
        return [Cause("spec.running", _INVALID, words)]
    if spec.get("running") is None and spec.get("runStrategy") is None:
        return [Cause("spec.running", _REQUIRED, "One of Running or RunStrategy must be specified")]
    known = (*STRATEGIES, RECEIVER) if release.receives_migrations else STRATEGIES
    strategy = spec.get("runStrategy")
    if strategy is not None and strategy not in known:
        return [Cause("spec.runStrategy", _INVALID, f"Invalid RunStrategy ({strategy})")]
    return []


def _matcher_causes(review: Review) -> Iterator[Cause]:
    """An instance type or preference must be there, or the revision of it that the VM names."""

    def lookup(kind: Kind, namespace: str, name: str) -> Object | None:
        return review.get(kind.group, kind.plural, namespace, name)

    vm = {**(review.new or {}), "metadata": {**(review.new or {})["metadata"], "namespace": review.namespace}}
    for field in FIELDS:
        try:
            if vm["spec"].get(field):
                meant(vm, field, lookup)
        except Unexpandable as error:
            yield Cause(f"spec.{field}", "FieldValueNotFound", f"Failure to find {field}: {error}")


def _volume_causes(vm: Object) -> list[Cause]:
    spec = vm["spec"]["template"].get("spec") or {}
    volumes = [volume["name"] for volume in spec.get("volumes") or ()]
    disks = [disk["name"] for disk in ((spec.get("domain") or {}).get("devices") or {}).get("disks") or ()]
    filesystems = [entry["name"] for entry in ((spec.get("domain") or {}).get("devices") or {}).get("filesystems") or ()]
    at = "spec.template.spec"
    causes = [
        Cause(f"{at}.domain.devices.disks[{index}].name", _INVALID, f"{at}.domain.devices.disks[{index}].name '{name}' not found.")
        for index, name in enumerate(disks)
        if name not in volumes
    ]
    for index, name in enumerate(volumes):
        if name in volumes[:index]:
            words = f"{at}.volumes[{index}].name '{name}' must not have the same name as another volume"
            causes.append(Cause(f"{at}.volumes[{index}].name", _INVALID, words))
        elif name not in disks and name not in filesystems and "memoryDump" not in (spec["volumes"][index]):
            words = f"{at}.domain.volumes[{index}].name '{name}' not found."
            causes.append(Cause(f"{at}.domain.volumes[{index}].name", _INVALID, words))
    return causes


def _template_causes(vm: Object) -> list[Cause]:
    """Every DataVolume template must be used by a volume of its name."""
    volumes = (vm["spec"]["template"].get("spec") or {}).get("volumes") or ()
    used = {
        (volume.get("dataVolume") or volume.get("persistentVolumeClaim") or {}).get(key)
        for volume in volumes
        for key in ("name", "claimName")
    }
    causes = []
    for index, template in enumerate(vm["spec"].get("dataVolumeTemplates") or ()):
        name = (template.get("metadata") or {}).get("name")
        at = f"spec.dataVolumeTemplate[{index}]"
        if not name:
            causes.append(Cause(f"{at}.name", _REQUIRED, "'name' field must not be empty for DataVolumeTemplate entry " + f"{at}."))
        elif name not in used:
            words = f"DataVolumeTemplate entry {at} must be referenced in the VMI template's 'volumes' list"
            causes.append(Cause(at, _REQUIRED, words))
    return causes


def _lock_causes(old: Object, new: Object) -> list[Cause]:
    """While a snapshot is being taken, neither volumes nor the running state may change."""
    snapshot = (old.get("status") or {}).get("snapshotInProgress")
    if not snapshot:
        return []
    if run_strategy(old) != run_strategy(new):
        words = f'Cannot update vm running state until snapshot "{snapshot}" completes'
        return [Cause("spec", "FieldValueNotSupported", words)]
    templates = [vm["spec"]["template"].get("spec") or {} for vm in (old, new)]
    before, after = ((spec.get("volumes"), (spec.get("domain") or {}).get("devices", {}).get("disks")) for spec in templates)
    if before != after:
        words = f'Cannot update VM disks or volumes until snapshot "{snapshot}" completes'
        return [Cause("spec", "FieldValueNotSupported", words)]
    return []


def admit_instance(review: Review) -> None:
    """Refuse changes of an instance's spec: only KubeVirt's own components may make them, and they do so from inside."""
    if not _is(review, "kubevirt.io", "virtualmachineinstances") or review.operation != "UPDATE":
        return
    if review.old is not None and review.new is not None and review.old.get("spec") != review.new.get("spec"):
        words = "update of VMI object is restricted"
        _deny("virtualmachineinstances-update-validator.kubevirt.io", [Cause("", "FieldValueNotSupported", words)])


def admit_export(review: Review, release: Release) -> None:
    """Refuse exports without the gate, of unknown or ill-named sources, and any change of a spec."""
    if not _is(review, "export.kubevirt.io", "virtualmachineexports") or review.new is None:
        return
    webhook = "virtualmachineexport-validator.export.kubevirt.io"
    if review.operation == "UPDATE" and review.old is not None:
        if review.old.get("spec") != review.new.get("spec"):
            _deny(webhook, [Cause("spec", _INVALID, "spec in immutable after creation")])
        return
    if review.operation == "CREATE":
        if not gate_open(review, release):
            raise Denied(400, f'admission webhook "{webhook}" denied the request: vm export feature gate not enabled')
        _deny(webhook, _source_causes(review.new["spec"].get("source") or {}))


def gate_open(review: Review, release: Release) -> bool:
    """Tell whether exports are switched on in the KubeVirt object, or always are in this release."""
    return release.export_gate_fixed or _gate(review, GATE, by_default=release.export_gate_by_default)


def _gate(review: Review, gate: str, *, by_default: bool) -> bool:
    for kubevirt in review.list("kubevirt.io", "kubevirts", "kubevirt"):
        gates = (kubevirt["spec"].get("configuration") or {}).get("developerConfiguration") or {}
        return gate in (gates.get("featureGates") or ()) or (by_default and gate not in (gates.get("disabledFeatureGates") or ()))
    return False


def admit_snapshot(review: Review, release: Release) -> None:
    """Refuse snapshots without the gate, of anything but a VM, and any change of a spec. The VM itself need not exist."""
    if not _is(review, "snapshot.kubevirt.io", "virtualmachinesnapshots") or review.new is None:
        return
    webhook = "virtualmachinesnapshot-validator.snapshot.kubevirt.io"
    if review.operation == "UPDATE" and review.old is not None:
        if review.old.get("spec") != review.new.get("spec"):
            _deny(webhook, [Cause("spec", _INVALID, "spec in immutable after creation")])
        return
    if review.operation == "CREATE":
        if not _gate(review, SNAPSHOT_GATE, by_default=release.snapshot_gate_by_default):
            raise Denied(400, f'admission webhook "{webhook}" denied the request: snapshot feature gate not enabled')
        source = review.new["spec"].get("source") or {}
        if source.get("apiGroup") is None:
            _deny(webhook, [Cause("spec.source.apiGroup", "FieldValueNotFound", "missing apiGroup")])
        if source["apiGroup"] != "kubevirt.io":
            _deny(webhook, [Cause("spec.source.apiGroup", _INVALID, "invalid apiGroup")])
        if source.get("kind") != "VirtualMachine":
            _deny(webhook, [Cause("spec.source.kind", _INVALID, "invalid kind")])


def _source_causes(source: Object) -> list[Cause]:
    kind = source.get("kind", "")
    if kind not in _SOURCES:
        return [Cause("spec.source.kind", _INVALID, "invalid kind")]
    word, group = _SOURCES[kind]
    title = "Virtual Machine" if word == "VM" else word
    causes = [] if source.get("name") else [Cause("spec.source.name", _INVALID, f"{title} name must not be empty")]
    if (source.get("apiGroup") or "") != group:
        words = f"{word} API group must be {group}" if group else "PVC API group must be missing or blank"
        causes.append(Cause("spec.source.APIGroup", _INVALID, words))
    return causes
