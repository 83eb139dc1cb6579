"""Somebody starts the target in the middle of a plain undo: either the undo ends there, or there is no VM to start any more."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.model.migration import Start
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
