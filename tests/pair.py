"""Any two clusters that somebody names, in the place of the lab: what flows need of a lab, made from the API alone (`make test-e2e`).

Nothing of a lab is inside: time is real, disks are read through exports of their claims, writes are seen by what they changed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import ssl
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, EXPORT, LEASE, NAMESPACE, PVC, SERVICEACCOUNT, VM, Kind
from migrate.kube.session import open_cluster
from migrate.lab.clock import RealClock
from migrate.lab.up import Lab

Object = dict[str, Any]
SEEN: tuple[Kind, ...] = (VM, DATAVOLUME, PVC, EXPORT, CONFIGMAP, LEASE)
PATIENCE_S = 900.0
MARK = {"kubevirt-migrate-e2e": "true"}
"""Label of the namespaces: kubectl delete namespace -l kubevirt-migrate-e2e removes those of a run that was killed."""


@dataclass(frozen=True, slots=True)
class Change:
    """An object that was made, changed or deleted between two looks."""

    verb: str
    resource: str
    name: str


class Trouble:
    """No trouble is made on clusters that are not ours."""

    def clear(self) -> None:
        """Do nothing: there is none."""


class Requests:
    """What was written to a namespace, told by the metadata and specs of its objects; status is for controllers to write."""

    def __init__(self, cluster: Side) -> None:
        self._cluster = cluster

    @property
    def mark(self) -> dict[tuple[str, str], str]:
        """Return how everything is now."""
        api = self._cluster.api
        return {(kind.plural, one["metadata"]["name"]): _shape(one) for kind in SEEN for one in api.list(kind)}

    def since(self, mark: dict[tuple[str, str], str], **_of_whom: str) -> list[Change]:
        """Return what differs from a mark. By whom cannot be seen, so nobody else may write here."""
        now = self.mark
        verbs = {
            key: "create" if key not in mark else "delete" if key not in now else "patch"
            for key in sorted({*mark, *now})
            if mark.get(key) != now.get(key)
        }
        return [Change(verb, *key) for key, verb in verbs.items()]


class Side:
    """One of the two clusters, in the namespace that these tests made for themselves."""

    def __init__(self, context: str, namespace: str) -> None:
        self.name = context
        self.api = self._open("e2e").at(namespace)
        self.trouble = Trouble()
        self.requests = Requests(self)

    def _open(self, user_agent: str) -> Cluster:
        return open_cluster(self.name, clock=RealClock(), user_agent=user_agent)

    def client(self, user_agent: str = "e2e") -> Cluster:
        """Return a handle with the user's own rights."""
        return self._open(user_agent)


class Pair:
    """Two contexts of the user's kubeconfig, with a fresh namespace on both sides that is deleted at the end."""

    kubeconfig = None
    """The user's own, wherever kubectl finds it."""

    def __init__(self, source: str, target: str, *, image: str, size: str) -> None:
        self.clock = RealClock()
        self.home = f"kubevirt-migrate-e2e-{secrets.token_hex(3)}"
        self.clusters = {"east": Side(source, self.home), "west": Side(target, self.home)}
        self._image, self._size = image, size

    @property
    def east(self) -> Side:
        return self.clusters["east"]

    @property
    def west(self) -> Side:
        return self.clusters["west"]

    def __enter__(self) -> Self:
        for side in self.clusters.values():
            side.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.home, "labels": MARK}})
            self.until(lambda side=side: side.api.get(SERVICEACCOUNT, "default"), what="the namespace's account")
        return self

    def __exit__(self, *_: object) -> None:
        for side in self.clusters.values():
            side.api.delete(NAMESPACE, self.home)
            side.api.close()

    def plant(self, manifests: Iterable[Object]) -> None:
        """Create disks and machines on the source, and return when the disks are there and the machines that should run do."""
        for manifest in manifests:
            metadata = {"name": manifest["metadata"]["name"], "namespace": self.home}
            spec = dict(manifest["spec"])
            if manifest["kind"] == DATAVOLUME.kind:
                source = {"http": {"url": self._image}} if self._image else {"blank": {}}
                spec = {"source": source, "storage": {"resources": {"requests": {"storage": self._size}}}}
                metadata |= {"annotations": {"cdi.kubevirt.io/storage.bind.immediate.requested": "true"}}
            self.east.api.create({**manifest, "metadata": metadata, "spec": spec})
        for volume in self.east.api.list(DATAVOLUME):
            self.until(lambda name=volume["metadata"]["name"]: self._filled(name), what=f"{volume['metadata']['name']} is filled")
        for vm in self.east.api.list(VM):
            if vm["spec"].get("runStrategy") == "Always":
                self.until(lambda name=vm["metadata"]["name"]: self._ready(name), what=f"{vm['metadata']['name']} runs")

    def _filled(self, name: str) -> bool:
        return ((self.east.api.get(DATAVOLUME, name) or {}).get("status") or {}).get("phase") == "Succeeded"

    def _ready(self, name: str) -> bool:
        return bool(((self.east.api.get(VM, name) or {}).get("status") or {}).get("ready"))

    def until(self, look: Callable[[], Any], *, seconds: float = PATIENCE_S, what: str = "it") -> Any:
        """Wait until `look()` is true; return what it returned. Raises TimeoutError."""
        end = self.clock.monotonic() + seconds
        while not (found := look()):
            if self.clock.monotonic() > end:
                raise TimeoutError(f"{what} did not happen within {seconds:g} s")
            self.clock.sleep(1)
        return found

    def disks(self) -> Disks:
        """Return the contents of claims, each read when it is asked for."""
        return Disks(self)


