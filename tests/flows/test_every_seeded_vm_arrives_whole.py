"""Every VM that the lab plants is moved, and some are copied before; every one of their disks has the same bytes on the other side."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from migrate.kube.kinds import DATAVOLUME, SECRET, VM
from migrate.lab.up import Lab
from migrate.model import labels
from migrate.model.migration import Start
from migrate.model.report import Outcome
from tests.conftest import MakeLab
from tests.flows.flow import Flow
from tests.flows.travel_table import besides, rows, shown, under, unlike

PAIRS = [("v1.3", "v1.9"), ("v1.6", "v1.6"), ("v1.9", "v1.6")]
SEEDED = (
    "web-1",
    "db-1",
    "store-12",
    "tpl-1",
    "legacy-1",
    "rerun-1",
    "manual-1",
    "cold-1",
    "live-1",
    "cloud-1",
    "hasty-1",
    "block-1",
)

FAST = ("tpl-1", "block-1")
"""Moved on the first pair in every `make test`; all of them on all pairs in `make test-all`."""


@pytest.fixture(
    scope="module", params=[pytest.param(pair, id="-".join(pair), marks=pytest.mark.slow if pair != PAIRS[0] else ()) for pair in PAIRS]
)
def seeded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make_lab: MakeLab) -> Iterator[Lab]:
    source, target = request.param
    with make_lab(tmp_path_factory.mktemp("seeded"), releases={"east": source, "west": target}) as made:
        yield made


@pytest.fixture
def flow(seeded: Lab, vm: str) -> Iterator[Flow]:
    made = Flow(seeded, vm, start=Start.NEVER)
    yield made
    made.close()


def test_the_list_is_the_whole_seed(seeded: Lab) -> None:
    """No VM of the seed is left out of this file."""
    east = seeded.east.client("lab/user").at("shop")
    assert {vm["metadata"]["name"] for vm in east.list(VM)} == set(SEEDED)
    east.close()


@pytest.mark.slow
@pytest.mark.parametrize("vm", ["tpl-1", "cloud-1", "block-1"])
def test_every_field_of_a_copy(seeded: Lab, vm: str) -> None:
    """Copied as it stands: all disks are proven, no field differs but where docs/what-travels.md says so, and the source is as it was."""
    flow = Flow(seeded, vm, to="copies", playbook="snapshot-copy", start=Start.NEVER, create_namespace=True)
    before = flow.vm() or {}
    ending = flow.move()
    assert (ending.report.outcome, ending.report.problems) == (Outcome.COPIED, ())
    assert [one.coverage for one in ending.report.disks] == ["sample"] * len(flow.claims())
    allowed = [*besides(flow.playbook), *(row.at for row in rows() if row.rule == "dropped")]
    assert [path for path in unlike(shown(before), shown(flow.vm("west"))) if not any(under(path, at) for at in allowed)] == []
    assert (flow.vm() or {})["spec"] == before["spec"]
    flow.close()


@pytest.mark.parametrize("vm", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in SEEDED])
def test_every_disk_is_equal(flow: Flow) -> None:
    """Moved and not started, the target is halted, every disk has the bytes of its source and carries the proof, the source is halted."""
    ending = flow.move()
    assert (ending.report.outcome, ending.report.problems) == (Outcome.MOVED, ())
    assert flow.unequal() == []
    assert not flow.runs()
    assert not flow.runs("west")
    target = flow.vm("west")
    assert target is not None
    assert target["spec"]["runStrategy"] == "Halted"
    assert "dataVolumeTemplates" not in target["spec"]
    disks = flow.west.list(DATAVOLUME, labels={labels.ID: ending.report.migration})
    assert len(disks) == len(flow.claims()) == len(ending.report.disks)
    assert all(labels.PROOF in volume["metadata"]["annotations"] for volume in disks)
    if flow.name == "cloud-1":
        assert labels.is_ours(flow.west.get(SECRET, "cloud-1-init") or {}, ending.report.migration)
