"""What a step is, and what it is given. Published for the engine: it knows steps only through this file.

A step is a question and a nudge. `observe` only reads; `act` makes one idempotent write (or starts a `Work`); `undo` takes one step
back. None of them loops over time, sleeps, prints, or catches what the cluster says: the engine does all that, in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from migrate.kube.cluster import Cluster
from migrate.model.clock import Clock
from migrate.model.migration import Migration
from migrate.model.observation import Observation
from migrate.steps.runner import Runner
from migrate.steps.work import Works
from migrate.transfer.export_client import ExportClient

Manifest = dict[str, Any]


class Render(Protocol):
    """The renderer of `rendering/render.py`, with the migration already bound where a template needs it."""

    def __call__(self, template: str, **context: object) -> tuple[Manifest, ...]:
        """Return the manifests of one template, parsed back and checked."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop trying. Limits measure standing still, never duration: a disk of 2 TB may take a night.

    `quiet`: how long the same state, reason, progress and disk bytes may be seen before the step counts as stalled (WAITING, UNKNOWN).
    `acts`: how many acts in a row may leave state, reason, progress and disks as they were before the step counts as failed.
    `blocked`: how long to keep looking at a BLOCKED before giving up; zero = give up at the first.
    """

    quiet: timedelta
    acts: int
    blocked: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Crossing:
    """One migration with its two clusters open: everything that a step is given.

    `source` and `target` are bound to the namespaces of the two references. Everything else that a step needs it reads from the clusters
    or from `migration.names`.
    """

    migration: Migration
    source: Cluster
    target: Cluster
    render: Render
    clock: Clock
    works: Works
    runner: Runner
    connect: Callable[[str, str], ExportClient]
    """Open a client of an export host: (CA as PEM text, "" for the system's roots alone; token, "" for none)."""
    even_if_started: bool = False
    """An undo was told to go back although the target was started, and to give up what its guest wrote since."""


class Step(Protocol):
    """One step of a playbook; the file of the same words holds it."""

    name: str
    limits: Limits
    until: str | None
    """Scaffolding: what this step builds is needed only until the named step is DONE; None = it is needed for itself."""

    def observe(self, x: Crossing) -> Observation:
        """Look, without a write, and say how things stand."""
        ...

    def act(self, x: Crossing) -> None:
        """Make one idempotent write towards DONE. Called only after NEEDED."""
        ...

    def undo(self, x: Crossing) -> Observation:
        """Take one step back, and say how far it is: asked again until it answers DONE (nothing of this step is left).

        WAITING: on its way. BLOCKED: it must not be undone (the target was started), or a person must decide. Safe to repeat.
        """
        ...
