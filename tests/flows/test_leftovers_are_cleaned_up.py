"""`migrate cleanup` removes what runs left behind, by label and on both sides; nothing else, and nothing of a run that may live."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from datetime import timedelta

import pytest

from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, EXPORT, LEASE, SECRET, VM
from migrate.model import labels
from migrate.model.migration import Names, Start
from migrate.model.report import Outcome
from migrate.steps.runner import this_runner
from migrate.workflow import records
from migrate.workflow.cleanup import Found, Rules, leftovers
from tests.flows.conftest import Begin
from tests.flows.flow import Flow, interrupt
from tests.flows.matrix import unfinished

pytestmark = pytest.mark.slow

AT_ONCE = Rules(timedelta(0))


def found(flow: Flow, rules: Rules = AT_ONCE) -> list[Found]:
    """Look for leftovers, and keep those of this flow."""
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        mine = flow.events[0].migration
        every = leftovers(source, target, rules=rules, clock=flow.lab.clock, everywhere=(False, False)).found
        return [one for one in every if mine in (one.object["metadata"]["labels"] or {}).values()]


def remove(flow: Flow, rules: Rules = AT_ONCE) -> None:
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        mine = flow.events[0].migration
        for one in leftovers(source, target, rules=rules, clock=flow.lab.clock, everywhere=(True, True)).found:
            if (one.object["metadata"]["labels"] or {})[labels.ID] == mine:
                one.remove()


def interrupted(flow: Flow, step: str, reason: str = "") -> None:
    flow.when(step, reason, interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED


def kinds(every: list[Found]) -> list[str]:
    return sorted(f"{one.cluster.context} {one.kind}" for one in every)


def test_what_a_dead_run_left_is_found_and_removed(begin: Begin) -> None:
    """An interrupted import leaves exports, Secrets, CA; they go, disks and record stay, and the move goes on afterwards."""
    flow = begin(start=Start.NEVER)
    interrupted(flow, "import-disks", "Importing")
    assert kinds(found(flow)) == ["east Secret", "east VirtualMachineExport", "west ConfigMap", "west Secret"]
    assert flow.writes(lambda: found(flow)) == []
    remove(flow)
    names = Names.of(flow.events[0].migration, "")
    flow.until(lambda: flow.east.get(EXPORT, names.export) is None)
    assert flow.east.get(SECRET, names.token) is None
    assert flow.west.get(CONFIGMAP, names.ca) is None
    assert flow.west.get(CONFIGMAP, names.record) is not None
    assert found(flow) == []
    assert flow.move().report.outcome is Outcome.MOVED
    assert flow.unequal() == []


def test_a_run_whose_source_was_not_looked_at_is_spared(begin: Begin) -> None:
    """Its claim lies beside its source: named from another source, what the target holds of it stays, and that is said; so does a record
    that nobody can read."""
    flow = begin()
    interrupted(flow, "import-disks", "Importing")
    mine = flow.events[0].migration
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        for elsewhere in (source.at("default"), target):
            seen = leftovers(elsewhere, target, rules=AT_ONCE, clock=flow.lab.clock, everywhere=(False, False))
            assert [one.words for one in seen.found if mine in one.words] == []
            assert [words for words in seen.spared if mine in words and "--source east:shop" in words]
        flow.west.merge(CONFIGMAP, Names.of(mine, "").record, {"data": {"record.json": "{}"}})
        seen = leftovers(source, target, rules=AT_ONCE, clock=flow.lab.clock, everywhere=(False, False))
        assert [one.words for one in seen.found if mine in one.words] == []
        assert [words for words in seen.spared if mine in words and "cannot be read" in words]


def test_what_somebody_adopted_is_found_all_the_same(begin: Begin) -> None:
    """managed-by is a label that everybody shares; our id alone tells what is ours, a record included."""
    flow = begin()
    interrupted(flow, "import-disks", "Importing")
    names = Names.of(flow.events[0].migration, "")
    for cluster, kind, name in ((flow.west, CONFIGMAP, names.ca), (flow.west, CONFIGMAP, names.record), (flow.east, EXPORT, names.export)):
        cluster.merge(kind, name, {"metadata": {"labels": {labels.MANAGED_BY: "Helm"}}})
    assert kinds(found(flow)) == ["east Secret", "east VirtualMachineExport", "west ConfigMap", "west Secret"]
    assert flow.events[0].migration in [record.migration.id for record in records.every(flow.west)]


def test_a_token_without_its_export_is_found(begin: Begin) -> None:
    """KubeVirt deletes an export when its time is over; the token that stays is found by the record that names the place."""
    flow = begin()
    interrupted(flow, "import-disks", "Importing")
    names = Names.of(flow.events[0].migration, "")
    flow.east.delete(EXPORT, names.export)
    flow.until(lambda: flow.east.get(EXPORT, names.export) is None)
    assert "east Secret" in kinds(found(flow))


def test_what_is_young_is_spared(begin: Begin) -> None:
    """`--older-than` counts from the making of each object."""
    flow = begin()
    interrupted(flow, "import-disks", "Importing")
    assert found(flow, Rules(timedelta(minutes=10))) == []
    flow.lab.clock.sleep(600)
    assert found(flow, Rules(timedelta(minutes=10)))


def test_a_run_that_goes_on_meanwhile_keeps_what_it_needs(begin: Begin) -> None:
    """Between the look and the removal somebody gives the command again: nothing of that migration is removed, and it ends well."""
    flow = begin(start=Start.NEVER)
    unfinished(flow)
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        every = leftovers(source, target, rules=AT_ONCE, clock=flow.lab.clock, everywhere=(False, False)).found
        mine = [one for one in every if flow.events[0].migration in (one.object["metadata"]["labels"] or {}).values()]
        assert len(mine) >= 6
        removed: list[str] = []
        flow.when("verify-disks", "Comparing", lambda: removed.extend(one.remove() for one in mine))
        ending = flow.move()
    assert (removed, ending.report.outcome) == (["somebody has taken its migration up meanwhile"] * len(mine), Outcome.MOVED)


@pytest.mark.parametrize("holder", ["of this machine", "of another machine"])
def test_a_run_that_may_live_is_not_touched(begin: Begin, holder: str) -> None:
    """A claim whose holder lives here, or is renewed while we look, spares everything of its migration."""
    flow = begin()
    interrupted(flow, "import-disks", "Importing")
    names = Names.of(flow.events[0].migration, flow.vm()["metadata"]["uid"])  # type: ignore[index]
    person = str(this_runner()) if holder == "of this machine" else "eve@elsewhere machine=a/b/c pid=7 started=9 run=abc"
    mark = labels.ours(flow.events[0].migration, "claim")
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": names.claim, "namespace": "shop", "labels": mark},
        "spec": {"holderIdentity": person, "leaseDurationSeconds": 60, "renewTime": "2026-01-01T00:00:00.000000Z"},
    }
    flow.east.create(lease)
    if holder == "of another machine":
        assert "east Lease" in kinds(found(flow))
        stop = threading.Event()
        renewer = threading.Thread(target=lambda: renew(flow, names.claim, stop))
        renewer.start()
        try:
            assert found(flow) == []
        finally:
            stop.set()
            with flow.lab.clock.idle():
                renewer.join()
    else:
        assert found(flow) == []
    flow.east.delete(LEASE, names.claim)


def test_a_claim_on_the_targets_name_tells_as_much(begin: Begin) -> None:
    """While its holder lives everything is spared; when it was let go it is a leftover itself."""
    flow = begin()
    interrupted(flow, "import-disks", "Importing")
    mine = flow.events[0].migration
    name = Names.of(mine, "", flow.target.name).target_claim
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "shop", "labels": labels.ours(mine, "claim")},
        "spec": {"holderIdentity": str(this_runner()), "leaseDurationSeconds": 60},
    }
    flow.west.create(lease)
    assert found(flow) == []
    flow.west.merge(LEASE, name, {"spec": {"holderIdentity": ""}})
    assert "west Lease" in kinds(found(flow))
    flow.west.delete(LEASE, name)


def renew(flow: Flow, claim: str, stop: threading.Event) -> None:
    """Renew a claim as a runner elsewhere would, every fifteen seconds."""
    count = 0
    while not stop.is_set():
        with flow.lab.clock.busy():
            count += 1
            flow.east.merge(LEASE, claim, {"spec": {"renewTime": f"2026-01-01T00:00:{count:02}.000000Z"}})
            flow.lab.clock.wait(stop, 15)


def test_nothing_is_left_to_find_after_a_move(begin: Begin) -> None:
    """A finished move leaves only its record, disks and VM, and none of them is a leftover; nor is what merely has one of our names."""
    flow = begin()
    flow.move()
    name = Names.of(flow.events[0].migration, "").token
    flow.east.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"}})
    assert found(flow) == []


def test_records_go_by_age_and_number_once_nothing_is_left(begin: Begin) -> None:
    """A record stays while it is young, among the newest, or its VM is on the target; for good where that was moved on."""
    flow = begin(start=Start.NEVER)
    flow.move()
    old = Rules(timedelta(0), record_age=timedelta(0), records=0)
    assert found(flow, old) == []
    flow.west.delete(VM, flow.name)
    flow.until(lambda: flow.vm("west") is None)
    assert found(flow, old) == []
    for disk in flow.claims():
        flow.west.delete(DATAVOLUME, disk)
    flow.until(lambda: not [line for line in flow.ours() if flow.name in line and line.startswith("west")])
    assert kinds(found(flow, old)) == ["west ConfigMap"]
    assert found(flow, Rules(timedelta(0), record_age=timedelta(0))) == []
    assert found(flow, Rules(timedelta(0), records=0)) == []
    record = found(flow, old)[0].object
    assert record["metadata"]["labels"][labels.ROLE] == "record"
    flow.west.merge(CONFIGMAP, record["metadata"]["name"], {"metadata": {"annotations": {labels.MOVED_TO: "c/shop/vm"}}})
    assert found(flow, old) == []
