"""The identity of a runner: it survives a Lease, and tells the dead of this machine from the living and from strangers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.steps.runner import Runner, read_runner, surely_alive, surely_dead, this_runner

WORD = st.text(st.characters(codec="ascii", exclude_characters=" =@", min_codepoint=33), min_size=1, max_size=8)


@given(st.builds(Runner, user=WORD, host=WORD, machine=WORD, pid=st.integers(1, 1 << 22), started=WORD, nonce=WORD))
def test_an_identity_survives_a_lease(runner: Runner) -> None:
    """What is written as holderIdentity is read back the same."""
    assert read_runner(str(runner)) == runner


@pytest.mark.parametrize("identity", ["", "somebody", "virt-controller_7f-abc", "a@b pid=x machine=m run=r", "a@b pid=7"])
def test_strangers_are_not_mistaken(identity: str) -> None:
    """An identity that is not ours is not read as one."""
    assert read_runner(identity) is None


def test_this_process_lives() -> None:
    """We are not dead."""
    me = this_runner()
    assert surely_alive(me, me)
    assert not surely_dead(me, me)


def test_a_process_that_ended_is_dead_and_its_number_reused_is_too() -> None:
    """Gone, or begun at another time: dead. On another machine, boot or process namespace: unknown."""
    me = this_runner()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = replace(me, pid=ended.pid, nonce="x")
    reused = replace(me, started="1", nonce="x")
    assert surely_dead(gone, me)
    assert surely_dead(reused, me)
    for stranger in (replace(gone, machine="other"), replace(gone, machine=""), replace(gone, started="")):
        assert not surely_dead(stranger, me)
        assert not surely_alive(stranger, me)


def test_a_zombie_is_dead() -> None:
    """A process that ended and was not waited for holds nothing."""
    me = this_runner()
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()
    from migrate.steps.runner import process_fields

    while (fields := process_fields(child.pid)) is not None and fields[0] != "Z":
        pass
    assert fields is not None
    assert surely_dead(replace(me, pid=child.pid, started=fields[19]), me)
    child.wait()
