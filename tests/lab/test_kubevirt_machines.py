"""Virtual machines in a whole cluster: they start, stop, restart and end as their run strategy says, and their disks show it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONTROLLERREVISION, DATAVOLUME, POD, PV, PVC, VM, VMI
from migrate.lab.kubevirt_guest import GuestLog, read_guest_log
from migrate.lab.storage import disk_file
from migrate.lab.up import Lab
from migrate.model.errors import Refused
from tests.machines import disk, machine

SUBRESOURCES = "/apis/subresources.kubevirt.io/v1/namespaces/shop"


@pytest.fixture(autouse=True)
def calm(lab: Lab) -> Iterator[None]:
    yield
    lab.east.trouble.clear()
    api = lab.east.client("lab/user")
    for vm in api.list(VM, "shop"):
        api.delete(VM, vm["metadata"]["name"], "shop")
    lab.until(lambda: not api.list(VMI, "shop"))


@pytest.fixture
def api(lab: Lab) -> Cluster:
    return lab.east.client("lab/user").at("shop")


def word(api: Cluster, name: str) -> str:
    """Return the printable status of a VM."""
    return str(((api.get(VM, name) or {}).get("status") or {}).get("printableStatus"))


def until(lab: Lab, api: Cluster, name: str, wanted: str) -> dict[str, Any]:
    lab.until(lambda: word(api, name) == wanted, what=f"{name} {wanted}, it is {word(api, name)}")
    found = api.get(VM, name)
    assert found is not None
    return found


def ask(api: Cluster, name: str, verb: str, **body: Any) -> None:
    api.call("PUT", f"{SUBRESOURCES}/virtualmachines/{name}/{verb}", body)


def guest_log(lab: Lab, claim: str) -> GuestLog:
    """Return what guests left on a claim's disk."""
    found = lab.east.runtime.api.get(PVC, claim, "shop")
    assert found is not None
    volume = lab.east.runtime.api.get(PV, found["spec"]["volumeName"])
    assert volume is not None
    return read_guest_log(disk_file(lab.east.volumes.path(volume)))


def uid(api: Cluster, name: str) -> str:
    return str(((api.get(VMI, name) or {}).get("metadata") or {}).get("uid", ""))


def test_a_machine_runs_and_is_halted_cleanly(lab: Lab, api: Cluster) -> None:
    """Running, it has an instance, a pod, a MAC and a ready condition; halted, nothing of these is left and the disk is clean."""
    lab.plant([disk("a1"), machine("a", ["a1"], strategy="Always")])
    vm = until(lab, api, "a", "Running")
    assert (vm["status"]["created"], vm["status"]["ready"], vm["status"]["runStrategy"]) == (True, True, "Always")
    assert vm["spec"]["template"]["spec"]["domain"]["firmware"].keys() == {"uuid", "serial"}
    instance = api.get(VMI, "a")
    assert instance is not None
    assert instance["status"]["interfaces"][0]["mac"].startswith("02:")
    assert instance["status"]["volumeStatus"][0]["persistentVolumeClaimInfo"]["claimName"] == "a1"
    (pod,) = api.list(POD, labels={"kubevirt.io": "virt-launcher", "vm.kubevirt.io/name": "a"})
    assert pod["spec"]["terminationGracePeriodSeconds"] == 45
    lab.clock.sleep(17)
    ask(api, "a", "stop")
    vm = until(lab, api, "a", "Stopped")
    assert (vm["spec"]["runStrategy"], vm["status"]["created"], vm["status"]["ready"]) == ("Halted", False, False)
    assert (api.get(VMI, "a"), api.list(POD, labels={"vm.kubevirt.io/name": "a"})) == (None, [])
    log = guest_log(lab, "a1")
    assert (log.boots, log.clean, log.vm) == (1, True, "shop/a")
    assert log.last >= 3


def test_the_old_field_stays_the_old_field(lab: Lab, api: Cluster) -> None:
    """Start and stop of a VM with `running` write `running`."""
    lab.plant([disk("b1"), machine("b", ["b1"], strategy="running")])
    until(lab, api, "b", "Running")
    ask(api, "b", "stop")
    assert until(lab, api, "b", "Stopped")["spec"]["running"] is False
    ask(api, "b", "start")
    vm = until(lab, api, "b", "Running")
    assert (vm["spec"]["running"], "runStrategy" in vm["spec"]) == (True, False)
    assert guest_log(lab, "b1").boots == 2


