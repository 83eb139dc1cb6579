"""Exports in a lab cluster: made, watched, and read through their external links, as a user with curl would."""

from __future__ import annotations

import base64
import contextlib
import http.client
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import EXPORT, SECRET
from migrate.lab.clock import SimClock
from migrate.lab.cluster import LabCluster
from migrate.lab.up import Lab
from tests.machines import disk, machine

Object = dict[str, Any]
TOKEN = "x-kubevirt-export-token"


@dataclass(frozen=True, slots=True)
class Got:
    """An answer."""

    code: int
    headers: dict[str, str]
    body: bytes


def manifest(name: str, source: str, *, kind: str = "VirtualMachine", version: str = "v1", **spec: Any) -> Object:
    """Return an export of a VM (or of a claim, or a snapshot) in the namespace shop."""
    groups = {"VirtualMachine": "kubevirt.io", "VirtualMachineSnapshot": "snapshot.kubevirt.io"}
    wanted = {"kind": kind, "name": source} | ({"apiGroup": groups[kind]} if kind in groups else {})
    return {
        "apiVersion": f"export.kubevirt.io/{version}",
        "kind": "VirtualMachineExport",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"source": wanted, **spec},
    }


class Export:
    """One export of a lab cluster."""

    def __init__(self, lab: Lab | Alone, api: Cluster, name: str) -> None:
        self._lab = lab
        self._api = api
        self.name = name

    @property
    def status(self) -> Object:
        found = self._api.get(EXPORT, self.name, "shop") or {}
        status: Object = found.get("status") or {}
        return status

    @property
    def reason(self) -> str:
        conditions = [entry for entry in self.status.get("conditions") or () if entry["type"] == "Ready"]
        return str(conditions[0]["reason"]) if conditions else ""

    def until(self, phase: str, reason: str | None = None, *, seconds: float = 120) -> Object:
        """Wait for a phase (and reason); return the status."""

        def there() -> bool:
            return self.status.get("phase") == phase and reason in (None, self.reason)

        self._lab.until(there, seconds=seconds, what=f"{phase}/{reason} of {self.name}")
        return self.status

    @property
    def token(self) -> str:
        secret = self._api.get(SECRET, self.status["tokenSecretRef"], "shop")
        assert secret is not None
        return base64.b64decode(secret["data"]["token"]).decode()

    def url(self, claim: str, format_: str = "raw") -> str:
        """Return the external address of a volume."""
        for volume in self.status["links"]["external"]["volumes"]:
            if volume["name"] == claim:
                return next(str(entry["url"]) for entry in volume["formats"] if entry["format"] == format_)
        raise LookupError(claim)

    def manifest(self, type_: str = "all") -> str:
        """Return the external address of a manifest."""
        return next(str(entry["url"]) for entry in self.status["links"]["external"]["manifests"] if entry["type"] == type_)

    def open(self, url: str, method: str = "GET", *, ca: str | None = None, **headers: str) -> http.client.HTTPResponse:
        """Send a request that trusts the link's certificate; the answer's body is still to come."""
        parts = urlsplit(url)
        context = ssl.create_default_context(cadata=ca or self.status["links"]["external"]["cert"])
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        connection = http.client.HTTPSConnection(str(parts.hostname), parts.port, context=context, timeout=10)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        with self._lab.clock.idle():
            connection.request(method, path, headers=shown)
            return connection.getresponse()

    def fetch(self, url: str, method: str = "GET", *, token: str | None = None, ca: str | None = None, **headers: str) -> Got:
        """Send a request with the token and return the whole answer."""
        answer = self.open(url, method, ca=ca, x_kubevirt_export_token=self.token if token is None else token, **headers)
        with self._lab.clock.idle():
            body = answer.read()
        return Got(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)


class Alone:
    """One cluster of a certain release, with a disk and a halted VM `db` on it."""

    def __init__(self, cluster: LabCluster) -> None:
        self.east = cluster
        self.clock = cluster.clock
        cluster.plant([disk("root"), machine("db", ["root"])])

    def until(self, look: Callable[[], Any], *, seconds: float = 120, what: str = "it") -> Any:
        """Let lab time pass until `look()` is true."""
        end = self.clock.monotonic() + seconds
        while not (found := look()):
            assert self.clock.monotonic() < end, f"{what} did not happen within {seconds:g} s"
            self.clock.sleep(0.25)
        return found


@contextlib.contextmanager
def alone(directory: Path, release: str, *, external: bool | str = True) -> Iterator[Alone]:
    """Start one cluster on simulated time."""
    clock = SimClock()
    cluster = LabCluster("east", directory, clock=clock, release=release, external=external)
    try:
        with clock.busy():
            cluster.start()
            yield Alone(cluster)
    finally:
        cluster.stop()
        clock.close()


def make(lab: Lab | Alone, name: str, source: str, **spec: Any) -> Export:
    """Create an export in east."""
    api = lab.east.client("lab/user")
    api.create(manifest(name, source, **spec))
    return Export(lab, api, name)
