"""How a Secret or ConfigMap that a VM names stands on the target: missing, equal, or other, and in what. No value of a Secret is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from migrate.model.inventory import Carry, Reference, Standing
from migrate.model.objects import Object, controller_of, dig

CONTENT = ("data", "binaryData")
_OF_A_CLUSTER = frozenset({"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"})
"""Types of Secrets that a cluster fills itself."""
_IN_EVERY_NAMESPACE = frozenset({"kube-root-ca.crt", "openshift-service-ca.crt"})
"""ConfigMaps that a cluster puts into every namespace, with what is true of itself."""
_SHOWN = 40
"""Characters that are shown of a value."""


def read_carry(reference: Reference, source: Object | None, target: Object | None) -> Carry:
    """Judge one reference by the object of both sides. Labels and annotations do not count: no guest sees them."""
    owned = belongs_to_its_cluster(reference, source if source is not None else target)
    if target is None:
        if source is None:
            return Carry(reference, Standing.LOST)
        if owned:
            return Carry(reference, Standing.BOUND)
        return Carry(reference, Standing.ABSENT, managed_by=_manager(source))
    if source is None or owned:
        return Carry(reference, Standing.EQUAL)
    told = tuple(_differences(reference.kind, source, target))
    if not told:
        return Carry(reference, Standing.EQUAL)
    return Carry(reference, Standing.DIFFERS, told, _fixed(source, target))


def belongs_to_its_cluster(reference: Reference, obj: Object | None) -> bool:
    """Tell whether every cluster fills this object itself, so that a copy would be wrong."""
    if reference.kind == "ConfigMap":
        return reference.name in _IN_EVERY_NAMESPACE
    return dig(obj, "type") in _OF_A_CLUSTER


def content_of(obj: Object) -> dict[str, Any]:
    """Return what makes a Secret or ConfigMap what it is, to be put into a copy."""
    found = {field: dict(obj[field]) for field in CONTENT if obj.get(field)}
    return found | {key: obj[key] for key in ("type", "immutable") if obj.get(key)}


def names_used_by(pod: Object) -> Iterator[tuple[str, str]]:
    """Yield (kind, name) of the Secrets and ConfigMaps that a pod uses."""
    spec = dig(pod, "spec", default={})
    for volume in spec.get("volumes") or ():
        for part in (volume, *dig(volume, "projected", "sources", default=())):
            yield "Secret", str(dig(part, "secret", "secretName") or dig(part, "secret", "name") or "")
            yield "ConfigMap", str(dig(part, "configMap", "name", default=""))
    for pull in spec.get("imagePullSecrets") or ():
        yield "Secret", str(pull.get("name", ""))
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for entry in container.get("envFrom") or ():
            yield "Secret", str(dig(entry, "secretRef", "name", default=""))
            yield "ConfigMap", str(dig(entry, "configMapRef", "name", default=""))
        for entry in container.get("env") or ():
            yield "Secret", str(dig(entry, "valueFrom", "secretKeyRef", "name", default=""))
            yield "ConfigMap", str(dig(entry, "valueFrom", "configMapKeyRef", "name", default=""))


def _differences(kind: str, source: Object, target: Object) -> Iterator[str]:
    old, new = (str(obj.get("type") or "Opaque") for obj in (source, target))
    if kind == "Secret" and old != new:
        yield f"its type is {old} on the source, {new} on the target"
    for field in CONTENT:
        here, there = source.get(field) or {}, target.get(field) or {}
        for key in sorted(here.keys() | there.keys()):
            if here.get(key) != there.get(key):
                yield _told(kind, field, key, here, there)


def _told(kind: str, field: str, key: str, here: Mapping[str, str], there: Mapping[str, str]) -> str:
    if key not in there:
        return f"key {key} is on the source only"
    if key not in here:
        return f"key {key} is on the target only"
    if kind == "Secret" or field == "binaryData":
        return f"key {key} differs"
    old, new = _first_difference(here[key], there[key])
    return f"key {key}: {old!r} on the source, {new!r} on the target"


def _first_difference(old: str, new: str) -> tuple[str, str]:
    """Return the first line that differs, of both texts, cut to what fits on a screen."""
    ours, theirs = old.splitlines(), new.splitlines()
    place = next((n for n, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), min(len(ours), len(theirs)))
    return tuple(_cut(lines[place] if place < len(lines) else "") for lines in (ours, theirs))  # type: ignore[return-value]


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _fixed(source: Object, target: Object) -> str:
    if target.get("immutable"):
        return "it is immutable"
    if str(source.get("type") or "Opaque") != str(target.get("type") or "Opaque"):
        return "the type of a Secret cannot be changed"
    owner = _manager(target)
    return f"{owner} makes it there and would change it back" if owner else ""


def _manager(obj: Object) -> str:
    owner = controller_of(obj)
    return " ".join(owner) if owner is not None else ""
