"""Least privilege, by the audit log of a real API server: what the roles grant is what moves use, no more and no less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from migrate.kube.kinds import SERVICEACCOUNT
from migrate.lab.up import Lab
from migrate.model.migration import Start
from migrate.model.report import Outcome
from tests.kubernetes.accounts import SIDES, AccountFlow, audited, granted, install
from tests.machines import disk, machine

NAMESPACE = "rights"
Move = Callable[..., AccountFlow]


@pytest.fixture(scope="module")
def kubeconfig(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig with the two accounts."""
    for cluster in lab.clusters.values():
        api = cluster.runtime.api
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        lab.until(lambda api=api: api.get(SERVICEACCOUNT, "default", NAMESPACE), what="the namespace's account")
    path = tmp_path_factory.mktemp("accounts") / "kubeconfig"
    install(lab, NAMESPACE, path)
    return path


@pytest.fixture
def plant(lab: Lab, kubeconfig: Path) -> Iterator[Move]:
    flows: list[AccountFlow] = []

    def make(name: str, *, strategy: str = "Always", alter: Callable[[dict[str, Any]], None] | None = None, **wishes: Any) -> AccountFlow:
        vm = machine(name, [f"{name}-root"], namespace=NAMESPACE, strategy=strategy, grace_s=wishes.pop("grace_s", None))
        if alter is not None:
            alter(vm["spec"]["template"]["spec"])
            vm["spec"] |= wishes.pop("spec", {})
        lab.plant([disk(f"{name}-root", namespace=NAMESPACE), vm])
        flows.append(AccountFlow(lab, name, namespace=NAMESPACE, kubeconfig=kubeconfig, **wishes))
        return flows[-1]

    yield make
    for flow in flows:
        flow.close()
    for cluster in lab.clusters.values():
        cluster.trouble.clear()


def started(flow: AccountFlow) -> AccountFlow:
    """Start a VM as an administrator would, and wait until it runs."""
    path = f"/apis/subresources.kubevirt.io/v1/namespaces/{NAMESPACE}/virtualmachines/{flow.name}/start"
    flow.east.call("PUT", path, {})
    flow.until(flow.runs, what=f"{flow.name} runs")
    return flow


def test_a_running_vm_is_moved(plant: Move) -> None:
    """The accounts suffice for a whole move."""
    flow = plant("plain")
    ending = flow.move()
    assert (ending.report.outcome, ending.report.problems) == (Outcome.MOVED, ())
    assert flow.unequal() == [] or flow.runs("west")


def test_a_vm_that_is_started_by_request_is_moved(plant: Move) -> None:
    """Manual: a start request on the target. Without grace, a stop request on the source goes before the halt."""
    flow = started(plant("asked", strategy="Manual", grace_s=0))
    assert flow.move().report.outcome is Outcome.MOVED
    assert flow.runs("west")


def test_going_back_needs_no_more(plant: Move) -> None:
    """An undo after the target VM was created: everything that we made goes, and the source is started by request."""
    flow = started(plant("back", strategy="Manual"))
    flow.when("create-target", "", lambda: flow.lab.west.trouble.set("links", "refuse"))
    assert flow.move().error is not None
    flow.lab.west.trouble.clear()
    assert flow.undo().report.outcome is Outcome.UNDONE
    flow.until(flow.runs, what="the source runs again")


def test_an_evicted_importer_is_replaced(plant: Move) -> None:
    """A dead importer pod is deleted, so that CDI makes another."""
    flow = plant("evicted", strategy="Halted")
    flow.lab.west.trouble.set("importer", "delay", seconds=30, times=1)
    flow.when("import-disks", "Importing", lambda: flow.lab.west.trouble.set("node", "evict", app="importer", times=1))
    flow.when("import-disks", "ImportingBlind", lambda: flow.lab.west.trouble.set("node", "evict", app="importer", times=1))
    assert flow.move(start=Start.NEVER).report.outcome is Outcome.MOVED


def test_references_are_looked_for(plant: Move) -> None:
    """Everything that a VM may refer to is looked at on the target; what is missing is said, and nothing is refused to us."""

    def refer(spec: dict[str, Any]) -> None:
        spec["priorityClassName"] = "high"
        spec["networks"].append({"name": "second", "multus": {"networkName": "wire"}})
        spec["domain"]["devices"]["interfaces"].append({"name": "second", "bridge": {}})
        spec["volumes"].append({"name": "account", "serviceAccount": {"serviceAccountName": "robot"}})
        spec["domain"]["devices"]["disks"].append({"name": "account", "disk": {"bus": "virtio"}})

    for scope in ("", "Cluster"):
        kinds = {
            "instancetype": {"kind": f"VirtualMachine{scope}Instancetype", "name": "small"},
            "preference": {"kind": f"VirtualMachine{scope}Preference", "name": "linux"},
        }
        flow = plant(f"refers{scope.lower()}", strategy="Halted", alter=refer, spec=kinds)
        problems = str([problem for event in [flow.plan()] for problem in event.report.problems])
        assert "Instancetype small" in problems


def test_granted_is_used_and_nothing_was_refused(lab: Lab, kubeconfig: Path) -> None:
    """Over all the moves of this file: no right was granted in vain, and no request was forbidden."""
    for cluster, side in SIDES.items():
        seen = list(audited(lab, cluster, NAMESPACE))
        assert {right for right, code in seen if code == 403} == set()
        assert granted(side, NAMESPACE) - {right for right, _code in seen} == set(), f"granted on the {side} and never used"
