"""The record is closed last. When that fails the case stays open, it is said so, and the same command closes it without another act."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from migrate.model.errors import Refused
from migrate.model.migration import Names, Start
from migrate.model.report import Outcome
from migrate.workflow import records
from tests.flows.conftest import Begin
from tests.flows.flow import Flow, interrupt

pytestmark = pytest.mark.slow


def deny(flow: Flow) -> None:
    """Refuse the next look at a disk, with which a record is closed."""
    flow.lab.west.trouble.set("api", "refuse", status=403, verb="get", resource="datavolumes", name=f"{flow.name}-*", times=1)


def closed(flow: Flow, identity: str) -> bool:
    record = records.read(flow.west, Names.of(identity, "").record)
    assert record is not None
    return record.finished is not None


def untouched(flow: Flow, deed: Callable[[], bool]) -> None:
    """Do something that ends well, and see that claims, their numbers and the record are all that was written: no VM or disk is moved."""
    generations = [(flow.vm(side) or {}).get("metadata", {}).get("generation") for side in ("east", "west")]
    ends: list[bool] = []
    written = [line.split()[1:] for line in flow.writes(lambda: ends.append(deed()))]
    assert ends == [True]
    assert {verb for verb, what in written if not what.startswith(("leases/", "configmaps/"))} <= {"patch"}, written
    assert [(flow.vm(side) or {}).get("metadata", {}).get("generation") for side in ("east", "west")] == generations


def test_a_move_whose_record_could_not_be_closed(begin: Begin) -> None:
    """It ends with the refusal, and everything is where it belongs; run again it is a finished move, and nothing was moved twice."""
    flow = begin()
    flow.when("clean-up", "CleanedUp", lambda: deny(flow))
    ending = flow.move()
    assert isinstance(ending.error, Refused)
    assert ending.report.outcome is Outcome.REFUSED
    assert "run the same command again" in " ".join(ending.report.now)
    assert flow.runs("west")
    assert not flow.runs()
    assert not closed(flow, ending.report.migration)
    untouched(flow, lambda: flow.move().report.outcome is Outcome.MOVED)
    assert closed(flow, ending.report.migration)
    assert flow.move().report.outcome is Outcome.NOTHING_LEFT


def test_an_undo_whose_record_could_not_be_closed(begin: Begin) -> None:
    """The source is given back all the same; undone again it is closed, and the source is not touched a second time."""
    flow = begin(start=Start.NEVER)

    flow.when("create-target", "", interrupt)
    identity = flow.move().report.migration
    flow.when("check-both", "Nothing", lambda: deny(flow))
    ending = flow.undo()
    assert isinstance(ending.error, Refused)
    flow.until(flow.runs)
    assert not closed(flow, identity)
    untouched(flow, lambda: flow.undo().report.outcome is Outcome.UNDONE)
    assert closed(flow, identity)
    assert flow.runs()
