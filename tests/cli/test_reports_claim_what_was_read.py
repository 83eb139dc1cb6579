"""A report calls equal what was read as a whole, sampled what was sampled, and says what a retirement left."""

from __future__ import annotations

import pytest

from migrate.cli.show_report import report_text
from migrate.model.observation import State
from migrate.model.report import DiskReport, Outcome, Report, Stand, StepReport


def text(outcome: Outcome, *disks: DiskReport, step: str = "", told: str = "") -> str:
    """Return the text of a report with these disks, and with a step that ended in these words."""
    steps = (StepReport(step, State.DONE, "Proven", told),) if step else ()
    return report_text(Report("m", "cold-move", 1, outcome, Stand("here"), Stand("there"), steps=steps, disks=disks))


@pytest.mark.parametrize(
    ("depths", "said"),
    [
        (("full", "full"), "2 of 2 proven equal, 8 B"),
        (("sample", "sample"), "2 of 2 sampled, equal, 8 B"),
        (("size", "size"), "2 of 2 compared by size only, nothing read, 8 B"),
        (("full", "size"), "1 of 2 proven equal, 1 of 2 compared by size only, nothing read, 8 B"),
        (("full", ""), "1 of 2 proven equal, 4 B"),
        (("", ""), "0 of 2 compared with the source"),
    ],
)
def test_disks_are_told_by_what_was_read(depths: tuple[str, str], said: str) -> None:
    """Each depth by its own words, and no disk that was not compared."""
    shown = text(Outcome.MOVED, *(DiskReport("a", "a", 4 if depth else None, depth, "") for depth in depths))
    assert [line.split(maxsplit=1)[1] for line in shown.splitlines() if line.startswith("  disks ")] == [said]


def test_verify_tells_how_deep_it_looked() -> None:
    """Not how deep an older proof is that it left standing."""
    shown = text(Outcome.PROVEN, DiskReport("a", "a", 4, "full", "sha256:0"), step="verify-disks", told="1 disk compared by size only")
    assert shown.startswith("migration m, cold-move: compared once more: 1 disk compared by size only\n")


def test_retire_tells_what_is_left() -> None:
    """Its disks are not called deleted while one is there."""
    told = "the source VM is gone; not deleted by us, so left: disk a"
    assert text(Outcome.RETIRED, step="retire-source", told=told).startswith(f"migration m, cold-move: {told}\n")
