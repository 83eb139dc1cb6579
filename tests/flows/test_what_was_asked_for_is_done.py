"""Options of the command line seen on the clusters: names, namespaces, storage classes, formats, depths of proof."""

from __future__ import annotations

import json

import pytest

from migrate.kube.kinds import DATAVOLUME, NAMESPACE, PVC
from migrate.model import labels
from migrate.model.errors import UsageError
from migrate.model.migration import Format, Identity, Start, Verify
from migrate.model.report import Outcome
from tests.flows.conftest import Begin

pytestmark = pytest.mark.slow


def test_another_name_and_a_namespace_that_is_made(begin: Begin) -> None:
    """The VM gets the name and namespace that were asked for, the namespace is made, disks keep their names, the guest its identity."""
    flow = begin(disks=("root", "data"), to="made-by-us", to_name="renamed", create_namespace=True, start=Start.NEVER)
    before = flow.instance()
    assert flow.move().report.outcome is Outcome.MOVED
    assert flow.unequal() == []
    assert labels.is_ours(flow.west.get(NAMESPACE, "made-by-us") or {})
    vm, was = flow.vm("west"), flow.vm()
    assert vm is not None
    assert was is not None
    assert before is not None
    domain = vm["spec"]["template"]["spec"]["domain"]
    assert domain["firmware"]["uuid"] == before["spec"]["domain"]["firmware"]["uuid"]
    assert domain["devices"]["interfaces"][0]["macAddress"] == before["status"]["interfaces"][0]["mac"]


def test_a_new_machine(begin: Begin) -> None:
    """--identity new: uuid, serial and MAC are not those of the source, and the report said so; disks are equal."""
    flow = begin(disks=("root",), to_name="newborn", identity=Identity.NEW, start=Start.NEVER)
    report = flow.move().report
    assert report.outcome is Outcome.MOVED
    assert flow.unequal() == []
    domains = [(flow.vm(side) or {})["spec"]["template"]["spec"]["domain"] for side in ("east", "west")]
    assert domains[1]["firmware"]["uuid"] != domains[0]["firmware"]["uuid"]
    assert domains[1]["firmware"]["serial"]
    assert "macAddress" not in domains[1]["devices"]["interfaces"][0]
    assert any("new hardware uuid" in str(event) for event in flow.events)


def test_a_renamed_vm_beside_itself(begin: Begin) -> None:
    """A second VM of another name may be made from the same source in the same namespace of the target, when the disks are free."""
    flow = begin(disks=("root",), to_name="beside", start=Start.NEVER)
    assert flow.move().report.outcome is Outcome.MOVED
    assert flow.unequal() == []


def test_storage_classes_are_mapped(begin: Begin) -> None:
    """--map-storage fast=ceph: the disks lie on ceph, and hold the same bytes whatever the volume mode is there."""
    flow = begin(disks=("root", "data"), storage_map=(("fast", "ceph"),), start=Start.NEVER)
    assert flow.move().report.outcome is Outcome.MOVED
    claims = [flow.west.get(PVC, name) for name in flow.claims()]
    assert [claim["spec"]["storageClassName"] for claim in claims if claim is not None] == ["ceph", "ceph"]
    assert flow.unequal() == []


def test_a_block_disk_onto_a_file_system(begin: Begin) -> None:
    """A block device of the source arrives whole on a class that was asked for instead."""
    flow = begin(mode="Block", storage_map=(("*", "fast"),), start=Start.NEVER)
    assert flow.move().report.outcome is Outcome.MOVED
    assert flow.unequal() == []


def test_gzip_is_proven_in_full(begin: Begin) -> None:
    """--format gzip pulls the compressed link, and every byte is compared: a sample cannot see every cut."""
    flow = begin(format=Format.GZIP, verify=Verify.FULL, start=Start.NEVER)
    report = flow.move().report
    assert report.outcome is Outcome.MOVED
    assert [disk.coverage for disk in report.disks] == ["full"]
    assert flow.unequal() == []
    (volume,) = (volume for volume in flow.west.list(DATAVOLUME) if volume["metadata"]["name"] == f"{flow.name}-root")
    assert volume["spec"]["source"]["http"]["url"].endswith("disk.img.gz")
    assert json.loads(volume["metadata"]["annotations"][labels.PROOF])["coverage"] == "full"


def test_a_started_target_runs_as_the_source_did(begin: Begin) -> None:
    """--start auto: the target has the source's run strategy and runs; the source is halted and says where it went."""
    flow = begin(strategy="RerunOnFailure")
    report = flow.move().report
    assert report.outcome is Outcome.MOVED
    assert flow.runs("west")
    assert not flow.runs()
    target, source = flow.vm("west"), flow.vm()
    assert target is not None
    assert source is not None
    assert target["spec"]["runStrategy"] == "RerunOnFailure"
    assert source["spec"]["runStrategy"] == "Halted"
    assert source["metadata"]["annotations"][labels.MOVED_TO].endswith(f"/shop/{flow.name}")


def test_other_options_than_were_begun_are_refused(begin: Begin) -> None:
    """An unfinished move may not be resumed with another format; the difference is named, and nothing is written."""
    flow = begin()
    flow.lab.east.trouble.set("links", "refuse")
    stopped = flow.move()
    assert stopped.error is not None
    said: list[str] = []

    def other() -> None:
        try:
            flow.move(format=Format.GZIP)
        except UsageError as error:
            said.append(error.why)

    assert flow.writes(other) == []
    assert said == ["format: raw was begun, gzip is asked"]
