"""docs/what-travels.md is true: everything that a VM may name is moved and copied, and source and target are compared field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from migrate.kube.kinds import CONFIGMAP, INSTANCETYPE, SECRET, Kind
from migrate.model import labels
from migrate.model.migration import Start
from migrate.model.report import Outcome
from tests.flows.conftest import Begin
from tests.flows.exhibits import EXHIBITS, sizes, tastes
from tests.flows.flow import Flow
from tests.flows.travel_table import Row, besides, fields, rows, shown, under, unlike

ROWS = {row.id: row for row in rows()}
STAYS = ("gpu", "host-device", "scheduler", "node-label", "node-name", "affinity", "tolerations", "spread", "utility-volume", "templates")
"""A VM that names these is not run in the lab."""
REFUSED = tuple(row.id for row in ROWS.values() if row.rule == "refused")
EXPANDED = (("instancetype", "preference"), ("cluster-instancetype", "cluster-preference"))
RUNS = tuple(
    key for key in ROWS if key not in (*STAYS, *REFUSED, *(one for pair in EXPANDED for one in pair), "kernel")
)  # the kernel with a pull secret is one as well

COPY = "snapshot-copy"
BOTH = pytest.mark.parametrize("playbook", ["cold-move", pytest.param(COPY, marks=pytest.mark.slow)])
DONE = {"cold-move": Outcome.MOVED, COPY: Outcome.COPIED}


def exhibited(keys: Iterable[str]) -> Callable[[str, dict[str, Any]], list[dict[str, Any]]]:
    """Return what puts these things into a VM, and plants what they name on the source."""

    def alter(name: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
        planted: list[dict[str, Any]] = []
        for key in keys:
            EXHIBITS[key].put(spec, named(name, key))
            planted += EXHIBITS[key].plant(named(name, key))
            planted += [one for one in EXHIBITS[key].target(named(name, key)) if _there(one) == "both"]
        return [one | {"metadata": one["metadata"] | {"annotations": _east(one)}} for one in planted]

    return alter


def named(vm: str, key: str) -> str:
    return f"{vm}-{key}"


def _there(one: dict[str, Any]) -> str:
    return str(one["metadata"]["annotations"]["lab.kubevirt-migrate.io/cluster"])


def _east(one: dict[str, Any]) -> dict[str, Any]:
    return {**one["metadata"]["annotations"], "lab.kubevirt-migrate.io/cluster": "east"}


def made_ready(flow: Flow, keys: Iterable[str]) -> None:
    """Plant on the target what must be there."""
    things = [one for key in keys for one in EXHIBITS[key].target(named(flow.name, key))]
    west = [
        one | {"metadata": one["metadata"] | {"annotations": {**_east(one), "lab.kubevirt-migrate.io/cluster": "west"}}} for one in things
    ]
    flow.lab.plant(west)


def networks(flow: Flow) -> tuple[tuple[str, str], ...]:
    name = named(flow.name, "network")
    return ((name, f"{name}-there"),)


def compared(flow: Flow, before: dict[str, Any], keys: Iterable[str]) -> None:
    """Compare both VMs: each row of the page is as it says, and each difference has its row."""
    source, target = shown(before), shown(flow.vm("west"))
    other = unlike(source, target)
    allowed = [*(ROWS[key].at for key in keys if ROWS[key].rule in ("dropped", "mapped", "expanded")), *besides(flow.playbook)]
    assert [path for path in other if not any(under(path, at) for at in allowed)] == []
    for key in keys:
        follows(flow, ROWS[key], source, target, other)


def follows(flow: Flow, row: Row, source: dict[str, Any], target: dict[str, Any], other: list[str]) -> None:
    """Check that one thing became what its row says."""
    name = named(flow.name, row.id)
    here, there = ({path: value for path, value in fields(vm).items() if under(path, row.at)} for vm in (source, target))
    assert here, f"{row.id}: {row.at} is not in the source VM"
    match row.rule:
        case "copied" | "kept" | "must exist":
            assert here == there, row.id
        case "mapped":
            assert set(there.values()) == {f"{name}-there"}, row.id
        case "dropped" | "expanded":
            assert there == {}, row.id
            assert [path for path in other if under(path, row.at)], row.id
    if row.rule == "copied" and not row.id.startswith("disk"):
        equal_copy(flow, CONFIGMAP if "config-map" in row.id else SECRET, name)


def distinct(name: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Put all that RUNS names into a VM that names its serial number and one of its MACs, and leaves to the cluster who it is besides."""
    domain = spec["template"]["spec"]["domain"]
    domain["devices"]["interfaces"][0]["macAddress"] = "02:00:00:aa:bb:cc"
    planted = exhibited(RUNS)(name, spec)
    domain.setdefault("firmware", {})["serial"] = "SN-1"
    return planted


