"""The reading half of a cluster handle: questions that change nothing.

Dicts in, dicts out. A missing object is None; a refused or broken call is an error with what, where, the cluster's own words, and what to
do now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, Self

from migrate.kube.answer import Answer
from migrate.kube.cached import UNANSWERED, held, listed
from migrate.kube.errors import is_absence, not_an_api, not_served, refused
from migrate.kube.kinds import ACCESS_REVIEW, NAMESPACE, POD, SECRET, Kind
from migrate.kube.paths import Path, describe, path_of, selector
from migrate.kube.retry import READ, WRITE, Policy
from migrate.model.errors import Gone

if TYPE_CHECKING:
    from migrate.kube.session import Session

PAGE = 500
_MISSING = frozenset({404})

Object = dict[str, Any]
Objects = list[Object]


class Reader:
    """A session with a default namespace. Cheap: make as many as you like with `at`."""

    def __init__(self, session: Session, namespace: str) -> None:
        self.session = session
        self.namespace = namespace
        self._from_bells = False

    @property
    def context(self) -> str:
        """Name of the kubeconfig context; for people, never for identity (see `uid`)."""
        return self.session.context

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self.session.server

    def at(self, namespace: str) -> Self:
        """Return the same cluster with another default namespace."""
        other = copy(self)
        other.namespace = namespace
        return other

    def cached(self) -> Self:
        """Return a handle whose `get` and `list` answer from a bell that is in contact, and ask the API otherwise. It writes as ever."""
        other = copy(self)
        other._from_bells = True
        return other

    def uid(self) -> str:
        """Return the UID of the kube-system namespace: what identifies a cluster, whatever its context is called here. Asked once."""
        if not self.session.uid:
            found = self._read(NAMESPACE, "kube-system")
            self.session.uid = str(found["metadata"]["uid"]) if found else ""
        if not self.session.uid:
            raise not_served("namespace kube-system", context=self.context)
        return self.session.uid

    def version(self) -> dict[str, Any]:
        """Return what the API server says of its version (`gitVersion`, ...)."""
        return self._object(self.session.call("GET", "/version", action="ask for the version", policy=READ))

    def get(self, kind: Kind, name: str, namespace: str | None = None, *, subresource: str = "") -> dict[str, Any] | None:
        """Return the object, or None if there is none. Raise Refused if the cluster has no such resource type."""
        space = namespace or self.namespace
        if self._from_bells and not subresource:
            found = held(self.session.bells, kind, space if kind.namespaced else None, name)
            if found is not UNANSWERED:
                return found
        return self._read(kind, name, space, subresource=subresource)

    def list(
        self, kind: Kind, namespace: str | None = None, *, labels: Mapping[str, str | None] | None = None, everywhere: bool = False
    ) -> Objects:
        """Return all objects, in pages of 500, each with apiVersion and kind. A label value of None asks only that the label exists.

        Raise ValueError for Secrets: they are read one by one, by name.
        """
        if kind == SECRET:
            raise ValueError("Secrets are never listed or watched")
        space = None if everywhere or not kind.namespaced else namespace or self.namespace
        if self._from_bells and (found := listed(self.session.bells, kind, space, labels)) is not None:
            return found
        return self.page_through(kind, space, selector(labels))[0]

    def page_through(self, kind: Kind, namespace: str | None, selector: str, *, policy: Policy = READ) -> tuple[Objects, str]:
        """Return all objects and the resourceVersion to watch from. `namespace` None means all of them."""
        action = f"list {describe(kind, '', namespace if kind.namespaced else None)}"
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        items: Objects = []
        while True:
            try:
                answer, path = self._ask(kind, "GET", "", namespace, action=action, query=query, policy=policy)
            except Gone:
                # The cluster compacted its history between two pages: begin again, in one piece, which cannot expire.
                if "continue" not in query:
                    raise
                items, query = [], {name: value for name, value in query.items() if name not in {"continue", "limit"}}
                continue
            page = self._object(answer)
            metadata = page.get("metadata") or {}
            named = {"apiVersion": page.get("apiVersion", path.api_version), "kind": kind.kind}
            items += [named | item for item in page.get("items") or ()]
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion") or "")
            query["continue"] = metadata["continue"]

    def serves(self, kind: Kind) -> str | None:
        """Return the version in which the cluster serves this resource type, or None if it does not."""
        return self.session.discovery.version(kind)

    def can(self, verb: str, kind: Kind, namespace: str | None = None, *, subresource: str = "", name: str = "") -> bool:
        """Ask whether we are allowed to. Cluster-wide for kinds without namespace, and with `namespace=""` for all namespaces."""
        space = "" if not kind.namespaced else self.namespace if namespace is None else namespace
        attributes = {
            "verb": verb,
            "group": kind.group,
            "resource": kind.plural,
            "namespace": space,
            "subresource": subresource,
            "name": name,
        }
        review = {
            "apiVersion": ACCESS_REVIEW.api_version(),
            "kind": ACCESS_REVIEW.kind,
            "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
        }
        path = path_of(ACCESS_REVIEW, "v1", None)
        answer = self.session.call("POST", path.url, action=f"ask whether we may {verb} {kind.plural}", policy=READ, body=review)
        return bool((self._object(answer).get("status") or {}).get("allowed"))

    def log_text(self, pod: str, namespace: str | None = None, *, container: str = "", tail: int = 50) -> str:
        """Return the last lines of a container's log; "" if the pod is gone or the container has not begun."""
        space = namespace or self.namespace
        path = path_of(POD, "v1", space, pod, "log")
        query = {"tailLines": str(tail)} | ({"container": container} if container else {})
        action = f"read the log of {describe(POD, pod, space)}"
        answer = self.session.call("GET", path.url, action=action, policy=READ, query=query, accept="*/*", passed=frozenset({400, 404}))
        return answer.body.decode(errors="replace") if answer.ok else ""

    def close(self) -> None:
        """End the session: its bells, its connections, every handle on it."""
        self.session.close()

    def _read(self, kind: Kind, name: str, namespace: str | None = None, *, subresource: str = "") -> dict[str, Any] | None:
        """Return an object from the API server, whatever this handle's `get` does."""
        space = namespace or self.namespace
        if not name:
            raise ValueError(f"a {kind} without a name was asked for")
        action = f"get {describe(kind, name, space)}"
        answer, path = self._ask(kind, "GET", name, space, action=action, subresource=subresource)
        if answer.status != 404:
            return {"apiVersion": path.api_version, "kind": kind.kind} | self._object(answer)
        return None

    def _ask(
        self,
        kind: Kind,
        method: str,
        name: str,
        namespace: str | None,
        *,
        action: str,
        subresource: str = "",
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        policy: Policy | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> tuple[Answer, Path]:
        """Send a request for a resource in the version the cluster serves. A 404 comes back only if the object is what is missing."""
        policy = policy or (READ if method == "GET" else WRITE)
        for again in (True, False):
            path = path_of(kind, self.served_version(kind), namespace, name, subresource)
            if isinstance(body, dict) and body.get("kind") == kind.kind:
                body = body | {"apiVersion": path.api_version}
            answer = self.session.call(
                method,
                path.url,
                action=action,
                policy=policy,
                query=query,
                body=body,
                content_type=content_type,
                passed=_MISSING,
                on_lost=on_lost,
            )
            if answer.status != 404 or is_absence(answer):
                break
            # No object is named: the resource type itself may be missing, or have moved to another version.
            self.session.discovery.forget(kind)
            served = self.serves(kind)
            if served is None:
                raise not_served(kind.qualified, context=self.context, versions=", ".join(kind.versions))
            if not again or kind.api_version(served) == path.api_version:
                break
        if answer.status == 404 and (not name or answer.refusal() is None):
            raise refused(answer, action=action, context=self.context)
        return answer, path

    def served_version(self, kind: Kind) -> str:
        """Return the version to ask in. A Kind with a single one needs no discovery: a wrong guess shows as 404."""
        if len(kind.versions) == 1:
            return kind.versions[0]
        version = self.serves(kind)
        if version is None:
            raise not_served(kind.qualified, context=self.context, versions=", ".join(kind.versions))
        return version

    def _object(self, answer: Answer) -> dict[str, Any]:
        decoded = answer.decoded()
        if not isinstance(decoded, dict):
            raise not_an_api(context=self.context)
        return decoded
