"""Killed at any of its reads, again and again, in any way of moving and proving bytes, a command ends as if nobody had killed it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from migrate.lab.up import Lab
from migrate.model.migration import COPIES
from tests.flows import matrix
from tests.flows.crash import Story, clean

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

DEATHS = 12
"""How often one VM's command is killed before its end is compared. If that is another end, each of these deaths is tried alone."""
Tell = Callable[[str, str], None]


@pytest.mark.parametrize("playbook", matrix.PLAYBOOKS)
def test_every_distinct_read_of_a_move(lab: Lab, record_property: Tell, playbook: str) -> None:
    """Each where it is asked first, dry runs and what the proof asks of export servers among them."""
    story = Story(matrix.moved, playbook=playbook)
    assert matrix.run(lab, f"{playbook}, reads", story, choose=matrix.looks, tell=record_property, deaths=DEATHS) == []


@pytest.mark.parametrize("playbook", matrix.PLAYBOOKS)
def test_every_way_of_moving_and_proving_bytes(lab: Lab, record_property: Tell, playbook: str) -> None:
    """What another format, depth of proof or way in does otherwise than the usual one."""
    usual = clean(lab, Story(matrix.moved, playbook=playbook))
    found: list[str] = []
    for name, options, inside in matrix.modes():
        story = Story(matrix.moved, playbook=playbook, options=options, inside=inside)
        found += matrix.run(lab, f"{playbook}, {name}", story, choose=matrix.other_than(usual), tell=record_property, deaths=DEATHS)
    if playbook not in COPIES:  # a VM with such state is not copied while it goes on
        story = Story(matrix.moved, playbook=playbook, keeps=True)
        found += matrix.run(lab, f"{playbook}, TPM and EFI", story, choose=matrix.other_than(usual), tell=record_property, deaths=DEATHS)
    assert found == []


@pytest.mark.parametrize(("command", "story"), matrix.COMMANDS, ids=[name for name, _ in matrix.COMMANDS])
def test_every_write_of_the_other_commands(lab: Lab, record_property: Tell, command: str, story: Story) -> None:
    """Going back (also from a started target), proving again, retiring the source, cleaning up: cut short, each goes on."""
    assert matrix.run(lab, f"{command}, writes", story, choose=matrix.writes, tell=record_property, deaths=DEATHS) == []