def known_by(flow: Flow) -> dict[str, dict[str, Any]]:
    """Return what the running source is known by, by the paths of the page and of its VM."""
    found = flow.instance()
    assert found is not None
    at = "spec.template.spec.domain."
    firmware = {f"{at}firmware.{key}": {f"{at}firmware.{key}": found["spec"]["domain"]["firmware"][key]} for key in ("uuid", "serial")}
    cards = {f"{at}devices.interfaces[{card['name']}].macAddress": card["mac"] for card in found["status"]["interfaces"]}
    return {**firmware, f"{at}devices.interfaces[].macAddress": cards}


def identified(flow: Flow, had: dict[str, dict[str, Any]]) -> None:
    """Check that the target is known by what the page says, in its first words."""
    there = fields(shown(flow.vm("west")))
    for at, said in besides(flow.playbook).items():
        found = {path: value for path, value in there.items() if under(path, at)}
        match said.split(",")[0].split(":")[0]:
            case "as it was":
                assert found == had[at], at
            case "a new one":
                assert found.keys() == had[at].keys(), at
                assert not found.items() & had[at].items(), at
            case "left out":
                assert (found, bool(had[at])) == ({}, True), at
            case _:
                assert at not in had, f"{at}: {said}"


def equal_copy(flow: Flow, kind: Kind, name: str) -> None:
    """Check that a copy has the content, type, labels and annotations of the original, and our mark."""
    original, copy = flow.east.get(kind, name), flow.west.get(kind, name)
    assert original is not None
    assert copy is not None
    assert {key: copy.get(key) for key in ("type", "data", "binaryData")} == {
        key: original.get(key) for key in ("type", "data", "binaryData")
    }
    assert labels.is_ours(copy)
    assert (copy["metadata"]["labels"]["app"], copy["metadata"]["annotations"]["note"]) == ("x", "of the user")
    assert not labels.is_ours(original)


def test_the_page_and_the_exhibits_are_the_same_things() -> None:
    """No row that is not moved here, and nothing moved here that has no row."""
    assert set(ROWS) == set(EXHIBITS)
    assert {*RUNS, *STAYS, *REFUSED, *(key for pair in EXPANDED for key in pair), "kernel"} == set(ROWS)


@pytest.mark.slow
@BOTH
def test_a_running_vm_that_names_everything(begin: Begin, playbook: str) -> None:
    """What the target must have is named at once as long as it is missing; then the VM runs there with all that it names."""
    flow = begin(disks=(), strategy="running", alter=distinct, playbook=playbook, start=Start.ALWAYS if playbook == COPY else Start.AUTO)
    flow.options["network_map"] = networks(flow)
    before = flow.vm()
    assert before is not None
    missing = [key for key in RUNS if ROWS[key].rule in ("must exist", "mapped")]
    refused = flow.plan()
    said = str(refused.report.problems)
    assert refused.report.reason == "CheckFailed"
    assert len(refused.report.problems) == len(missing)
    assert [key for key in missing if named(flow.name, key) not in said] == []
    made_ready(flow, RUNS)
    flow.until(flow.runs)
    had = known_by(flow)
    at_start: list[list[str]] = []
    flow.when("start-target", "NotStarted", lambda: at_start.append(flow.unequal()))
    planned = flow.plan()
    copied = [key for key in RUNS if ROWS[key].rule == "copied" and not key.startswith("disk")]
    assert [key for key in copied if not any(line.endswith(f"/{named(flow.name, key)}") for line in planned.report.writes)] == []
    ending = flow.move()
    assert (ending.report.outcome, ending.report.problems) == (DONE[playbook], ())
    assert [one.coverage for one in ending.report.disks] == ["sample"] * 2
    assert at_start == [[]] or playbook == COPY  # the source of a copy writes on
    assert (flow.runs(), flow.runs("west")) == (playbook == COPY, True)
    compared(flow, before, RUNS)
    identified(flow, had)


