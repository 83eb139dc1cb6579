"""A target whose exports have no link from outside: the proof goes through its API server, and is as good."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from migrate.kube.kinds import INGRESS, ROUTE
from migrate.model.migration import Start, Verify
from migrate.model.observation import State
from migrate.model.report import Outcome
from tests.flows.conftest import Begin, Lab
from tests.flows.flow import Flow
from tests.flows.test_wrong_bytes_are_found import OFFSET, flip

pytestmark = pytest.mark.slow


@pytest.fixture
def closed(lab: Lab) -> Iterator[None]:
    """Take the way into `west` from outside away for one test: its Ingress, or its Route."""
    west = lab.west.client("lab/user").at("kubevirt")
    found = [one for kind in (INGRESS, ROUTE) if west.serves(kind) for one in west.list(kind)]
    for one in found:
        west.delete(ROUTE if one["kind"] == ROUTE.kind else INGRESS, one["metadata"]["name"])
    yield
    for one in found:
        metadata = {key: one["metadata"][key] for key in ("name", "namespace", "labels", "annotations") if key in one["metadata"]}
        west.create({**one, "metadata": metadata})
    west.close()


def forwarded(flow: Flow) -> int:
    """Count the port-forwards that our code opened on the target."""
    seen = flow.lab.west.requests.since(0, user_agent="kubevirt-migrate")
    return sum(asked.subresource == "portforward" and flow.target.namespace in asked.path for asked in seen)


@pytest.mark.parametrize("verify", [Verify.SAMPLE, pytest.param(Verify.FULL, marks=pytest.mark.slow)])
def test_the_proof_goes_through_the_api_server(begin: Begin, closed: None, verify: Verify) -> None:
    """No Ingress on the target: the check says how the proof will be made, every disk is proven, nothing of it is left."""
    flow = begin(disks=("root", "data"), verify=verify, start=Start.NEVER)
    before, ours = forwarded(flow), flow.ours()
    report = flow.move().report
    assert report.outcome is Outcome.MOVED
    assert [disk.coverage for disk in report.disks] == [verify.value] * 2
    assert forwarded(flow) > before
    (checked,) = [event for event in flow.events if event.step == "check-both" and not event.disk]
    assert checked.state is State.DONE
    assert any("port-forward" in problem.what for problem in checked.problems)
    assert flow.unequal() == []
    assert {line.split()[1] for line in set(flow.ours()) - set(ours)} == {
        "ConfigMap",
        "DataVolume",
        "PersistentVolumeClaim",
        "VirtualMachine",
    }


def test_a_wrong_byte_is_found_that_way_too(begin: Begin, closed: None) -> None:
    """The bytes that come through the API server are those of the target's disk."""
    flow = begin(verify=Verify.FULL)
    flow.when("create-target", "", lambda: flip(flow, f"{flow.name}-root"))
    ending = flow.move()
    assert ending.report.outcome is Outcome.FAILED
    assert str(OFFSET) in ending.report.problems[0].why


def test_a_server_pod_that_is_replaced_costs_only_time(begin: Begin, closed: None) -> None:
    """The connection breaks with the pod; the next one finds the new pod, and the proof goes on where it was."""
    flow = begin(verify=Verify.FULL, mib=8, start=Start.NEVER)
    flow.lab.west.trouble.set("export", "restart", method="GET", times=1)
    assert flow.move().report.outcome is Outcome.MOVED
    assert flow.unequal() == []
