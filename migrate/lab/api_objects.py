"""The rules that every write shares: where an object lives, what the system fills in, admission, validation, storing.

HTTP requests, the garbage collector and the namespace controller all write through one `Objects`, so none can break a rule.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from migrate.lab import schema
from migrate.lab.admission import Admission, Denied, Review, User, chain
from migrate.lab.api_status import ApiError, from_denied, invalid, not_found
from migrate.lab.kinds import Registry, Resource
from migrate.lab.schema import Validation
from migrate.lab.schema_walk import Cause
from migrate.lab.store import Entry, Exists, Object, Place, Store, clone, dump

SYSTEM = User("system:apiserver", ("system:masters", "system:authenticated"))
"""Whom the server's own controllers act as."""

KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink")
"""Metadata that the server sets and no client changes."""

WITHOUT_GENERATION = frozenset(
    {
        ("", plural)
        for plural in (
            "namespaces",
            "pods",
            "persistentvolumeclaims",
            "persistentvolumes",
            "secrets",
            "configmaps",
            "services",
            "endpoints",
            "events",
            "nodes",
            "serviceaccounts",
            "resourcequotas",
            "limitranges",
        )
    }
) | {
    ("apps", "controllerrevisions"),
    ("coordination.k8s.io", "leases"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "volumeattachments"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("apiregistration.k8s.io", "apiservices"),
    ("events.k8s.io", "events"),
}
"""Built-in kinds whose objects carry no metadata.generation."""


class Ticking(Protocol):
    """The part of a clock that writing needs."""

    def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class Write:
    """One write: to what, by whom, how. `name` may be empty only for a create."""

    resource: Resource
    version: str
    namespace: str
    name: str
    user: User = SYSTEM
    subresource: str = ""
    dry_run: bool = False
    manager: str = "unknown"
    validation: Validation = "Warn"
    twice: tuple[str, ...] = ()

    @property
    def place(self) -> Place:
        return (self.resource.group, self.resource.plural)

    @property
    def key(self) -> str:
        return key_of(self.resource, self.namespace, self.name)

    @property
    def api_version(self) -> str:
        return self.resource.api_version(self.version)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a write left behind: the object (in the store unless it was a dry run), whether it is new or gone, and warnings."""

    entry: Entry
    created: bool = False
    removed: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class Objects:
    """The objects of a server with all the rules. `admissions` are asked in order, `guards` when all else is settled."""

    store: Store
    registry: Registry
    clock: Ticking
    admissions: list[Admission] = field(default_factory=list)
    committed: list[Callable[[Place, Object | None, Object | None], None]] = field(default_factory=list)
    """Called after every change, in the thread of the writer, with the state before and after."""
    guards: list[Callable[[Write, Object | None, Object], None]] = field(default_factory=list)
    """Called under the store's lock just before an object is created or changed (quota), with the state before and after."""

    _addresses: Iterator[int] = field(default_factory=lambda: itertools.count(10))

    def next_address(self) -> str:
        """Return a cluster IP that no Service has."""
        number = next(self._addresses)
        return f"10.96.{number // 250 % 250}.{number % 250 + 1}"

    def now(self) -> str:
        """Return the time as object metadata has it."""
        return stamp(self.clock.now())

    def find(self, write: Write) -> Entry:
        """Return the present object of a write. Raises a 404 ApiError."""
        entry = self.store.get(write.place, write.key)
        if entry is None:
            raise not_found(write.resource, write.name)
        return entry

    def lookup(self, group: str, plural: str, namespace: str, name: str) -> Object | None:
        """Return an object for somebody inside the server (do not change it); None when absent."""
        entry = self.store.get((group, plural), f"{namespace}/{name}" if namespace else name)
        return entry.obj if entry else None

    def lookup_all(self, group: str, plural: str, namespace: str = "") -> list[Object]:
        """Return all objects of a resource, or those of one namespace (do not change them)."""
        return [entry.obj for entry in self.store.entries((group, plural), f"{namespace}/" if namespace else "")]

    def check(self, write: Write, obj: Object, *, patched: bool = False) -> schema.Checked:
        """Decode strictly, prune, default and validate; raises for what cannot be decoded. Causes are left to the caller."""
        checked = schema.check(write.resource, write.version, obj, validation=write.validation, twice=write.twice)
        if checked.malformed or checked.unknown:
            if patched:
                refused = schema.patch_refusal(dump(obj).decode(), checked)
            else:
                refused = schema.refusal(write.resource, write.version, write.name, checked)
            if refused is not None:
                causes = [{"reason": c.reason, "message": c.message, "field": c.field} for c in refused.causes]
                raise ApiError(refused.code, refused.message, reason=refused.reason, details={"causes": causes} if causes else None)
        return checked

    def admit(self, write: Write, operation: str, old: Object | None, new: Object | None) -> Object | None:
        """Ask the admissions; return the object at the end, the very one given when none changed it. Raises ApiError."""
        review = Review(
            operation=operation,
            resource=write.resource,
            version=write.version,
            namespace=write.namespace,
            name=write.name,
            old=old,
            new=clone(new) if new is not None else None,
            user=write.user,
            dry_run=write.dry_run,
            subresource=write.subresource,
            get=self.lookup,
            list=self.lookup_all,
        )
        try:
            changed = chain(self.admissions, review)
        except Denied as denied:
            raise from_denied(denied) from None
        return new if changed == new else changed

    def refuse(self, write: Write, causes: tuple[Cause, ...]) -> None:
        """Raise the 422 for these causes, if there are any."""
        if causes:
            raise invalid(write.resource, write.name, causes)

    def stored(self, write: Write, obj: Object) -> Object:
        """Return an object as it is kept: in the stored version, with no empty metadata."""
        metadata = {name: value for name, value in obj["metadata"].items() if value not in ({}, [], None, "")}
        return {
            "apiVersion": write.resource.api_version(write.resource.stored),
            "kind": write.resource.kind,
            **_rest(obj),
            "metadata": metadata,
        }

    def commit_create(self, write: Write, obj: Object) -> Entry:
        """Store a new object under its guards. Raises store.Exists."""
        with self.store.holding():
            if self.store.get(write.place, write.key) is not None:
                raise Exists(write.key)
            self._guard(write, None, obj)
            if write.dry_run:
                return Entry(write.key, obj, 0)
            entry = self.store.create(write.place, write.key, obj)
            self._tell(write.place, None, entry.obj)
        return entry

    def commit_replace(self, write: Write, before: Entry, obj: Object) -> Entry:
        """Store a new version. Raises store.Stale or store.Missing."""
        with self.store.holding():
            self._guard(write, before.obj, obj)
            if write.dry_run:
                return Entry(write.key, obj, before.rv)
            entry = self.store.replace(write.place, before.key, obj, expected=before.rv)
            self._tell(write.place, before.obj, entry.obj)
        return entry

    def commit_remove(self, write: Write, before: Entry, last: Object | None = None) -> Entry:
        """Remove an object. Raises store.Stale or store.Missing."""
        if write.dry_run:
            return before
        with self.store.holding():
            entry = self.store.remove(write.place, before.key, expected=before.rv, last=last)
            self._tell(write.place, before.obj, None)
        return entry

    def _guard(self, write: Write, old: Object | None, new: Object) -> None:
        for guard in self.guards:
            guard(write, old, new)

    def _tell(self, place: Place, before: Object | None, after: Object | None) -> None:
        for listener in self.committed:
            listener(place, before, after)


def _rest(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("apiVersion", "kind", "metadata")}


def key_of(resource: Resource, namespace: str, name: str) -> str:
    """Return the store key of an object."""
    return f"{namespace}/{name}" if resource.namespaced else name


def stamp(moment: datetime) -> str:
    """Return a moment as metav1.Time writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_uid() -> str:
    """Return a fresh uid."""
    return str(uuid.uuid4())


def has_generation(resource: Resource) -> bool:
    """Tell whether objects of this kind carry metadata.generation (custom resources always do)."""
    return not resource.builtin or (resource.group, resource.plural) not in WITHOUT_GENERATION


def has_status(resource: Resource, version: str) -> bool:
    """Tell whether the status of this kind is written through its subresource only."""
    return "status" in resource.version(version).subresources


def wrong_place(write: Write, obj: Any) -> None:
    """Refuse a body that contradicts its path: kind, version, namespace, name. Raises a 400 ApiError."""
    resource = write.resource
    if not isinstance(obj, dict) or not isinstance(obj.get("metadata", {}), dict | None):
        raise ApiError(400, "the object provided is unrecognized (must be of type Object): couldn't get version/kind; json parse error")
    kind, api_version = obj.get("kind") or "", obj.get("apiVersion") or ""
    if not kind or not api_version:
        if not resource.builtin:
            missing = "Kind" if not kind else "apiVersion"
            raise ApiError(400, f"Object '{missing}' is missing in '{dump(obj).decode()[:512]}'")
        obj.setdefault("kind", resource.kind)
        obj.setdefault("apiVersion", write.api_version)
        kind, api_version = obj["kind"], obj["apiVersion"]
    if (kind, api_version) != (resource.kind, write.api_version):
        if kind != resource.kind:
            group, _, version = api_version.rpartition("/")
            found = f"{group}/{version}.{kind}"
            text = f'{resource.kind} in version "{write.version}" cannot be handled as a {resource.kind}: converting ({found})'
            raise ApiError(400, text if resource.builtin else f"the object provided is unrecognized: expected {resource.kind}, got {kind}")
        raise ApiError(
            400,
            f"the API version in the data ({api_version}) does not match the expected API version ({write.api_version})",
        )
    match_url(write, obj.get("metadata") or {})


def match_url(write: Write, metadata: Object) -> None:
    """Raise ApiError (400) for metadata that name another object than the URL does."""
    if write.resource.namespaced and metadata.get("namespace") not in (None, "", write.namespace):
        raise ApiError(400, "the namespace of the provided object does not match the namespace sent on the request")
    if write.name and metadata.get("name") not in (None, "", write.name):
        raise ApiError(400, f"the name of the object ({metadata['name']}) does not match the name on the URL ({write.name})")