def test_manual_and_rerun_keep_their_strategy(lab: Lab, api: Cluster) -> None:
    """They are started and stopped by requests, which leave no trace in the spec and are gone afterwards."""
    lab.plant([disk("c1"), machine("c", ["c1"], strategy="Manual")])
    assert word(api, "c") == "Stopped"
    ask(api, "c", "start")
    until(lab, api, "c", "Running")
    ask(api, "c", "stop")
    until(lab, api, "c", "Stopped")
    lab.plant([disk("d1"), machine("d", ["d1"], strategy="RerunOnFailure")])
    until(lab, api, "d", "Running")
    ask(api, "d", "stop")
    vm = until(lab, api, "d", "Stopped")
    lab.clock.sleep(30)
    assert (vm["spec"]["runStrategy"], word(api, "d")) == ("RerunOnFailure", "Stopped")
    assert "stateChangeRequests" not in vm["status"]


def test_a_guest_that_ends_by_itself(lab: Lab, api: Cluster) -> None:
    """A clean end restarts Always, leaves Once with a Succeeded instance; a crash restarts RerunOnFailure."""
    lab.plant([disk("e1"), disk("e2"), disk("e3")])
    lab.plant([machine("e-always", ["e1"], strategy="Always"), machine("e-once", ["e2"], strategy="Once")])
    lab.plant([machine("e-rerun", ["e3"], strategy="RerunOnFailure")])
    first = {name: uid(api, name) for name in ("e-always", "e-once", "e-rerun")}
    lab.east.trouble.set("guest", "restart", name="e-always", code=0, times=1)
    lab.east.trouble.set("guest", "restart", name="e-once", code=0, times=1)
    lab.east.trouble.set("guest", "restart", name="e-rerun", code=1, times=1)
    for name in ("e-always", "e-rerun"):
        lab.until(lambda name=name: uid(api, name) not in ("", first[name]), what=name)
        until(lab, api, name, "Running")
    until(lab, api, "e-once", "Stopped")
    instance = api.get(VMI, "e-once")
    assert instance is not None
    assert (instance["metadata"]["uid"], instance["status"]["phase"]) == (first["e-once"], "Succeeded")
    assert [guest_log(lab, claim).boots for claim in ("e1", "e2", "e3")] == [2, 1, 2]


def test_a_restart_is_a_clean_stop_and_a_new_instance(lab: Lab, api: Cluster) -> None:
    """With a grace period of zero it is a cut instead."""
    lab.plant([disk("f1"), machine("f", ["f1"], strategy="Always")])
    first = uid(api, "f")
    ask(api, "f", "restart")
    lab.until(lambda: uid(api, "f") not in ("", first))
    until(lab, api, "f", "Running")
    assert guest_log(lab, "f1").boots == 2
    second = uid(api, "f")
    lab.clock.sleep(12)
    ask(api, "f", "restart", gracePeriodSeconds=0)
    lab.until(lambda: uid(api, "f") not in ("", second))
    until(lab, api, "f", "Running")
    log = guest_log(lab, "f1")
    assert log.boots == 3
    assert [record.boot for record in log.records] == [2]


def test_a_short_grace_period_loses_the_last_write(lab: Lab, api: Cluster) -> None:
    """A VM with a grace period of zero is cut off; a stop with a longer one is clean."""
    lab.plant([disk("g1"), machine("g", ["g1"], strategy="Always", grace_s=0)])
    lab.clock.sleep(11)
    ask(api, "g", "stop")
    until(lab, api, "g", "Stopped")
    assert (guest_log(lab, "g1").clean, guest_log(lab, "g1").last) == (False, 1)
    ask(api, "g", "start")
    until(lab, api, "g", "Running")
    ask(api, "g", "stop", gracePeriod=20)
    until(lab, api, "g", "Stopped")
    assert guest_log(lab, "g1").clean


