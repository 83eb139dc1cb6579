"""One thing of every kind that a VM may name, as docs/what-travels.md lists them: how it is put into a VM, and what is planted for it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.machines import disk

Object = dict[str, Any]
CLUSTER = "lab.kubevirt-migrate.io/cluster"


@dataclass(frozen=True, slots=True)
class Exhibit:
    """Something that a VM names."""

    put: Callable[[Object, str], None]
    """Changes the VM's spec; the word is a name of its own for what is named."""
    plant: Callable[[str], Iterable[Object]] = lambda _: ()
    """What is there on the source beforehand."""
    target: Callable[[str], Iterable[Object]] = lambda _: ()
    """What must be on the target beforehand, by another hand than ours."""


def _guest(spec: Object) -> Object:
    guest: Object = spec["template"]["spec"]
    return guest


def volume(**body: Any) -> Callable[[Object, str], None]:
    """Put a volume into a VM, as a disk of it; `NAME` in its texts is the name of what is named."""

    def put(spec: Object, name: str) -> None:
        _guest(spec).setdefault("volumes", []).append({"name": name, **_named(body, name)})
        if "memoryDump" not in body:
            _guest(spec)["domain"]["devices"].setdefault("disks", []).append({"name": name, "disk": {"bus": "virtio"}})

    return put


def field(*path: str, value: Any) -> Callable[[Object, str], None]:
    """Set a field of the VM's spec; lists grow by the value."""

    def put(spec: Object, name: str) -> None:
        here = spec
        for key in path[:-1]:
            here = here.setdefault(key, {})
        wanted = _named(value, name)
        here[path[-1]] = [*here.get(path[-1], []), *wanted] if isinstance(wanted, list) else wanted

    return put


def guest(*path: str, value: Any) -> Callable[[Object, str], None]:
    return field("template", "spec", *path, value=value)


def _both(*puts: Callable[[Object, str], None]) -> Callable[[Object, str], None]:
    def put(spec: Object, name: str) -> None:
        for one in puts:
            one(spec, name)

    return put


def _named(value: Any, name: str) -> Any:
    match value:
        case str():
            return value.replace("NAME", name)
        case dict():
            return {key: _named(entry, name) for key, entry in value.items()}
        case list():
            return [_named(entry, name) for entry in value]
        case _:
            return value


def thing(api_version: str, kind: str, name: str, *, cluster: str = "east", namespace: str = "shop", **body: Any) -> Object:
    """Return a manifest; an empty namespace for what is cluster-wide."""
    metadata: Object = {"name": name, "annotations": {CLUSTER: cluster, "note": "of the user"}, "labels": {"app": "x"}}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata | ({"namespace": namespace} if namespace else {}), **body}


def secret(name: str, text: str = "s3cret", **body: Any) -> Object:
    return thing("v1", "Secret", name, **{"data": {"userdata": base64.b64encode(text.encode()).decode()}} | body)


def config_map(name: str, text: str = "plain", **body: Any) -> Object:
    return thing("v1", "ConfigMap", name, **{"data": {"a": text}, "binaryData": {"b": base64.b64encode(b"\xff").decode()}} | body)


def _secrets(name: str) -> Iterable[Object]:
    return [secret(name)]


def _config_maps(name: str) -> Iterable[Object]:
    return [config_map(name)]


def on_both(*things: Object) -> list[Object]:
    for one in things:
        one["metadata"]["annotations"][CLUSTER] = "both"
    return list(things)


def _account(name: str) -> list[Object]:
    return on_both(thing("v1", "ServiceAccount", name))


def _devices() -> Object:
    return {"devices": {"requests": [{"name": "card", "exactly": {"deviceClassName": "gpu.example.com"}}]}}


def sizes(kind: str, name: str, *, memory: str = "256Mi", namespace: str = "shop") -> Object:
    """Return an instance type."""
    spec = {"cpu": {"guest": 2}, "memory": {"guest": memory}}
    return thing("instancetype.kubevirt.io/v1beta1", kind, name, namespace="" if "Cluster" in kind else namespace, spec=spec)


def tastes(kind: str, name: str, *, bus: str = "sata", namespace: str = "shop") -> Object:
    """Return a preference."""
    spec = {"devices": {"preferredDiskBus": bus, "preferredInterfaceModel": "e1000e"}}
    return thing("instancetype.kubevirt.io/v1beta1", kind, name, namespace="" if "Cluster" in kind else namespace, spec=spec)


def _sized(kind: str) -> Callable[[Object, str], None]:
    def put(spec: Object, name: str) -> None:
        _guest(spec)["domain"].pop("memory", None)
        spec["instancetype"] = {"kind": kind, "name": name}

    return put


def _disks(name: str) -> Iterable[Object]:
    return [disk(name)]


_CREDENTIAL = {"source": {"secret": {"secretName": "NAME"}}}
_AFFINITY = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {"matchExpressions": []}}]}}
_KERNEL = ("domain", "firmware", "kernelBoot", "container")
_NETWORK = _both(
    guest("networks", value=[{"name": "NAME", "multus": {"networkName": "NAME"}}]),
    guest("domain", "devices", "interfaces", value=[{"name": "NAME", "bridge": {}}]),
)

