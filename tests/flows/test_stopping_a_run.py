"""Ctrl-C and SIGTERM end a run in good order: works ended, claim given up, nothing left that only the proof needed, a way on and back."""

from __future__ import annotations

import threading

import pytest

from migrate.kube.kinds import EXPORT, LEASE, POD, SECRET
from migrate.model.migration import Names, Start, Verify
from migrate.model.report import Outcome
from tests.flows.conftest import Begin
from tests.flows.flow import interrupt

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("step", ["verify-disks", pytest.param("import-disks", marks=pytest.mark.slow)])
@pytest.mark.anywhere
def test_an_interrupted_run_lets_go(begin: Begin, step: str) -> None:
    """No thread of ours reads on, the claim is free at once, the report says how to go on and back; then the same command ends it."""
    flow = begin(verify=Verify.FULL, mib=16, start=Start.NEVER)

    flow.when(step, "Comparing" if step == "verify-disks" else "Importing", interrupt)
    report = flow.move().report
    assert report.outcome is Outcome.INTERRUPTED
    assert [line.split(":")[0] for line in report.now[:2]] == ["go on", "go back"]
    mine = [thread.name for thread in threading.enumerate() if thread.name.startswith(("work-", "proof", "port-forward"))]
    assert mine == []
    names = Names.of(report.migration, flow.vm()["metadata"]["uid"])  # type: ignore[index]
    assert flow.east.get(LEASE, names.claim) is None
    if step == "import-disks":
        export = flow.east.get(EXPORT, names.export)
        assert export is not None
        assert f"until {export['status']['ttlExpirationTime']}" in report.now[2]
        assert report.now[2].startswith("stays: ")
        assert "undo removes" in report.now[2]
    else:
        assert len(report.now) == 2
        for cluster, export, token in ((flow.east, names.export, names.token), (flow.west, names.proof, names.proof_token)):
            flow.until(lambda cluster=cluster, export=export: cluster.get(EXPORT, export) is None)
            assert cluster.get(SECRET, token) is None
            flow.until(lambda cluster=cluster, export=export: not cluster.list(POD, labels={"kubevirt.io.virt-export-service": export}))
        assert flow.west.get(SECRET, names.header) is None
    assert flow.move().report.outcome is Outcome.MOVED
    assert flow.unequal() == []
