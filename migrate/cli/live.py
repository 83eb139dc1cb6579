"""The live screen: steps down the page, the moving disks under the present one, redrawn in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from migrate.cli.progress import Bar, Progress, StepLine
from migrate.cli.screen import note_text
from migrate.model.observation import State
from migrate.model.quantity import human_duration
from migrate.model.report import Event, Report

MARKS = {
    State.DONE: ("✓", "green"),
    State.NEEDED: ("▸", "cyan"),
    State.WAITING: ("▸", "cyan"),
    State.UNKNOWN: ("?", "yellow"),
    State.BLOCKED: ("■", "red"),
    State.FAILED: ("✗", "red"),
}
MOST_DISKS = 8
"""Disks shown at once; the others are counted. A screen must not scroll away from under the eye."""


@contextmanager
def live_screen(title: str) -> Iterator[LiveScreen]:
    """Open the live screen; it leaves its last picture on the terminal."""
    console = Console(stderr=True, highlight=False)
    screen = LiveScreen(title)
    with Live(screen, console=console, refresh_per_second=4, transient=False) as live:
        screen.live = live
        yield screen


class LiveScreen:
    """Listener and picture in one."""

    def __init__(self, title: str) -> None:
        self.live: Live | None = None
        self._title = title
        self._progress = Progress()

    def event(self, event: Event) -> None:
        self._progress.see(event)

    def report(self, report: Report) -> None:
        from migrate.cli.show_report import report_text

        if self.live is not None:
            self.live.stop()
        print("\n" + report_text(report), flush=True)

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        for line in self._progress.steps.values():
            mark, colour = MARKS[line.bar.event.state]
            figures = line.bar.figures() if line.name == self._progress.current else ""
            said = figures or line.bar.event.message
            table.add_row(Text(mark, colour), line.name, Text(said, overflow="ellipsis"), _took(line))
            for problem in line.bar.event.problems if line.bar.event.state is State.DONE else ():
                table.add_row("", "", Text(note_text(problem), style="yellow", overflow="fold", no_wrap=False), "")
        if not self._progress.steps:
            table.add_row(Text("▸", "cyan"), "looking at both sides", "", "")
        present = self._progress.steps.get(self._progress.current)
        return Group(Text(self._title, style="bold"), table, *([_disks(present)] if present is not None else []))


def _took(line: StepLine) -> Text:
    seconds = line.seconds(datetime.now(UTC))
    return Text(human_duration(round(seconds)) if seconds >= 1 else "", style="dim")


def _disks(line: StepLine) -> RenderableType:
    """Draw the disks of the present step that move, or that are in trouble."""
    if line.bar.event.state is State.DONE:
        return Group()
    moving = [bar for bar in line.disks.values() if bar.active or bar.event.state in (State.BLOCKED, State.FAILED, State.UNKNOWN)]
    finished = sum(bar.event.state is State.DONE for bar in line.disks.values())
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=1)
    grid.add_column(no_wrap=True, max_width=28, overflow="ellipsis")
    grid.add_column(width=12)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for bar in moving[:MOST_DISKS]:
        grid.add_row("", bar.event.disk, _bar(bar), Text(bar.figures() or bar.event.message, style="dim"))
    rest = len(line.disks) - len(moving[:MOST_DISKS]) - finished
    if not line.disks:
        return grid
    return Group(grid, Text(f"  {finished} of {len(line.disks)} disks done{f', {rest} more waiting' if rest else ''}", style="dim"))


def _bar(bar: Bar) -> RenderableType:
    total = bar.event.bytes_total
    if not total or bar.event.bytes_done is None:
        return ProgressBar(total=None, pulse=True, width=12)
    return ProgressBar(total=total, completed=bar.event.bytes_done, width=12)
