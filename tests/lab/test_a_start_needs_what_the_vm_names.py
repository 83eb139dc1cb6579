"""An instance does not run before everything is there that its VM names: the lab is not easier than a real cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONTROLLERREVISION, INSTANCETYPE, VM, VMI
from migrate.lab.up import Lab
from migrate.model.errors import Refused
from tests.flows.exhibits import EXHIBITS, sizes
from tests.machines import machine

NEEDED = (
    "secret",
    "config-map",
    "no-cloud",
    "no-cloud-network",
    "config-drive",
    "config-drive-network",
    "sysprep-secret",
    "sysprep-config-map",
    "ssh-keys",
    "passwords",
    "pull-secret",
    "kernel-pull-secret",
    "account-disk",
    "account",
    "priority",
    "device-claim",
    "device-claim-template",
    "network",
)


@pytest.fixture
def api(lab: Lab) -> Iterator[Cluster]:
    cluster = lab.east.client("lab/user").at("shop")
    yield cluster
    for vm in cluster.list(VM):
        cluster.delete(VM, vm["metadata"]["name"])
    lab.until(lambda: not cluster.list(VMI))
    cluster.close()


def runs(api: Cluster, name: str) -> bool:
    return bool(((api.get(VMI, name) or {}).get("status") or {}).get("phase") == "Running")


def plain(one: dict[str, Any]) -> dict[str, Any]:
    return one | {"metadata": {key: word for key, word in one["metadata"].items() if key != "annotations"}}


@pytest.mark.slow
def test_each_missing_thing_keeps_the_guest_from_running(lab: Lab, api: Cluster) -> None:
    """One VM for each: none of them runs before what it names is there, and all do after."""
    things = []
    for key in NEEDED:
        vm = machine(f"needs-{key}", strategy="Always")
        EXHIBITS[key].put(vm["spec"], key)
        made = [plain(one) for one in (*EXHIBITS[key].plant(key), *EXHIBITS[key].target(key)) if one["metadata"]["name"] == key]
        assert len(made) == 1, key
        things += made
        api.create(plain(vm))
    vms = [f"needs-{key}" for key in NEEDED]
    lab.until(lambda: len(api.list(VMI)) == len(vms))
    lab.clock.sleep(30)
    assert [name for name in vms if runs(api, name)] == []
    api.create(*things)
    lab.until(lambda: all(runs(api, name) for name in vms), what="all run")


def test_an_unknown_instance_type_is_refused_at_creation(api: Cluster) -> None:
    """By KubeVirt's webhook: the object must be there, or the revision that is named."""
    for matcher, words in (
        ({"kind": "VirtualMachineInstancetype", "name": "none"}, "virtualmachineinstancetypes.instancetype.kubevirt.io"),
        ({"name": "none"}, "virtualmachineclusterinstancetypes.instancetype.kubevirt.io"),
        ({"name": "none", "revisionName": "r1"}, 'controllerrevisions.apps "r1"'),
    ):
        vm = machine("odd")
        del vm["spec"]["template"]["spec"]["domain"]["memory"]
        vm["spec"]["instancetype"] = matcher
        with pytest.raises(Refused, match="Failure to find instancetype") as refused:
            api.create(plain(vm))
        assert words in refused.value.why


def test_a_vm_runs_with_the_instance_type_as_it_first_was(lab: Lab, api: Cluster) -> None:
    """A ControllerRevision keeps it; what becomes of the instance type afterwards changes neither a start nor `expand-spec`."""
    api.create(plain(sizes("VirtualMachineInstancetype", "once", memory="128Mi")))
    vm = machine("sized", strategy="Halted")
    EXHIBITS["instancetype"].put(vm["spec"], "once")
    api.create(plain(vm))
    lab.until(lambda: ((api.get(VM, "sized") or {}).get("status") or {}).get("instancetypeRef"))
    api.merge(INSTANCETYPE, "once", {"spec": {"memory": {"guest": "512Mi"}}})
    path = "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines/sized"
    whole = api.call("GET", f"{path}/expand-spec")
    assert isinstance(whole, dict)
    assert whole["spec"]["template"]["spec"]["domain"]["memory"] == {"guest": "128Mi"}
    api.call("PUT", f"{path}/start", {})
    lab.until(lambda: runs(api, "sized"), what="sized runs")
    assert (api.get(VMI, "sized") or {})["spec"]["domain"]["memory"] == {"guest": "128Mi"}
    (kept,) = (one for one in api.list(CONTROLLERREVISION) if one["metadata"]["name"].startswith("sized-once-v1beta1-"))
    assert kept["data"]["spec"]["memory"] == {"guest": "128Mi"}
    assert kept["metadata"]["ownerReferences"][0]["name"] == "sized"
