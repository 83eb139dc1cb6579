"""Patches do what RFC 6902, RFC 7386 and the strategic merge rules say."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.lab.patching import DOES_NOT_FIT, PatchFailed, json_patch, merge_patch, strategic_merge
from tests.lab.kinds_under_test import resource

POD = resource("Pod").schema_for("v1")

scalars = st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2)
objects = st.recursive(
    st.dictionaries(st.sampled_from("abc"), scalars, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner | scalars | st.lists(scalars, max_size=2), max_size=3),
    max_leaves=8,
)


def merge_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch that turns `old` into `new` (neither may hold nulls)."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            below = merge_diff(before, value)
            if below:
                patch[key] = below
        elif key not in old or before != value or type(before) is not type(value):
            patch[key] = copy.deepcopy(value)
    return patch


@given(objects, objects)
def test_merge_of_a_difference_makes_the_new_object(old: dict[str, Any], new: dict[str, Any]) -> None:
    """merge(old, diff(old, new)) is new, whatever they are."""
    before = copy.deepcopy(old)
    assert merge_patch(old, merge_diff(old, new)) == new
    assert old == before


@given(objects)
def test_difference_of_equal_objects_is_empty(obj: dict[str, Any]) -> None:
    """Nothing to change is an empty patch, and an empty patch changes nothing."""
    assert merge_diff(obj, obj) == {}
    assert merge_patch(obj, {}) == obj


@pytest.mark.parametrize(
    ("obj", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_follows_the_examples_of_the_rfc(obj: Any, patch: Any, result: Any) -> None:
    """RFC 7386, appendix A."""
    assert merge_patch(obj, patch) == result


def test_json_patch_applies_its_operations_in_order() -> None:
    """add, replace, move, copy, test and remove work on a copy."""
    obj = {"spec": {"list": [1, 2], "a": {"b": 1}}}
    ops = [
        {"op": "test", "path": "/spec/a", "value": {"b": 1}},
        {"op": "add", "path": "/spec/list/-", "value": 3},
        {"op": "replace", "path": "/spec/list/0", "value": 0},
        {"op": "copy", "from": "/spec/a", "path": "/spec/c"},
        {"op": "move", "from": "/spec/a/b", "path": "/spec/d"},
        {"op": "remove", "path": "/spec/a"},
        {"op": "add", "path": "/metadata", "value": {"annotations": {}}},
        {"op": "add", "path": "/metadata/annotations/x~1y", "value": "z"},
    ]
    assert json_patch(obj, ops) == {"spec": {"list": [0, 2, 3], "c": {"b": 1}, "d": 1}, "metadata": {"annotations": {"x/y": "z"}}}
    assert obj == {"spec": {"list": [1, 2], "a": {"b": 1}}}


@pytest.mark.parametrize(
    ("ops", "code"),
    [
        ([{"op": "test", "path": "/a", "value": 2}], 422),
        ([{"op": "test", "path": "/missing", "value": 2}], 422),
        ([{"op": "remove", "path": "/missing"}], 422),
        ([{"op": "replace", "path": "/b/c", "value": 1}], 422),
        ([{"op": "add", "path": "/b/c", "value": 1}], 422),
        ([{"op": "add", "path": "/list/9", "value": 1}], 422),
        ([{"op": "jump", "path": "/a"}], 400),
        ([{"op": "add", "path": "/a"}], 400),
        ([{"path": "/a"}], 400),
        ({"op": "remove"}, 400),
        ([{"op": "test", "path": "/a", "value": 1}] * 10_001, 413),
    ],
)
def test_json_patch_that_does_not_fit_is_refused(ops: Any, code: int) -> None:
    """A patch that makes no sense is a 400, one that does not fit the object a 422 in the server's bare words."""
    with pytest.raises(PatchFailed) as failed:
        json_patch({"a": 1, "list": []}, ops)
    assert failed.value.code == code
    if code == 422:
        assert failed.value.message == DOES_NOT_FIT


