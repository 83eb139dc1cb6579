"""The virt-launcher pod of an instance, and what the instance's status tells about its disks and networks. Pure.

Reference: kubevirt-export.md section 7 (volume kinds and what must exist for them).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from migrate.lab import kubevirt_state
from migrate.lab.export_pod import owned_by
from migrate.lab.export_source import claim_name
from migrate.lab.quantity import value

Object = dict[str, Any]

IMAGE = "lab/virt-launcher"
NAME_LABEL = "vm.kubevirt.io/name"
SHUTDOWN = "lab.kubevirt-migrate.io/shutdown-seconds"
"""Annotation of a VM's template: how long its guest takes to shut down (default 2 s)."""

AGENT = "lab.kubevirt-migrate.io/guest-agent"
"""Annotation of a VM or its template: "true" = the guest runs the guest agent."""

JOURNAL = "lab.kubevirt-migrate.io/journal-seconds"
"""Annotation of a VM or its template: its guest keeps a journal across all its disks, one transaction in so many seconds."""

_DEFAULT_SHUTDOWN_S = "2"
_DEFAULT_GRACE_S = 30
_POD_GRACE_S = 15
_OVERHEAD_BYTES = 230 << 20
_STATE_VOLUME = "persistent-state"


def grace_s(instance: Object) -> int:
    """Return how many seconds the guest of an instance may take to shut down."""
    seconds = instance["spec"].get("terminationGracePeriodSeconds")
    return _DEFAULT_GRACE_S if seconds is None else int(seconds)


def disk_path(volume: str, *, block: bool) -> str:
    """Return where the launcher finds the disk of a volume."""
    return f"/dev/{volume}" if block else f"/var/run/kubevirt-private/vmi-disks/{volume}"


def boot_order(instance: Object) -> list[str]:
    """Return the names of the volumes of an instance's writable disks, the one it boots from first."""
    domain = instance["spec"].get("domain") or {}
    disks = [disk for disk in (domain.get("devices") or {}).get("disks") or () if "cdrom" not in disk]
    return [disk["name"] for disk in sorted(disks, key=lambda disk: disk.get("bootOrder") or len(disks) + 1)]


def claims_of(instance: Object) -> dict[str, str]:
    """Return the claims of an instance by volume name."""
    volumes = instance["spec"].get("volumes") or ()
    return {volume["name"]: claim_name(volume) for volume in volumes if claim_name(volume) and "memoryDump" not in volume}


def launcher_pod(instance: Object, claims: Mapping[str, Object], *, state: str = "", provision: bool = False) -> Object:
    """Return the pod of an instance. `claims` are its PVCs by name, `state` the claim of its TPM and EFI state.

    With `provision` it is the short-lived pod that only makes waiting claims bind.
    """
    metadata, spec = instance["metadata"], instance["spec"]
    volumes: list[Object] = []
    mounts: list[Object] = []
    devices: list[Object] = []
    places: dict[str, str] = {}
    for volume, claim in claims_of(instance).items():
        block = claims[claim]["spec"].get("volumeMode") == "Block"
        places[volume] = disk_path(volume, block=block)
        volumes.append({"name": volume, "persistentVolumeClaim": {"claimName": claim}})
        if block:
            devices.append({"name": volume, "devicePath": places[volume]})
        else:
            mounts.append({"name": volume, "mountPath": places[volume]})
    if state:
        volumes.append({"name": _STATE_VOLUME, "persistentVolumeClaim": {"claimName": state}})
        mounts.append({"name": _STATE_VOLUME, "mountPath": kubevirt_state.PLACE})
    for reference in (*_references(spec.get("volumes") or ()), *_credentials(spec)):
        volumes.append(reference)
        mounts.append({"name": reference["name"], "mountPath": f"/var/run/kubevirt-private/{reference['name']}"})
    annotations = metadata.get("annotations") or {}
    ordered = [name for name in boot_order(instance) if name in places]
    env = {
        "VM": f"{metadata['namespace']}/{metadata['name']}",
        "VMI_UID": metadata["uid"],
        "DISKS": json.dumps([places[name] for name in (*ordered, *(name for name in places if name not in ordered))]),
        "GRACE_SECONDS": str(grace_s(instance)),
        "SHUTDOWN_SECONDS": str(annotations.get(SHUTDOWN, _DEFAULT_SHUTDOWN_S)),
    }
    if state and (kept := kubevirt_state.wanted(instance)):
        env[kubevirt_state.ENV] = kept
    if annotations.get(JOURNAL):
        env["JOURNAL_SECONDS"] = str(annotations[JOURNAL])
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"virt-launcher-{metadata['name']}-",
            "namespace": metadata["namespace"],
            "labels": {
                **(metadata.get("labels") or {}),
                "kubevirt.io": "virt-launcher",
                "kubevirt.io/created-by": metadata["uid"],
                NAME_LABEL: metadata["name"][:63],
            },
            "annotations": {"kubevirt.io/domain": metadata["name"]},
            "ownerReferences": [owned_by(instance)],
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": grace_s(instance) + _POD_GRACE_S,
            "containers": [
                {
                    "name": "compute",
                    "image": IMAGE,
                    "args": ["provision"] if provision else [],
                    "env": [{"name": key, "value": word} for key, word in env.items()],
                    "resources": {"requests": _requests(spec)},
                    "volumeMounts": mounts,
                    "volumeDevices": devices,
                }
            ],
            "volumes": volumes,
        },
    }
    if provision:
        pod["metadata"]["annotations"]["kubevirt.io/ephemeral-provisioning"] = "true"
    for key in ("nodeSelector", "affinity", "tolerations", "priorityClassName", "schedulerName"):
        if spec.get(key):
            pod["spec"][key] = spec[key]
    return pod


