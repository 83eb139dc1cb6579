"""Exports by hand under the account that `migrate rbac --for export` prints: made, read every way, shared, and taken away."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import EXPORT, SNAPSHOT
from migrate.model.exports import Source, Subject
from migrate.model.objects import uid_of
from migrate.reading.exports import choose
from migrate.transfer.stream import Stream
from migrate.workflow.export_manifests import manifests
from migrate.workflow.exports import Approach, Exports, Open, Wish
from tests.flows.exhibits import sizes

if TYPE_CHECKING:
    from tests.flows.deeds import Stage

PATIENCE = timedelta(minutes=10)
OUTSIDE = Approach()


class Hand:
    """One person with one account."""

    def __init__(self, cluster: Cluster, stage: Stage) -> None:
        self.cluster, self.exports = cluster, Exports(cluster, stage.lab.clock)

    def read(self, name: str, approach: Approach, reader: str = "") -> tuple[str, int]:
        """Read a disk whole; return the uid of its export, and its length."""

        def whole(opened: Open) -> tuple[str, int]:
            claim, _, url = choose(opened.links, export=name, volume="", formats=("raw",))
            state, same = self.exports.begin(opened, claim)
            got = Stream(lambda _: None).read(opened.client, url, identity=state, same=same)
            return uid_of(opened.export), got.bytes

        return self.exports.reading(name, approach, whole, again=None, reader=reader, patience=PATIENCE, tell=lambda _: None)

    def kinds(self, name: str) -> set[str]:
        """Return the kinds of the manifests of an export."""
        opened = self.exports.ready(name, OUTSIDE, patience=PATIENCE, tell=lambda _: None)
        opened.client.close()
        return {one["kind"] for one in manifests(self.cluster, opened, namespace="elsewhere", secret=True).documents}


def disks_are_exported_by_hand(stage: Stage) -> None:
    """Of a VM with an instance type, of a snapshot of it, and of its bare claim: straight, through the API server, with others."""

    def refer(spec: dict[str, Any]) -> None:
        del spec["template"]["spec"]["domain"]["memory"]
        spec["instancetype"] = {"kind": "VirtualMachineInstancetype", "name": "hand"}

    stage.lab.plant([sizes("VirtualMachineInstancetype", "hand", namespace=stage.namespace)])
    flow = stage.plant(alter=refer)
    vm, disk = flow.name, f"{flow.name}-root"
    with ExitStack() as stack:
        hand = Hand(flow._open(stack, flow.source, "export"), stage)
        hand.exports.create(vm, Wish(Subject(Source.VM, vm), passing="their file"))
        uid, size = hand.read(vm, OUTSIDE, "our file")
        assert hand.read(vm, Approach(port_forward=True), "our file") == (uid, size)
        assert {"VirtualMachine", "DataVolume", "Secret"} <= hand.kinds(vm)
        assert [one.name for one in hand.exports.every()] == [vm]
        assert hand.exports.one(vm).sizes[disk] >= size
        assert "their file" in hand.exports.leave(vm, uid, "our file")
        assert hand.exports.leave(vm, uid, "their file") == f"export {vm} is removed"
        flow.until(lambda: flow.east.get(EXPORT, vm) is None)
        hand.exports.create(disk, Wish(Subject(Source.PVC, disk)))
        assert hand.read(disk, OUTSIDE)[1] == size
        assert hand.exports.delete(disk)
        source = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": vm}
        metadata = {"name": f"{vm}-snap", "namespace": flow.source.namespace}
        version = f"snapshot.kubevirt.io/{flow.east.served_version(SNAPSHOT)}"
        flow.until(lambda: flow.east.get(EXPORT, disk) is None)
        flow.east.create({"apiVersion": version, "kind": "VirtualMachineSnapshot", "metadata": metadata, "spec": {"source": source}})
        flow.until(lambda: (flow.east.get(SNAPSHOT, f"{vm}-snap") or {}).get("status", {}).get("readyToUse"))
        hand.exports.create(vm, Wish(Subject(Source.SNAPSHOT, f"{vm}-snap")))
        assert hand.read(vm, OUTSIDE)[1] == size
        assert "VirtualMachine" in hand.kinds(vm)
        assert hand.exports.delete(vm)
    flow.until(lambda: flow.east.get(EXPORT, vm) is None)
    flow.east.delete(SNAPSHOT, f"{vm}-snap")
    flow.until(lambda: flow.east.get(SNAPSHOT, f"{vm}-snap") is None)
