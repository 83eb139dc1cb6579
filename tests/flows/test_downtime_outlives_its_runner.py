"""How long the VM was down is known, even if the runner that halted it or started it did not live to write that down."""

from __future__ import annotations

import pytest

from migrate.kube.kinds import VM
from migrate.model import labels
from migrate.model.objects import annotations_of, moment
from migrate.model.report import Outcome
from tests.flows.conftest import Begin
from tests.flows.flow import interrupt


@pytest.mark.slow
def test_a_run_that_stopped_in_between_loses_no_moment(begin: Begin) -> None:
    """Stopped while the guest shuts down, and again while the target starts: the third run knows when it was halted and ready."""
    flow = begin()

    flow.when("stop-source", "GuestShuttingDown", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    assert moment(annotations_of(flow.east.get(VM, flow.name))[labels.HALTED_AT]) is not None
    flow.lab.clock.sleep(60)
    flow.when("start-target", "Starting", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    flow.until(lambda: flow.runs("west"))
    flow.lab.clock.sleep(600)
    report = flow.move().report
    assert report.outcome is Outcome.MOVED
    assert report.downtime_s is not None
    assert 60 <= report.downtime_s < 600


@pytest.mark.slow
def test_a_vm_that_stays_down_has_no_downtime(begin: Begin) -> None:
    """Manual and stopped: its target is given the run strategy, and nothing was ready."""
    report = begin(strategy="Manual").move().report
    assert report.outcome is Outcome.MOVED
    assert report.downtime_s is None
