"""Kill a command at one of its requests, start it again, and compare the end with that of a run that nobody killed.

A killed command is one whose requests reach no server any more (migrate/lab/doom.py) and whose clock lets none of its threads go on: each
ends where it next looks at the time or waits. So nothing of ours runs after the death, no matter what our code has in mind for an error.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import Any

from migrate.lab.doom import Doom, Fate, Heard
from migrate.lab.up import Lab
from migrate.model import labels
from migrate.model.clock import Clock
from tests.flows.flow import Flow
from tests.flows.gate import bury
from tests.flows.picture import Picture, differences, picture
from tests.machines import disk, keeping, machine

Deed = Callable[[Flow], object]
DISKS = ("root", "data", "more")
SETTLE_S = 15.0
"""Lab time after which controllers have done what they do when somebody has finished."""
SHUTDOWN_S = 25
"""How long the guest takes to shut down: so long that each clean run renews its claim, and none comes near another renewal by chance."""
_spaces = count(1)
_RANDOM = re.compile(r"\b(persistent-state-for-vm-)[a-z0-9]{5}\b")
_NAMED = re.compile(r"\bmigrate-(claim-)?[0-9a-f]{12}\b")


class MortalClock:
    """A clock that stands for the life of a process: nobody gets past it once the process is dead.

    It raises SystemExit, which passes every `except` of ours, and ends a thread without a word.
    """

    def __init__(self, clock: Clock, doom: Doom) -> None:
        self._clock = clock
        self._doom = doom

    def now(self) -> datetime:
        self._live()
        return self._clock.now()

    def monotonic(self) -> float:
        self._live()
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        self._live()
        self._clock.sleep(seconds)
        self._live()

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        self._live()
        found = self._clock.wait(event, seconds)
        self._live()
        return found

    def _live(self) -> None:
        if self._doom.dead.is_set():
            raise SystemExit


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a run, by what it is about, so that it is the same one in another run."""

    words: str
    """What was asked; `<id>` for the migration's id, without the namespace."""
    number: int
    """How often the same was asked before, in this run."""
    sort: str
    step: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Point:
    """Where a run is killed."""

    request: Request
    fate: Fate

    def __str__(self) -> str:
        when = "after it was carried out, unanswered" if self.fate is Fate.LOST else "before it arrived"
        return f"{self.request.step}: {self.request.words} (no. {self.request.number + 1}), {when}"


@dataclass(frozen=True, slots=True)
class Story:
    """A VM, what happens to it first, and the command that is killed."""

    deed: Deed
    before: Deed = lambda _: None
    options: dict[str, Any] = field(default_factory=dict)
    playbook: str = "cold-move"
    keeps: bool = False
    """The VM has a persistent TPM and persistent EFI variables."""
    alter: Callable[[dict[str, Any], str], Sequence[dict[str, Any]]] = lambda *_: ()
    """May change the VM before it is planted in that namespace, and returns what else is planted."""
    inside: bool = False
    """No link leads from outside to the target's exports, so the proof goes through a port-forward."""


@dataclass(frozen=True, slots=True)
class Clean:
    """How a story ends that nobody disturbs."""

    requests: tuple[Request, ...]
    """In the order in which they arrived."""
    end: Picture
    later: tuple[str, ...]
    """What the same command writes when it is given once more."""
    seldom: int = 0
    """Points of the one clean run that the other did not come to, so nobody can be killed there for certain."""


@contextmanager
def living(lab: Lab, flow: Flow, last: Callable[[Heard], Fate]) -> Iterator[Doom]:
    """Run what is inside as a process of its own, which dies when `last` says so; what is left of it is gone at the end."""
    before = set(threading.enumerate())
    doom = Doom(labels.OWNER, last)
    flow.clock = MortalClock(lab.clock, doom)
    usual = threading.excepthook
    threading.excepthook = lambda ended: None if ended.exc_type is SystemExit else usual(ended)  # as without pytest
    for cluster in lab.clusters.values():
        cluster.trouble.doom = doom
    try:
        yield doom
    finally:
        if doom.dead.is_set():
            _see_it_gone(lab, before)
        for cluster in lab.clusters.values():
            cluster.trouble.doom = None
        threading.excepthook = usual
        flow.clock = lab.clock


def _see_it_gone(lab: Lab, before: set[threading.Thread]) -> None:
    """Wait for the threads of a dead run: the bells and works, none of which may outlive it."""
    with lab.clock.idle():
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith(("bell ", "work-", "proof", "port-forward")):
                thread.join(10)
                assert not thread.is_alive(), f"{thread.name} outlived its process"


def clean(lab: Lab, story: Story) -> Clean:
    """Run a story to its good end, twice, and see that both ends are the same; keep what was asked both times.

    How many looks a wait takes follows from how busy the machine is, so a run may ask for something that no other asks for.
    """
    first, second = _undisturbed(lab, story), _undisturbed(lab, story)
    other = differences(first.end, second.end)
    assert other == [], "\n".join(other)
    usual = set(second.requests)
    kept = tuple(request for request in first.requests if request in usual)
    return replace(first, requests=kept, seldom=len(points(first.requests)) - len(points(kept)))


def _undisturbed(lab: Lab, story: Story) -> Clean:
    asked: list[Request] = []
    with _planted(lab, story) as flow:
        story.before(flow)
        counted = _Counted(flow)
        with living(lab, flow, lambda heard: _note(asked, counted.request(heard))):
            story.deed(flow)
        lab.clock.sleep(SETTLE_S)
        end = picture(lab, flow.source.namespace)
        return Clean(tuple(asked), end, _later(story, flow))


