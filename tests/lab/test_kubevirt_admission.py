"""What KubeVirt's webhooks refuse and change, as pure functions over a review."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.lab.admission import Denied, Object, Review, User, chain
from migrate.lab.kinds import Resource
from migrate.lab.kubevirt_admission import admissions
from migrate.lab.kubevirt_release import release
from tests.lab.exports import manifest
from tests.machines import disk, machine

KINDS = {
    "VirtualMachine": Resource("kubevirt.io", (), "VirtualMachine", "virtualmachines"),
    "VirtualMachineExport": Resource("export.kubevirt.io", (), "VirtualMachineExport", "virtualmachineexports"),
}


def admit(
    new: Object, old: Object | None = None, *, to: str = "v1.9", gates: dict[str, list[str]] | None = None, subresource: str = ""
) -> Any:
    """Send an object through all webhooks of a release; return what comes out."""
    kubevirt = {"spec": {"configuration": {"developerConfiguration": gates or {}}}}
    review = Review(
        operation="CREATE" if old is None else "UPDATE",
        resource=KINDS[new["kind"]],
        version="v1",
        namespace="shop",
        name=new["metadata"]["name"],
        old=old,
        new=new,
        user=User("anna"),
        dry_run=False,
        subresource=subresource,
        get=lambda *_: None,
        list=lambda group, plural, namespace: [kubevirt] if (plural, namespace) == ("kubevirts", "kubevirt") else [],
    )
    return chain(admissions(release(to)), review)


def with_source(**source: str) -> Object:
    return {**manifest("ex", "x"), "spec": {"source": source}}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"kind": "Pod", "name": "x"}, "invalid kind"),
        ({"kind": "VirtualMachine", "name": "x"}, "VM API group must be kubevirt.io"),
        ({"kind": "VirtualMachine", "apiGroup": "kubevirt.io", "name": ""}, "Virtual Machine name must not be empty"),
        ({"kind": "PersistentVolumeClaim", "apiGroup": "v1", "name": "x"}, "PVC API group must be missing or blank"),
        ({"kind": "PersistentVolumeClaim"}, "PVC name must not be empty"),
        ({"kind": "VirtualMachineSnapshot", "apiGroup": "kubevirt.io", "name": "x"}, "VMSnapshot API group must be snapshot.kubevirt.io"),
    ],
)
def test_an_ill_named_source_is_refused(source: dict[str, str], words: str) -> None:
    """Kind, group and an empty name are checked at creation; whether the source exists is not."""
    with pytest.raises(Denied, match=words) as caught:
        admit(with_source(**source))
    assert caught.value.code == 422
    assert caught.value.causes[0].field.startswith("spec.source")


def test_good_sources_pass_unchanged() -> None:
    """A claim with an empty group, a VM and a snapshot are taken as they are."""
    for source in (
        {"kind": "PersistentVolumeClaim", "apiGroup": "", "name": "x"},
        {"kind": "VirtualMachine", "apiGroup": "kubevirt.io", "name": "x"},
        {"kind": "VirtualMachineSnapshot", "apiGroup": "snapshot.kubevirt.io", "name": "x"},
    ):
        assert admit(with_source(**source)) == with_source(**source)


def test_an_export_cannot_be_changed() -> None:
    """The spec is immutable; labels are not."""
    old = manifest("ex", "x")
    labelled = {**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}
    assert admit(labelled, old) == labelled
    with pytest.raises(Denied, match="spec in immutable after creation") as caught:
        admit(manifest("ex", "x", ttlDuration="9h"), old)
    assert (caught.value.code, caught.value.causes[0].field) == (422, "spec")


@pytest.mark.parametrize(
    ("to", "gates", "opens"),
    [
        ("v1.3", {}, False),
        ("v1.3", {"featureGates": ["VMExport"]}, True),
        ("v1.6", {}, True),
        ("v1.6", {"disabledFeatureGates": ["VMExport"]}, False),
        ("v1.9", {"disabledFeatureGates": ["VMExport"]}, True),
    ],
)
def test_the_gate_of_exports(to: str, gates: dict[str, list[str]], opens: bool) -> None:
    """Before 1.6 it must be listed, from 1.6 it is open unless closed, from 1.9 it is always open."""
    if opens:
        assert admit(manifest("ex", "x"), to=to, gates=gates)
    else:
        with pytest.raises(Denied, match="vm export feature gate not enabled"):
            admit(manifest("ex", "x"), to=to, gates=gates)


def changed(**spec: Any) -> Object:
    made = machine("wrong")
    made["spec"] |= spec
    return made


def doubled(name: str) -> Object:
    volume = {"name": name, "emptyDisk": {"capacity": "1Gi"}}
    return machine("wrong", volumes=[volume, volume])


def without_disks() -> Object:
    made = machine("wrong", ["a"])
    made["spec"]["template"]["spec"]["domain"]["devices"]["disks"] = []
    return made


def without_volumes() -> Object:
    made = machine("wrong", ["a"])
    made["spec"]["template"]["spec"]["volumes"] = []
    return made


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (changed(runStrategy="Nope"), r"Invalid RunStrategy \(Nope\)"),
        (changed(running=True), "Running and RunStrategy are mutually exclusive"),
        (changed(runStrategy=None), "One of Running or RunStrategy must be specified"),
        (changed(dataVolumeTemplates=[{"metadata": {"name": "x"}, "spec": disk("x")["spec"]}]), "must be referenced"),
        (doubled("a"), "must not have the same name"),
        (without_disks(), r"volumes\[0\].name 'a' not found"),
        (without_volumes(), r"disks\[0\].name 'a' not found"),
    ],
)
def test_a_contradictory_machine_is_refused(made: Object, words: str) -> None:
    """Unknown and doubled strategies, unused templates, disks without volumes and volumes without disks."""
    with pytest.raises(Denied, match=words) as caught:
        admit(made)
    assert caught.value.code == 422


def test_receiving_is_known_from_release_1_6() -> None:
    """WaitAsReceiver is refused before."""
    assert admit(machine("a", strategy="WaitAsReceiver"), to="v1.6")
    with pytest.raises(Denied, match="Invalid RunStrategy"):
        admit(machine("a", strategy="WaitAsReceiver"), to="v1.3")


def test_a_new_machine_gets_an_identity() -> None:
    """From 1.7 uuid and serial are written where they are missing, once, and never changed."""
    first, second = (admit(machine("a"))["spec"]["template"]["spec"]["domain"]["firmware"] for _ in range(2))
    assert first.keys() == {"uuid", "serial"}
    assert first != second
    own = machine("a")
    own["spec"]["template"]["spec"]["domain"]["firmware"] = {"uuid": "mine", "serial": "too"}
    assert admit(own) == own
    assert admit(machine("a"), to="v1.6") == machine("a")
    assert admit(machine("a"), machine("a")) == machine("a")


@pytest.mark.parametrize("new", [machine("a", strategy="Always"), machine("a", ["other"])])
def test_a_machine_under_a_snapshot_is_locked(new: Object) -> None:
    """Neither the running state nor the volumes may change; anything else may."""
    old = {**machine("a"), "status": {"snapshotInProgress": "snap"}}
    with pytest.raises(Denied, match='until snapshot "snap" completes'):
        admit(new, old)
    relabelled = machine("a")
    relabelled["metadata"]["labels"] = {"x": "y"}
    assert admit(relabelled, old) == relabelled