@BOTH
def test_a_vm_that_asks_for_nodes_and_devices(begin: Begin, playbook: str) -> None:
    """It is not started in the lab; what it asks of nodes stands on the target, what is of the source's nodes is left out."""
    flow = begin(disks=(), strategy="Halted", start=Start.NEVER, alter=exhibited(STAYS), playbook=playbook)
    before = flow.vm()
    assert before is not None
    ending = flow.move()
    assert (ending.report.outcome, ending.report.problems) == (DONE[playbook], ())
    assert flow.unequal() == []
    compared(flow, before, STAYS)
    told = " ".join(problem.what for event in flow.events if event.step == "check-both" for problem in event.problems)
    assert all(word in told for word in ("nvidia.com/A100", "intel.com/qat", named(flow.name, "scheduler"), "zone="))


@BOTH
@pytest.mark.parametrize("pair", [EXPANDED[0], pytest.param(EXPANDED[1], marks=pytest.mark.slow)])
def test_what_instance_types_say_is_written_into_the_vm(begin: Begin, pair: tuple[str, str], playbook: str) -> None:
    """The target has none, or another one of that name: the guest keeps its hardware."""
    flow = begin(disks=(), strategy="Halted", start=Start.NEVER, alter=exhibited((*pair, "kernel")), playbook=playbook)
    before = flow.vm()
    assert before is not None
    kinds = [one["kind"] for key in pair for one in EXHIBITS[key].plant("x")]
    flow.lab.plant([_west(tastes(kinds[1], named(flow.name, pair[1]), bus="scsi"))])
    assert flow.move().report.outcome is DONE[playbook]
    compared(flow, before, (*pair, "kernel"))
    made = flow.vm("west")
    assert made is not None
    domain = made["spec"]["template"]["spec"]["domain"]
    assert (domain["cpu"]["sockets"], domain["memory"], domain["devices"]["interfaces"][0]["model"]) == (2, {"guest": "256Mi"}, "e1000e")


@BOTH
def test_an_equal_instance_type_is_named_on(begin: Begin, playbook: str) -> None:
    """What the VM's revision says is compared, not what somebody made of the instance type since; the revision's name stays behind."""
    pair = EXPANDED[0]
    flow = begin(disks=(), strategy="Halted", start=Start.NEVER, alter=exhibited(pair), playbook=playbook)
    kinds = [one for key in pair for one in EXHIBITS[key].plant(named(flow.name, key))]
    flow.lab.plant([_west(one) for one in kinds])
    name = named(flow.name, pair[0])
    other = sizes("VirtualMachineInstancetype", name, memory="1Gi")["spec"]
    flow.until(lambda: (flow.vm() or {}).get("status", {}).get("instancetypeRef"))
    flow.east.merge(INSTANCETYPE, name, {"spec": other})
    assert flow.move().report.outcome is DONE[playbook]
    made = flow.vm("west")
    assert made is not None
    assert made["spec"]["instancetype"] == {"kind": "VirtualMachineInstancetype", "name": name}
    assert "cpu" not in made["spec"]["template"]["spec"]["domain"]


@BOTH
def test_what_no_export_carries_is_refused(begin: Begin, playbook: str) -> None:
    """Every refused row is a problem of its own, said before anything is changed, with the way out."""
    flow = begin(disks=(), strategy="Halted", alter=exhibited(REFUSED), playbook=playbook)
    ending = flow.move()
    assert ending.report.reason == "CheckFailed"
    assert len(ending.report.problems) == len(REFUSED)
    assert all(any(named(flow.name, key) in problem.what and problem.now for problem in ending.report.problems) for key in REFUSED)
    assert flow.ours() == [line for line in flow.ours() if flow.name not in line]


def _west(one: dict[str, Any]) -> dict[str, Any]:
    return one | {
        "metadata": one["metadata"] | {"annotations": {**one["metadata"]["annotations"], "lab.kubevirt-migrate.io/cluster": "west"}}
    }
