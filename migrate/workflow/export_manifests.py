"""The set of manifests that brings an export to another cluster, gathered from what is there now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import PVC, SNAPSHOT, SNAPSHOT_CONTENT, VM
from migrate.model.errors import UsageError
from migrate.model.exports import Source, Subject
from migrate.model.objects import Object, dig, name_of
from migrate.reading.exports import subject_of
from migrate.reading.references import MATCHERS
from migrate.reading.snapshot import machine_in
from migrate.rendering import exports as rendering
from migrate.steps.expanding import alike, expanded
from migrate.workflow.exports import Open


@dataclass(frozen=True, slots=True)
class Set:
    """Documents, and what is to be said about them."""

    documents: list[dict[str, Any]]
    notes: tuple[str, ...]


def manifests(cluster: Cluster, opened: Open, *, namespace: str, secret: bool) -> Set:
    """Return what `kubectl apply` needs on a target. Raises UsageError when the definition of the VM cannot be had."""
    name, subject = name_of(opened.export), subject_of(opened.export)
    volumes = opened.links.volumes
    vm = _machine(cluster, subject)
    claims = {claim: _claim(cluster, opened, claim) for claim in volumes}
    notes = [f"claim {claim} is left out: it is offered as files, which CDI does not unpack" for claim in rendering.left_out(volumes)]
    found = rendering.manifests(
        name,
        volumes,
        ca_pem=opened.links.cert,
        vm=vm,
        claims=claims,
        namespace=namespace,
        secret=opened.token if secret else "",
    )
    return Set(list(found), tuple(notes))


def _machine(cluster: Cluster, subject: Subject | None) -> Object | None:
    """Return the VM as it travels: of a snapshot the one that it holds, with instance type and preference written into it."""
    if subject is None or subject.source is Source.PVC:
        return None
    vm = live = cluster.get(VM, subject.name) if subject.source is Source.VM else None
    if subject.source is Source.SNAPSHOT:
        content = str(dig(cluster.get(SNAPSHOT, subject.name), "status", "virtualMachineSnapshotContentName", default=""))
        vm = machine_in(cluster.get(SNAPSHOT_CONTENT, content)) if content else None
        live = cluster.get(VM, name_of(vm)) if vm is not None else None
    if vm is None:
        raise UsageError(f"the VM of {subject} cannot be read", where=cluster.context, now="see that it is there and that you may read it")
    if not any(dig(vm, "spec", field) for field in MATCHERS):
        return vm
    if not alike(vm, live):
        raise UsageError(
            f"the VM of {subject} names an instance type or preference that cannot be written into it",
            where=cluster.context,
            why="KubeVirt writes it into the VM as it is now, which is another one than the snapshot holds",
            now="copy it with: migrate vm --method snapshot",
        )
    return expanded(cluster, vm, name_of(vm))


def _claim(cluster: Cluster, opened: Open, claim: str) -> Object:
    """Return a claim of the links; of a snapshot the one that was restored for the export, since the live one may have grown."""
    subject = subject_of(opened.export)
    restored = subject is not None and subject.source is Source.SNAPSHOT
    found = cluster.get(PVC, f"{name_of(opened.export)}-{claim}" if restored else claim)
    if found is None:
        raise UsageError(f"claim {claim} is not there any more", where=cluster.context, now="export what it belongs to anew")
    return found