@pytest.mark.parametrize(
    ("strategy", "running", "verb", "body", "words"),
    [
        ("Always", True, "start", {}, "VM is already running"),
        ("Halted", False, "stop", {}, "VM is not running"),
        ("Manual", False, "stop", {}, "VM is not running"),
        ("Halted", False, "restart", {}, "RunStategy Halted does not support manual restart requests"),
        ("Manual", False, "restart", {}, "VM is not running"),
        ("Always", True, "restart", {"gracePeriodSeconds": 5}, "For force restart, only gracePeriod=0"),
    ],
)
def test_what_makes_no_sense_is_refused(lab: Lab, api: Cluster, strategy: str, running: bool, verb: str, body: Any, words: str) -> None:
    """Starting what runs, stopping and restarting what does not: 409 with the real words, 400 for a wrong grace period."""
    name = f"h-{verb}-{strategy}-{len(body)}".lower()
    lab.plant([machine(name, strategy=strategy)])
    until(lab, api, name, "Running" if running else "Stopped")
    with pytest.raises(Refused, match=words) as caught:
        ask(api, name, verb, **body)
    assert caught.value.status == (400 if body else 409)
    with pytest.raises(Refused) as caught:
        ask(api, "nobody", verb)
    assert caught.value.status == 404


def test_a_missing_disk_stops_the_boot(lab: Lab, api: Cluster) -> None:
    """A claim without a disk image crashes the guest again and again; a missing claim is told by name."""
    lab.plant([disk("i1"), machine("i", ["i1"])])
    claim = lab.east.runtime.api.get(PVC, "i1", "shop")
    assert claim is not None
    volume = lab.east.runtime.api.get(PV, claim["spec"]["volumeName"])
    assert volume is not None
    disk_file(lab.east.volumes.path(volume)).unlink()
    ask(api, "i", "start")
    vm = until(lab, api, "i", "CrashLoopBackOff")
    assert vm["status"]["startFailure"]["consecutiveFailCount"] >= 1
    api.create(machine("j", volumes=[{"name": "root", "persistentVolumeClaim": {"claimName": "nothing"}}], strategy="Always"))
    until(lab, api, "j", "ErrorPvcNotFound")


def test_templates_become_disks_of_the_machine(lab: Lab, api: Cluster) -> None:
    """A template's DataVolume is made even for a halted VM, belongs to it, and goes with it."""
    made = machine("k", ["k1"])
    made["spec"]["dataVolumeTemplates"] = [{"metadata": {"name": "k1"}, "spec": disk("k1")["spec"]}]
    api.create(made)
    lab.until(lambda: api.get(DATAVOLUME, "k1") is not None)
    found = api.get(DATAVOLUME, "k1")
    assert found is not None
    assert found["metadata"]["annotations"]["cdi.kubevirt.io/allowClaimAdoption"] == "true"
    assert found["metadata"]["ownerReferences"][0]["kind"] == "VirtualMachine"
    lab.until(lambda: ((api.get(DATAVOLUME, "k1") or {}).get("status") or {}).get("phase") == "Succeeded")
    api.delete(VM, "k")
    lab.until(lambda: api.get(DATAVOLUME, "k1") is None)


def test_an_orphaning_delete_takes_the_machine_alone(lab: Lab, api: Cluster) -> None:
    """Its disks stay without an owner, and KubeVirt, which knows that order, leaves its instance running."""
    template = {"metadata": {"name": "orphan-root"}, "spec": disk("orphan-root")["spec"]}
    vm = machine("orphan", ["orphan-root"], strategy="Always")
    vm["spec"]["dataVolumeTemplates"] = [template]
    api.create(vm)
    until(lab, api, "orphan", "Running")
    api.delete(VM, "orphan", propagation="Orphan")
    lab.until(lambda: api.get(VM, "orphan") is None)
    lab.clock.sleep(30)
    for kind, name in ((VMI, "orphan"), (DATAVOLUME, "orphan-root")):
        found = api.get(kind, name)
        assert found is not None
        assert not found["metadata"].get("ownerReferences")
        assert not found["metadata"].get("deletionTimestamp")
        api.delete(kind, name)


def test_a_changed_template_asks_for_a_restart(lab: Lab, api: Cluster) -> None:
    """A running VM whose template was changed says RestartRequired until it is started anew."""
    lab.plant([disk("l1"), machine("l", ["l1"], strategy="Always")])

    def told() -> bool:
        return any(entry["type"] == "RestartRequired" for entry in (api.get(VM, "l") or {})["status"]["conditions"])

    assert not told()
    api.merge(VM, "l", {"spec": {"template": {"spec": {"domain": {"memory": {"guest": "512Mi"}}}}}})
    lab.until(told)
    ask(api, "l", "restart")
    lab.until(lambda: word(api, "l") == "Running" and not told())
    assert len(api.list(CONTROLLERREVISION, labels={"kubevirt.io/vm": "l"})) == 1


