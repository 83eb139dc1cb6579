"""What an instance needs beside its disks before its pod can be made or can start: the words with which it is refused without.

Missing Secrets and ConfigMaps are not here: the pod is made, and waits in the kubelet for what it cannot mount. In a real cluster some of
these are refused by the API server (accounts, priorities), some by KubeVirt (networks), some keep a pod that was made (images, devices);
in the lab no pod is made in either case, and the instance says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from migrate.kube.kinds import NAD, PRIORITYCLASS, RESOURCECLAIM, RESOURCECLAIMTEMPLATE, SECRET, SERVICEACCOUNT, Kind

Object = dict[str, Any]
Lookup = Callable[[Kind, str, str], "Object | None"]
"""(kind, namespace, name) -> object; the namespace of cluster-wide kinds is empty."""


def lacks(instance: Object, lookup: Lookup) -> str:
    """Return why no pod of an instance would start, "" if nothing of this is missing."""
    spec, namespace = instance["spec"], instance["metadata"]["namespace"]
    return next((words for kind, place, name, words in _needs(spec, namespace) if lookup(kind, place, name) is None), "")


def _needs(spec: Object, namespace: str) -> Iterator[tuple[Kind, str, str, str]]:
    for network in spec.get("networks") or ():
        if named := (network.get("multus") or {}).get("networkName"):
            place, _, name = named.rpartition("/")
            words = f"failed to render launch manifest: Failed to locate network attachment definition {place or namespace}/{name}"
            yield NAD, place or namespace, name, words
    for account in _accounts(spec):
        words = f'pods is forbidden: error looking up service account {namespace}/{account}: serviceaccount "{account}" not found'
        yield SERVICEACCOUNT, namespace, account, words
    if priority := spec.get("priorityClassName"):
        yield PRIORITYCLASS, "", priority, f"pods is forbidden: no PriorityClass with name {priority} was found"
    for image, secret in _pulls(spec):
        yield SECRET, namespace, secret, f'Failed to pull image "{image}": pull access denied: secret "{secret}" not found'
    for claim in spec.get("resourceClaims") or ():
        for kind, key in ((RESOURCECLAIM, "resourceClaimName"), (RESOURCECLAIMTEMPLATE, "resourceClaimTemplateName")):
            if name := claim.get(key):
                yield kind, namespace, name, f'{kind.kind.lower()} "{name}" not found'


def _accounts(spec: Object) -> Iterator[str]:
    if spec.get("serviceAccountName"):
        yield spec["serviceAccountName"]
    for volume in spec.get("volumes") or ():
        if name := (volume.get("serviceAccount") or {}).get("serviceAccountName"):
            yield name


def _pulls(spec: Object) -> Iterator[tuple[str, str]]:
    """Yield the images that are pulled with a Secret, and that Secret."""
    boot = (((spec.get("domain") or {}).get("firmware") or {}).get("kernelBoot") or {}).get("container") or {}
    for pulled in (boot, *((volume.get("containerDisk") or {}) for volume in spec.get("volumes") or ())):
        if pulled.get("imagePullSecret"):
            yield pulled.get("image", ""), pulled["imagePullSecret"]
