"""A source that somebody starts around the end of a move is told in the first line, and never called halted."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from migrate.kube.kinds import VM
from migrate.model import labels
from migrate.model.migration import Start
from migrate.model.report import Outcome
from tests.flows.conftest import Begin
from tests.flows.flow import Flow


def start(flow: Flow) -> None:
    flow.set_strategy("Always")
    flow.until(flow.runs, what="the start of the source")


def rebuilt(flow: Flow, vm: dict[str, Any], *, disks: bool) -> None:
    """Make a VM of the target's name that carries no mark of ours, as somebody else would, and let it run."""
    vm = {**deepcopy(vm), "metadata": {"name": flow.target.name, "namespace": flow.target.namespace}}
    vm.pop("status", None)
    if not disks:
        vm["spec"]["template"]["spec"]["volumes"] = []
        vm["spec"]["template"]["spec"]["domain"]["devices"]["disks"] = []
    vm["spec"]["runStrategy"] = "Always"
    flow.west.create(vm)
    flow.until(lambda: flow.runs("west"))


def test_a_start_before_the_release_is_no_good_end(begin: Begin) -> None:
    """Between the last look and the mark on the source: the mark is not written, and the run says that both run."""
    flow = begin()
    flow.when("release-source", "NotReleased", lambda: start(flow))
    ending = flow.move()
    assert ending.report.outcome is Outcome.BLOCKED
    assert "both may be running" in " ".join(problem.what for problem in ending.report.problems)
    assert f"stop the source at once (virtctl --context east -n {flow.source.namespace} stop {flow.name})" in ending.report.problems[0].now


def test_a_start_after_the_move_is_said_by_the_next_look(begin: Begin) -> None:
    """The same command again: nothing is left to do, and the first line is that both run; of a halted source there is no word."""
    flow = begin()
    flow.move()
    start(flow)
    said = flow.move().report.now
    assert said[0].startswith(f"BOTH RUN NOW: {flow.source} and {flow.target}")
    for ref in (flow.source, flow.target):  # they have the same name, so whoever stands in the other context would stop the good one
        assert f"virtctl --context {ref.context} -n {ref.namespace} stop {ref.name}" in said[0]
    assert not [line for line in said if "halted" in line or "retire" in line]


def test_a_target_is_not_offered_for_a_start_while_the_source_runs(begin: Begin) -> None:
    """Moved with --start never, and the owner went back to the source: nobody is told to start the target."""
    flow = begin(start=Start.NEVER)
    assert [line for line in flow.move().report.now if line.startswith("start it when you are ready")]
    start(flow)
    said = flow.move().report.now
    assert [line for line in said if line.startswith("the source runs, so do not start the target")]
    assert not [line for line in said if "start it when" in line]


def test_another_machine_of_the_targets_name_is_no_second_one(begin: Begin) -> None:
    """It runs, and so does the source: that the name is taken is said, not that one of the two must be stopped."""
    flow = begin()
    source = flow.vm()
    assert source is not None
    rebuilt(flow, source, disks=False)
    flow.until(flow.runs)
    report = flow.move().report
    assert report.outcome is Outcome.BLOCKED
    assert not [line for line in report.now if "BOTH RUN" in line]
    assert report.target.message.startswith("another VM has that name: running")


@pytest.mark.slow
def test_a_machine_that_somebody_made_on_our_disks_is_a_second_one(begin: Begin) -> None:
    """The target was deleted and made anew without our marks, the source is started: both run on what was one disk."""
    flow = begin()
    flow.move()
    target = flow.vm("west")
    assert target is not None
    flow.west.delete(VM, flow.target.name)
    flow.until(lambda: flow.vm("west") is None and flow.instance("west") is None)
    target["spec"]["template"]["metadata"].get("labels", {}).pop(labels.ID, None)
    rebuilt(flow, target, disks=True)
    start(flow)
    assert flow.move().report.now[0].startswith(f"BOTH RUN NOW: {flow.source} and {flow.target}")


def test_somebody_who_asks_again_is_told(begin: Begin) -> None:
    """The move is finished, the source is started, and asked to be moved there again: the target is an earlier move's, and both run."""
    flow = begin(disks=())
    assert flow.move().report.outcome is Outcome.MOVED
    flow.set_strategy("Always")
    flow.until(flow.runs)
    report = flow.move(again=True).report
    assert (report.outcome, report.reason) == (Outcome.BLOCKED, "CheckFailed")
    assert any(line.startswith("BOTH RUN NOW: ") for line in report.now), report
