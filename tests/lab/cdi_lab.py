"""One cluster with CDI and without KubeVirt, and a disk server outside of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from migrate.kube.kinds import DATAVOLUME, EVENT, POD, PV, PVC, RESOURCEQUOTA
from migrate.lab import cdi, kinds
from migrate.lab.certs import Authority
from migrate.lab.clock import SimClock
from migrate.lab.cluster import LabCluster
from migrate.lab.pods import PROGRAMS
from migrate.lab.storage import disk_file
from tests.lab.cdi_source import TOKEN, DiskServer

MIB = 1 << 20
DISK = os.urandom(MIB) + bytes(MIB) + os.urandom(MIB)
AT_ONCE = "cdi.kubevirt.io/storage.bind.immediate.requested"


class CdiLab:
    """What the tests of CDI need: an administrator in the namespace shop, time, a source, and a look at the disks."""

    def __init__(self, cluster: LabCluster, server: DiskServer) -> None:
        self.cluster = cluster
        self.server = server
        self.clock = cluster.clock
        self.trouble = cluster.trouble
        self.api = cluster.client("lab/user").at("shop")

    def until(self, look: Callable[[], Any], *, seconds: float = 300) -> Any:
        """Let lab time pass until `look()` is true, and return what it returned."""
        end = self.clock.monotonic() + seconds
        while not (found := look()):
            assert self.clock.monotonic() < end, f"not within {seconds} s of lab time"
            self.clock.sleep(0.5)
        return found

    def dv(self, name: str, source: Mapping[str, Any] | None = None, *, at_once: bool = True, **storage: Any) -> dict[str, Any]:
        """Return a DataVolume of the size of the disk that imports from the server."""
        http = {"url": self.server.url, "certConfigMap": "source-ca", "secretExtraHeaders": ["source-header"]}
        spec = {
            "source": dict(source) if source else {"http": http},
            "storage": {"resources": {"requests": {"storage": str(len(DISK))}}, **storage},
        }
        meta = {"name": name, "labels": {"migration": "42"}, "annotations": {AT_ONCE: ""} if at_once else {}}
        return {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": meta, "spec": spec}

    def status(self, name: str) -> dict[str, Any]:
        return (self.api.get(DATAVOLUME, name) or {}).get("status") or {}

    def condition(self, name: str, type_: str) -> tuple[str, str, str]:
        found = next((item for item in self.status(name).get("conditions", ()) if item["type"] == type_), {})
        return found.get("status", ""), found.get("reason", ""), found.get("message", "")

    def phase(self, name: str) -> str:
        return str(self.status(name).get("phase", ""))

    def bound(self, name: str) -> bool:
        return ((self.api.get(PVC, name) or {}).get("status") or {}).get("phase") == "Bound"

    def done(self, name: str) -> Callable[[], bool]:
        return lambda: self.phase(name) == "Succeeded" and self.bound(name)

    def content(self, name: str) -> bytes:
        """Return the bytes of a claim's disk."""
        return disk_file(self.volume(name)).read_bytes()

    def volume(self, name: str) -> Path:
        """Return where a claim's files are."""
        claim = self.api.get(PVC, name)
        assert claim is not None
        volume = self.api.get(PV, claim["spec"]["volumeName"])
        assert volume is not None
        return self.cluster.volumes.path(volume)

    def pods(self, prefix: str = "") -> list[str]:
        return [pod["metadata"]["name"] for pod in self.api.list(POD) if pod["metadata"]["name"].startswith(prefix)]

    def claims(self) -> set[str]:
        return {claim["metadata"]["name"] for claim in self.api.list(PVC)}

    def events(self, name: str) -> list[tuple[str, str]]:
        return [(event["reason"], event["message"]) for event in self.api.list(EVENT) if event["involvedObject"]["name"] == name]

    def remove(self, name: str) -> None:
        """Delete a DataVolume and wait until nothing of it is left."""
        uid = (self.api.get(PVC, name) or {"metadata": {"uid": "none"}})["metadata"]["uid"]
        self.api.delete(DATAVOLUME, name)
        self.until(lambda: not any(name == claim or uid in claim for claim in self.claims()) and not self.pods(f"importer-prime-{uid}"))


@pytest.fixture(name="shared_cdi", scope="module")
def shared_cdi_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CdiLab]:
    clock = SimClock()
    cluster = LabCluster("west", tmp_path_factory.mktemp("cdi") / "west", clock=clock, release="v1.9", bare=True)
    authority = Authority("export")
    server = DiskServer(authority, clock, data=DISK)
    with clock.busy():
        cluster.start()
        server.start()
        runtime = cluster.runtime
        runtime.api.create(*kinds.crds("v1.9"))
        cluster.api.admission.extend(cdi.admissions())
        cdi.install(runtime)
        cdi.routes(cluster.api, runtime)
        PROGRAMS.update(cdi.PROGRAMS)
        running = cdi.controllers(runtime)
        for controller in running:
            controller.start()
        runtime.wait_synced()
        found = CdiLab(cluster, server)
        plain = {"namespace": "shop"}
        runtime.api.create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "source-ca", **plain}, "data": {"ca.pem": authority.ca_pem}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "source-header", **plain}, "stringData": {"t": f"{TOKEN}:s3cr3t"}},
        )
        yield found
        for controller in reversed(running):
            controller.stop()
        cluster.stop()
        server.stop()
    clock.close()


@pytest.fixture(name="lab")
def lab_fixture(shared_cdi: CdiLab) -> Iterator[CdiLab]:
    """Give the module's cluster; troubles and misbehaviour end with the test."""
    yield shared_cdi
    shared_cdi.trouble.clear()
    shared_cdi.api.delete(RESOURCEQUOTA, "tight")
    server = shared_cdi.server
    server.pause_after = None
    server.go_on.clear()
    server.data, server.token, server.length, server.drop_after, server.end_after, server.status = DISK, "s3cr3t", True, None, None, 200


def volume_path(lab: CdiLab, claim: str) -> Path:
    """Return where the files of a claim's volume are."""
    found = lab.api.get(PVC, claim)
    assert found is not None
    volume = lab.api.get(PV, found["spec"]["volumeName"])
    assert volume is not None
    return lab.cluster.volumes.path(volume)
