"""The listeners of a run: JSON lines, plain lines, or a live terminal. Progress goes to stderr, the report to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from migrate.cli.options import Output
from migrate.cli.progress import Bar, Progress
from migrate.model.errors import Problem
from migrate.model.observation import State
from migrate.model.report import Event, Report

EVERY_S = 10.0
"""Plain lines repeat a moving step at least this often: silence never lasts."""


class Screen(Protocol):
    """Who listens to a run."""

    def event(self, event: Event) -> None:
        """Take one event."""
        ...

    def report(self, report: Report) -> None:
        """Take the report, at the end."""
        ...


@contextmanager
def screen_for(output: Output, title: str) -> Iterator[Screen]:
    """Choose the listener: JSON if asked for, live on a terminal, plain lines otherwise."""
    if output is Output.JSON:
        yield JsonLines()
    elif sys.stderr.isatty():
        from migrate.cli.live import live_screen

        with live_screen(title) as live:
            yield live
    else:
        yield PlainLines(title)


def note_text(problem: Problem) -> str:
    """Write what is worth knowing in one line."""
    return "; ".join(part for part in (problem.what, problem.why, problem.now) if part)


class JsonLines:
    """One event a line, the report last; all on stdout."""

    def event(self, event: Event) -> None:
        print(json.dumps(event.to_json()), flush=True)

    def report(self, report: Report) -> None:
        print(json.dumps(report.to_json()), flush=True)


class PlainLines:
    """A line whenever something changed, and at least every ten seconds while bytes move."""

    def __init__(self, title: str) -> None:
        self._progress = Progress()
        self._told: dict[tuple[str, str], tuple[State, str, str]] = {}
        self._last_at = 0.0
        self._say(title)

    def event(self, event: Event) -> None:
        self._progress.see(event)
        key, news = (event.step, event.disk), (event.state, event.reason, "" if event.bytes_done is not None else event.message)
        at = event.time.timestamp()
        line = self._progress.steps[event.step]
        if self._told.get(key) != news and not (event.disk and event.state is State.NEEDED):
            self._told[key] = news
            self._last_at = at
            self._tell(event, line.disks[event.disk] if event.disk else line.bar)
            if event.state is State.DONE:
                for problem in event.problems:
                    self._say(f"{event.time:%H:%M:%S} {event.step}: note: {note_text(problem)}")
        elif not event.disk and at - self._last_at >= EVERY_S:
            self._last_at = at
            self._tell(event, line.bar)

    def report(self, report: Report) -> None:
        from migrate.cli.show_report import report_text

        print(report_text(report), flush=True)

    def _tell(self, event: Event, bar: Bar) -> None:
        figures = bar.figures()
        name = f"{event.step} {event.disk}" if event.disk else event.step
        tail = f" ({figures})" if figures else ""
        self._say(f"{event.time:%H:%M:%S} {name}: {event.state.value}: {event.message}{tail}")

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
