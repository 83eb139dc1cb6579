"""A migration with its two clusters open, as every command that walks steps needs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from migrate.kube.cluster import Cluster
from migrate.model.clock import Clock
from migrate.model.migration import Migration
from migrate.model.observation import Observation
from migrate.model.report import Event, events_of
from migrate.rendering.assets import find_data
from migrate.rendering.render import Renderer
from migrate.steps import stamps
from migrate.steps.base import Crossing, Step
from migrate.steps.claim_source import renew
from migrate.steps.runner import this_runner
from migrate.steps.work import Works
from migrate.transfer.export_client import ExportClient
from migrate.workflow.engine import Engine, StepLog


def crossing(
    migration: Migration,
    *,
    source: Cluster,
    target: Cluster,
    clock: Clock,
    bell: threading.Event,
    templates: Sequence[Path] = (),
    even_if_started: bool = False,
) -> Crossing:
    """Put together what steps are given. `templates` are searched before ours; `bell` is rung when a work has ended."""
    return Crossing(
        migration=migration,
        source=source,
        target=target,
        render=Renderer([*templates, find_data("templates")]).render,
        clock=clock,
        works=Works(bell),
        runner=this_runner(),
        connect=lambda ca, token: ExportClient(ca_pem=ca, token=token, clock=clock),
        even_if_started=even_if_started,
    )


def engine(
    x: Crossing,
    steps: Sequence[Step],
    *,
    show: Callable[[Event], None],
    bell: threading.Event,
    after_step: Callable[[StepLog], None] = lambda _: None,
) -> Engine:
    """Return an engine that renews the claim before every look, and looks for it after a conflict, and tells what it sees as events."""

    def tell(step: Step, seen: Observation) -> None:
        for event in events_of(seen, time=x.clock.now(), migration=x.migration.id, step=step.name):
            show(event)

    def doubt() -> None:
        stamps.doubted(x, True)

    return Engine(steps=steps, x=x, show=tell, bell=bell, before_look=lambda: renew(x), after_conflict=doubt, after_step=after_step)
