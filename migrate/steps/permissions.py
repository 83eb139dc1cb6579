"""What we must be allowed to do, asked by SelfSubjectAccessReviews before anything is changed. `templates/rbac` grants the same.

A command asks for what it itself needs, and for what its way back needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import (
    CONFIGMAP,
    CONTROLLERREVISION,
    DATAVOLUME,
    EXPORT,
    INGRESS,
    LEASE,
    NAMESPACE,
    POD,
    PVC,
    SECRET,
    SNAPSHOT,
    SNAPSHOT_CONTENT,
    STORAGECLASS,
    STORAGEPROFILE,
    UPLOADTOKENREQUEST,
    VM,
    VMI,
    Kind,
)
from migrate.model.migration import Migration, References, Verify

VM_SUBRESOURCES = Kind("VirtualMachine", "virtualmachines", "subresources.kubevirt.io")


@dataclass(frozen=True, slots=True)
class Need:
    """Verbs on one kind. `namespace` None = the side's own; the cluster-wide kinds have none anyhow."""

    kind: Kind
    verbs: tuple[str, ...]
    subresource: str = ""
    namespace: str | None = None


FORWARD = Need(POD, ("get", "create"), "portforward")
"""To reach an export's server through the API server: a websocket is a GET to it, and since 1.35 it wants `create` besides."""


def of_source(m: Migration, *, subresources: Sequence[str] = (), matchers: Sequence[Kind] = (), onwards: bool = False) -> Iterator[Need]:
    """Yield what the source must allow. `subresources`: stop of the VM, where its guest would be killed at once.

    `matchers`: kinds of the instance type and preference that the VM names, where it is looked what they say.
    `onwards`: a migration brought the VM there, whose record is looked at; a move notes on it that the VM went on.
    """
    yield Need(VM, ("get", "list", "watch", "patch"))
    yield Need(VMI, ("get", "list", "watch"))
    yield Need(POD, ("list", "watch"))
    yield Need(LEASE, ("get", "create", "update", "delete"))
    if m.disks:
        yield Need(PVC, ("get", "list") if any(disk.archive for disk in m.disks) else ("get",))
        yield Need(DATAVOLUME, ("get",))
        yield Need(EXPORT, ("get", "list", "watch", "create", "delete"))
        yield Need(SECRET, ("get", "create", "delete"))
    yield from of_copying(m)
    yield from of_expanding(matchers)
    if onwards:
        yield Need(CONFIGMAP, ("get",) if m.copies else ("get", "patch"))
    if m.copies:
        yield Need(SNAPSHOT, ("get", "list", "watch", "create", "patch", "delete"))
        yield Need(SNAPSHOT_CONTENT, ("get",))
    for word in subresources:
        yield Need(VM_SUBRESOURCES, ("update",), word)


def of_target(m: Migration, *, namespace_there: bool = True, matchers: Sequence[Kind] = ()) -> Iterator[Need]:
    """Yield what the target must allow. `namespace_there`: the namespace that may be made is there already; `matchers` as of the source."""
    yield Need(LEASE, ("get", "create", "update", "delete"))
    yield Need(VM, ("get", "list", "watch", "create", "patch", "delete"))
    yield Need(VMI, ("get", "list", "watch"))
    yield Need(CONFIGMAP, ("get", "create", "patch", "delete"))
    if m.disks:
        yield Need(DATAVOLUME, ("get", "list", "watch", "create", "patch", "delete"))
        yield Need(PVC, ("get", "list", "watch"))
        yield Need(POD, ("list", "watch", "delete"))
        yield Need(SECRET, ("get", "create", "patch", "delete"))
        yield Need(STORAGECLASS, ("list",))
        yield Need(STORAGEPROFILE, ("list",))
    if any(disk.archive for disk in m.disks):
        yield Need(UPLOADTOKENREQUEST, ("create",))
    if m.disks and m.options.verify is not Verify.OFF:
        yield Need(EXPORT, ("get", "list", "watch", "create", "delete"))
    for kind in _carried(m):
        yield Need(kind, ("get", "create", "patch", "delete"))
    for kind in matchers:
        yield Need(kind, ("get",))
    if m.options.create_namespace and not namespace_there:
        yield Need(NAMESPACE, ("get", "create"))


def of_copying(m: Migration) -> Iterator[Need]:
    """Yield what it takes to look at what is copied, on either side."""
    for kind in _carried(m):
        yield Need(kind, ("get",))


def of_expanding(matchers: Sequence[Kind]) -> Iterator[Need]:
    """Yield what it takes on the source to learn what instance types and preferences say, and to have them written into the VM."""
    for kind in matchers:
        yield Need(kind, ("get",))
    if matchers:
        yield Need(CONTROLLERREVISION, ("get",))
        yield Need(VM_SUBRESOURCES, ("get",), "expand-spec")


def _carried(m: Migration) -> tuple[Kind, ...]:
    """Return the kinds of which copies may be made."""
    named = {kind for kind, _ in m.references} if m.options.references is not References.SKIP else set()
    return tuple(kind for kind in (SECRET, CONFIGMAP) if kind.kind in named)


def of_retirement(m: Migration, *, onwards: bool = False) -> Iterator[Need]:
    """Yield what the source must allow so that it can be retired; asked before, since half a retirement is worse than none.

    `onwards`: as of the source.
    """
    yield Need(VM, ("get", "list", "patch", "delete"))
    yield Need(VMI, ("get", "list"))
    yield Need(POD, ("list",))
    yield Need(LEASE, ("get", "create", "update", "delete"))
    if m.disks:
        yield Need(EXPORT, ("get", "delete"))
        yield Need(PVC, ("get", "list", "patch", "delete"))
        yield Need(DATAVOLUME, ("get", "list", "delete"))
    if onwards:
        yield Need(CONFIGMAP, ("get", "patch"))


def of_host(kubevirt_namespace: str) -> Need:
    """Return what it takes to foretell where exports will point."""
    return Need(INGRESS, ("list",), namespace=kubevirt_namespace)


def denied(cluster: Cluster, needs: Iterable[Need]) -> tuple[str, ...]:
    """Ask for each on what the cluster serves, and name in words those that are refused."""
    asked = {
        (need.kind, verb, need.subresource, need.namespace): need
        for need in needs
        if need.subresource or cluster.serves(need.kind) is not None
        for verb in need.verbs
    }
    return tuple(
        _words(cluster, need, verb)
        for (kind, verb, subresource, namespace), need in asked.items()
        if not cluster.can(verb, kind, namespace, subresource=subresource)
    )


def _words(cluster: Cluster, need: Need, verb: str) -> str:
    what = need.kind.qualified + (f"/{need.subresource}" if need.subresource else "")
    return f"{verb} {what}" + (f" in {need.namespace or cluster.namespace}" if need.kind.namespaced else "")