def home(lab: Lab) -> str:
    """Return the namespace of a flow that names none: the lab's, or the one that a pair made."""
    return lab.home if isinstance(lab, Pair) else "shop"


class Disks:
    """SHA-256 of disks up to the last byte that is not zero, read with nothing but the standard library through exports."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def __getitem__(self, place: tuple[str, str, str]) -> str:
        cluster, _namespace, claim = place
        with self._exported(self._pair.clusters[cluster].api, claim) as (url, ca, token):
            request = urllib.request.Request(url, headers={"x-kubevirt-export-token": token})
            with urllib.request.urlopen(request, context=ssl.create_default_context(cadata=ca)) as stream:
                return _hash(iter(lambda: stream.read(1 << 20), b""))

    def get(self, place: tuple[str, str, str]) -> str | None:
        """Return the content of a claim, None when it has no name."""
        return self[place] if place[2] else None

    @contextmanager
    def _exported(self, api: Cluster, claim: str) -> Iterator[tuple[str, str, str]]:
        name, token = f"e2e-{claim}"[:50], secrets.token_hex(16)
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
        api.create({**secret, "data": {"token": base64.b64encode(token.encode()).decode()}})
        spec = {"source": {"apiGroup": "", "kind": PVC.kind, "name": claim}, "tokenSecretRef": name, "ttlDuration": "30m"}
        version = f"{EXPORT.group}/{api.serves(EXPORT)}"
        api.create({"apiVersion": version, "kind": EXPORT.kind, "metadata": {"name": name}, "spec": spec})
        try:
            yield (*self._pair.until(lambda: _raw(api.get(EXPORT, name)), what=f"the export of {claim}"), token)
        finally:
            api.delete(EXPORT, name)
            api.call("DELETE", f"/api/v1/namespaces/{api.namespace}/secrets/{name}")
            self._pair.until(lambda: api.get(EXPORT, name) is None, what=f"the export of {claim} is gone")


def _raw(export: Object | None) -> tuple[str, str] | None:
    """Return the raw link of an export from outside and its certificates, once it is ready."""
    status = (export or {}).get("status") or {}
    link = (status.get("links") or {}).get("external")
    if status.get("phase") != "Ready" or not link:
        return None
    formats = {one["format"]: one["url"] for one in link["volumes"][0]["formats"]}
    return formats["raw"], link["cert"]


def _hash(pieces: Iterator[bytes]) -> str:
    digest, zeros = hashlib.sha256(), 0
    for piece in pieces:
        kept = piece.rstrip(b"\0")
        if kept:
            digest.update(bytes(zeros))
            digest.update(kept)
            zeros = 0
        zeros += len(piece) - len(kept)
    return digest.hexdigest()


def _shape(one: Object) -> str:
    """Return what a writer who is no controller would change of an object."""
    metadata = {key: one["metadata"].get(key) for key in ("uid", "labels", "annotations")}
    return json.dumps({"metadata": metadata, "spec": one.get("spec"), "data": one.get("data")}, sort_keys=True)
