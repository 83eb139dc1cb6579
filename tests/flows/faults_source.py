"""Faults of the source: its guest, its export, the pod behind that, the proxy before it."""

from __future__ import annotations

from migrate.kube.kinds import EXPORT, INGRESS, POD, SECRET
from migrate.model import labels
from tests.flows.faults import Harm, fault, mid_import, ordered
from tests.flows.flow import Flow
from tests.machines import user_pod


def export_of(flow: Flow) -> str:
    """Return the name of the one export that this move has made on the source."""
    vm = flow.vm()
    assert vm is not None
    return f"migrate-{vm['metadata']['annotations'][labels.HALTED_BY]}"


def hit_export(flow: Flow, action: str, *, times: int = 1) -> Harm:
    """Let something happen to the export's pod while an importer runs."""
    trouble = flow.lab.east.trouble
    met: list[str] = []

    def hit() -> None:
        met.append(action)
        trouble.set("export", action, times=times, namespace="shop", export=export_of(flow))

    mid_import(flow, hit)
    yield
    assert met
    assert not [order for order in trouble.orders() if order["where"] == "export"]


@fault()
def export_pod_restart(flow: Flow, step: str) -> Harm:
    return hit_export(flow, "restart")


@fault()
def export_flaps(flow: Flow, step: str) -> Harm:
    return hit_export(flow, "restart", times=4)


@fault()
def export_pod_deadline(flow: Flow, step: str) -> Harm:
    return hit_export(flow, "expire")


@fault()
def export_pod_certificate(flow: Flow, step: str) -> Harm:
    return hit_export(flow, "rotate")


@fault()
def export_ttl(flow: Flow, step: str) -> Harm:
    return hit_export(flow, "lapse")


@fault()
def export_deleted(flow: Flow, step: str) -> Harm:
    mid_import(flow, lambda: flow.east.delete(EXPORT, export_of(flow)))
    yield


@fault()
def export_skipped(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "export", "skip", times=3):
        yield


@fault()
def export_pod_unschedulable(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "node", "refuse", image="lab/virt-exportserver", message="1 Insufficient cpu"):
        yield
    yield


@fault()
def token_rotated(flow: Flow, step: str) -> Harm:
    mid_import(flow, lambda: flow.east.merge(SECRET, f"{export_of(flow)}-token", {"stringData": {"token": "another0token"}}))
    yield


@fault()
def token_deleted(flow: Flow, step: str) -> Harm:
    mid_import(flow, lambda: flow.east.delete(SECRET, f"{export_of(flow)}-token"))
    yield


@fault()
def ca_rotated(flow: Flow, step: str) -> Harm:
    trouble = flow.lab.east.trouble
    mid_import(flow, lambda: trouble.set("proxy", "rotate"))
    yield


@fault()
def certificate_outdated(flow: Flow, step: str) -> Harm:
    trouble = flow.lab.east.trouble
    mid_import(flow, lambda: trouble.set("proxy", "expire"))
    yield
    trouble.clear()
    trouble.set("proxy", "rotate")
    yield


@fault()
def certificate_leaf_only(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "links", "truncate"):
        yield


@fault()
def certificate_empty(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "links", "swap"):
        yield
        secret = next(one["spec"]["tls"][0]["secretName"] for one in flow.east.list(INGRESS, "kubevirt") if one["spec"].get("tls"))
        flow.options["source_ca"] = pem(flow, secret)
        yield


def pem(flow: Flow, secret: str) -> str:
    """Return the certificates of a TLS Secret of KubeVirt's."""
    from migrate.steps.exporting import secret_text

    return secret_text(flow.east.get(SECRET, secret, "kubevirt"), "tls.crt")


@fault()
def links_missing(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "links", "refuse"):
        yield
    yield


@fault()
def links_late(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "links", "delay", seconds=30):
        yield


@fault()
def manifest_stale(flow: Flow, step: str) -> Harm:
    flow.lab.east.trouble.set("manifest", "expire")
    yield


@fault(disks=("data", "data-2"))
def manifest_mixes_disks(flow: Flow, step: str) -> Harm:
    flow.lab.east.trouble.set("manifest", "swap")
    yield


@fault(runs=True)
def proxy_502(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "proxy", "refuse", status=502, volume=f"{flow.name}-root", times=3):
        yield


@fault()
def proxy_503(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "proxy", "refuse", status=503, volume=f"{flow.name}-root", times=3):
        yield


@fault()
def proxy_502_always(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "proxy", "refuse", status=502, volume=f"{flow.name}-root", method="GET"):
        yield
    yield


@fault(runs=True)
def source_started(flow: Flow, step: str) -> Harm:
    mid_import(flow, lambda: flow.set_strategy("Always"))
    yield
    yield


@fault()
def disk_in_use(flow: Flow, step: str) -> Harm:
    pod = user_pod(flow.name, f"{flow.name}-root")
    flow.east.create(pod)
    yield
    flow.east.delete(POD, pod["metadata"]["name"])
    flow.until(lambda: flow.east.get(POD, pod["metadata"]["name"]) is None)
    yield


@fault(runs=True, grace_s=20)
def guest_ignores_shutdown(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "guest", "refuse", name=flow.name):
        yield
