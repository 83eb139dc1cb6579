"""What a VM refers to and an export does not carry (reference section 7, "Volume kinds")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from migrate.model.inventory import Reference
from migrate.model.objects import Object, dig
from migrate.reading.inventory import volumes_of

_CLUSTER = frozenset({"PriorityClass", "VirtualMachineClusterInstancetype", "VirtualMachineClusterPreference"})


def references_of(vm: Object) -> tuple[Reference, ...]:
    """List what the VM refers to, in a stable order; of doubles the needed one stays.

    `kind` is spelled as Kubernetes does, so that `kube.kinds` has a Kind of that name.
    """
    found: dict[tuple[str, str, str | None], Reference] = {}
    for made in _every(vm):
        key = (made.kind, made.name, made.namespace)
        if made.name and (key not in found or (made.needed and not found[key].needed)):
            found[key] = made
    return tuple(found.values())


def _every(vm: Object) -> Iterator[Reference]:
    spec = dig(vm, "spec", "template", "spec", default={})
    for volume in volumes_of(vm):
        yield from _of_volume(volume)
    yield from _of_networks(spec)
    for word, plain in (("instancetype", "VirtualMachineClusterInstancetype"), ("preference", "VirtualMachineClusterPreference")):
        matcher = dig(vm, "spec", word, default={})
        yield _reference(_kind(matcher.get("kind"), plain), matcher.get("name"), f"spec.{word}")
    for credential in spec.get("accessCredentials") or ():
        for way, said in credential.items():
            yield _reference("Secret", dig(said, "source", "secret", "secretName"), f"accessCredentials.{way}")
    pull = dig(spec, "domain", "firmware", "kernelBoot", "container", "imagePullSecret")
    yield _reference("Secret", pull, "firmware.kernelBoot.imagePullSecret")
    yield _reference("PriorityClass", spec.get("priorityClassName"), "priorityClassName")


def _of_volume(volume: Mapping[str, Any]) -> Iterator[Reference]:
    path = f"volume {volume.get('name', '')}"
    for init in ("cloudInitNoCloud", "cloudInitConfigDrive"):
        for key in ("secretRef", "networkDataSecretRef"):
            yield _reference("Secret", dig(volume, init, key, "name"), f"{path} ({init}.{key})")
    yield _reference("Secret", dig(volume, "sysprep", "secret", "name"), f"{path} (sysprep)")
    yield _reference("ConfigMap", dig(volume, "sysprep", "configMap", "name"), f"{path} (sysprep)")
    secret, config = volume.get("secret") or {}, volume.get("configMap") or {}
    yield _reference("Secret", secret.get("secretName"), path, needed=not secret.get("optional"))
    yield _reference("ConfigMap", config.get("name"), path, needed=not config.get("optional"))
    yield _reference("ServiceAccount", dig(volume, "serviceAccount", "serviceAccountName"), path)
    yield _reference("Secret", dig(volume, "containerDisk", "imagePullSecret"), f"{path} (containerDisk.imagePullSecret)")


def _of_networks(spec: Mapping[str, Any]) -> Iterator[Reference]:
    for network in spec.get("networks") or ():
        named = str(dig(network, "multus", "networkName", default=""))
        namespace, slash, name = named.rpartition("/")
        path = f"network {network.get('name', '')}"
        yield _reference("NetworkAttachmentDefinition", name, path, namespace=namespace if slash else None)


def _kind(said: object, plain: str) -> str:
    """Return the kind of an instancetype or preference matcher, which users may write in any case and in the plural."""
    word = str(said or plain).lower().rstrip("s")
    namespaced = plain.replace("Cluster", "")
    return next((kind for kind in (plain, namespaced) if kind.lower() == word), plain)


def _reference(kind: str, name: object, path: str, *, namespace: str | None = None, needed: bool = True) -> Reference:
    return Reference(kind, str(name or ""), "" if kind in _CLUSTER else namespace, path, needed)
