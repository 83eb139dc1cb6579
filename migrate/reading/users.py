"""Who else uses a disk: VMs that name its claim, instances and pods that hold it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from migrate.model.objects import Object, dig, name_of
from migrate.reading.inventory import claim_of, claims_of
from migrate.reading.machine import FINAL, instance_alive


def vms_on(claims: Collection[str], vms: Iterable[Object]) -> Iterator[str]:
    """Say of each VM that names one of the claims: `VM db-2 (db-1-data)`."""
    for vm in vms:
        yield from _words("VM", vm, claims, claims_of(vm))


def instances_on(claims: Collection[str], vmis: Iterable[Object]) -> Iterator[str]:
    """Say the same of each instance that has not ended."""
    for vmi in vmis:
        if instance_alive(vmi):
            yield from _words("instance", vmi, claims, [claim_of(volume) for volume in dig(vmi, "spec", "volumes", default=())])


def pods_on(claims: Collection[str], pods: Iterable[Object]) -> Iterator[str]:
    """Say the same of each pod that has not ended."""
    for pod in pods:
        if dig(pod, "status", "phase", default="") not in FINAL:
            named = [str(dig(volume, "persistentVolumeClaim", "claimName") or "") for volume in dig(pod, "spec", "volumes", default=())]
            yield from _words("pod", pod, claims, named)


def _words(kind: str, obj: Object, claims: Collection[str], named: Iterable[str]) -> Iterator[str]:
    shared = sorted(set(claims) & set(named))
    if shared:
        yield f"{kind} {name_of(obj)} ({', '.join(shared)})"