def test_the_guest_agent_connects_if_there_is_one(lab: Lab, api: Cluster) -> None:
    """The annotation of the lab gives a VM an agent; freezing stops its writes and shows in the status."""
    made = machine("m", ["m1"], strategy="Always")
    made["metadata"]["annotations"]["lab.kubevirt-migrate.io/guest-agent"] = "true"
    lab.plant([disk("m1"), made])
    lab.until(lambda: any(entry["type"] == "AgentConnected" for entry in (api.get(VM, "m") or {})["status"]["conditions"]))
    base = f"{SUBRESOURCES}/virtualmachineinstances/m"
    assert isinstance(api.call("GET", f"{base}/guestosinfo"), dict)
    lab.clock.sleep(12)
    api.call("PUT", f"{base}/freeze", {"unfreezeTimeout": "1m0s"})
    assert (api.get(VMI, "m") or {})["status"]["fsFreezeStatus"] == "frozen"
    before = guest_log(lab, "m1")
    lab.clock.sleep(20)
    assert guest_log(lab, "m1") == before
    api.call("PUT", f"{base}/unfreeze", {})
    lab.until(lambda: guest_log(lab, "m1").last > before.last)
    assert "fsFreezeStatus" not in (api.get(VMI, "m") or {})["status"]


def test_the_webhook_answers_through_the_api(lab: Lab, api: Cluster) -> None:
    """A refusal is a 422 with the webhook's name and words."""
    made = machine("wrong", strategy="Nope")
    with pytest.raises(Refused, match=r"Invalid RunStrategy \(Nope\)") as caught:
        api.create(made)
    assert caught.value.status == 422
    assert "admission webhook" in caught.value.why


def test_an_instances_spec_is_not_for_users(lab: Lab, api: Cluster) -> None:
    """Only KubeVirt itself may change it."""
    lab.plant([machine("n", strategy="Always")])
    with pytest.raises(Refused, match="update of VMI object is restricted"):
        api.merge(VMI, "n", {"spec": {"terminationGracePeriodSeconds": 5}})


def test_a_locked_machine_does_not_change_state(lab: Lab, api: Cluster) -> None:
    """While a snapshot is being taken neither run strategy nor volumes may change."""
    lab.plant([machine("o")])
    api.merge(VM, "o", {"status": {"snapshotInProgress": "snap"}}, subresource="status")
    with pytest.raises(Refused, match="Cannot update vm running state until snapshot"):
        api.merge(VM, "o", {"spec": {"runStrategy": "Always"}})
    api.merge(VM, "o", {"status": {"snapshotInProgress": None}}, subresource="status")


def test_a_persistent_tpm_is_found_again(lab: Lab, api: Cluster) -> None:
    """TPM state is kept by uuid, EFI variables by name, on a claim of their own; a guest whose TPM is gone asks for its recovery key."""
    vm = machine("tpm", ["tpm-root"], strategy="Always")
    vm["spec"]["template"]["spec"]["domain"] |= {
        "firmware": {"uuid": "11111111-2222-4333-8444-555555555555", "bootloader": {"efi": {"persistent": True}}}
    }
    vm["spec"]["template"]["spec"]["domain"]["devices"]["tpm"] = {"persistent": True}
    lab.plant([disk("tpm-root"), vm])
    until(lab, api, "tpm", "Running")
    state = next(claim for claim in api.list(PVC) if claim["metadata"]["labels"] == {"persistent-state-for": "tpm"})
    assert state["metadata"]["ownerReferences"][0]["kind"] == "VirtualMachine"
    volume = api.get(PV, state["spec"]["volumeName"])
    assert volume is not None
    root = lab.east.volumes.path(volume)
    tpm = root / "swtpm/11111111-2222-4333-8444-555555555555/tpm2/tpm2-00.permall"
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == sorted(
        ["nvram/tpm_VARS.fd", str(tpm.relative_to(root))]
    )
    for gone, locked in ((False, False), (True, True)):
        ask(api, "tpm", "stop")
        until(lab, api, "tpm", "Stopped")
        if gone:
            tpm.unlink()
        ask(api, "tpm", "start")
        until(lab, api, "tpm", "Running")
        assert guest_log(lab, "tpm-root").locked is locked
