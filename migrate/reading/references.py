"""What a VM names outside itself, and what becomes of it (reference section 7, "Volume kinds" and "Also references").

The rules are written for people in docs/what-travels.md; tests hold both against each other and against what a move does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from migrate.model.inventory import Reference, Rule
from migrate.model.objects import Object, dig
from migrate.reading.inventory import volumes_of

CLUSTER_WIDE = frozenset({"PriorityClass", "VirtualMachineClusterInstancetype", "VirtualMachineClusterPreference"})
MATCHERS = {"instancetype": "VirtualMachineClusterInstancetype", "preference": "VirtualMachineClusterPreference"}
"""Field of a VM's spec that names an instance type or preference, and the kind that is meant when it names none."""
_SCHEDULING = ("affinity", "tolerations", "topologySpreadConstraints")


def references_of(vm: Object) -> tuple[Reference, ...]:
    """List what the VM refers to, each with its rule, in a stable order; of doubles the needed one stays.

    `kind` is spelled as Kubernetes does, so that `kube.kinds` has a Kind of that name, where it is an object.
    """
    found: dict[tuple[str, str, str | None, Rule], Reference] = {}
    for made in _every(vm):
        key = (made.kind, made.name, made.namespace, made.rule)
        if made.name and (key not in found or (made.needed and not found[key].needed)):
            found[key] = made
    return tuple(found.values())


def copied(vm: Object) -> tuple[tuple[str, str], ...]:
    """Name what the target may get a copy of: (kind, name)."""
    return tuple((made.kind, made.name) for made in references_of(vm) if made.rule is Rule.COPIED)


def matcher_kind(matcher: Mapping[str, Any], field: str) -> str:
    """Return the kind of an instancetype or preference matcher, which users may write in any case and in the plural."""
    plain = MATCHERS[field]
    word = str(matcher.get("kind") or plain).lower().rstrip("s")
    return next((kind for kind in (plain, plain.replace("Cluster", "")) if kind.lower() == word), plain)


def _every(vm: Object) -> Iterator[Reference]:
    spec = dig(vm, "spec", "template", "spec", default={})
    for volume in volumes_of(vm):
        yield from _of_volume(volume)
    yield from _of_networks(spec)
    for field in MATCHERS:
        matcher = dig(vm, "spec", field, default={})
        yield _reference(matcher_kind(matcher, field), matcher.get("name"), f"spec.{field}", rule=Rule.EXPANDED)
    for credential in spec.get("accessCredentials") or ():
        for way, said in credential.items():
            yield _copied("Secret", dig(said, "source", "secret", "secretName"), f"accessCredentials.{way}")
    boot = dig(spec, "domain", "firmware", "kernelBoot", "container", default={})
    yield _copied("Secret", boot.get("imagePullSecret"), "firmware.kernelBoot.imagePullSecret")
    yield _reference("Image", boot.get("image"), "firmware.kernelBoot", rule=Rule.KEPT)
    yield _reference("PriorityClass", spec.get("priorityClassName"), "priorityClassName")
    yield _reference("ServiceAccount", spec.get("serviceAccountName"), "serviceAccountName")
    for claim in spec.get("resourceClaims") or ():
        path = f"resourceClaims {claim.get('name', '')}"
        yield _reference("ResourceClaim", claim.get("resourceClaimName"), path)
        yield _reference("ResourceClaimTemplate", claim.get("resourceClaimTemplateName"), path)
    yield from _of_nodes(spec)
    for volume in spec.get("utilityVolumes") or ():
        yield _reference("PersistentVolumeClaim", volume.get("claimName"), f"utility volume {volume.get('name', '')}", rule=Rule.DROPPED)
    for template in dig(vm, "spec", "dataVolumeTemplates", default=()):
        yield from _of_template(template)


