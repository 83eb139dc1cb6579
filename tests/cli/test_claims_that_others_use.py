"""A disk that somebody uses while it is exported: bytes of two states never make one disk, whether KubeVirt notices or not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import DATAVOLUME, EXPORT, POD, PVC
from migrate.lab.storage import disk_file
from migrate.lab.up import Lab
from migrate.model.errors import Stalled
from migrate.model.exports import Source, Subject
from migrate.reading.exports import choose
from migrate.transfer import download, packed
from migrate.transfer.download import Got
from migrate.workflow.exports import Approach, Exports, Open, Wish
from tests.cli.conftest import Plant
from tests.cli.disks import content
from tests.flows.flow import Flow
from tests.machines import user_pod

EXPORTER = "kubevirt.io.virt-export-service"
NEW = b"NEW-STATE" * 10
EARLY, LATE = 1 << 20, 70 << 20
MIB = 72


class Taking:
    """A download of a VM's disk, with a deed once when it has come some way; by an export of its claim, or of the VM."""

    def __init__(
        self, cluster: Cluster, flow: Flow, output: Path, deed: Callable[[], None] = lambda: None, *, source: Source = Source.PVC
    ) -> None:
        self.exports, self.said, self.done = Exports(cluster, flow.lab.clock), list[str](), 0
        self.claim, self.output, self._deed = f"{flow.name}-root", output, deed
        self.subject = Subject(source, self.claim if source is Source.PVC else flow.name)
        self._did = False

    def moved(self, there: int, _: int) -> None:
        self.done = there
        if there > 8 << 20 and not self._did:
            self._did = True
            self._deed()

    def raw(self, opened: Open) -> Got:
        _, _, url = choose(opened.links, export=self.claim, volume="", formats=("raw",))
        state, same = self.exports.begin(opened, self.claim)
        return download.raw(opened.client, url, self.output, identity=state, streams=1, same=same, moved=self.moved)

    def gzip(self, opened: Open) -> Got:
        _, _, url = choose(opened.links, export=self.claim, volume="", formats=("gzip",))
        same = self.exports.begin(opened, self.claim)[1]
        return packed.to_file(opened.client, url, self.output, disk_bytes=MIB << 20, same=same, moved=self.moved)

    def run(self, read: Callable[[Open], Got], *, seconds: int = 120) -> Got:
        wish = Wish(self.subject, ttl=timedelta(hours=1))
        self.exports.create(self.claim, wish)
        patience = timedelta(seconds=seconds)
        return self.exports.reading(
            self.claim, Approach(), read, again=wish, patience=patience, tell=self.said.append, moved=lambda: self.done
        )


def write_both(path: Path) -> None:
    """Be a guest that writes where it was read already, and where it was not."""
    with path.open("r+b") as file:
        for at in (EARLY, LATE):
            file.seek(at)
            file.write(NEW)


def ran(flow: Flow, path: Path) -> None:
    """Let the VM run for a while, and stop it."""
    flow.set_strategy("Always")
    flow.until(flow.runs)
    write_both(path)
    flow.set_strategy("Halted")
    flow.until(lambda: flow.instance() is None)


def kill_exporter(flow: Flow) -> None:
    for pod in flow.east.list(POD, labels={EXPORTER: f"{flow.name}-root"}):
        flow.east.delete(POD, pod["metadata"]["name"])


@pytest.mark.slow
@pytest.mark.parametrize(("form", "noticed"), [("raw", False), ("raw", True), ("gzip", False)])
def test_a_guest_that_ran_meanwhile_makes_it_read_anew(
    plant: Plant, cluster: Cluster, lab: Lab, tmp_path: Path, form: str, noticed: bool
) -> None:
    """Started, written to and stopped in the middle of one download: what comes is of one state, and it is said why it took longer."""
    flow = plant(mib=MIB)
    path = disk_file(content(lab, f"{flow.name}-root"))

    def deed() -> None:
        ran(flow, path)
        if noticed:
            kill_exporter(flow)

    taking = Taking(cluster, flow, tmp_path / "d.img", deed)
    got = taking.run(getattr(taking, form))
    assert got.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert "may have changed, while it was read, so it is read anew" in " ".join(taking.said)