def _references(volumes: Iterable[Object]) -> list[Object]:
    """Return pod volumes for the Secrets and ConfigMaps that an instance refers to; a missing one keeps the pod from starting."""
    found: list[Object] = []
    for volume in volumes:
        name = volume["name"]
        for kind in ("cloudInitNoCloud", "cloudInitConfigDrive"):
            for key, suffix in (("secretRef", "udata"), ("networkDataSecretRef", "ndata")):
                if secret := ((volume.get(kind) or {}).get(key) or {}).get("name"):
                    found.append({"name": f"{name}-{suffix}", "secret": {"secretName": secret}})
        if "secret" in volume:
            found.append({"name": name, "secret": dict(volume["secret"])})
        elif "configMap" in volume:
            found.append({"name": name, "configMap": dict(volume["configMap"])})
        elif secret := ((volume.get("sysprep") or {}).get("secret") or {}).get("name"):
            found.append({"name": name, "secret": {"secretName": secret}})
        elif config := ((volume.get("sysprep") or {}).get("configMap") or {}).get("name"):
            found.append({"name": name, "configMap": {"name": config}})
    for entry in found:
        (entry.get("secret") or entry.get("configMap") or {}).pop("volumeLabel", None)
    return found


def _credentials(spec: Object) -> list[Object]:
    """Return pod volumes for the Secrets with SSH keys and passwords that are put into the guest."""
    found = []
    for credential in spec.get("accessCredentials") or ():
        for said in credential.values():
            if secret := (((said or {}).get("source") or {}).get("secret") or {}).get("secretName"):
                found.append({"name": f"{secret}-access-cred", "secret": {"secretName": secret}})
    return found


def _requests(spec: Object) -> Object:
    domain = spec.get("domain") or {}
    asked = (domain.get("resources") or {}).get("requests") or {}
    memory = asked.get("memory") or (domain.get("memory") or {}).get("guest") or "64Mi"
    cpu = domain.get("cpu") or {}
    threads = (cpu.get("cores") or 1) * (cpu.get("sockets") or 1) * (cpu.get("threads") or 1)
    return {"cpu": asked.get("cpu", f"{threads * 100}m"), "memory": str(int(value(memory)) + _OVERHEAD_BYTES)}


def interfaces(instance: Object, pod: Object) -> list[Object]:
    """Return the network interfaces that an instance reports: with the MAC asked for, or one made for this start."""
    found = []
    for index, interface in enumerate(((instance["spec"].get("domain") or {}).get("devices") or {}).get("interfaces") or ()):
        digest = sha256(f"{pod['metadata']['uid']}/{index}".encode()).digest()
        made = ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))
        found.append(
            {
                "name": interface["name"],
                "mac": interface.get("macAddress") or made,
                "infoSource": "domain",
                "interfaceName": f"eth{index}",
                "ipAddress": (pod.get("status") or {}).get("podIP", ""),
                "queueCount": 1,
            }
        )
    return found


def volume_statuses(instance: Object, claims: Mapping[str, Object]) -> list[Object]:
    """Return what an instance reports about its volumes: the device each has in the guest, and the claim behind it."""
    targets = {name: f"vd{chr(ord('a') + index)}" for index, name in enumerate(_disk_names(instance))}
    statuses = []
    backing = claims_of(instance)
    for volume in instance["spec"].get("volumes") or ():
        name = volume["name"]
        status: Object = {"name": name, "target": targets.get(name, "")}
        claim = claims.get(backing.get(name, ""))
        if claim is not None:
            spec = claim["spec"]
            status["persistentVolumeClaimInfo"] = {
                "claimName": claim["metadata"]["name"],
                "accessModes": spec.get("accessModes") or [],
                "capacity": (claim.get("status") or {}).get("capacity") or {},
                "requests": (spec.get("resources") or {}).get("requests") or {},
                "volumeMode": spec.get("volumeMode", "Filesystem"),
            }
        statuses.append(status)
    return sorted(statuses, key=lambda status: str(status["name"]))


def _disk_names(instance: Object) -> list[str]:
    disks = ((instance["spec"].get("domain") or {}).get("devices") or {}).get("disks") or ()
    return [disk["name"] for disk in disks]
