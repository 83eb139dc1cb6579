"""A runner frozen at any of its writes, while another takes over and finishes or goes back: when it wakes, its write changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, EXPORT, LEASE, PVC, VM, VMI
from migrate.model import labels
from migrate.model.errors import Conflict, Held, MigrateError
from migrate.model.report import Outcome
from migrate.workflow.run import Ending
from tests.flows.conftest import Begin
from tests.flows.flow import Flow, secrets
from tests.flows.gate import Runner, Sent, bury

KINDS = (VM, VMI, DATAVOLUME, PVC, CONFIGMAP, EXPORT, LEASE)
State = dict[str, object]


def state(flow: Flow) -> State:
    """Return everything that a runner could have changed, on both sides: not what controllers note, and not whose claim it is."""
    found: State = {}
    for side, cluster in (("east", flow.east), ("west", flow.west)):
        objects = [(kind.kind, one) for kind in KINDS for one in cluster.list(kind)] + [("Secret", one) for one in secrets(cluster)]
        for kind, one in objects:
            meta = one["metadata"]
            notes = {key: text for key, text in (meta.get("annotations") or {}).items() if key != labels.CLAIM}
            content = one.get("spec") if kind not in ("PersistentVolumeClaim", "VirtualMachineExport") else None
            ours = {key: text for key, text in notes.items() if key.startswith(labels.PREFIX)}
            found[f"{side} {kind} {meta['name']}"] = (meta["uid"], content, one.get("data"), ours, meta.get("deletionTimestamp"))
    return found


class Freeze:
    """Lets a runner go until its n-th write, does something else then, notes how both sides stand, and lets the write go."""

    def __init__(self, flow: Flow, clusters: dict[str, Any], at: int, meanwhile: Callable[[], object]) -> None:
        self.flow, self.at, self.meanwhile = flow, at, meanwhile
        self.runner = Runner(flow.lab, clusters, self.ask)
        self.writes = 0
        self.frozen: Sent | None = None
        self.before: State = {}

    def ask(self, sent: Sent) -> None:
        self.writes += sent.writes
        if sent.writes and self.writes == self.at:
            self.frozen = sent
            bury((self.flow.east, self.flow.west))
            self.meanwhile()
            self.flow.lab.clock.sleep(5)
            self.before = state(self.flow)

    def run(self, verb: str, **options: Any) -> Ending | MigrateError:
        """Run to the end, or to what the woken runner meets."""
        try:
            return self.runner.run(verb, self.flow.source, self.flow.target, **self.flow.options, **options)
        except MigrateError as error:
            return error
        finally:  # what it makes late stays for `migrate cleanup`, as after a kill (docs/decisions/0006)
            self.flow.killed = self.frozen is not None


def inert(sent: Sent, name: str, made: object) -> bool:
    """Tell whether an object is what the frozen create made, and can do nothing by itself."""
    if sent.method not in ("POST", "PATCH"):
        return False
    spec = made[1] if isinstance(made, tuple) else None
    return name.split()[1] != "VirtualMachine" or (isinstance(spec, dict) and spec["runStrategy"] == "Halted")


def check(freeze: Freeze, ending: Ending | MigrateError, *, runs: str) -> str:
    """Compare both sides with how they stood when the write was let go, and say in a line what came of it."""
    flow = freeze.flow
    flow.lab.clock.sleep(30)
    after, before, sent = state(flow), freeze.before, freeze.frozen
    assert sent is not None
    line = f"{sent.context} {sent.method} {sent.path}"
    changed = {name for name in before if after.get(name) != before[name] and not name.split()[1].startswith("VirtualMachineInstance")}
    assert not changed, (line, {name: (before[name], after.get(name)) for name in changed})
    late = {name for name in after.keys() - before.keys() if not inert(sent, name, after[name])}
    assert not late, (line, late)
    assert (flow.runs("east"), flow.runs("west")) == (runs == "east", runs == "west"), line
    error = ending if isinstance(ending, MigrateError) else ending.error
    new = sorted(after.keys() - before.keys())
    assert error is None or isinstance(error, Held | Conflict | MigrateError), error
    return f"{line}: {type(error).__name__ if error else 'done'}{f', left over: {new}' if new else ''}"


def through(flow: Flow, verb: str, **wishes: Any) -> None:
    """Let another runner do something, and see that it was not hindered."""
    ending = flow.move() if verb == "move" else flow.undo(**wishes)
    wanted = (Outcome.MOVED, Outcome.NOTHING_LEFT) if verb == "move" else (Outcome.UNDONE,)
    assert ending.report.outcome in wanted, ending.report.problems
    flow.until(lambda: flow.runs("west" if verb == "move" else "east"), what="the guest")


def halfway(flow: Flow) -> None:
    """Bring a move to where everything is proven and nothing started: the target's guest is refused a start."""
    flow.lab.west.trouble.set("api", "refuse", verb="patch", resource="virtualmachines", user_agent="kubevirt-migrate*", status=403)
    assert flow.move().error is not None
    flow.lab.west.trouble.clear()


