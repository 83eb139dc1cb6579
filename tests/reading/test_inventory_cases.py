"""What a VM is made of and what it refers to."""

from __future__ import annotations

import pytest
from hypothesis import given as with_
from hypothesis import strategies as st

from migrate.kube import kinds
from migrate.reading.inventory import claims_of, disks_of
from migrate.reading.references import references_of
from tests.case_files import Case, cases, words_of


@pytest.mark.parametrize("case", cases("reading/inventory"))
def test_inventory(case: Case) -> None:
    """The disks, the problems and what is left behind are those of the case file; every problem says why and what now."""
    given, expect = dict(case["given"]), case["expect"]
    vm, pvcs = given.pop("vm"), given.pop("pvcs", {})
    found = disks_of(vm, pvcs, **given)
    rows = [[d.volume, d.pvc, d.target, d.capacity_bytes, d.storage_class, d.volume_mode] for d in found.disks]
    assert rows == expect["disks"]
    said = [words_of([problem]) for problem in found.problems]
    wanted = expect.get("problems", [])
    assert len(said) == len(wanted), said
    assert all(word in text for word, text in zip(wanted, said, strict=True)), said
    assert all(problem.why and problem.now for problem in found.problems)
    assert list(found.left_behind) == expect.get("left_behind", [])


@pytest.mark.parametrize("case", cases("reading/references"))
def test_references(case: Case) -> None:
    """The references are those of the case file, in its order."""
    found = references_of(case["given"]["vm"])
    assert [[r.kind, r.name, r.namespace, r.needed, r.rule] for r in found] == case["expect"]
    assert all(r.path for r in found)


def test_every_kind_of_reference_can_be_asked_for() -> None:
    """Each kind that is looked at on the target is a resource type that the kube room knows."""
    known = {kind.kind for kind in kinds.KNOWN.values()}
    looked_at = ("copied", "mapped", "expanded", "must exist")
    (everything,) = (entry.values[0] for entry in cases("reading/references") if entry.id == "everything")
    assert {entry[0] for entry in everything["expect"] if entry[-1] in looked_at} <= known


@with_(st.lists(st.sampled_from(["db", "db-new", "db-new-log", "db-log", "log", "new", "db-db"]), unique=True, max_size=7))
def test_renamed_disks_stay_apart(claims: list[str]) -> None:
    """Beside their originals no two copies share a name, and none takes the name of an original."""
    volumes = [{"name": f"v{n}", "dataVolume": {"name": claim}} for n, claim in enumerate(claims)]
    vm = {"metadata": {"name": "db"}, "spec": {"template": {"spec": {"volumes": volumes}}}}
    assert list(claims_of(vm)) == claims
    targets = [disk.target for disk in disks_of(vm, {}, target_vm="db-new", same_place=True).disks]
    assert len(set(targets)) == len(targets)
    assert not set(targets) & set(claims)
