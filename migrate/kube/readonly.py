"""The handle of `--dry-run`: reads are real, writes are noted and at most tried with the server's own dry run. No other code knows."""

from __future__ import annotations

from typing import Any, NamedTuple, Unpack

from migrate.kube.cluster import Cluster, Deletion, Manifest, Write
from migrate.kube.kinds import NAMESPACE, Kind, split_api_version
from migrate.model.errors import Refused
from migrate.model.labels import CLAIM

_WITHOUT_DRY_RUN = frozenset({"upload.cdi.kubevirt.io", "subresources.kubevirt.io"})
"""Aggregated APIs that do not know dryRun: what is sent to them happens."""

_CLAIM = "/" + CLAIM.replace("/", "~1")


class Noted(NamedTuple):
    """A write that would have been sent. `manifest` may be a Secret: screens show its name only."""

    verb: str
    manifest: Manifest


class ReadOnly(Cluster):
    """A Cluster that changes nothing. Every write becomes an entry of `noted`, shared by all handles made from this one.

    A write is tried with dryRun=All first, so that webhooks, quotas, schemas and owners speak; their refusals are raised as ever. Where a
    trial is impossible (the namespace or the object would have been made by a write that was only noted) the entry is all there is.
    """

    _always_dry = True

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.session, cluster.namespace)
        self._from_bells = cluster._from_bells
        self.noted: list[Noted] = []
        self._would: dict[tuple[str, ...], Manifest] = {}
        """What the server's dry run answered to a create or replace: read back as if it were there."""

    def get(self, kind: Kind, name: str, namespace: str | None = None, *, subresource: str = "") -> Manifest | None:
        """Return what a noted create or replace would have made, else what is there."""
        would = None if subresource else self._would.get(_identity(_about(kind, name, namespace or self.namespace)))
        return would or super().get(kind, name, namespace, subresource=subresource)

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any] | str:
        """Send a question; only note anything else, since subresources do not know dryRun."""
        if method in {"GET", "HEAD"}:
            return super().call(method, path, body)
        self.noted.append(Noted(f"{method} {path}", body if isinstance(body, dict) else {}))
        return {}

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
        """Try a JSON patch without its test on the claim, which was only noted and stands on no object."""
        rest = [one for one in operations if not (one["op"] == "test" and one["path"].endswith(_CLAIM))]
        return super().patch(kind, name, rest, namespace, subresource=subresource, dry_run=dry_run)

    def _create(self, manifest: Manifest, *, ours_ok: bool, there_ok: bool, dry_run: bool) -> Manifest:
        kind, name, space, body = self._addressed(manifest)
        self.noted.append(Noted("create", body))
        if kind.group in _WITHOUT_DRY_RUN:
            return body
        try:
            made = super()._create(manifest, ours_ok=ours_ok, there_ok=there_ok, dry_run=dry_run)
        except Refused as refusal:
            made = self._only_noted(refusal, kind, name, space, body)
        self._would[_identity(_about(kind, name, space))] = made
        return made

    def _write(self, kind: Kind, method: str, name: str, namespace: str | None, **how: Unpack[Write]) -> Manifest:
        space, body = namespace or self.namespace, how["body"]
        whole = body if isinstance(body, dict) and "kind" in body else _about(kind, name, space) | {"patch": body}
        self.noted.append(Noted(" ".join(filter(None, [how["action"], how.get("subresource", "")])), whole))
        if kind.group in _WITHOUT_DRY_RUN:
            return whole
        try:
            made = super()._write(kind, method, name, space, **how)
        except Refused as refusal:
            return self._only_noted(refusal, kind, name, space, whole)
        if method == "PUT" and not how.get("subresource"):
            self._would[_identity(_about(kind, name, space))] = made
        return made

    def _delete(self, kind: Kind, name: str, namespace: str | None, **how: Unpack[Deletion]) -> None:
        self.noted.append(Noted("delete", _about(kind, name, namespace or self.namespace)))
        if kind.group not in _WITHOUT_DRY_RUN:
            super()._delete(kind, name, namespace, **how)

    def _only_noted(self, refusal: Refused, kind: Kind, name: str, namespace: str, manifest: Manifest) -> Manifest:
        """Return the manifest if the refusal only says that an earlier write was not sent; else raise it."""
        if refusal.status == 404:
            if kind.namespaced and self._read(NAMESPACE, namespace) is None:
                return manifest
            earlier = {_identity(noted.manifest) for noted in self.noted if noted.verb in {"create", "apply"}}
            if _identity(_about(kind, name, namespace)) in earlier:
                return manifest
        raise refusal


def _about(kind: Kind, name: str, namespace: str) -> Manifest:
    metadata = {"name": name} | ({"namespace": namespace} if kind.namespaced else {})
    return {"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata}


def _identity(manifest: Manifest) -> tuple[str, ...]:
    metadata = manifest.get("metadata") or {}
    group, _version = split_api_version(str(manifest.get("apiVersion", "")))
    return group, str(manifest.get("kind")), str(metadata.get("namespace", "")), str(metadata.get("name"))
