"""A VM with a persistent TPM and persistent EFI variables keeps both in a move, or is not moved."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from migrate.kube.kinds import CDI, CDICONFIG, DATAVOLUME, PV, PVC
from migrate.lab.kubevirt_guest import WINDOW_END, read_guest_log
from migrate.lab.up import Lab
from migrate.model import labels
from migrate.model.inventory import STATE
from migrate.model.migration import Identity, Start, Verify
from migrate.model.report import Outcome
from tests.flows.deeds import afterwards
from tests.flows.flow import Flow, interrupt
from tests.machines import disk, keeping, machine
from tests.pair import home

_numbers = count(1)


@pytest.fixture
def flow(lab: Lab) -> Iterator[Flow]:
    """A running VM with a disk, a TPM and EFI variables."""
    name = f"tpm{next(_numbers)}"
    namespace = home(lab)
    lab.plant([disk(f"{name}-root", namespace=namespace), keeping(machine(name, [f"{name}-root"], namespace=namespace, strategy="Always"))])
    found = Flow(lab, name)
    found.until(found.runs, what="the source runs")
    yield found
    for cluster in lab.clusters.values():
        cluster.trouble.clear()
    found.remove()
    found.close()


def states(flow: Flow, side: str) -> list[dict[str, Any]]:
    cluster = flow.east if side == "east" else flow.west
    return cluster.list(PVC, labels={STATE: flow.name})


def files(flow: Flow, side: str) -> dict[str, bytes]:
    """Return what lies on the one claim of the VM's state, from the storage itself."""
    (claim,) = states(flow, side)
    volume = (flow.east if side == "east" else flow.west).get(PV, claim["spec"]["volumeName"])
    assert volume is not None
    root = flow.lab.clusters[side].volumes.path(volume)
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else b"" for path in root.rglob("*")}


def guest(flow: Flow, side: str) -> Any:
    with flow.file(side, f"{flow.name}-root").open("rb") as file:
        return read_guest_log(file.read(WINDOW_END))


def test_files_and_label_arrive(flow: Flow) -> None:
    """Paths and contents on the target's claim are those of the source, it is the one that KubeVirt looks for, and the guest finds them."""
    ending = flow.move(start=Start.NEVER)
    assert (ending.report.outcome, ending.report.problems) == (Outcome.MOVED, ())
    assert files(flow, "west") == files(flow, "east")
    assert len([path for path in files(flow, "west") if path.endswith(("permall", "_VARS.fd"))]) == 2
    (claim,) = states(flow, "west")
    proof = next(one for one in ending.report.disks if one.target == claim["metadata"]["name"])
    assert (proof.coverage, proof.digest[:7]) == ("full", "sha256:")
    volume = flow.west.get(DATAVOLUME, claim["metadata"]["name"])
    assert volume is not None
    assert STATE not in volume["metadata"]["labels"]
    flow.set_strategy("Always", "west")
    flow.until(lambda: flow.runs("west"), what="the target runs")
    assert (guest(flow, "west").locked, guest(flow, "west").boots) == (False, 2)
    assert len(states(flow, "west")) == 1


@pytest.mark.slow
def test_unproven_it_is_marked_once_all_the_same(flow: Flow) -> None:
    """With --verify off, too, only the claim says whose state it is before anything starts: what CDI refills later is not taken for it."""
    labelled: list[bool] = []

    def look() -> None:
        volumes = flow.west.list(DATAVOLUME, labels={labels.ID: flow.events[0].migration})
        labelled.extend(STATE in one["metadata"]["labels"] for one in volumes)

    flow.when("start-target", "", look)
    ending = flow.move(verify=Verify.OFF)
    assert (ending.report.outcome, ending.report.problems) == (Outcome.MOVED, ())
    assert labelled
    assert not any(labelled)
    assert len(states(flow, "west")) == 1
    flow.until(lambda: flow.runs("west"), what="the target runs")
    assert not guest(flow, "west").locked


@pytest.mark.slow
def test_a_claim_in_its_place_is_not_proven(flow: Flow) -> None:
    """As after a live migration of the target, another claim has the state: the source is kept, and it is said how to delete it by hand."""
    assert flow.move().report.outcome is Outcome.MOVED
    (claim,) = states(flow, "west")
    flow.set_strategy("Halted", "west")
    flow.until(lambda: flow.instance("west") is None, what="the target stops")
    other = {"name": f"{claim['metadata']['name']}-abcde", "labels": {STATE: flow.name}}
    spec = {key: claim["spec"][key] for key in ("accessModes", "resources", "storageClassName")}
    flow.west.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": other, "spec": spec})
    flow.west.delete(PVC, claim["metadata"]["name"])
    flow.until(lambda: [one["metadata"]["name"] for one in states(flow, "west")] == [other["name"]])
    with afterwards(flow, "retire") as retiring:
        ending = retiring.retire(flow._show)
    assert ending.report.reason == "NotRetirable"
    assert "delete the source by hand once the guest has found its TPM" in str(ending.report.problems)
    assert len(states(flow, "east")) == 1
    flow.west.delete(PVC, other["name"])