def _of_volume(volume: Mapping[str, Any]) -> Iterator[Reference]:
    path = f"volume {volume.get('name', '')}"
    for init in ("cloudInitNoCloud", "cloudInitConfigDrive"):
        for key in ("secretRef", "networkDataSecretRef"):
            yield _copied("Secret", dig(volume, init, key, "name"), f"{path} ({init}.{key})")
    yield _copied("Secret", dig(volume, "sysprep", "secret", "name"), f"{path} (sysprep)")
    yield _copied("ConfigMap", dig(volume, "sysprep", "configMap", "name"), f"{path} (sysprep)")
    secret, config = volume.get("secret") or {}, volume.get("configMap") or {}
    yield _copied("Secret", secret.get("secretName"), path, needed=not secret.get("optional"))
    yield _copied("ConfigMap", config.get("name"), path, needed=not config.get("optional"))
    yield _reference("ServiceAccount", dig(volume, "serviceAccount", "serviceAccountName"), path)
    yield _copied("Secret", dig(volume, "containerDisk", "imagePullSecret"), f"{path} (containerDisk.imagePullSecret)")
    yield _reference("Image", dig(volume, "containerDisk", "image"), path, rule=Rule.KEPT)
    yield _reference("HostDisk", dig(volume, "hostDisk", "path"), path, rule=Rule.REFUSED)
    base = dig(volume, "ephemeral", "persistentVolumeClaim", "claimName")
    yield _reference("PersistentVolumeClaim", base, f"{path} (ephemeral)", rule=Rule.REFUSED)
    yield _reference("PersistentVolumeClaim", dig(volume, "memoryDump", "claimName"), f"{path} (memoryDump)", rule=Rule.DROPPED)


def _of_networks(spec: Mapping[str, Any]) -> Iterator[Reference]:
    for network in spec.get("networks") or ():
        named = str(dig(network, "multus", "networkName", default=""))
        namespace, slash, name = named.rpartition("/")
        path = f"network {network.get('name', '')}"
        place = namespace if slash else None
        yield _reference("NetworkAttachmentDefinition", name, path, namespace=place, rule=Rule.MAPPED)


def _of_nodes(spec: Mapping[str, Any]) -> Iterator[Reference]:
    """What the VM asks of the node that it runs on."""
    for part in ("gpus", "hostDevices"):
        for device in dig(spec, "domain", "devices", part, default=()):
            yield _reference("Device", device.get("deviceName"), f"{part} {device.get('name', '')}", rule=Rule.KEPT)
    yield _reference("Scheduler", spec.get("schedulerName"), "schedulerName", rule=Rule.KEPT)
    for key in spec.get("nodeSelector") or {}:
        rule = Rule.DROPPED if key == "kubernetes.io/hostname" else Rule.KEPT
        yield _reference("NodeLabel", key, "nodeSelector", rule=rule)
    for part in _SCHEDULING:
        yield _reference("Node", part if spec.get(part) else "", part, rule=Rule.KEPT)


def _of_template(template: Mapping[str, Any]) -> Iterator[Reference]:
    """What filled a disk once: the disk itself travels, so none of it is needed any more."""
    path = f"dataVolumeTemplates {dig(template, 'metadata', 'name', default='')}"
    spec = dig(template, "spec", default={})
    origin = dig(spec, "sourceRef", default={})
    kind, place = str(origin.get("kind") or "DataSource"), origin.get("namespace")
    yield _reference(kind, origin.get("name"), f"{path} (sourceRef)", namespace=place, rule=Rule.DROPPED)
    for way, said in dig(spec, "source", default={}).items():
        if not isinstance(said, Mapping):
            continue
        if way in ("pvc", "snapshot"):
            kind = {"pvc": "PersistentVolumeClaim", "snapshot": "VolumeSnapshot"}[way]
            yield _reference(kind, said.get("name"), f"{path} (source.{way})", namespace=said.get("namespace"), rule=Rule.DROPPED)
        yield _reference("Secret", said.get("secretRef"), f"{path} (source.{way}.secretRef)", rule=Rule.DROPPED)
        yield _reference("ConfigMap", said.get("certConfigMap"), f"{path} (source.{way}.certConfigMap)", rule=Rule.DROPPED)
        for name in said.get("secretExtraHeaders") or ():
            yield _reference("Secret", name, f"{path} (source.{way}.secretExtraHeaders)", rule=Rule.DROPPED)


def _copied(kind: str, name: object, path: str, *, needed: bool = True) -> Reference:
    return _reference(kind, name, path, needed=needed, rule=Rule.COPIED)


def _reference(
    kind: str, name: object, path: str, *, namespace: str | None = None, needed: bool = True, rule: Rule = Rule.MUST_EXIST
) -> Reference:
    return Reference(kind, str(name or ""), "" if kind in CLUSTER_WIDE else namespace, path, needed, rule)
