"""What the screens show, gathered from events: steps so far, disks of the present step, rates. Pure, no terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from migrate.cli.pace import Pace
from migrate.model.observation import State
from migrate.model.quantity import human, human_duration, human_rate
from migrate.model.report import Event


@dataclass(slots=True)
class Bar:
    """One counter on the screen: a step as a whole, or one disk."""

    event: Event
    pace: Pace = field(default_factory=Pace)

    def see(self, event: Event) -> None:
        """Take in the newest event."""
        self.event = event
        if event.bytes_done is not None:
            self.pace.note(event.time.timestamp(), event.bytes_done)

    @property
    def active(self) -> bool:
        return self.event.state is State.WAITING and self.event.bytes_done is not None

    def figures(self) -> str:
        """Write bytes, rate and remaining time, as far as they are known."""
        event = self.event
        if event.bytes_done is None:
            return human(event.bytes_total) if event.bytes_total else ""
        parts = [human(event.bytes_done) + (f" of {human(event.bytes_total)}" if event.bytes_total else "")]
        if event.bytes_total:
            parts.append(f"{event.bytes_done / event.bytes_total:.0%}")
        if event.state is not State.DONE:
            rate, eta = self.pace.rate(), self.pace.eta_s(event.bytes_total)
            if rate:
                parts.append(human_rate(rate))
            if eta is not None:
                parts.append(f"{human_duration(round(eta))} left")
        return ", ".join(parts)


@dataclass(slots=True)
class StepLine:
    """One step on the screen."""

    name: str
    began: datetime
    bar: Bar
    disks: dict[str, Bar] = field(default_factory=dict)

    def seconds(self, now: datetime) -> float:
        """Return how long the step has lasted; a finished one lasts no longer."""
        return ((self.bar.event.time if self.bar.event.state is State.DONE else now) - self.began).total_seconds()


@dataclass(slots=True)
class Progress:
    """All that was seen of one run."""

    steps: dict[str, StepLine] = field(default_factory=dict)
    current: str = ""

    def see(self, event: Event) -> None:
        """Take in one event."""
        line = self.steps.get(event.step)
        if line is None:
            line = self.steps[event.step] = StepLine(event.step, event.time, Bar(event))
        self.current = event.step
        if not event.disk:
            line.bar.see(event)
            return
        bar = line.disks.get(event.disk)
        if bar is None:
            bar = line.disks[event.disk] = Bar(event)
        bar.see(event)
