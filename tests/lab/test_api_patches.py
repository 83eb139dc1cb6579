"""Patches of all kinds and server-side apply, as far as the server's own rules around them go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.api_client import CONFIGS, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, WIDGET_PATH, Api, config, serving, widget

REJECTED = "the server rejected our request due to an error in our request"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as running:
        yield running


def test_a_json_patch_with_true_tests_is_applied(api: Api) -> None:
    """Tests on uid and resourceVersion that hold let the rest pass."""
    made = api.admin.post(WIDGET_PATH, widget("tested")).body["metadata"]
    ops = [
        {"op": "test", "path": "/metadata/uid", "value": made["uid"]},
        {"op": "test", "path": "/metadata/resourceVersion", "value": made["resourceVersion"]},
        {"op": "replace", "path": "/spec/size", "value": 4},
        {"op": "add", "path": "/metadata/annotations", "value": {"a/b": "c"}},
    ]
    answer = api.admin.patch(f"{WIDGET_PATH}/tested", ops, JSON_PATCH)
    assert (answer.code, answer.body["spec"]["size"]) == (200, 4)
    assert answer.body["metadata"]["annotations"] == {"a/b": "c"}


@pytest.mark.parametrize(
    "op",
    [
        {"op": "test", "path": "/spec/size", "value": 99},
        {"op": "test", "path": "/spec/none", "value": 1},
        {"op": "remove", "path": "/spec/none"},
    ],
)
def test_a_json_patch_that_does_not_fit_is_invalid_without_a_reason(api: Api, op: dict[str, Any]) -> None:
    """A failed test and a missing path are both the same bare 422: the real server does not say which operation failed."""
    name = f"unfit-{op['op']}-{op['path'].rpartition('/')[2]}"
    made = api.admin.post(WIDGET_PATH, widget(name))
    refused = api.admin.patch(f"{WIDGET_PATH}/{name}", [op], JSON_PATCH)
    assert (refused.code, refused.body["reason"], refused.body["message"]) == (422, "Invalid", REJECTED)
    assert api.admin.get(f"{WIDGET_PATH}/{name}").rv == made.rv


def test_a_patch_may_carry_the_version_it_means(api: Api) -> None:
    """A merge patch with an old resourceVersion is 409 Conflict."""
    made = api.admin.post(CONFIGS, config("meant"))
    assert api.admin.patch(f"{CONFIGS}/meant", {"data": {"b": "2"}}).code == 200
    refused = api.admin.patch(f"{CONFIGS}/meant", {"metadata": {"resourceVersion": made.rv}, "data": {"b": "3"}})
    assert (refused.code, refused.body["reason"]) == (409, "Conflict")


def test_strategic_patches_are_for_builtin_kinds(api: Api) -> None:
    """A strategic merge patch merges lists of built-in kinds and is 415 for custom resources."""
    api.admin.post("/api/v1/namespaces/shop/serviceaccounts", {"metadata": {"name": "robot"}, "secrets": [{"name": "a"}]})
    path = "/api/v1/namespaces/shop/serviceaccounts/robot"
    merged = api.admin.patch(path, {"secrets": [{"name": "b"}]}, STRATEGIC_PATCH)
    assert {entry["name"] for entry in merged.body["secrets"]} == {"a", "b"}
    api.admin.post(WIDGET_PATH, widget("nonstrategic"))
    assert api.admin.patch(f"{WIDGET_PATH}/nonstrategic", {"spec": {"size": 2}}, STRATEGIC_PATCH).code == 415


def test_a_patch_of_nothing_is_not_found(api: Api) -> None:
    """Only an apply creates what it changes."""
    assert api.admin.patch(f"{CONFIGS}/absent", {"data": {}}, MERGE_PATCH).code == 404


def test_system_metadata_does_not_change(api: Api) -> None:
    """A patch may not move an object in time or give it another name or uid: part of it is ignored, part is refused."""
    made = api.admin.post(CONFIGS, config("fixed")).body["metadata"]
    body = {"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 77, "selfLink": "/x"}}
    after = api.admin.patch(f"{CONFIGS}/fixed", body).body["metadata"]
    assert after == made
    assert api.admin.patch(f"{CONFIGS}/fixed", {"metadata": {"name": "moved"}}).code == 400
    for field, value in (("deletionTimestamp", "2001-01-01T00:00:00Z"), ("deletionGracePeriodSeconds", 5), ("uid", "x")):
        refused = api.admin.patch(f"{CONFIGS}/fixed", {"metadata": {field: value}})
        assert (refused.code, refused.body["reason"]) == (422, "Invalid")
        assert f"metadata.{field}: Invalid value: {json.dumps(value)}: field is immutable" in refused.body["message"]


def test_an_apply_creates_and_then_changes(api: Api) -> None:
    """201 for a new object, 200 after; a field that is no longer applied goes."""
    path = f"{CONFIGS}/applied"
    first = api.admin.apply(path, config("applied", {"a": "1", "b": "2"}))
    assert first.code == 201
    again = api.admin.apply(path, config("applied", {"a": "1", "b": "2"}))
    assert (again.code, again.rv) == (200, first.rv)
    assert api.admin.apply(path, config("applied", {"a": "1"})).body["data"] == {"a": "1"}


def test_an_apply_to_somebody_elses_field_is_a_conflict(api: Api) -> None:
    """409 with a FieldManagerConflict cause that names owner and field; force takes the field over."""
    path = f"{CONFIGS}/shared"
    api.admin.apply(path, config("shared", {"a": "1"}), "first")
    refused = api.admin.apply(path, config("shared", {"a": "2"}), "second")
    assert (refused.code, refused.body["reason"]) == (409, "Conflict")
    assert refused.body["message"] == 'Apply failed with 1 conflict: conflict with "first": .data.a'
    cause = {"reason": "FieldManagerConflict", "message": 'conflict with "first"', "field": ".data.a"}
    assert refused.body["details"]["causes"] == [cause]
    forced = api.admin.apply(path, config("shared", {"a": "2"}), "second", force=True)
    assert (forced.code, forced.body["data"]) == (200, {"a": "2"})


def test_an_apply_of_an_unknown_field_fails_typed(api: Api) -> None:
    """The real server answers 500 with `field not declared in schema`, whatever fieldValidation says."""
    body = widget("typed")
    body["spec"]["sise"] = 3
    refused = api.admin.apply(f"{WIDGET_PATH}/typed?fieldValidation=Strict", body)
    assert refused.code == 500
    assert "field not declared in schema" in refused.body["message"]


def test_an_apply_needs_a_manager(api: Api) -> None:
    """Without fieldManager it is 422."""
    refused = api.admin.patch(f"{CONFIGS}/nobody", config("nobody"), "application/apply-patch+yaml")
    assert refused.code == 422
    assert "fieldManager: Required value: is required for apply patch" in refused.body["message"]


def test_a_dry_apply_leaves_nothing(api: Api) -> None:
    """dryRun=All of an apply answers 201 and stores nothing."""
    assert api.admin.apply(f"{CONFIGS}/dry?dryRun=All", config("dry")).code == 201
    assert api.gone(f"{CONFIGS}/dry")


def test_a_patch_that_makes_the_object_invalid_is_refused(api: Api) -> None:
    """The result is validated as any other write; strict unknown fields are 422 with the patch as cause."""
    api.admin.post(WIDGET_PATH, widget("broken"))
    assert api.admin.patch(f"{WIDGET_PATH}/broken", {"spec": {"size": 0}}).code == 422
    strict = api.admin.patch(f"{WIDGET_PATH}/broken?fieldValidation=Strict", {"spec": {"sise": 0}})
    assert strict.code == 422
    assert 'strict decoding error: unknown field "spec.sise"' in strict.body["message"]


def test_two_writers_lose_nothing(api: Api) -> None:
    """Concurrent merge patches without a version are all applied: the server tries again by itself."""
    import threading

    api.admin.post(CONFIGS, config("busy"))
    codes: list[int] = []

    def write(number: int) -> None:
        codes.append(api.admin.patch(f"{CONFIGS}/busy", {"data": {f"k{number}": "x"}}).code)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = api.admin.get(f"{CONFIGS}/busy").body["data"]
    assert codes.count(200) == len([key for key in kept if key.startswith("k")])
    assert set(codes) <= {200, 409}
