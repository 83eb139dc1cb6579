"""The meter of a download says where it stands also while nothing comes."""

from __future__ import annotations

import json
import threading

import pytest

from migrate.cli.meter import Meter
from migrate.cli.options import Output


@pytest.mark.parametrize("form", [Output.TEXT, Output.JSON])
def test_it_ticks_while_nothing_comes(capsys: pytest.CaptureFixture[str], form: Output) -> None:
    """One piece came, and then none: the line comes again, and says for how long nothing did."""
    meter, lines = Meter("disk", form, plain_s=0.1), list[str]()
    with meter.ticking():
        meter.see(1 << 20, 4 << 20)
        while len(lines) < 3:
            threading.Event().wait(0.02)
            lines += capsys.readouterr().err.splitlines()
    if form is Output.JSON:
        told = [json.loads(line) for line in lines]
        assert {(one["bytes"], one["total"]) for one in told} == {(1 << 20, 4 << 20)}
    else:
        assert "disk: 1 MiB of 4 MiB, 25%" in lines[0]
        assert "nothing came for" in lines[-1]


@pytest.mark.parametrize("form", [Output.TEXT, Output.JSON])
def test_it_ticks_before_the_first_byte(capsys: pytest.CaptureFixture[str], form: Output) -> None:
    """A host that takes connections and is silent is silence, too."""
    lines = list[str]()
    with Meter("disk", form, plain_s=0.02).ticking():
        while len(lines) < 3:
            threading.Event().wait(0.02)
            lines += capsys.readouterr().err.splitlines()
    if form is Output.JSON:
        assert {json.loads(line)["bytes"] for line in lines} == {0}
    else:
        assert all(line.startswith("disk: nothing came yet, for ") for line in lines)


@pytest.mark.parametrize("form", [Output.TEXT, Output.JSON])
def test_what_else_is_said_is_of_one_kind_with_it(capsys: pytest.CaptureFixture[str], form: Output) -> None:
    """With -o json every line is JSON."""
    Meter("disk", form).say("the export waits")
    told = capsys.readouterr().err
    assert (json.loads(told)["message"] if form is Output.JSON else told.strip()) == "the export waits"
