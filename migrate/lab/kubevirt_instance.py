"""The instance that a VM is started as, and the DataVolumes of its templates. Pure: VM to manifest."""

from __future__ import annotations

import copy
from typing import Any
from uuid import UUID, uuid5

from migrate.lab.export_pod import owned_by
from migrate.lab.kubevirt_launcher import AGENT, JOURNAL, SHUTDOWN
from migrate.lab.kubevirt_strategy import RECEIVER, run_strategy

Object = dict[str, Any]

INSTANCE_FINALIZER = "foregroundDeleteVirtualMachine"
MIGRATION_TARGET = "kubevirt.io/create-migration-target"
ADOPTION = "cdi.kubevirt.io/allowClaimAdoption"
_UUID_SPACE = UUID("6a1a24a1-4061-4607-8bf4-a3963d0c5895")


def legacy_uuid(name: str) -> str:
    """Return the firmware uuid that KubeVirt derives from a VM's name when nothing says otherwise."""
    return str(uuid5(_UUID_SPACE, name))


def instance(vm: Object, *, revision: str) -> Object:
    """Return the VirtualMachineInstance of a start; `vm` has its instance type applied, `revision` records what is started."""
    metadata, template = vm["metadata"], vm["spec"]["template"]
    described = template.get("metadata") or {}
    own = {key: word for key, word in (metadata.get("annotations") or {}).items() if key in {AGENT, JOURNAL, SHUTDOWN}}
    annotations = {**own, **(described.get("annotations") or {})}
    if run_strategy(vm) == RECEIVER:
        annotations[MIGRATION_TARGET] = "true"
    spec = copy.deepcopy(template["spec"])
    spec.setdefault("terminationGracePeriodSeconds", 30)
    domain = spec.setdefault("domain", {})
    domain.setdefault("firmware", {}).setdefault("uuid", legacy_uuid(metadata["name"]))
    domain.setdefault("machine", {"type": "q35"})
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": dict(described.get("labels") or {}),
            "annotations": annotations,
            "finalizers": [INSTANCE_FINALIZER],
            "ownerReferences": [owned_by(vm)],
        },
        "spec": spec,
        "status": {"virtualMachineRevisionName": revision},
    }


def revision_name(vm: Object) -> str:
    """Return the name of the ControllerRevision that records what was started."""
    return f"revision-start-vm-{vm['metadata']['uid']}-{vm['metadata']['generation']}"


def revision(vm: Object) -> Object:
    """Return the ControllerRevision of a start."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": revision_name(vm),
            "namespace": vm["metadata"]["namespace"],
            "labels": {"kubevirt.io/vm": vm["metadata"]["name"]},
            "ownerReferences": [owned_by(vm)],
        },
        "data": {"spec": copy.deepcopy(vm["spec"])},
        "revision": vm["metadata"]["generation"],
    }


def templated_disk(vm: Object, template: Object) -> Object:
    """Return the DataVolume of a template: owned by the VM, and allowed to adopt a claim of its name that is there already."""
    metadata = template["metadata"]
    return {
        "apiVersion": "cdi.kubevirt.io/v1beta1",
        "kind": "DataVolume",
        "metadata": {
            "name": metadata["name"],
            "namespace": vm["metadata"]["namespace"],
            "labels": {**(metadata.get("labels") or {}), "kubevirt.io/created-by": vm["metadata"]["uid"]},
            "annotations": {**(metadata.get("annotations") or {}), ADOPTION: "true"},
            "ownerReferences": [owned_by(vm)],
        },
        "spec": copy.deepcopy(template["spec"]),
    }


def state_claim(vm: Object, storage_class: str, *, labelled: bool = True) -> Object:
    """Return the claim that keeps TPM and EFI state of a VM; an empty class means the default one. Not `labelled`: found by its name."""
    name = vm["metadata"]["name"]
    spec: Object = {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": "10Mi"}},
    }
    if storage_class:
        spec["storageClassName"] = storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            **({"generateName": f"persistent-state-for-{name}-"} if labelled else {"name": f"persistent-state-for-{name}"}),
            "namespace": vm["metadata"]["namespace"],
            "labels": {"persistent-state-for": name} if labelled else {},
            "ownerReferences": [owned_by(vm)],
        },
        "spec": spec,
    }
