"""Snapshots in a lab cluster: made and watched, as a user with kubectl would."""

from __future__ import annotations

from typing import Any

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import SNAPSHOT, SNAPSHOT_CONTENT, VMI
from migrate.lab.up import Lab
from tests.lab.exports import Alone
from tests.machines import machine

Object = dict[str, Any]

AGENT = "lab.kubevirt-migrate.io/guest-agent"


def manifest(name: str, vm: str, **spec: Any) -> Object:
    """Return a snapshot of a VM in the namespace shop."""
    return {
        "apiVersion": "snapshot.kubevirt.io/v1beta1",
        "kind": "VirtualMachineSnapshot",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": vm}, **spec},
    }


def running(name: str, disks: list[str], *, agent: bool = False, **annotations: str) -> Object:
    """Return a VM that runs, with a guest agent if wanted. Further annotations are those of the lab, dashes as underscores."""
    made = machine(name, disks, strategy="Always")
    made["metadata"]["annotations"] |= {AGENT: "true"} if agent else {}
    made["metadata"]["annotations"] |= {f"lab.kubevirt-migrate.io/{key.replace('_', '-')}": word for key, word in annotations.items()}
    return made


class Snapshot:
    """One snapshot of a lab cluster."""

    def __init__(self, lab: Lab | Alone, api: Cluster, name: str) -> None:
        self._lab = lab
        self._api = api
        self.name = name

    @property
    def found(self) -> Object:
        found = self._api.get(SNAPSHOT, self.name, "shop")
        assert found is not None
        return found

    @property
    def status(self) -> Object:
        return dict((self._api.get(SNAPSHOT, self.name, "shop") or {}).get("status") or {})

    @property
    def phase(self) -> str:
        return str(self.status.get("phase", ""))

    def said(self, condition: str) -> tuple[str, str]:
        """Return status and reason of a condition."""
        entries = [entry for entry in self.status.get("conditions") or () if entry["type"] == condition]
        return (entries[0]["status"], entries[0]["reason"]) if entries else ("", "")

    def until(self, phase: str, *, seconds: float = 120) -> Object:
        """Wait for a phase; return the status."""
        self._lab.until(lambda: self.phase == phase, seconds=seconds, what=f"{phase} of {self.name}")
        return self.status

    def until_ready(self, *, seconds: float = 120) -> Object:
        """Wait until it can be used; return the status."""
        self._lab.until(lambda: self.status.get("readyToUse"), seconds=seconds, what=f"{self.name} ready to use")
        return self.status

    @property
    def content(self) -> Object | None:
        """Return its content."""
        return self._api.get(SNAPSHOT_CONTENT, f"vmsnapshot-content-{self.found['metadata']['uid']}", "shop")


def take(lab: Lab | Alone, name: str, vm: str, **spec: Any) -> Snapshot:
    """Create a snapshot in east."""
    api = lab.east.client("lab/user")
    api.create(manifest(name, vm, **spec))
    return Snapshot(lab, api, name)


def connected(lab: Lab | Alone, vm: str) -> None:
    """Wait until the guest agent of a VM answers."""
    api = lab.east.client("lab/user")

    def there() -> bool:
        conditions = ((api.get(VMI, vm, "shop") or {}).get("status") or {}).get("conditions") or ()
        return any(entry["type"] == "AgentConnected" for entry in conditions)

    lab.until(there, what=f"the agent of {vm}")
