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


def test_before_the_first_byte_others_talk(capsys: pytest.CaptureFixture[str]) -> None:
    """An export that is waited for says so itself."""
    with Meter("disk", Output.TEXT, plain_s=0.02).ticking():
        threading.Event().wait(0.1)
    assert capsys.readouterr().err == ""
