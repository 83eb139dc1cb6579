"""Who else looks after the VM and would undo a halt: Argo CD, Flux, Helm, a pool, another apply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from migrate.model import labels
from migrate.model.inventory import ManagedBy
from migrate.model.objects import Object, annotations_of, controller_of, dig, labels_of


@dataclass(frozen=True, slots=True)
class _Trait:
    """How one manager shows itself, and how it is told to leave the VM alone."""

    name: str
    field_managers: tuple[str, ...]
    keys: tuple[str, ...]
    """Prefixes of labels and annotations that only it writes."""
    values: tuple[tuple[str, str], ...]
    remedy: str


_TRAITS = (
    _Trait(
        "Argo CD",
        ("argocd-controller", "argocd-application-controller", "argocd-server", "argocd"),
        ("argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance", "argocd.argoproj.io/installation-id"),
        (("app.kubernetes.io/managed-by", "argocd"),),
        "set runStrategy to Halted in its Git repository, or switch auto-sync off for the application",
    ),
    _Trait(
        "Flux",
        ("kustomize-controller", "helm-controller", "flux"),
        ("kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/"),
        (("app.kubernetes.io/managed-by", "flux"),),
        "set runStrategy to Halted in its Git repository, or suspend it (flux suspend kustomization or helmrelease)",
    ),
    _Trait(
        "Helm",
        ("helm", "Helm"),
        ("meta.helm.sh/",),
        (("app.kubernetes.io/managed-by", "Helm"),),
        "set the run strategy in the values of its release, and let nobody upgrade the release during the move",
    ),
)

_PEOPLE = ("kubectl", "virtctl", "virt-", "kubevirt", "Mozilla", "OpenAPI-Generator", "openshift-console", "bridge", labels.OWNER)
"""Field managers that act only when somebody asks them to, and KubeVirt itself."""


def managed_by(vm: Object) -> tuple[ManagedBy, ...]:
    """Find the managers by field managers, labels, annotations and owner references.

    Field managers count only with spec fields of theirs; one that holds the run strategy is said to.
    """
    found = [made for trait in _TRAITS if (made := _by_trait(vm, trait))]
    owner = controller_of(vm)
    if owner is not None:
        kind, name = owner
        evidence = (f"its controlling owner is {kind} {name}",)
        found.append(ManagedBy(f"{kind} {name}", evidence, f"take the VM out of {kind} {name}, or scale that down, before the move"))
    known = {manager for trait in _TRAITS for manager in trait.field_managers}
    for manager, operation, fields in _field_managers(vm):
        if operation == "Apply" and manager not in known and not manager.startswith(_PEOPLE) and _holds_strategy(fields):
            evidence = (f'field manager "{manager}" applies the run strategy',)
            found.append(ManagedBy(manager, evidence, f"tell {manager} that the VM is to be Halted, or to leave it alone"))
    return tuple(found)


def _by_trait(vm: Object, trait: _Trait) -> ManagedBy | None:
    evidence = []
    for word, entries in (("label", labels_of(vm)), ("annotation", annotations_of(vm))):
        for key, value in sorted(entries.items()):
            if key == "kustomize.toolkit.fluxcd.io/reconcile" and value == "disabled":
                return None
            if key.startswith(trait.keys) or (key, value) in trait.values:
                evidence.append(f"{word} {key}={value}")
    for manager, _operation, fields in _field_managers(vm):
        if manager in trait.field_managers:
            holds = " and holds the run strategy" if _holds_strategy(fields) else ""
            evidence.append(f'field manager "{manager}" wrote its spec{holds}')
    return ManagedBy(trait.name, tuple(dict.fromkeys(evidence)), trait.remedy) if evidence else None


def _field_managers(vm: Object) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield (manager, operation, its spec fields) for the managers of the main resource that own any spec field."""
    for entry in dig(vm, "metadata", "managedFields", default=()):
        fields = dig(entry, "fieldsV1", "f:spec")
        if isinstance(fields, Mapping) and not entry.get("subresource"):
            yield str(entry.get("manager", "")), str(entry.get("operation", "")), fields


def _holds_strategy(fields: Mapping[str, Any]) -> bool:
    return "f:runStrategy" in fields or "f:running" in fields