@pytest.mark.slow
def test_a_server_that_was_away_is_another_state(plant: Plant, cluster: Cluster, tmp_path: Path) -> None:
    """Its pod was replaced while nobody downloaded: nobody knows who wrote to the claim meanwhile, so nothing is gone on with."""
    flow = plant()
    taking = Taking(cluster, flow, tmp_path / "d.img")
    states = list[str]()

    def look(opened: Open) -> Got:
        states.append(taking.exports.begin(opened, taking.claim)[0])
        return Got(0, "", 0)

    taking.run(look)
    taking.run(look)
    kill_exporter(flow)
    flow.until(lambda: ((cluster.get(EXPORT, taking.claim) or {}).get("status") or {}).get("phase") != "Ready")
    taking.run(look)
    assert states[0] == states[1] != states[2]


@pytest.mark.slow
def test_a_claim_that_is_in_use_is_not_read(plant: Plant, cluster: Cluster, tmp_path: Path) -> None:
    """A guest runs, and KubeVirt has not noticed: the export is Ready, and nothing is read; it is said who has the claim."""
    flow = plant()
    taking = Taking(cluster, flow, tmp_path / "d.img")
    taking.run(lambda _: Got(0, "", 0))
    flow.set_strategy("Always")
    flow.until(flow.runs)
    assert (cluster.get(EXPORT, taking.claim) or {})["status"]["phase"] == "Ready"
    with pytest.raises(Stalled, match="in use: pod virt-launcher") as stalled:
        taking.run(taking.raw, seconds=3)
    assert taking.claim in str(stalled.value)
    assert list(tmp_path.glob("d.img*")) == []


@pytest.mark.slow
def test_a_disk_of_a_halted_vm_that_a_pod_has_is_not_read(plant: Plant, cluster: Cluster, tmp_path: Path) -> None:
    """KubeVirt looks for the instance of the VM alone, so its export is Ready beside a pod: nothing is read, and the pod is named."""
    flow = plant()
    taking = Taking(cluster, flow, tmp_path / "d.img", source=Source.VM)
    taking.run(lambda _: Got(0, "", 0))
    flow.east.create(user_pod(flow.name, taking.claim))
    try:
        with pytest.raises(Stalled, match=f"in use: pod .*{taking.claim}"):
            taking.run(taking.raw, seconds=3)
        assert (cluster.get(EXPORT, taking.claim) or {})["status"]["phase"] == "Ready"
    finally:
        flow.east.delete(POD, user_pod(flow.name, taking.claim)["metadata"]["name"])


@pytest.mark.slow
def test_a_pod_that_comes_just_before_the_reading_is_waited_for(plant: Plant, cluster: Cluster, tmp_path: Path) -> None:
    """The export was free a moment ago: what a pod has from the first byte to the last is no state of a disk."""
    flow = plant()
    taking = Taking(cluster, flow, tmp_path / "d.img", source=Source.VM)
    pod = user_pod(flow.name, taking.claim)
    tries: list[bool] = []

    def read(opened: Open) -> Got:
        tries.append(True)
        if len(tries) == 1:
            flow.east.create(pod)
            try:
                return taking.raw(opened)
            finally:
                flow.east.delete(POD, pod["metadata"]["name"])
        return taking.raw(opened)

    taking.run(read)
    assert len(tries) == 2
    assert "so it is read anew" in " ".join(taking.said)


@pytest.mark.slow
@pytest.mark.parametrize("source", [Source.VM, Source.PVC])
def test_a_disk_that_is_made_anew_is_another(plant: Plant, cluster: Cluster, tmp_path: Path, source: Source) -> None:
    """Its DataVolume was deleted and made anew under its name, and nothing of the VM changed: nothing is gone on with."""
    flow = plant()
    taking = Taking(cluster, flow, tmp_path / "d.img", source=source)
    states = list[str]()

    def look(opened: Open) -> Got:
        states.append(taking.exports.begin(opened, taking.claim)[0])
        return Got(0, "", 0)

    taking.run(look)
    taking.exports.delete(taking.claim)
    was = flow.east.get(DATAVOLUME, taking.claim)
    assert was is not None
    flow.east.delete(DATAVOLUME, taking.claim)
    flow.until(lambda: flow.east.get(PVC, taking.claim) is None)
    metadata = {"name": taking.claim, "annotations": {"cdi.kubevirt.io/storage.bind.immediate.requested": "true"}}
    flow.east.create({**{key: was[key] for key in ("apiVersion", "kind", "spec")}, "metadata": metadata})
    flow.until(lambda: ((flow.east.get(DATAVOLUME, taking.claim) or {}).get("status") or {}).get("phase") == "Succeeded")
    taking.run(look)
    assert states[0] != states[1]