EXHIBITS: dict[str, Exhibit] = {
    "disk": Exhibit(volume(dataVolume={"name": "NAME"}), _disks),
    "disk-of-a-claim": Exhibit(volume(persistentVolumeClaim={"claimName": "NAME"}), _disks),
    "secret": Exhibit(volume(secret={"secretName": "NAME"}), _secrets),
    "config-map": Exhibit(volume(configMap={"name": "NAME"}), _config_maps),
    "no-cloud": Exhibit(volume(cloudInitNoCloud={"secretRef": {"name": "NAME"}}), _secrets),
    "no-cloud-network": Exhibit(volume(cloudInitNoCloud={"userData": "x", "networkDataSecretRef": {"name": "NAME"}}), _secrets),
    "config-drive": Exhibit(volume(cloudInitConfigDrive={"secretRef": {"name": "NAME"}}), _secrets),
    "config-drive-network": Exhibit(volume(cloudInitConfigDrive={"userData": "x", "networkDataSecretRef": {"name": "NAME"}}), _secrets),
    "cloud-init-inline": Exhibit(volume(cloudInitNoCloud={"userData": "#cloud-config"})),
    "sysprep-secret": Exhibit(volume(sysprep={"secret": {"name": "NAME"}}), _secrets),
    "sysprep-config-map": Exhibit(volume(sysprep={"configMap": {"name": "NAME"}}), _config_maps),
    "ssh-keys": Exhibit(
        guest("accessCredentials", value=[{"sshPublicKey": _CREDENTIAL | {"propagationMethod": {"noCloud": {}}}}]), _secrets
    ),
    "passwords": Exhibit(
        guest("accessCredentials", value=[{"userPassword": _CREDENTIAL | {"propagationMethod": {"qemuGuestAgent": {}}}}]), _secrets
    ),
    "pull-secret": Exhibit(volume(containerDisk={"image": "registry.example.com/live", "imagePullSecret": "NAME"}), _secrets),
    "kernel-pull-secret": Exhibit(guest(*_KERNEL, value={"image": "registry.example.com/kernel", "imagePullSecret": "NAME"}), _secrets),
    "container-disk": Exhibit(volume(containerDisk={"image": "registry.example.com/live"})),
    "kernel": Exhibit(guest(*_KERNEL, value={"image": "registry.example.com/kernel"})),
    "empty-disk": Exhibit(volume(emptyDisk={"capacity": "2Mi"})),
    "downward-api": Exhibit(volume(downwardAPI={"fields": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]})),
    "downward-metrics": Exhibit(volume(downwardMetrics={})),
    "container-path": Exhibit(volume(containerPath={"path": "/opt"})),
    "memory-dump": Exhibit(volume(memoryDump={"claimName": "NAME"}), _disks),
    "utility-volume": Exhibit(guest("utilityVolumes", value=[{"name": "NAME", "claimName": "NAME"}])),
    "host-disk": Exhibit(volume(hostDisk={"path": "/data/disk.img", "type": "Disk"})),
    "ephemeral": Exhibit(volume(ephemeral={"persistentVolumeClaim": {"claimName": "NAME"}})),
    "templates": Exhibit(
        _both(
            volume(dataVolume={"name": "NAME"}),
            field(
                "dataVolumeTemplates",
                value=[
                    {
                        "metadata": {"name": "NAME"},
                        "spec": {
                            "sourceRef": {"kind": "DataSource", "name": "fedora", "namespace": "images"},
                            "storage": {"resources": {"requests": {"storage": "2Mi"}}},
                        },
                    }
                ],
            ),
        ),
        _disks,
    ),
    "account-disk": Exhibit(volume(serviceAccount={"serviceAccountName": "NAME"}), target=_account),
    "account": Exhibit(guest("serviceAccountName", value="NAME"), target=_account),
    "priority": Exhibit(
        guest("priorityClassName", value="NAME"),
        target=lambda name: on_both(thing("scheduling.k8s.io/v1", "PriorityClass", name, namespace="", value=7)),
    ),
    "device-claim": Exhibit(
        guest("resourceClaims", value=[{"name": "NAME", "resourceClaimName": "NAME"}]),
        target=lambda name: on_both(thing("resource.k8s.io/v1", "ResourceClaim", name, spec=_devices())),
    ),
    "device-claim-template": Exhibit(
        guest("resourceClaims", value=[{"name": "NAME", "resourceClaimTemplateName": "NAME"}]),
        target=lambda name: on_both(thing("resource.k8s.io/v1", "ResourceClaimTemplate", name, spec={"spec": _devices()})),
    ),
    "network": Exhibit(
        _NETWORK,
        lambda name: [thing("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", name, spec={"config": "{}"})],
        lambda name: [thing("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", f"{name}-there", cluster="west", spec={"config": "{}"})],
    ),
    "instancetype": Exhibit(_sized("VirtualMachineInstancetype"), lambda name: [sizes("VirtualMachineInstancetype", name)]),
    "cluster-instancetype": Exhibit(
        _sized("VirtualMachineClusterInstancetype"), lambda name: [sizes("VirtualMachineClusterInstancetype", name)]
    ),
    "preference": Exhibit(
        field("preference", value={"kind": "VirtualMachinePreference", "name": "NAME"}),
        lambda name: [tastes("VirtualMachinePreference", name)],
    ),
    "cluster-preference": Exhibit(
        field("preference", value={"name": "NAME"}), lambda name: [tastes("VirtualMachineClusterPreference", name)]
    ),
    "gpu": Exhibit(guest("domain", "devices", "gpus", value=[{"name": "NAME", "deviceName": "nvidia.com/A100"}])),
    "host-device": Exhibit(guest("domain", "devices", "hostDevices", value=[{"name": "NAME", "deviceName": "intel.com/qat"}])),
    "scheduler": Exhibit(guest("schedulerName", value="NAME")),
    "node-label": Exhibit(guest("nodeSelector", "zone", value="NAME")),
    "node-name": Exhibit(guest("nodeSelector", "kubernetes.io/hostname", value="NAME")),
    "affinity": Exhibit(guest("affinity", value=_AFFINITY)),
    "tolerations": Exhibit(guest("tolerations", value=[{"key": "NAME", "operator": "Exists"}])),
    "spread": Exhibit(
        guest("topologySpreadConstraints", value=[{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}])
    ),
}
