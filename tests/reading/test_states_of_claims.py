"""What tells that the bytes of a claim may be others than before: it was made anew, a VM that has it ran, its export's server was away."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.reading.exports import served_since, state_of_claim, users_of_claims

SINCE, LATER = "2026-11-22T12:00:00Z", "2026-11-22T12:00:09Z"


def export(since: str = SINCE, status: str = "True") -> dict[str, Any]:
    return {"status": {"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": since}]}}


def vm(claim: str, *, generation: int = 3, since: str = SINCE, kind: str = "dataVolume", name: str = "db") -> dict[str, Any]:
    volume = {"dataVolume": {"name": claim}} if kind == "dataVolume" else {kind: {"claimName": claim}}
    return {
        "metadata": {"name": name, "uid": f"vm-{name}", "generation": generation},
        "spec": {"template": {"spec": {"volumes": [{"name": "a", **volume}]}}},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "VMINotExists", "lastTransitionTime": since}]},
    }


def claim(name: str = "c", uid: str = "c-1") -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid}}


@pytest.mark.parametrize(
    ("claim_then", "vms_then"),
    [
        (claim(uid="c-2"), [vm("c")]),
        (claim(), [vm("c", generation=4)]),
        (claim(), [vm("c", since=LATER)]),
        (claim(), [vm("c", kind="persistentVolumeClaim", generation=4)]),
        (claim(), []),
    ],
)
def test_each_of_these_is_another_state(claim_then: dict[str, Any], vms_then: list[dict[str, Any]]) -> None:
    """A claim that was made anew under its name, or a VM that has it and was started or changed."""
    assert state_of_claim(claim_then, vms_then) != state_of_claim(claim(), [vm("c")])


def test_an_export_is_served_since_it_is_ready() -> None:
    """Another moment is another time of service; while it is not ready there is none."""
    assert len({served_since(one) for one in (export(), export(LATER), export(status="False"), {})}) == 3


def test_others_do_not_matter() -> None:
    """VMs with other claims may do what they like; the order of a list says nothing."""
    mine, other = vm("c"), vm("d", name="web")
    assert state_of_claim(claim(), [mine, other]) == state_of_claim(claim(), [vm("d", name="web", generation=9), mine])


def test_a_memory_dump_and_the_state_of_a_tpm_are_claims_of_a_vm() -> None:
    """The one is named by the VM, the other by the name that KubeVirt gives it."""
    for name, shown in (("dump", "dump"), ("persistent-state-for-db-x7k2p", "root")):
        states = {state_of_claim(claim(name), [vm(shown, kind="memoryDump", generation=one)]) for one in (1, 2)}
        assert len(states) == 2


def pod(claim: str, phase: str = "Running", owner: str = "") -> dict[str, Any]:
    owners = [{"kind": owner, "name": "x", "controller": True}] if owner else []
    volumes = [{"persistentVolumeClaim": {"claimName": claim}}]
    return {"metadata": {"name": "p", "ownerReferences": owners}, "spec": {"volumes": volumes}, "status": {"phase": phase}}


def test_who_may_write() -> None:
    """Pods that have the claim and have not ended, but for servers of exports, which only read."""
    assert users_of_claims(("c",), [pod("c")]) == ("pod p (c)",)
    assert users_of_claims(("c",), [pod("d"), pod("c", "Succeeded"), pod("c", owner="VirtualMachineExport")]) == ()
