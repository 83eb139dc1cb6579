"""Losing the target loses nothing: what the source was stands on it, and the last lines are the command that gives it back by hand."""

from __future__ import annotations

import json
import shlex

import pytest
from typer.testing import CliRunner

from migrate.cli.app import app
from migrate.kube.kinds import CONFIGMAP, VM
from migrate.model import labels
from migrate.model.errors import MigrateError
from migrate.model.migration import Start
from migrate.model.objects import annotations_of
from migrate.workflow.by_hand import way_back
from migrate.workflow.reporting import unasked
from tests.flows.conftest import Begin
from tests.flows.flow import Flow, interrupt

pytestmark = pytest.mark.slow
BY_HAND = "by hand: "


def halted(begin: Begin, strategy: str, *, fence: bool = False) -> Flow:
    flow = begin(strategy=strategy, fence=fence)
    flow.when("create-target", "", interrupt)
    flow.move()
    return flow


def patched(flow: Flow, line: str) -> None:
    """Do what the line says."""
    words = shlex.split(line.partition(BY_HAND)[2].partition(";")[0])
    assert words[:9] == ["kubectl", "--context", "east", "-n", "shop", "patch", "vm", flow.name, "--type"]
    flow.east.merge(VM, flow.name, json.loads(words[words.index("-p") + 1]))


@pytest.mark.parametrize(("strategy", "fence"), [("Always", True), ("running", False), ("RerunOnFailure", False), ("Halted", False)])
def test_the_command_gives_the_source_back(begin: Begin, strategy: str, fence: bool) -> None:
    """The target cannot be reached: the report names the command, and after it the VM is spelled as it was, and runs if it ran."""
    flow = begin(strategy=strategy, fence=fence)
    before = flow.vm()
    flow.when("create-target", "", interrupt)
    flow.move()
    flow.lab.west.trouble.set("api", "refuse", status=503)
    with pytest.raises(MigrateError) as away:
        flow.undo()
    said = unasked(flow.source, flow.target, away.value, here=flow.east, there=flow.west).now
    flow.lab.west.trouble.clear()
    patched(flow, said[-1])
    after = flow.vm()
    assert before is not None
    assert after is not None
    assert (after["spec"], annotations_of(after)) == (before["spec"], annotations_of(before))
    if strategy != "Halted":
        flow.until(flow.runs, what="the source")
    flow.undo()


def test_what_runs_by_hand_is_started_by_hand(begin: Begin) -> None:
    """Of run strategy Manual: what starts it again names context and namespace, since the VM on the other side has the same name."""
    flow = begin(strategy="Manual")
    flow.east.call("PUT", f"/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines/{flow.name}/start", {})
    flow.until(flow.runs)
    flow.when("create-target", "", interrupt)
    flow.move()
    line = way_back(flow.east, flow.source)
    assert line.endswith(f"; then start it: virtctl --context east -n shop start {flow.name}")
    patched(flow, line)
    assert (flow.vm() or {})["spec"]["runStrategy"] == "Manual"
    flow.undo()


def test_a_source_that_somebody_runs_is_not_stopped_by_the_way_back(begin: Begin) -> None:
    """It was halted when the move began; somebody started it since: the command takes our notes off, and the machine runs on."""
    flow = halted(begin, "Halted")
    flow.set_strategy("Always")
    flow.until(flow.runs)
    before = flow.vm()
    line = way_back(flow.east, flow.source)
    assert "does not stand as our halt leaves it" in line
    patched(flow, line)
    after = flow.vm()
    assert before is not None
    assert after is not None
    assert after["spec"] == before["spec"]
    assert not [note for note in annotations_of(after) if note.startswith(labels.PREFIX)]
    flow.undo()


def test_a_finished_move_whose_target_cannot_be_seen_has_a_way_back(begin: Begin) -> None:
    """The command is told with what it costs; while the target can be seen, nobody is told to start the source beside it."""
    flow = begin(start=Start.NEVER)
    seen = flow.move().report
    flow.lab.west.trouble.set("api", "refuse", status=503)
    with pytest.raises(MigrateError) as away:
        flow.move()
    said = unasked(flow.source, flow.target, away.value, here=flow.east, there=flow.west).now
    flow.lab.west.trouble.clear()
    assert not [line for line in seen.now if BY_HAND in line]
    assert "what its guest wrote since the move is lost with it" in said[-1]
    patched(flow, said[-1])
    flow.until(flow.runs)


def test_status_without_a_record_says_who_holds_the_source(begin: Begin) -> None:
    """The target's namespace was thrown away: that the source is held halted is said, with both ways back, not that there is nothing."""
    flow = halted(begin, "Always")
    for one in flow.west.list(CONFIGMAP):
        if flow.events[0].migration in one["metadata"]["name"]:
            flow.west.delete(CONFIGMAP, one["metadata"]["name"])
    told = CliRunner().invoke(app, ["status", str(flow.source), str(flow.target), "--kubeconfig", str(flow.kubeconfig())])
    assert isinstance(told.exception, MigrateError)
    assert "held halted" in told.exception.what
    assert f"migrate undo {flow.source} {flow.target}" in told.exception.now
    patched(flow, told.exception.now)
