"""Every source that can be exported, in every format that it is offered in, by every way in: the bytes here are the bytes there."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest
import yaml

from migrate.kube.kinds import POD, PVC, SNAPSHOT
from migrate.lab.pods import PORTS
from migrate.lab.storage import disk_file
from migrate.lab.up import Lab
from tests.cli.disks import content, files_in, files_of, fill, make_claim, remove_claims
from tests.cli.inside import export
from tests.flows.flow import Flow
from tests.machines import disk, machine

pytestmark = pytest.mark.usefixtures("clean")

_numbers = count(1)
CONTENT_TYPE = "cdi.kubevirt.io/storage.contentType"
DISK, FILES = {"raw", "gzip"}, {"dir", "tar.gz"}
DUMPED = {"VM-dump-20261122-101500.memory.dump": os.urandom(300_000)}
"""What KubeVirt leaves on the claim of a memory dump; the lab's machines have no memory that could be dumped."""


@pytest.fixture
def flow(lab: Lab) -> Iterator[Flow]:
    """A halted VM with a disk on a file system, one on a device, and the memory dump that was taken of it."""
    name = f"every{next(_numbers)}"
    names, dump = [f"{name}-root", f"{name}-device"], f"{name}-dump"
    make_claim(lab, dump)
    fill(content(lab, dump), DUMPED)
    vm = machine(name, names, volumes=[{"name": "scratch", "emptyDisk": {"capacity": "1Gi"}}])
    vm["spec"]["template"]["spec"]["volumes"].append({"name": dump, "memoryDump": {"claimName": dump, "hotpluggable": True}})
    lab.plant([disk(names[0]), disk(names[1], mode="Block"), vm])
    flow = Flow(lab, name)
    flow.east.merge(PVC, dump, {"metadata": {"annotations": {"kubevirt.io/memory-dump": next(iter(DUMPED))}}})
    yield flow
    flow.remove()
    flow.close()
    remove_claims(lab, dump)


def compare(lab: Lab, here: Path, name: str, there: Mapping[str, Path]) -> None:
    """Download every volume of an export as everything that it is offered as, by every way in. `there`: where the bytes lie, by volume."""
    pod = next(one for one in lab.east.client("lab/user").at("shop").list(POD, labels={"kubevirt.io.virt-export-service": name}))
    address = f"127.0.0.1:{json.loads(pod['metadata']['annotations'][PORTS])['8443']}"
    for volume, place in there.items():
        for number, way in enumerate(((), ("--port-forward",), ("--service-url", address))):
            for form in sorted(offered(lab, name)[volume]):
                output = here / f"{volume}-{number}.{form}"
                export(lab, "download", name, "--volume", volume, "--format", form, "--output", str(output), *way)
                match form:
                    case "raw":
                        assert output.read_bytes() == disk_file(place).read_bytes()
                    case "gzip":
                        assert gzip.decompress(output.read_bytes()) == disk_file(place).read_bytes()
                    case "dir":
                        assert files_in(output) == files_in(place)
                    case _:
                        assert files_of(output) == files_in(place)


def offered(lab: Lab, name: str) -> dict[str, set[str]]:
    """Return the formats of an export's volumes."""
    return {one["name"]: set(one["formats"]) for one in json.loads(export(lab, "show", name, "-o", "json"))["volumes"]}


@pytest.mark.slow
def test_a_vm(lab: Lab, flow: Flow, tmp_path: Path) -> None:
    """Its disks, whatever they lie on, are disks; its memory dump is a file; what lies on no claim is not exported."""
    name = flow.name
    export(lab, "create", name, "--vm", name, "--wait")
    assert offered(lab, name) == {f"{name}-root": DISK, f"{name}-device": DISK, f"{name}-dump": FILES}
    compare(lab, tmp_path, name, {volume: content(lab, volume) for volume in offered(lab, name)})


@pytest.mark.slow
def test_a_snapshot(lab: Lab, flow: Flow, tmp_path: Path) -> None:
    """Its disks are restored into claims of the export's own, which hold what the VM's hold, and are named by those."""
    name = flow.name
    source = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": name}
    metadata = {"name": name, "namespace": "shop"}
    flow.east.create(
        {"apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineSnapshot", "metadata": metadata, "spec": {"source": source}}
    )
    flow.until(lambda: (flow.east.get(SNAPSHOT, name) or {}).get("status", {}).get("readyToUse"))
    export(lab, "create", name, "--snapshot", name, "--wait")
    disks = [f"{name}-root", f"{name}-device"]
    assert {volume: offered(lab, name)[volume] for volume in disks} == dict.fromkeys(disks, DISK)
    assert flow.east.get(PVC, f"{name}-{disks[0]}") is not None
    kinds = [one["kind"] for one in yaml.safe_load_all(export(lab, "manifest", name))]
    assert (kinds[:2], set(kinds[2:])) == (["ConfigMap", "VirtualMachine"], {"DataVolume"})
    compare(lab, tmp_path, name, {volume: content(lab, volume) for volume in disks})
    flow.east.delete(SNAPSHOT, name)


@pytest.mark.slow
def test_claims(lab: Lab, flow: Flow, tmp_path: Path) -> None:
    """An annotation, a DataVolume that owns it, or a device make a claim a disk; all others hold files, memory dumps too."""
    told = {name: f"{flow.name}-{name}" for name in ("noted", "raw", "files")}
    root, dump = f"{flow.name}-root", f"{flow.name}-dump"
    for name, claim in told.items():
        make_claim(lab, claim, volumeMode="Block" if name == "raw" else "Filesystem")
    fill(content(lab, told["noted"]), {"disk.img": os.urandom(1 << 20)})
    flow.east.merge(PVC, told["noted"], {"metadata": {"annotations": {CONTENT_TYPE: "kubevirt"}}})
    with content(lab, told["raw"]).open("r+b") as device:
        device.write(os.urandom(1 << 20))
    fill(content(lab, told["files"]), {"disk.img": b"nobody says that this is a disk", "a/b": b""})
    flow.east.merge(PVC, root, {"metadata": {"annotations": {CONTENT_TYPE: None}}})
    wanted = {told["noted"]: DISK, root: DISK, told["raw"]: DISK, told["files"]: FILES, dump: FILES}
    for claim in wanted:
        export(lab, "create", claim, "--pvc", claim)
    for claim, formats in wanted.items():
        export(lab, "create", claim, "--pvc", claim, "--wait")
        assert offered(lab, claim) == {claim: formats}
        compare(lab, tmp_path, claim, {claim: content(lab, claim)})
    owned = flow.east.get(PVC, root) or {}
    assert CONTENT_TYPE not in owned["metadata"].get("annotations", {})
    assert owned["metadata"]["ownerReferences"][0]["kind"] == "DataVolume"
    remove_claims(lab, *told.values())