def each_write(
    begin: Begin,
    clusters: dict[str, Any],
    verb: str,
    *,
    meanwhile: Callable[[Flow], str],
    ready: Callable[[Flow], object] = lambda _: None,
    first: int = 1,
) -> None:
    """Freeze a run at its first write, the next at its second, and so on to one that ends before it is frozen."""
    at, left = first - 1, 0
    while True:
        at += 1
        flow = begin()
        flow.until(flow.runs)
        ready(flow)
        where: list[str] = []
        freeze = Freeze(flow, clusters, at, lambda flow=flow, where=where: where.append(meanwhile(flow)))  # type: ignore[misc]
        ending = freeze.run(verb)
        if freeze.frozen is None:
            assert isinstance(ending, Ending)
            assert ending.error is None
            break
        line = check(freeze, ending, runs=where[0])
        left += "left over" in line
        print(at, line)
        flow.remove()
    print(f"{verb}: {at - first} writes frozen, 0 changes; {left} creates came late and are inert")
    assert at > 10


def moved(flow: Flow) -> str:
    """Finish the move, and say where the guest runs."""
    through(flow, "move")
    return "west"


def undone(flow: Flow) -> str:
    """Take the move back, even if it was started, and say where the guest runs."""
    through(flow, "undo", even_if_started=True)
    return "east"


def went_on(flow: Flow) -> str:
    """Go on where it can be gone on; where the undo had restored the source already, there is nothing to finish."""
    if flow.move().report.outcome is not Outcome.MOVED:
        assert flow.undo().report.outcome is Outcome.UNDONE
    flow.until(lambda: flow.runs("west") or flow.runs())
    return "west" if flow.runs("west") else "east"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_move_frozen_at_each_write_and_finished_by_another(begin: Begin, clusters: dict[str, Any]) -> None:
    """The other finishes the move; the woken one changes nothing, and the guest runs on the target alone."""
    each_write(begin, clusters, "move", meanwhile=moved)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_move_frozen_at_each_write_and_undone_by_another(begin: Begin, clusters: dict[str, Any]) -> None:
    """The other takes it back, even if it was started; the woken one changes nothing, and the guest runs on the source alone.

    Not at its first three writes (Lease, number, record): before the record is there, nobody finds a move to take back.
    """
    each_write(begin, clusters, "move", meanwhile=undone, first=4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_undo_frozen_at_each_write_and_moved_by_another(begin: Begin, clusters: dict[str, Any]) -> None:
    """The other goes on to the end; the woken undo deletes no disk and no VM, and starts no source."""
    each_write(begin, clusters, "undo", ready=halfway, meanwhile=went_on)


@pytest.mark.parametrize("resource", ["virtualmachines", "datavolumes"])
def test_the_worst_writes(begin: Begin, clusters: dict[str, Any], resource: str) -> None:
    """The delete of the target VM and of a disk, frozen in an undo: the move that went on meanwhile keeps both, and runs."""
    flow = begin()
    flow.until(flow.runs)
    halfway(flow)
    freeze = Freeze(flow, clusters, 0, lambda: through(flow, "move"))
    plain = freeze.ask

    def ask(sent: Sent) -> None:
        if freeze.frozen is None and sent.method == "DELETE" and sent.context == "west" and f"/{resource}/" in sent.path:
            freeze.at = freeze.writes + 1
        plain(sent)

    freeze.runner = Runner(flow.lab, clusters, ask)
    ending = freeze.run("undo")
    check(freeze, ending, runs="west")
    assert isinstance(ending, Ending)
    assert isinstance(ending.error, Held)
