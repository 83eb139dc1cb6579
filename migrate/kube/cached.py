"""Answers from running bells, for handles made by `Cluster.cached`: waiting looks of many migrations cost no requests.

Only a bell that is in contact right now answers. One that lost its stream says nothing, so that the API is asked and the trouble shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from migrate.kube.paths import matches

if TYPE_CHECKING:
    from migrate.kube.bell import Bell
    from migrate.kube.kinds import Kind

UNANSWERED: Final[dict[str, Any]] = {}
"""No bell can tell. Compared by identity: None is an answer (the object is absent)."""


def held(bells: Iterable[Bell], kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
    """Return a copy of an object, None if a bell knows that there is none, or UNANSWERED."""
    for bell in bells:
        if not _covers(bell, kind, namespace):
            continue
        found = bell.get(name, namespace)
        if found is not None:
            return deepcopy(found)
        if not bell.labels:
            return None
    return UNANSWERED


def listed(
    bells: Iterable[Bell], kind: Kind, namespace: str | None, labels: Mapping[str, str | None] | None
) -> list[dict[str, Any]] | None:
    """Return copies of all objects with these labels, or None if no bell can tell."""
    for bell in bells:
        if _covers(bell, kind, namespace) and (not bell.labels or dict(bell.labels) == dict(labels or {})):
            return [
                deepcopy(obj)
                for obj in bell.all()
                if (namespace is None or obj["metadata"].get("namespace") == namespace) and matches(labels, obj)
            ]
    return None


def _covers(bell: Bell, kind: Kind, namespace: str | None) -> bool:
    return bell.kind == kind and bell.live and (bell.namespace is None or bell.namespace == namespace)
