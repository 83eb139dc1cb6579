"""Manifests of small machines, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]


def disk(
    name: str, *, mib: int = 2, namespace: str = "shop", storage_class: str = "fast", mode: str = "Filesystem", cluster: str = "east"
) -> Object:
    """Return a blank DataVolume, which planting fills with content."""
    return {
        "apiVersion": "cdi.kubevirt.io/v1beta1",
        "kind": "DataVolume",
        "metadata": {"name": name, "namespace": namespace, "annotations": {"lab.kubevirt-migrate.io/cluster": cluster}},
        "spec": {
            "source": {"blank": {}},
            "storage": {
                "storageClassName": storage_class,
                "volumeMode": mode,
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": f"{mib}Mi"}},
            },
        },
    }


def machine(
    name: str,
    disks: Sequence[str] = (),
    *,
    namespace: str = "shop",
    strategy: str = "Halted",
    grace_s: int | None = None,
    volumes: Sequence[Mapping[str, Any]] = (),
    cluster: str = "east",
    agent: bool = False,
    journal_s: float | None = None,
) -> Object:
    """Return a VM whose volumes are DataVolumes of the same names (or `volumes` as given). A strategy of `running` uses the old field.

    `agent`: its guest runs the guest agent. `journal_s`: it writes across its disks, one transaction in so many seconds.
    """
    shown = [{"name": disk, "dataVolume": {"name": disk}} for disk in disks] + [dict(volume) for volume in volumes]
    spec: Object = {
        "domain": {
            "memory": {"guest": "256Mi"},
            "devices": {
                "disks": [{"name": volume["name"], "disk": {"bus": "virtio"}} for volume in shown],
                "interfaces": [{"name": "default", "masquerade": {}}],
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": shown,
    }
    if grace_s is not None:
        spec["terminationGracePeriodSeconds"] = grace_s
    notes = {"lab.kubevirt-migrate.io/cluster": cluster} | ({"lab.kubevirt-migrate.io/guest-agent": "true"} if agent else {})
    notes |= {"lab.kubevirt-migrate.io/journal-seconds": str(journal_s)} if journal_s is not None else {}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": namespace, "annotations": notes},
        "spec": {
            **({"running": True} if strategy == "running" else {"runStrategy": strategy}),
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    }


def keeping(vm: Object, *, tpm: bool = True, efi: bool = True) -> Object:
    """Return a machine with a persistent TPM and persistent EFI variables, whose state is on a claim of its own."""
    domain = vm["spec"]["template"]["spec"]["domain"]
    if tpm:
        domain["devices"]["tpm"] = {"persistent": True}
    if efi:
        domain["firmware"] = {"bootloader": {"efi": {"persistent": True}}}
    return vm


def user_pod(vm: str, claim: str, *, namespace: str = "shop") -> Object:
    """Return a pod of somebody else that uses a VM's disk."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{vm}-user", "namespace": namespace},
        "spec": {
            "containers": [{"name": "main", "image": "busybox"}],
            "volumes": [{"name": "disk", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }
