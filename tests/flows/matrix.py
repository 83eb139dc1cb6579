"""The crash matrix: what is killed where, and how its size and result are told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from migrate.lab.doom import Fate
from migrate.lab.up import Lab
from migrate.model.migration import Format, Options, Start, Verify
from migrate.workflow.afterwards import Afterwards
from migrate.workflow.ask import Question
from migrate.workflow.cleanup import Rules, leftovers
from migrate.workflow.run import Ending
from tests.flows.crash import Clean, Point, Story, clean, killed, living, points
from tests.flows.exhibits import config_map, secret, volume
from tests.flows.flow import Flow
from tests.flows.gate import bury

PLAYBOOKS = sorted(path.stem for path in (Path(__file__).resolve().parents[2] / "playbooks").glob("*.yaml"))
"""All that there are; a new one is in the matrix because it is there."""
NOT_ABOUT_BYTES = frozenset({"start", "on_failure", "identity", "references"})
"""Choices that change neither how bytes travel nor how they are proven."""
BYTES = ("import-disks", "create-target", "verify-disks")
"""Steps that another way of moving or proving bytes goes through otherwise."""
TRIES = 3
"""How often a point is tried that a run did not come to: how many looks a wait takes is not the same in each run."""

Tell = Callable[[str, str], None]


def modes() -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield every other way of moving and proving bytes: name, options, whether the proof goes through a port-forward."""
    for option in fields(Options):
        usual = getattr(Options(), option.name)
        if isinstance(usual, StrEnum) and option.name not in NOT_ABOUT_BYTES:
            for value in type(usual):
                if value is not usual:
                    deep = {"verify": Verify.FULL} if value is Format.GZIP else {}
                    yield f"{option.name} {value}", {option.name: value} | deep, False
    yield "port-forward", {}, True


def run(lab: Lab, title: str, story: Story, *, choose: Callable[[Clean], list[Point]], tell: Tell, deaths: int = 1) -> list[str]:
    """Kill a story's command at every chosen point; tell size and result, and return what is other than in a clean run.

    `deaths`: how often one VM's command is killed before an end is compared. If that end is another one, each of them is tried alone.
    """
    model = clean(lab, story)
    left = choose(model)
    assert left, f"{title}: nothing to kill"
    size, lives, tries = len(left), 0, 0
    found: list[str] = []
    while left:
        fallen = killed(lab, story, left[:deaths], model, elsewhere=bool(lives % 2))
        lives += 1
        tries = 0 if fallen.met else tries + 1
        if tries == TRIES:
            found += _told(title, left.pop(0), [f"no run came to this request in {TRIES} tries"])
        elif fallen.other and len(fallen.met) > 1:
            deaths = 1
            found += _told(title, fallen.met[-1], [f"after {len(fallen.met) - 1} other deaths; each alone is next", *fallen.other])
        else:
            found += _told(title, fallen.met[0], fallen.other) if fallen.other else []
            left = left[len(fallen.met) :]
    wrong = sum(not line.startswith(" ") for line in found)
    every = f"of {len(points(model.requests))} points of its {len(model.requests)} requests, on {lives} VMs"
    seldom = f"; {model.seldom} more came in one of two clean runs only" if model.seldom else ""
    tell("crash matrix", f"{title}: {size} crash points, {wrong} differences ({every}{seldom})")
    return found


def _told(title: str, point: Point, other: Iterable[str]) -> list[str]:
    lines = [f"{title}, killed in {point}:", *(f"    {line}" for line in other)]
    print("\n".join(lines), flush=True)
    return lines


def writes(model: Clean) -> list[Point]:
    """Choose every write, before and after."""
    return [point for point in points(model.requests) if point.request.sort == "write"]


def carrying(model: Clean) -> list[Point]:
    """Choose the writes that bring along what the VM of `naming` names, or take that back, which is told by what they are about."""
    return [
        point
        for point in writes(model)
        if point.request.step == "carry-references"
        or re.search(r"/(secrets|configmaps)/(key|other|conf|\S+-before-\S+)$", point.request.words)
    ]


def naming(vm: dict[str, Any], space: str) -> list[dict[str, Any]]:
    """Let a VM name a Secret and a ConfigMap that the target lacks, and a Secret of which it has another one."""
    for key, body in (("key", "secret"), ("other", "secret"), ("conf", "configMap")):
        volume(**{body: {"secretName" if body == "secret" else "name": "NAME"}})(vm["spec"], key)
    theirs = secret("other", "theirs", cluster="west", namespace=space)
    return [secret("key", namespace=space), secret("other", namespace=space), config_map("conf", namespace=space), theirs]


def looks(model: Clean) -> list[Point]:
    """Choose every distinct read and dry run."""
    return [point for point in points(model.requests) if point.request.sort != "write"]


def other_than(usual: Clean) -> Callable[[Clean], list[Point]]:
    """Choose what a mode does otherwise: requests that the usual one does not send, and every write about bytes, carried out, unanswered.

    What is there after one write and before the next is one and the same, so no state of the clusters is missed.
    """
    known = {request.words for request in usual.requests}

    def choose(model: Clean) -> list[Point]:
        return [
            point
            for point in points(model.requests)
            if point.request.words not in known
            or (point.request.sort == "write" and point.request.step in BYTES and point.fate is Fate.LOST)
        ]

    return choose


def unfinished(flow: Flow) -> None:
    """Kill a move when everything is there that an undo has to remove: right after the export for the proof was made."""
    with living(flow.lab, flow, lambda heard: _last_of_all(heard.cluster, heard.sort, heard.path)) as doom, suppress(SystemExit):
        flow.move()
    assert doom.dead.is_set()
    bury((flow.east, flow.west))


def _last_of_all(cluster: str, sort: str, path: str) -> Fate:
    made = cluster == "west" and sort == "write" and path.partition("?")[0].endswith("/virtualmachineexports")
    return Fate.LOST if made else Fate.SERVED


def undo(flow: Flow) -> None:
    _well(flow.undo())


def undo_started(flow: Flow) -> None:
    _well(flow.undo(even_if_started=True))


def retire(flow: Flow) -> None:
    with _opened(flow) as afterwards:
        _well(afterwards.retire(flow._show))


def prove(flow: Flow) -> None:
    with _opened(flow) as afterwards:
        _well(afterwards.prove(Verify.FULL, flow._show))


def cleanup(flow: Flow) -> None:
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        for one in leftovers(source, target, rules=Rules(timedelta(0)), clock=flow.clock, everywhere=(False, False)).found:
            one.remove()


def moved(flow: Flow) -> None:
    _well(flow.move())


@contextmanager
def _opened(flow: Flow) -> Iterator[Afterwards]:
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        question = Question(flow.source, flow.target, playbook=flow.playbook)
        yield Afterwards(question, source=source, target=target, clock=flow.clock)


def _well(ending: Ending) -> None:
    if ending.error is not None:
        raise ending.error


COMMANDS: Iterable[tuple[str, Story]] = (
    ("undo", Story(undo, before=unfinished)),
    ("undo of a started target", Story(undo_started, before=moved)),
    ("retire", Story(retire, before=moved, options={"start": Start.NEVER})),
    ("verify", Story(prove, before=moved, options={"start": Start.NEVER, "verify": Verify.SIZE})),
    ("cleanup", Story(cleanup, before=unfinished)),
)
"""Every other command that writes, each on what it is for."""
