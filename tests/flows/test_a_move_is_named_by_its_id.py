"""An id and the place of the record name a move as well as its two references do; what is no such thing is refused."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from migrate.cli.naming import named
from migrate.cli.options import Files
from migrate.model.errors import UsageError
from migrate.model.report import Outcome
from migrate.workflow.run import Run
from tests.flows.conftest import Begin
from tests.flows.flow import interrupt

pytestmark = pytest.mark.slow


def test_undo_by_id(begin: Begin) -> None:
    """The record says which VM it was and where; the way back is the same."""
    flow = begin()
    ours = flow.ours()

    flow.when("create-target", "", interrupt)
    identity = flow.move().report.migration
    files = Files(both=flow.kubeconfig() or "")
    with ExitStack() as stack:
        with pytest.raises(UsageError, match="another cluster"):
            named(stack, [identity], files, target="west:shop", source="west", command="migrate undo")
        with pytest.raises(UsageError, match="no record"):
            named(stack, ["nonesuch"], files, target="west:shop", source="", command="migrate undo")
        found = named(stack, [identity], files, target="west:shop", source="", command="migrate undo")
        assert (found.pair.source, found.pair.target) == (flow.source, flow.target)
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        run = Run(found.question, source=source, target=target, clock=flow.lab.clock, show=flow._show)
        assert run.undo(found.asked).report.outcome is Outcome.UNDONE
    flow.until(flow.runs)
    assert {line for line in set(flow.ours()) - set(ours) if "ConfigMap" not in line} == set()


@pytest.mark.parametrize("words", [[], ["one"], ["a", "b", "c"]])
def test_half_a_name_is_none(words: list[str]) -> None:
    """One word needs --target, three mean nothing."""
    with ExitStack() as stack, pytest.raises(UsageError, match="name one migration"):
        named(stack, words, Files(), target="", source="", command="migrate undo")