@pytest.mark.slow
def test_an_undo_removes_it(flow: Flow) -> None:
    """What was sent is removed with the disks, and the source runs again with its own."""
    flow.when("verify-disks", "ProofToBegin", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    assert states(flow, "west")
    assert flow.undo().report.outcome is Outcome.UNDONE
    assert states(flow, "west") == []
    assert not [one for one in flow.ours() if flow.name in one]
    flow.until(flow.runs, what="the source runs again")
    assert not guest(flow, "east").locked


@pytest.mark.slow
def test_a_changed_file_is_found(flow: Flow) -> None:
    """A state that differs in one byte, or by a file, is never called copied, and the target is not started."""

    def spoil() -> None:
        (claim,) = states(flow, "west")
        volume = flow.west.get(PV, claim["spec"]["volumeName"])
        assert volume is not None
        root = flow.lab.west.volumes.path(volume)
        path = next(root.rglob("*.permall"))
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
        (root / "nvram" / "stray").write_text("x")

    flow.when("create-target", "", spoil)
    ending = flow.move()
    assert ending.report.outcome is not Outcome.MOVED
    said = str(ending.report.problems)
    assert "permall differs" in said
    assert "nvram/stray is there and not on the source" in said
    assert not flow.runs("west")


def test_what_is_in_the_way_is_told_before_anything_is_done(flow: Flow) -> None:
    """Another name or identity, a claim that KubeVirt would take in place of ours, no way in: refused with reason and remedy."""
    (problem,) = flow.move(identity=Identity.NEW).report.problems
    assert ("new identity" in problem.what, "firmware uuid" in problem.why, "--identity keep" in problem.now) == (True, True, True)
    other = Flow(flow.lab, flow.name, to_name=f"{flow.name}-2")
    (problem,) = other.move().report.problems
    assert ("keeps its name" in problem.what, f"west:{flow.target.namespace}/{flow.name}" in problem.now) == (True, True)
    other.close()
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}
    stray = {"name": f"old-{flow.name}", "labels": {STATE: flow.name}}
    flow.west.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": stray, "spec": spec})
    (problem,) = flow.move().report.problems
    assert f"old-{flow.name} or ours" in problem.why
    flow.west.delete(PVC, stray["name"])
    (cdi,) = flow.west.list(CDI)
    for url, words in (("https://localhost:1", "does not answer"), (None, "")):
        flow.west.merge(CDI, cdi["metadata"]["name"], {"spec": {"config": {"uploadProxyURLOverride": url}}})
        flow.until(lambda url=url: (flow.west.get(CDICONFIG, "config") or {})["spec"].get("uploadProxyURLOverride") == url)
        assert [words in problem.what for problem in flow.plan().report.problems if "upload proxy" in problem.what] == [True] * bool(words)
    assert flow.runs()
    assert flow.vm("west") is None


def test_nothing_stays_for_files_that_we_send(lab: Lab) -> None:
    """A run that stops before it sent the files of a VM without disks leaves no export: nobody pulls. The same command sends them."""
    namespace = home(lab)
    lab.plant([keeping(machine("diskless", namespace=namespace, strategy="Always"))])
    flow = Flow(lab, "diskless", start=Start.NEVER)
    flow.until(flow.runs, what="the source runs")
    flow.when("import-disks", "StateToCarry", interrupt)
    ending = flow.move()
    assert ending.report.outcome is Outcome.INTERRUPTED
    assert not [line for line in ending.report.now if line.startswith("stays")]
    assert flow.left_behind() == []
    assert flow.move().report.outcome is Outcome.MOVED
    assert files(flow, "west") == files(flow, "east")
    flow.remove()
    flow.close()


@pytest.mark.slow
def test_broken_uploads_are_sent_again(flow: Flow) -> None:
    """An upload that is cut, or a server that dies, costs a new attempt and no byte."""
    flow.lab.west.trouble.set("upload", "drop", after=4096, times=1)
    flow.lab.west.trouble.set("upload", "refuse", status=502, times=1)
    assert flow.move(start=Start.NEVER, verify=Verify.SIZE).report.outcome is Outcome.MOVED
    assert files(flow, "west") == files(flow, "east")
