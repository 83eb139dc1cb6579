"""The handle that steps and lab controllers hold: one cluster, one default namespace, and the few verbs there are.

What a replay of each verb does after a lost answer is told in `retry.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, Unpack

from migrate.kube.errors import refused
from migrate.kube.kinds import Kind, known_kind, split_api_version
from migrate.kube.paths import describe
from migrate.kube.readback import failed_tests, same_object
from migrate.kube.reader import Reader
from migrate.kube.retry import READ, SURE, WRITE
from migrate.model.errors import Conflict, Refused, Taken

if TYPE_CHECKING:
    from migrate.kube.bell import Bell

Manifest = dict[str, Any]


class Write(TypedDict):
    """How a write is sent; `action` is the verb that errors and the log name."""

    action: str
    query: dict[str, str]
    body: object
    content: str
    subresource: NotRequired[str]


class Deletion(TypedDict):
    """On what conditions and how an object is deleted."""

    conditions: Mapping[str, str]
    propagation: str
    grace_s: int | None


class Cluster(Reader):
    """A session with a default namespace. Cheap: make as many as you like with `at`."""

    _always_dry = False

    def create(self, *manifests: Manifest, ours_ok: bool = False, there_ok: bool = False, dry_run: bool = False) -> list[Manifest]:
        """Create objects one after the other and return them as they are now. Unknown fields are refused.

        With `ours_ok`, an existing object that carries our mark and the same id is read back instead; with `there_ok` any, for a caller
        who looks next what it is. Raise Taken for any other, Conflict if it is just being deleted.
        """
        return [self._create(manifest, ours_ok=ours_ok, there_ok=there_ok, dry_run=dry_run) for manifest in manifests]

    def apply(self, *manifests: Manifest, dry_run: bool = False, force: bool = False) -> list[Manifest]:
        """Apply objects server-side under our field manager, one after the other. Unknown fields are refused.

        Raise OwnedByAnother, naming owner and field, if somebody else manages a field that we want to differ; `force` takes it.
        """
        applied = []
        for manifest in manifests:
            kind, name, space, body = self._addressed(manifest)
            query = self._written(dry_run) | {"fieldValidation": "Strict", "force": "true" if force else "false"}
            body["metadata"].pop("managedFields", None)
            applied.append(self._write(kind, "PATCH", name, space, action="apply", query=query, body=body, content="apply-patch+yaml"))
        return applied

    def patch(
        self,
        kind: Kind,
        name: str,
        operations: list[dict[str, Any]],
        namespace: str | None = None,
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Manifest:
        """Apply a JSON patch (RFC 6902). Raise Conflict if one of its `test` operations does not hold, naming it; Refused if absent."""
        try:
            return self._write(
                kind,
                "PATCH",
                name,
                namespace,
                action="patch",
                query=self._written(dry_run),
                body=operations,
                content="json-patch+json",
                subresource=subresource,
            )
        except Refused as problem:
            # API servers answer a failed `test` with 422 and without saying which one failed, or that it was a test at all.
            if problem.status != 422 or not (why := failed_tests(operations, self._read(kind, name, namespace))):
                raise
            now = "It changed meanwhile. Run the same command again."
            raise Conflict(problem.what, where=problem.where, why=why, now=now, status=409) from problem

    def merge(self, kind: Kind, name: str, patch: dict[str, Any], namespace: str | None = None, *, subresource: str = "") -> Manifest:
        """Apply a JSON merge patch (RFC 7386). Raise Conflict if it carries a resourceVersion that is no longer current."""
        return self._write(
            kind,
            "PATCH",
            name,
            namespace,
            action="patch",
            query=self._written(False),
            body=patch,
            content="merge-patch+json",
            subresource=subresource,
        )

    def replace(self, manifest: Manifest, *, subresource: str = "") -> Manifest:
        """Put an object in place of the one read before. Raise Conflict if somebody was faster, ValueError without a resourceVersion."""
        kind, name, space, body = self._addressed(manifest)
        if not body["metadata"].get("resourceVersion"):
            raise ValueError("an object can only be replaced with the resourceVersion it was read with")
        return self._write(
            kind, "PUT", name, space, action="replace", query=self._written(False), body=body, content="json", subresource=subresource
        )

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        version: str | None = None,
        propagation: str = "Background",
        grace_s: int | None = None,
    ) -> None:
        """Ask for an object to be removed; absent is fine.

        Raise Conflict if the object of this name is not the one with `uid`, or not at the resourceVersion `version` any more.
        """
        conditions = {key: value for key, value in (("uid", uid), ("resourceVersion", version)) if value is not None}
        self._delete(kind, name, namespace, conditions=conditions, propagation=propagation, grace_s=grace_s)

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any] | str:
        """Send a request for a path of the API as it stands; for subresources. Return the decoded object, or the text if it is none."""
        policy = READ if method in {"GET", "HEAD"} else SURE
        answer = self.session.call(method, path, action=f"{method} {path.partition('?')[0]}", policy=policy, body=body)
        decoded = answer.decoded()
        return decoded if isinstance(decoded, dict) else answer.body.decode(errors="replace")

    def bell(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: Mapping[str, str | None] | None = None,
        everywhere: bool = False,
        event: threading.Event | None = None,
        on_event: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> Bell:
        """Start a list+watch in a thread of its own (see `Bell`). Raise ValueError for Secrets: they are never listed or watched by us."""
        from migrate.kube.bell import Bell

        space = None if everywhere or not kind.namespaced else namespace or self.namespace
        return Bell(self, kind, namespace=space, labels=labels, event=event, on_event=on_event).start()

    def _create(self, manifest: Manifest, *, ours_ok: bool, there_ok: bool, dry_run: bool) -> Manifest:
        kind, name, space, body = self._addressed(manifest)
        query = self._written(dry_run) | {"fieldValidation": "Strict"}
        action = f"create {describe(kind, name or str(body['metadata'].get('generateName', '')), space)}"
        lost = threading.Event()
        try:
            answer, path = self._ask(
                kind, "POST", "", space, action=action, query=query, body=body, policy=WRITE if name else SURE, on_lost=lost.set
            )
        except Taken as taken:
            if not name or not (ours_ok or there_ok or lost.is_set()):
                raise
            live = self._read(kind, name, space)
            if live is not None and not there_ok and not same_object(live, body):
                raise
            if live is None or live["metadata"].get("deletionTimestamp"):
                why = "an object with this name was just being deleted"
                raise Conflict(taken.what, where=taken.where, why=why, now="Try again when it is gone.", status=409) from taken
            return live
        return {"apiVersion": path.api_version, "kind": kind.kind} | self._object(answer)

    def _write(self, kind: Kind, method: str, name: str, namespace: str | None, **how: Unpack[Write]) -> Manifest:
        space = namespace or self.namespace
        action = f"{how['action']} {describe(kind, name, space)}"
        answer, path = self._ask(
            kind,
            method,
            name,
            space,
            action=action,
            query=how["query"],
            body=how["body"],
            content_type=f"application/{how['content']}",
            subresource=how.get("subresource", ""),
        )
        if answer.status == 404:
            raise refused(answer, action=action, context=self.context)
        return {"apiVersion": path.api_version, "kind": kind.kind} | self._object(answer)

    def _delete(self, kind: Kind, name: str, namespace: str | None, **how: Unpack[Deletion]) -> None:
        if not name:
            raise ValueError(f"a {kind} without a name was to be deleted")
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": how["propagation"]}
        if how["conditions"]:
            options["preconditions"] = dict(how["conditions"])
        if how["grace_s"] is not None:
            options["gracePeriodSeconds"] = how["grace_s"]
        if self._always_dry:
            options["dryRun"] = ["All"]
        space = namespace or self.namespace
        self._ask(kind, "DELETE", name, space, action=f"delete {describe(kind, name, space)}", body=options)

    def _addressed(self, manifest: Manifest) -> tuple[Kind, str, str, Manifest]:
        """Return kind, name, namespace, and a copy of the manifest that is complete: with its namespace, in a version that is served."""
        kind = known_kind(manifest) or self.session.discovery.kind_of(str(manifest["apiVersion"]), str(manifest["kind"]))
        _group, wanted = split_api_version(str(manifest["apiVersion"]))
        others = tuple(version for version in kind.versions if version != wanted) if wanted in kind.versions else ()
        kind = replace(kind, versions=(wanted, *others))
        metadata = dict(manifest.get("metadata") or {})
        space = str(metadata.get("namespace") or self.namespace)
        if kind.namespaced:
            metadata["namespace"] = space
        return kind, str(metadata.get("name") or ""), space, manifest | {"metadata": metadata}

    def _written(self, dry_run: bool) -> dict[str, str]:
        return {"fieldManager": self.session.field_manager} | ({"dryRun": "All"} if dry_run or self._always_dry else {})
