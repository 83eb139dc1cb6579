"""Faults of the target: its CDI, its nodes, its storage; and bytes that arrive wrong."""

from __future__ import annotations

from typing import Any

from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, POD, PVC, SECRET, VM
from migrate.model import labels
from migrate.model.migration import Format, Verify
from tests.flows.exhibits import secret, volume
from tests.flows.faults import Harm, at_step, fault, mid_import, ordered
from tests.flows.flow import Flow
from tests.machines import disk, machine

QUOTA = "fault-quota"
GZIP = {"format": Format.GZIP, "verify": Verify.FULL}
"""As the command line asks for it: --format gzip proves by every byte."""


def ours(flow: Flow, kind: Any, role: str) -> dict[str, Any]:
    """Return the object of this move on the target whose name ends in a word."""
    vm = flow.vm()
    assert vm is not None
    found = flow.west.get(kind, f"migrate-{vm['metadata']['annotations'][labels.HALTED_BY]}-{role}")
    assert found is not None
    return found


def quota(flow: Flow, **hard: object) -> dict[str, Any]:
    name = {"name": QUOTA, "namespace": flow.target.namespace}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": name,
        "spec": {"hard": {key: str(value) for key, value in hard.items()}},
    }


def claims_allowed(flow: Flow, count: int) -> Harm:
    """Let the target namespace hold so many claims more than it does."""
    kind = f"/api/v1/namespaces/{flow.target.namespace}/resourcequotas"

    def limit() -> None:
        held = len(flow.west.list(PVC))
        flow.west.call("POST", kind, quota(flow, persistentvolumeclaims=held + count))

    at_step(flow, "import-disks", limit)
    yield
    flow.west.call("DELETE", f"{kind}/{QUOTA}")
    yield


@fault()
def importer_401(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "export", "refuse", status=401, method="GET", volume=f"{flow.name}-root", times=2):
        yield


@fault()
def importer_401_always(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "export", "refuse", status=401, method="GET", volume=f"{flow.name}-root"):
        yield
    yield


@fault()
def header_spoiled(flow: Flow, step: str) -> Harm:
    def spoil() -> None:
        header = ours(flow, SECRET, "header")
        flow.west.merge(SECRET, header["metadata"]["name"], {"stringData": {"header": "x-kubevirt-export-token: wrong"}})

    mid_import(flow, spoil)
    yield


@fault()
def ca_spoiled(flow: Flow, step: str) -> Harm:
    def spoil() -> None:
        ca = ours(flow, CONFIGMAP, "ca")
        flow.west.merge(CONFIGMAP, ca["metadata"]["name"], {"data": {"ca.pem": "none", "tls.crt": "none"}})

    mid_import(flow, spoil)
    yield


@fault()
def body_cut(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "export", "drop", after="1Mi", format="raw", method="GET", volume=f"{flow.name}-root", times=3):
        yield


@fault()
def body_cut_always(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "export", "drop", after="1Mi", format="raw", method="GET", volume=f"{flow.name}-root"):
        yield
    yield


@fault(**GZIP)
def short_gzip(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "export", "truncate", after="1Mi", format="gzip", volume=f"{flow.name}-root"):
        yield
    yield


@fault()
def short_raw(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "proxy", "truncate", after="1Mi", format="raw", method="GET", volume=f"{flow.name}-root") as order:
        flow.when("create-target", "", lambda: flow.lab.east.trouble.clear(order))
        yield
    yield


@fault(runs=True, disks=("root", "data"))
def wrong_disk(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "export", "swap", volume=f"{flow.name}-root") as order:
        flow.when("create-target", "", lambda: flow.lab.east.trouble.clear(order))
        yield
    yield


@fault()
def too_small(flow: Flow, step: str) -> Harm:
    with ordered(flow, "west", "storage", "full", after="1Mi", name="prime-*"):
        yield
    yield


@fault()
def oom_once(flow: Flow, step: str) -> Harm:
    with ordered(flow, "west", "importer", "oom", after="1Mi", name=f"{flow.name}-root", times=1):
        yield


@fault()
def oom_always(flow: Flow, step: str) -> Harm:
    with ordered(flow, "west", "importer", "oom", after=0, name=f"{flow.name}-root"):
        yield
    yield


@fault()
def importer_evicted(flow: Flow, step: str) -> Harm:
    mid_import(flow, lambda: flow.lab.west.trouble.set("node", "evict", app="importer", times=1))
    yield
    assert any(event.reason == "ImporterEvicted" for event in flow.events)


