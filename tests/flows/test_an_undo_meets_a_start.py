"""A target that somebody starts in the middle of an undo, or that leaves no trace of a start: what its guest wrote is never lost unsaid."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.model.migration import Start
from migrate.model.observation import State
from migrate.model.report import Outcome
from tests.flows.conftest import Begin
from tests.flows.flow import Flow, interrupt
from tests.flows.gate import Runner, Sent


class Met:
    """An undo that is slow: before its n-th look at the target VM somebody starts it; a guest that it stops is gone when it looks again."""

    def __init__(self, flow: Flow, clusters: dict[str, Any], at: int) -> None:
        self.flow, self.at, self.looks, self.ran = flow, at, 0, False
        self.sent: Sent | None = None
        runner = Runner(flow.lab, clusters, self.ask, self.answered)
        self.report = runner.run("undo", flow.source, flow.target).report

    def ask(self, sent: Sent) -> None:
        self.sent = sent
        self.looks += not sent.writes and self.of_target(sent)
        if self.looks == self.at and not self.ran and self.of_target(sent) and self.flow.vm("west") is not None:
            self.flow.set_strategy("Always", "west")
            self.flow.until(lambda: self.flow.runs("west"))
            self.ran = True

    def answered(self) -> None:
        if self.sent is not None and self.sent.writes and self.of_target(self.sent):
            self.flow.lab.clock.sleep(60)

    def of_target(self, sent: Sent) -> bool:
        return sent.context == self.flow.west.context and sent.path.endswith(f"/virtualmachines/{self.flow.target.name}")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("strategy", "disks"), [("Manual", ()), ("Always", ("root",))])
def test_before_each_look(begin: Begin, clusters: dict[str, Any], strategy: str, disks: tuple[str, ...]) -> None:
    """What its guest wrote is never lost unsaid."""
    at, met = 0, None
    while met is None or met.ran:
        at += 1
        flow = begin(disks=disks, strategy=strategy, start=Start.NEVER)
        flow.when("release-source", "NotReleased", interrupt)
        assert flow.move().report.outcome is Outcome.INTERRUPTED
        met = Met(flow, clusters, at)
        assert (met.report.outcome is Outcome.UNDONE) is not met.ran, f"{met.report.outcome} after a start at look {at} of {met.looks}"
        flow.undo(even_if_started=True)
    assert at > 20, "no VM to start so soon?"


@pytest.mark.slow
def test_a_manual_target_may_have_run(begin: Begin) -> None:
    """Started and stopped by requests, its spec and who wrote it are as before."""
    flow = begin(strategy="Manual")
    flow.when("release-source", "NotReleased", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    assert (flow.vm("west") or {})["spec"]["runStrategy"] == "Manual"
    report = flow.undo().report
    assert (report.outcome, report.reason) == (Outcome.BLOCKED, "TargetStarted")
    assert "without a trace" in report.problems[0].why
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE


@pytest.mark.slow
@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("step", ["start-target", "create-target"])
def test_a_way_back_that_was_told_and_cut(begin: Begin, finished: bool, step: str) -> None:
    """Its halt takes the signs of the start away: what remains of the target is taken only by somebody who is told what is lost."""
    flow = begin(start=Start.NEVER)
    if not finished:
        flow.when("release-source", "NotReleased", interrupt)
    flow.move()
    flow.set_strategy("Always", "west")
    flow.until(lambda: flow.runs("west"))
    flow.when(step, State.WAITING, interrupt)
    assert flow.undo(even_if_started=True).report.outcome is Outcome.INTERRUPTED
    flow.until(lambda: flow.instance("west") is None)
    report = flow.undo().report
    assert (report.outcome, report.reason) == (Outcome.BLOCKED, "TargetStarted"), report
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE


@pytest.mark.slow
def test_a_target_that_is_made_anew_meanwhile(begin: Begin) -> None:
    """GitOps puts it back, running, while the undo goes on: the source is not started beside it."""
    flow = begin(disks=())
    assert flow.move().report.outcome is Outcome.MOVED
    flow.until(lambda: flow.runs("west"))
    before = flow.vm("west") or {}
    kept = {"name": flow.target.name, "namespace": flow.target.namespace, "labels": before["metadata"]["labels"]}

    def restore() -> None:
        flow.west.create({"apiVersion": before["apiVersion"], "kind": "VirtualMachine", "metadata": kept, "spec": before["spec"]})
        flow.until(lambda: flow.runs("west"))

    flow.when("publish-disks", "", restore)
    flow.undo(even_if_started=True)
    flow.lab.clock.sleep(30)
    assert not (flow.runs() and flow.runs("west"))
