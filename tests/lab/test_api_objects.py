"""Objects: creating, reading, replacing, the two sorts of 409, generation, status, dry run, validation."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from tests.lab.api_client import CONFIGS, WIDGET_PATH, Api, config, serving, widget


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as running:
        yield running


def test_a_created_object_gets_what_the_system_fills_in(api: Api) -> None:
    """A new object has uid, creationTimestamp, resourceVersion, namespace and managedFields, and can be read back the same."""
    made = api.admin.post(f"{CONFIGS}?fieldManager=me", config("filled"))
    assert made.code == 201
    metadata = made.body["metadata"]
    assert metadata["namespace"] == "shop"
    assert metadata["uid"]
    assert metadata["creationTimestamp"].endswith("Z")
    assert [entry["manager"] for entry in metadata["managedFields"]] == ["me"]
    assert api.admin.get(f"{CONFIGS}/filled").body == made.body


def test_resource_versions_come_from_one_counter(api: Api) -> None:
    """Whatever the kind, a later write has a higher number."""
    first = api.admin.post(CONFIGS, config("counted")).rv
    second = api.admin.post(WIDGET_PATH, widget("counted")).rv
    assert int(second) == int(first) + 1


def test_a_name_in_use_is_already_exists(api: Api) -> None:
    """Creating a second object of a name is 409 AlreadyExists, also in a dry run."""
    api.admin.post(WIDGET_PATH, widget("twice"))
    for query in ("", "?dryRun=All"):
        again = api.admin.post(f"{WIDGET_PATH}{query}", widget("twice"))
        assert (again.code, again.body["reason"]) == (409, "AlreadyExists")
        assert again.body["message"] == 'widgets.example.org "twice" already exists'
        assert again.body["details"] == {"name": "twice", "group": "example.org", "kind": "widgets"}


def test_a_stale_replacement_is_a_conflict(api: Api) -> None:
    """PUT with an old resourceVersion is 409 Conflict in the server's words; with the present one it passes."""
    old = api.admin.post(WIDGET_PATH, widget("stale")).body
    new = api.admin.put(f"{WIDGET_PATH}/stale", {**old, "spec": {"size": 2}})
    assert new.code == 200
    late = api.admin.put(f"{WIDGET_PATH}/stale", {**old, "spec": {"size": 3}})
    assert (late.code, late.body["reason"]) == (409, "Conflict")
    assert late.body["message"] == (
        'Operation cannot be fulfilled on widgets.example.org "stale": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


def test_another_uid_is_a_conflict(api: Api) -> None:
    """PUT with the uid of an earlier object of that name is 409 Conflict."""
    made = api.admin.post(CONFIGS, config("reborn")).body
    made["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    refused = api.admin.put(f"{CONFIGS}/reborn", made)
    assert (refused.code, refused.body["reason"]) == (409, "Conflict")
    assert "Precondition failed: UID in precondition" in refused.body["message"]


def test_custom_resources_are_not_replaced_without_a_version(api: Api) -> None:
    """PUT without resourceVersion works for ConfigMaps and is 422 for custom resources."""
    api.admin.post(WIDGET_PATH, widget("locked"))
    refused = api.admin.put(f"{WIDGET_PATH}/locked", widget("locked", 2))
    assert refused.code == 422
    assert "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in refused.body["message"]
    api.admin.post(CONFIGS, config("unlocked"))
    assert api.admin.put(f"{CONFIGS}/unlocked", config("unlocked", {"a": "2"})).body["data"] == {"a": "2"}


def test_writing_the_same_again_changes_nothing(api: Api) -> None:
    """A replacement that changes nothing keeps the resourceVersion."""
    made = api.admin.post(WIDGET_PATH, widget("same"))
    assert api.admin.put(f"{WIDGET_PATH}/same", made.body).rv == made.rv


def test_generation_counts_changes_of_the_spec_only(api: Api) -> None:
    """A new spec counts, labels and status do not; kinds such as ConfigMap have no generation at all."""
    path = f"{WIDGET_PATH}/counting"
    assert api.admin.post(WIDGET_PATH, widget("counting")).body["metadata"]["generation"] == 1
    assert api.admin.patch(path, {"metadata": {"labels": {"a": "b"}}}).body["metadata"]["generation"] == 1
    assert api.admin.patch(f"{path}/status", {"status": {"phase": "Fine"}}).body["metadata"]["generation"] == 1
    assert api.admin.patch(path, {"spec": {"size": 5}}).body["metadata"]["generation"] == 2
    assert "generation" not in api.admin.post(CONFIGS, config("plain")).body["metadata"]


def test_status_is_written_through_its_subresource_only(api: Api) -> None:
    """The main path ignores status, the status path ignores everything else."""
    made = api.admin.post(WIDGET_PATH, {**widget("split"), "status": {"phase": "Early"}})
    assert "status" not in made.body
    body = {**made.body, "spec": {"size": 9}, "status": {"phase": "Fine"}}
    body["metadata"] = {**body["metadata"], "labels": {"ignored": "yes"}}
    after = api.admin.put(f"{WIDGET_PATH}/split/status", body).body
    assert (after["spec"]["size"], after["status"]) == (1, {"phase": "Fine"})
    assert "labels" not in after["metadata"]
    main = api.admin.patch(f"{WIDGET_PATH}/split", {"spec": {"size": 2}, "status": {"phase": "Lost"}}).body
    assert (main["spec"]["size"], main["status"]) == (2, {"phase": "Fine"})


def test_a_dry_run_answers_and_leaves_nothing(api: Api) -> None:
    """dryRun=All of every write answers like the real one, and changes neither the object nor the counter."""
    before = api.rv
    assert api.admin.post(f"{WIDGET_PATH}?dryRun=All", widget("dry")).code == 201
    assert api.rv == before
    assert api.gone(f"{WIDGET_PATH}/dry")
    made = api.admin.post(WIDGET_PATH, widget("wet"))
    assert api.admin.patch(f"{WIDGET_PATH}/wet?dryRun=All", {"spec": {"size": 7}}).body["spec"]["size"] == 7
    assert api.admin.delete(f"{WIDGET_PATH}/wet?dryRun=All").code == 200
    assert api.admin.delete(f"{WIDGET_PATH}/wet", {"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]}).code == 200
    assert api.admin.get(f"{WIDGET_PATH}/wet").body == made.body


@pytest.mark.parametrize("query", ["?fieldValidation=Strict", "?fieldValidation=Warn", "?fieldValidation=Ignore", ""])
def test_unknown_fields_are_refused_warned_of_or_dropped(api: Api, query: str) -> None:
    """Strict is a 400, Warn (the default) a Warning header, Ignore silent; the field is never stored."""
    body = widget("unknown")
    body["spec"]["sise"] = 3
    answer = api.admin.post(f"{WIDGET_PATH}{query}{'&' if query else '?'}dryRun=All", body)
    if "Strict" in query:
        assert (answer.code, answer.body["reason"]) == (400, "BadRequest")
        assert answer.body["message"] == (
            'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.sise"'
        )
        return
    assert answer.code == 201
    assert answer.body["spec"] == {"size": 1, "colour": "grey"}
    assert answer.headers.get("warning") == (None if "Ignore" in query else ['299 - "unknown field \\"spec.sise\\""'])


def test_an_invalid_object_is_refused_with_all_causes(api: Api) -> None:
    """What the schema forbids is 422 Invalid, every cause with its field."""
    body = {**widget("wrong", 0)}
    body["spec"]["colour"] = "blue"
    refused = api.admin.post(WIDGET_PATH, body)
    assert (refused.code, refused.body["reason"]) == (422, "Invalid")
    assert {cause["field"] for cause in refused.body["details"]["causes"]} == {"spec.size", "spec.colour"}
    assert refused.body["message"].startswith('Widget.example.org "wrong" is invalid: [')


def test_bad_names_are_refused(api: Api) -> None:
    """A name that is no DNS-1123 subdomain is 422."""
    refused = api.admin.post(CONFIGS, config("Not_A_Name"))
    assert refused.code == 422
    assert "a lowercase RFC 1123 subdomain must consist of" in refused.body["message"]


def test_names_are_generated(api: Api) -> None:
    """generateName makes a name of the prefix and five letters, another one each time."""
    body = {"metadata": {"generateName": "gen-"}, "data": {}}
    names = {api.admin.post(CONFIGS, body).body["metadata"]["name"] for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith("gen-") and len(name) == 9 for name in names)


def test_a_body_that_contradicts_its_path_is_refused(api: Api) -> None:
    """Another namespace or name than the path's is 400."""
    elsewhere = api.admin.post(CONFIGS, config("here", namespace="default"))
    assert elsewhere.code == 400
    assert elsewhere.body["message"] == "the namespace of the provided object does not match the namespace sent on the request"
    api.admin.post(CONFIGS, config("one"))
    other = api.admin.put(f"{CONFIGS}/one", config("two"))
    assert other.body["message"] == "the name of the object (two) does not match the name on the URL (one)"


def test_a_resource_version_is_not_given_at_birth(api: Api) -> None:
    """A create with a resourceVersion is refused with the real server's 500."""
    refused = api.admin.post(CONFIGS, config("versioned", resourceVersion="5"))
    assert (refused.code, refused.body["message"]) == (500, "resourceVersion should not be set on objects to be created")


def test_secrets_take_plain_text(api: Api) -> None:
    """stringData becomes data in base64 and is not kept; the type does not change later."""
    path = "/api/v1/namespaces/shop/secrets"
    made = api.admin.post(path, {"metadata": {"name": "s"}, "stringData": {"token": "abc"}}).body
    assert made["data"] == {"token": base64.b64encode(b"abc").decode()}
    assert (made["type"], "stringData" in made) == ("Opaque", False)
    assert api.admin.patch(f"{path}/s", {"type": "other"}).code == 422


def test_the_spec_of_a_claim_does_not_change(api: Api) -> None:
    """A PVC's spec is immutable but for its size once bound."""
    path = "/api/v1/namespaces/shop/persistentvolumeclaims"
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "fast"}
    assert api.admin.post(path, {"metadata": {"name": "disk"}, "spec": spec}).body["status"] == {"phase": "Pending"}
    refused = api.admin.patch(f"{path}/disk", {"spec": {"storageClassName": "slow"}})
    assert refused.code == 422
    assert "spec is immutable after creation" in refused.body["message"]


def test_the_same_object_is_seen_in_every_version(api: Api) -> None:
    """A custom resource written in one version is read in another, with that apiVersion."""
    api.admin.post(WIDGET_PATH, widget("versions"))
    seen = api.admin.get("/apis/example.org/v1beta1/namespaces/shop/widgets/versions").body
    assert (seen["apiVersion"], seen["spec"]["size"]) == ("example.org/v1beta1", 1)


def test_an_absent_object_and_an_absent_kind_are_told_apart(api: Api) -> None:
    """404 names the object when only the object is missing."""
    missing = api.admin.get(f"{WIDGET_PATH}/none").body
    assert missing["message"] == 'widgets.example.org "none" not found'
    assert missing["details"] == {"name": "none", "group": "example.org", "kind": "widgets"}
    unknown = api.admin.get("/apis/example.org/v1/namespaces/shop/gadgets")
    assert (unknown.code, unknown.body) == (404, "404 page not found\n")


def test_a_body_that_is_too_large_is_refused(api: Api) -> None:
    """More than 3 MiB is 413, before anything is read."""
    refused = api.admin.post(CONFIGS, config("large", {"a": "x" * (3 << 20)}))
    assert (refused.code, refused.body["message"]) == (413, "Request entity too large: limit is 3145728")


def test_an_object_needs_a_name(api: Api) -> None:
    """Neither name nor generateName is 422."""
    refused = api.admin.post(WIDGET_PATH, {**widget("x"), "metadata": {}})
    assert refused.code == 422
    assert "metadata.name: Required value: name or generateName is required" in refused.body["message"]