@fault()
def importer_evicted_always(flow: Flow, step: str) -> Harm:
    mid_import(flow, lambda: flow.lab.west.trouble.set("node", "evict", app="importer"))
    yield
    flow.lab.west.trouble.clear()
    yield


@fault()
def importer_deleted(flow: Flow, step: str) -> Harm:
    def delete() -> None:
        pods = [pod for pod in flow.west.list(POD) if pod["metadata"]["name"].startswith("importer-")]
        assert pods
        for pod in pods:
            flow.west.delete(POD, pod["metadata"]["name"])

    mid_import(flow, delete)
    yield


@fault()
def importer_unschedulable(flow: Flow, step: str) -> Harm:
    with ordered(flow, "west", "node", "refuse", app="importer", message="1 Insufficient memory"):
        yield
    yield


@fault()
def scratch_missing(flow: Flow, step: str) -> Harm:
    with ordered(flow, "west", "storage", "refuse", name="*-scratch", message="only Block volumes here"):
        yield
    yield


@fault(to="faults-a", create_namespace=True)
def quota_refuses_claim(flow: Flow, step: str) -> Harm:
    return claims_allowed(flow, 0)


@fault(to="faults-b", create_namespace=True)
def quota_refuses_prime(flow: Flow, step: str) -> Harm:
    return claims_allowed(flow, 1)


@fault(storage_map=(("*", "local"),))
def wait_for_first_consumer(flow: Flow, step: str) -> Harm:
    yield


@fault(storage_map=(("*", "slow-legacy"),))
def no_csi_driver(flow: Flow, step: str) -> Harm:
    yield


@fault()
def succeeded_before_bound(flow: Flow, step: str) -> Harm:
    with ordered(flow, "west", "storage", "lag", name=f"{flow.name}-root", seconds=20):
        yield
    assert any(event.reason == "DiskBinding" for event in flow.events)


@fault()
def disk_name_taken(flow: Flow, step: str) -> Harm:
    name = f"{flow.name}-root"
    at_step(flow, step, lambda: flow.lab.plant([disk(name, cluster="west")]))
    yield
    flow.west.delete(DATAVOLUME, name)
    flow.until(lambda: flow.west.get(PVC, name) is None)
    yield


@fault()
def machine_name_taken(flow: Flow, step: str) -> Harm:
    at_step(flow, step, lambda: flow.lab.plant([machine(flow.name, cluster="west")]))
    yield
    flow.west.delete(VM, flow.name)
    flow.until(lambda: flow.vm("west") is None)
    yield


def _named(name: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
    volume(secret={"secretName": "NAME"})(spec, f"{name}-key")
    return [secret(f"{name}-key")]


@fault(alter=_named)
def reference_taken(flow: Flow, step: str) -> Harm:
    name = f"{flow.name}-key"
    flow.when(step, "ReferencesMissing", lambda: flow.lab.plant([secret(name, "theirs", cluster="west")]))
    yield
    flow.west.delete(SECRET, name)
    yield


@fault()
def disk_deleted(flow: Flow, step: str) -> Harm:
    mid_import(flow, lambda: flow.west.delete(DATAVOLUME, f"{flow.name}-root"))
    yield


@fault()
def cdi_webhook_away(flow: Flow, step: str) -> Harm:
    words = 'failed calling webhook "datavolume-validate.cdi.kubevirt.io": connect: connection refused'
    orders: list[Any] = []
    trouble = flow.lab.west.trouble
    wanted = {"status": 500, "message": words, "verb": "create", "resource": "datavolumes"}
    at_step(flow, step, lambda: orders.append(trouble.set("api", "refuse", **wanted)))
    yield
    trouble.clear(*orders)
    yield


@fault()
def proof_cut(flow: Flow, step: str) -> Harm:
    with ordered(flow, "west", "export", "drop", after=1000, times=3):
        yield


@fault()
def proof_cut_always(flow: Flow, step: str) -> Harm:
    with ordered(flow, "west", "export", "drop", after=0, method="GET"):
        yield
    yield


@fault()
def proof_pod_restart(flow: Flow, step: str) -> Harm:
    flow.when("verify-disks", "ProofToBegin", lambda: flow.lab.west.trouble.set("export", "restart", times=1))
    yield
    assert not [order for order in flow.lab.west.trouble.orders() if order["where"] == "export"]


@fault(runs=True)
def target_unschedulable(flow: Flow, step: str) -> Harm:
    with ordered(flow, "west", "node", "refuse", app="virt-launcher", message="1 Insufficient memory"):
        yield
    if flow.instance("west") is not None:
        flow.until(lambda: flow.runs("west"))
    yield
