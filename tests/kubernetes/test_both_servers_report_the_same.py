"""The twelve-disk move on the embedded API server and on the real one: the same report, ids, times and the guest's own writes aside."""

from __future__ import annotations

import json
import re
from difflib import unified_diff
from pathlib import Path

import pytest
import yaml

from migrate.lab.clock import RealClock
from migrate.lab.up import Lab
from migrate.model.migration import Verify
from migrate.model.report import Outcome
from tests.conftest import KUBE_SPEED
from tests.flows.flow import Flow

SEED = Path("migrate/lab/seeds/default.yaml")
VM = "store-12"
ALIVE = f"{VM}-0"
"""The disk that the running guest writes to, as long as it is alive."""


@pytest.fixture(scope="module")
def seed(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The part of the lab's seed that is about this one VM."""
    documents = yaml.safe_load_all((pytestconfig.rootpath / SEED).read_text())
    path = tmp_path_factory.mktemp("seed") / "seed.yaml"
    path.write_text(yaml.safe_dump_all([document for document in documents if document["metadata"]["name"] == VM]))
    return path


def moved(lab: Lab) -> list[str]:
    """Move the VM and return the lines of the report without what may differ."""
    flow = Flow(lab, VM, verify=Verify.FULL)
    report = flow.move().report
    flow.close()
    assert (report.outcome, report.problems) == (Outcome.MOVED, ())
    told = report.to_json()
    for key in ("started", "finished", "downtimeSeconds"):
        assert told.pop(key)
    for step in told["steps"]:
        del step["seconds"], step["acts"]  # one act deals with all disks that are due, so their number goes by the clock
    for disk in told["disks"]:
        assert disk.pop("provenAt")
        del disk["seconds"]
        if disk["source"] == ALIVE:
            del disk["digest"]
    assert len(told["disks"]) == 12
    text = json.dumps(told, indent=1).replace(told["migration"], "ID")
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
    return re.sub(r"\b\d+(\.\d+)? s\b", "SECONDS", text).splitlines()


def test_the_twelve_disk_move_is_told_alike(seed: Path, tmp_path: Path) -> None:
    """Outcome, steps with reasons, words and bytes, disks with digests, stands and advice: equal."""
    told: dict[str, list[str]] = {}
    for backend in ("embedded", "kube"):
        with Lab(tmp_path / backend, clock=RealClock(KUBE_SPEED), seed=str(seed), backend=backend) as lab:
            told[backend] = moved(lab)
    different = "\n".join(unified_diff(told["embedded"], told["kube"], lineterm="", n=8))
    assert not different, different