def _later(story: Story, flow: Flow) -> tuple[str, ...]:
    """Give the command once more and return what it writes, sorted; that it renews its claim is a matter of time."""
    lines = (_RANDOM.sub(r"\1RANDOM", _NAMED.sub(r"migrate-\1ID", line)) for line in flow.writes(lambda: story.deed(flow)))
    return tuple(sorted(line for line in lines if "update leases" not in line))


def _note(asked: list[Request], request: Request) -> Fate:
    asked.append(request)
    return Fate.SERVED


@dataclass(frozen=True, slots=True)
class Fallen:
    """What came of a VM whose commands were killed: at which of the points, and what is other than after a clean run."""

    met: tuple[Point, ...]
    other: tuple[str, ...]


def killed(lab: Lab, story: Story, deaths: Sequence[Point], model: Clean, *, elsewhere: bool) -> Fallen:
    """Give a story's command once for each point, where it is killed, and once more to its end; then compare that end with a clean run's.

    After the first death the same request is another run's first of its kind. A run that does not come to its point ends the life early.
    `elsewhere`: every other dead process is taken for one of another machine, so that only its silence tells that it is dead.
    """
    met: list[Point] = []
    with _planted(lab, story) as flow:
        story.before(flow)
        for number, point in enumerate(deaths):
            dead, trouble = _killed_once(lab, story, flow, point, by_words=bool(met))
            if trouble:
                return Fallen((*met, point), trouble)
            if not dead:
                break
            met.append(point)
            bury((flow.east, flow.west), elsewhere=elsewhere != bool(number % 2))
        trouble = _given(story, flow)
        if trouble:
            return Fallen(tuple(met), trouble)
        lab.clock.sleep(SETTLE_S)
        other = differences(model.end, picture(lab, flow.source.namespace))
        later = _later(story, flow)
        other += [] if later == model.later else [f"the run after that wrote {later}, after a clean run {model.later}"]
        return Fallen(tuple(met), tuple(other))


def _killed_once(lab: Lab, story: Story, flow: Flow, point: Point, *, by_words: bool) -> tuple[bool, tuple[str, ...]]:
    """Run the command until it is killed at the point; tell whether it was, and how it ended if it came to no good end of its own."""
    counted = _Counted(flow)
    trouble: tuple[str, ...] = ()
    with living(lab, flow, _last(point, counted, by_words=by_words)) as doom, suppress(SystemExit):
        trouble = _given(story, flow)
    return doom.dead.is_set(), trouble if not doom.dead.is_set() else ()


def _given(story: Story, flow: Flow) -> tuple[str, ...]:
    """Give the command; say how it ended if not well."""
    try:
        story.deed(flow)
    except Exception as error:
        told = [f"  {event.step}: {event.reason}: {event.message}" for event in flow.events[-6:]]
        return (f"a run ended with {error!r}", *told)
    return ()


def _last(point: Point, counted: _Counted, *, by_words: bool) -> Callable[[Heard], Fate]:
    def fate(heard: Heard) -> Fate:
        request = counted.request(heard)
        same = request.words == point.request.words if by_words else request == point.request
        return point.fate if same else Fate.SERVED

    return fate


def points(requests: Sequence[Request]) -> list[Point]:
    """Return every write, killed before and after, and every distinct read and dry run once, where it is asked first."""
    found: list[Point] = []
    for request in requests:
        if request.sort == "write":
            found += [Point(request, Fate.CUT), Point(request, Fate.LOST)]
        elif request.number == 0:
            found.append(Point(request, Fate.CUT))
    return found


class _Counted:
    """Tells requests of one run apart: those about the same thing are numbered."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._seen: Counter[str] = Counter()
        self._from = len(flow.events)
        self._lock = threading.Lock()

    def request(self, heard: Heard) -> Request:
        words = heard.path.partition("?")[0] if heard.place == "api" else f"{heard.place} {heard.path}"
        words = f"{heard.cluster} {heard.sort} {heard.verb} {words}".replace(self._flow.source.namespace, "NS")
        words = _RANDOM.sub(r"\1RANDOM", _NAMED.sub(r"migrate-\1ID", words))
        with self._lock:
            number = self._seen[words]
            self._seen[words] += 1
        events = self._flow.events[self._from :]
        return Request(words, number, heard.sort, events[-1].step if events else "at first")


@contextmanager
def _planted(lab: Lab, story: Story) -> Iterator[Flow]:
    """Plant the VM of a story in a namespace of its own, on both sides, and have everything removed in the end."""
    space = f"point{next(_spaces)}"
    both = {"lab.kubevirt-migrate.io/cluster": "both"}
    vm = machine("vm", DISKS, strategy="Always", namespace=space)
    vm = keeping(vm) if story.keeps else vm
    vm["spec"]["template"]["metadata"]["annotations"] = {"lab.kubevirt-migrate.io/shutdown-seconds": str(SHUTDOWN_S)}
    more = story.alter(vm, space)
    lab.plant(
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space, "annotations": both}},
            *(disk(name, mib=1, namespace=space) for name in DISKS),
            *more,
            vm,
        ]
    )
    flow = Flow(lab, "vm", namespace=space, **story.options)
    flow.playbook = story.playbook
    if story.keeps:
        flow.until(flow.runs, what="the claim of its state is there")
    if story.inside:
        lab.west.trouble.set("links", "refuse", namespace=space)
    try:
        yield flow
    finally:
        lab.west.trouble.clear()
        for cluster in (flow.east, flow.west):
            cluster.call("DELETE", f"/api/v1/namespaces/{space}")
        flow.close()
