"""Random schedules of commands, crashes, foreign starts and stops, edits and two runners: no act of ours ever brings up a second instance.

Each schedule is one VM of its own in a lab that all schedules of a worker share. A failure prints the schedule, and `@reproduce_failure`
(CONTRIBUTING.md says how to replay it).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from migrate.lab.up import Lab
from tests.flows.schedule import Schedule, World

SCHEDULES = 250
SHARDS = int(os.environ.get("MIGRATE_SHARDS") or 8)
SEED = int(os.environ.get("MIGRATE_SEED") or (1122 if os.environ.get("CI") else random.randrange(1 << 32)))
"""One number for all shards of a process; printed, and given back by MIGRATE_SEED. CI runs the same schedules every time."""


@pytest.fixture(scope="session")
def world(lab: Lab) -> Iterator[World]:
    """Open what all schedules of this worker share."""
    with World(lab) as shared:
        yield shared


def run(world: World, number: int, schedules: int) -> None:
    """Run so many random schedules with a seed of their own, and print what they were."""
    before, chosen = world.tally.copy(), SEED + number
    print(f"MIGRATE_SEED={SEED}, shard {number}")
    machine = seed(chosen)(type("Schedule", (Schedule,), {"world": world}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=schedules,
            stateful_step_count=4,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    done = world.tally - before
    print(f"{done['schedules']} schedules, 0 double runs: {dict(done)}")
    assert done["schedules"] >= schedules


def test_a_few_random_schedules(world: World) -> None:
    """Half a dozen of them in the default tier, so that the machinery stays whole."""
    run(world, 0, 6)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_random_schedules(world: World, shard: int) -> None:
    """No act of ours leads to two running instances, foreign starts are reported, what is not ours stays, and source disks are intact."""
    run(world, shard, SCHEDULES)