def pod() -> dict[str, Any]:
    return {
        "metadata": {"finalizers": ["a", "b"], "ownerReferences": [{"uid": "1", "name": "x"}]},
        "spec": {
            "containers": [
                {"name": "main", "image": "a", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
                {"name": "side", "image": "s"},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "tolerations": [{"key": "x"}],
        },
    }


def merged(patch: dict[str, Any]) -> dict[str, Any]:
    return strategic_merge(pod(), patch, POD)


def test_lists_merge_by_their_keys() -> None:
    """A container is found by its name, an env variable by its own; new ones are appended."""
    found = merged(
        {"spec": {"containers": [{"name": "main", "env": [{"name": "B", "value": "3"}, {"name": "C"}]}, {"name": "new", "image": "n"}]}}
    )
    main, _, new = found["spec"]["containers"]
    assert main == {"name": "main", "image": "a", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}, {"name": "C"}]}
    assert new == {"name": "new", "image": "n"}


def test_delete_directive_removes_an_item_or_an_object() -> None:
    """$patch: delete takes away a list item by key, and empties an object."""
    found = merged(
        {
            "spec": {
                "containers": [{"name": "side", "$patch": "delete"}],
                "volumes": [{"name": "v", "emptyDir": {"$patch": "delete", "medium": "Memory"}}],
            }
        }
    )
    assert [c["name"] for c in found["spec"]["containers"]] == ["main"]
    assert found["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]


def test_replace_directive_replaces_a_list_or_an_object() -> None:
    """$patch: replace forgets what was there."""
    found = merged(
        {"metadata": {"$patch": "replace", "labels": {"a": "b"}}, "spec": {"containers": [{"$patch": "replace"}, {"name": "only"}]}}
    )
    assert found["spec"]["containers"] == [{"name": "only"}]
    assert found["metadata"] == {"labels": {"a": "b"}}


def test_retain_keys_drops_the_other_keys() -> None:
    """$retainKeys swaps one volume source for another."""
    found = merged({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}]}})
    assert found["spec"]["volumes"] == [{"name": "v", "secret": {"secretName": "s"}}]


def test_primitive_lists_are_sets() -> None:
    """Finalizers are added once and deleted by directive."""
    assert merged({"metadata": {"finalizers": ["b", "c"]}})["metadata"]["finalizers"] == ["a", "b", "c"]
    assert merged({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}})["metadata"]["finalizers"] == ["b"]


def test_element_order_is_set() -> None:
    """$setElementOrder orders what it names; what it does not name stays in its place."""
    patch = {"spec": {"$setElementOrder/containers": [{"name": "new"}, {"name": "main"}], "containers": [{"name": "new"}]}}
    assert [c["name"] for c in merged(patch)["spec"]["containers"]] == ["new", "main", "side"]


def test_lists_without_keys_are_replaced() -> None:
    """Tolerations have no merge key: the patch wins whole."""
    assert merged({"spec": {"tolerations": [{"key": "y"}]}})["spec"]["tolerations"] == [{"key": "y"}]


def test_owner_references_merge_by_uid_and_conditions_by_type() -> None:
    """The keys are those of the API, also in metadata and status."""
    found = merged(
        {"metadata": {"ownerReferences": [{"uid": "1", "name": "y"}]}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    )
    again = strategic_merge(found, {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, POD)
    assert again["metadata"]["ownerReferences"] == [{"uid": "1", "name": "y"}]
    assert again["status"]["conditions"] == [{"type": "Ready", "status": "False"}]


def test_null_removes_and_nothing_of_a_patch_leaks() -> None:
    """Nulls and directives never end up in the object."""
    found = merged({"spec": {"tolerations": None, "securityContext": {"runAsUser": None, "fsGroup": 1}}})
    assert "tolerations" not in found["spec"]
    assert found["spec"]["securityContext"] == {"fsGroup": 1}


@pytest.mark.parametrize(
    "patch", [{"spec": {"containers": [{"image": "x"}]}}, {"spec": {"$patch": "shred"}}, {"spec": {"containers": ["x"]}}]
)
def test_patches_that_make_no_sense_are_refused(patch: dict[str, Any]) -> None:
    """A missing merge key and an unknown directive are 400."""
    with pytest.raises(PatchFailed) as failed:
        merged(patch)
    assert failed.value.code == 400
