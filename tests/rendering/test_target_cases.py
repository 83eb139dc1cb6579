"""The target as it is decided: the VM, and the class of each disk."""

from __future__ import annotations

import copy
import json

import pytest

from migrate.model.errors import Problem, UsageError
from migrate.model.migration import Identity, Options
from migrate.model.was import Was
from migrate.rendering.mapping import parse_map, place
from migrate.rendering.translate import translate
from tests.case_files import Case, cases, words_of
from tests.rendering.asked import disk, migration


@pytest.mark.parametrize("case", cases("rendering/translate"))
def test_translate(case: Case) -> None:
    """The target VM is that of the case file, nothing is lost in silence, and the source object is left as it was."""
    given, expect = case["given"], case["expect"]
    before = copy.deepcopy(given["vm"])
    asked = migration(
        *(disk(pvc, target) for pvc, target in given.get("disks", {}).items()),
        name=given.get("name", "db"),
        namespace=given.get("namespace", "shop"),
        options=Options(identity=Identity(given.get("identity", "auto"))),
    )
    made = translate(given["vm"], migration=asked, was=Was.of_json(json.dumps(given.get("was", {}))))
    assert made.spec == expect["spec"]
    assert made.labels == expect.get("labels", {})
    assert made.annotations == expect.get("annotations", {})
    assert len(made.notes) == len(expect.get("notes", [])), made.notes
    assert all(word in note for word, note in zip(expect.get("notes", []), made.notes, strict=True)), made.notes
    assert given["vm"] == before


@pytest.mark.parametrize("case", cases("rendering/place"))
def test_place(case: Case) -> None:
    """The class of a disk is that of the case file."""
    given, expect = case["given"], case["expect"]
    marks = {"default": "storageclass.kubernetes.io/is-default-class", "virt_default": "storageclass.kubevirt.io/is-default-virt-class"}
    classes = [
        {
            "metadata": {
                "name": one["name"],
                "creationTimestamp": one.get("created", ""),
                "annotations": {mark: "true" for key, mark in marks.items() if one.get(key)},
            }
        }
        for one in given["classes"]
    ]
    profiles = {
        name: {"status": {"claimPropertySets": [{"volumeMode": mode, "accessModes": ["ReadWriteMany"]} for mode in modes]}}
        for name, modes in given.get("profiles", {}).items()
    }
    placed = place(
        disk("db", storage_class=given["class"], volume_mode=given.get("volume_mode", "Filesystem")),
        parse_map(given.get("map", ())),
        classes=classes,
        profiles=profiles,
        source_pvc=given.get("pvc"),
    )
    if "problem" in expect:
        assert isinstance(placed, Problem)
        assert placed.now
        assert all(word in words_of([placed]) for word in expect["problem"]), placed
        return
    assert not isinstance(placed, Problem)
    assert (placed.storage_class, placed.why, placed.effective_mode) == (expect["class"], expect["why"], expect["effective"])
    assert (placed.volume_mode, list(placed.access_modes)) == (expect.get("mode", ""), expect.get("access", []))


@pytest.mark.parametrize("word", ["fast", "=ceph", "fast=", "fast=ceph=x", ""])
def test_malformed_map_is_a_usage_error(word: str) -> None:
    """A word that is no SOURCE=TARGET is refused, with an example."""
    with pytest.raises(UsageError) as caught:
        parse_map([word])
    assert "fast=ceph" in caught.value.now


def test_a_class_mapped_twice_is_a_usage_error() -> None:
    """One class cannot go to two; saying the same twice is allowed."""
    assert parse_map(["a=b", "a=b,*=c"]) == (("*", "c"), ("a", "b"))
    with pytest.raises(UsageError, match="mapped twice"):
        parse_map(["a=b", "a=c"])
