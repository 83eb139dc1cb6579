"""Which resource types a cluster serves, in which version: asked once per group version and remembered by the session."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from migrate.kube.errors import not_served
from migrate.kube.kinds import Kind, split_api_version
from migrate.kube.retry import READ

if TYPE_CHECKING:
    from migrate.kube.session import Session

FORGET_ABSENCE_S = 5.0
"""How long "not served" is believed. Short, since a component may be installed at this moment; not zero, or every look would ask anew."""


@dataclass(frozen=True, slots=True)
class _Served:
    resources: dict[str, dict[str, Any]]
    """By plural name; empty if the group version is not served."""
    asked_s: float


class Discovery:
    """The answers of one cluster. Safe for many threads."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._known: dict[str, _Served] = {}

    def version(self, kind: Kind) -> str | None:
        """Return the first of the Kind's versions that is served, or None. Raise Refused, Unreachable."""
        for version in kind.versions:
            if kind.plural in self._resources(kind.api_version(version), wanted=kind.plural):
                return version
        return None

    def forget(self, kind: Kind) -> None:
        """Drop what is known of a Kind's group, since the cluster has just answered otherwise."""
        with self._lock:
            for version in kind.versions:
                self._known.pop(kind.api_version(version), None)

    def kind_of(self, api_version: str, kind: str) -> Kind:
        """Find a resource type that is not among our constants. Raise Refused if the cluster does not have it."""
        group, version = split_api_version(api_version)
        for plural, resource in self._resources(api_version, kind=kind).items():
            if resource.get("kind") == kind and "/" not in plural:
                return Kind(kind, plural, group, (version,), bool(resource.get("namespaced")))
        raise not_served(kind, context=self._session.context, versions=api_version)

    def _resources(self, api_version: str, *, wanted: str = "", kind: str = "") -> dict[str, dict[str, Any]]:
        now_s = self._session.clock.monotonic()
        with self._lock:
            known = self._known.get(api_version)
        if known is not None:
            there = wanted in known.resources if wanted else any(entry.get("kind") == kind for entry in known.resources.values())
            if there or now_s - known.asked_s < FORGET_ABSENCE_S:
                return known.resources
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        answer = self._session.call("GET", root, action=f"discover {api_version}", policy=READ, passed=frozenset({404}))
        body = answer.decoded() if answer.ok else None
        listed = body.get("resources") if isinstance(body, dict) else None
        found = {str(entry["name"]): entry for entry in listed or () if isinstance(entry, dict) and entry.get("name")}
        with self._lock:
            self._known[api_version] = _Served(found, now_s)
        return found
