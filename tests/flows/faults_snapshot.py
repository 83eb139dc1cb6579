"""Faults of the snapshot that a copy is made from: the guest that is to hold still, the storage that is to cut, and who is in the way."""

from __future__ import annotations

from migrate.kube.kinds import POD, SNAPSHOT, VM, VOLUMESNAPSHOTCLASS
from migrate.model.objects import condition
from tests.flows.faults import Harm, at_step, fault, mid_import, ordered
from tests.flows.flow import Flow
from tests.machines import user_pod

COPY = "snapshot-copy"


def with_agent(flow: Flow) -> None:
    flow.until(lambda: condition(flow.instance(), "AgentConnected"), what="the guest agent")


@fault(runs=True, agent=True, playbook=COPY)
def freeze_fails(flow: Flow, step: str) -> Harm:
    with_agent(flow)
    with ordered(flow, "east", "freeze", "refuse", name=flow.name):
        yield
    yield


@fault(runs=True, agent=True, playbook=COPY)
def freeze_does_not_hold(flow: Flow, step: str) -> Harm:
    with_agent(flow)
    with ordered(flow, "east", "freeze", "expire", name=flow.name):
        yield
    told = [problem.what for event in flow.events if event.step == step for problem in event.problems]
    assert "the copy is only crash-consistent although a guest agent answers" in told


@fault(playbook=COPY)
def snapshot_refused(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "snapshot", "refuse", claim=f"{flow.name}-root"):
        yield
    yield


@fault(playbook=COPY)
def snapshot_never_ready(flow: Flow, step: str) -> Harm:
    with ordered(flow, "east", "snapshot", "hang", claim=f"{flow.name}-root"):
        yield
    yield


@fault(playbook=COPY)
def volume_excluded(flow: Flow, step: str) -> Harm:
    taken = [one for one in flow.east.list(VOLUMESNAPSHOTCLASS) if one["driver"] == "fast.csi.lab"]
    at_step(flow, step, lambda: [flow.east.delete(VOLUMESNAPSHOTCLASS, one["metadata"]["name"]) for one in taken])
    yield
    for one in taken:
        flow.east.create({**one, "metadata": {"name": one["metadata"]["name"]}})
    flow.east.merge(VM, flow.name, {"metadata": {"annotations": {"looked-at": "again"}}})
    flow.until(lambda: all(one["enabled"] for one in (flow.vm() or {})["status"]["volumeSnapshotStatuses"]))
    yield


@fault(playbook=COPY)
def pod_on_a_disk(flow: Flow, step: str) -> Harm:
    pod = user_pod(flow.name, f"{flow.name}-root")
    at_step(flow, step, lambda: flow.east.create(pod))
    yield
    flow.east.delete(POD, pod["metadata"]["name"])
    flow.until(lambda: flow.east.get(POD, pod["metadata"]["name"]) is None)
    yield


@fault(playbook=COPY)
def snapshot_removed(flow: Flow, step: str) -> Harm:
    mid_import(flow, lambda: flow.east.delete(SNAPSHOT, f"migrate-{flow.events[-1].migration}"))
    yield
    yield
