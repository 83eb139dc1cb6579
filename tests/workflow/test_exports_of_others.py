"""Exports by hand that are somebody else's, or that go away meanwhile: none is removed by mistake, and what goes is made anew."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import EXPORT
from migrate.lab.up import Lab
from migrate.model.clock import Clock
from migrate.model.exports import Source, Subject
from migrate.model.objects import uid_of
from migrate.workflow.exports import Approach, Exports, Open, Wish
from tests.machines import disk, machine

PATIENCE = timedelta(minutes=2)
WISH = Wish(Subject(Source.VM, "vm"), ttl=timedelta(hours=1))


class Fast:
    """A clock that shows a time three hours ahead, as that of a badly kept machine."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now() + timedelta(hours=3)

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        return self._clock.wait(event, seconds)


@pytest.fixture
def cluster(lab: Lab) -> Iterator[Cluster]:
    user = lab.east.client("lab/user").at("shop")
    lab.plant([disk("vm-root"), machine("vm", ["vm-root"])])
    yield user
    user.close()


def opened(exports: Exports, name: str, said: list[str] | None = None) -> str:
    """Wait until an export can be read, and return its uid."""
    tell = said.append if said is not None else lambda _: None

    def read(one: Open) -> str:
        return uid_of(one.export)

    return exports.reading(name, Approach(), read, again=WISH, patience=PATIENCE, tell=tell)


def test_a_clock_that_is_ahead_removes_nothing_that_is_read(lab: Lab, cluster: Cluster) -> None:
    """By our clock its time is over, but KubeVirt serves it: it stays."""
    exports = Exports(cluster, lab.clock)
    exports.create("ahead", WISH)
    uid = opened(exports, "ahead")
    export, new = Exports(cluster, Fast(lab.clock)).create("ahead", WISH)
    assert (uid_of(export), new) == (uid, False)


def test_what_goes_while_it_is_waited_for_is_made_anew(lab: Lab, cluster: Cluster) -> None:
    """Its time was over, or somebody removed it: it is said, made anew, and read."""
    exports, said, gone = Exports(cluster, lab.clock), list[str](), list[str]()
    exports.create("going", WISH)

    class Meddling(list[str]):
        def append(self, words: str) -> None:
            said.append(words)
            if not gone:
                gone.append(uid_of(cluster.get(EXPORT, "going") or {}))
                exports.delete("going")
                lab.until(lambda: cluster.get(EXPORT, "going") is None)

    assert opened(exports, "going", Meddling()) != gone[0]
    assert any("--ttl gives it more" in words for words in said)
