"""Deletes: preconditions, finalizers, grace, owners, namespaces, kinds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.api_client import CONFIGS, WIDGET_PATH, WIDGETS, Answer, Api, config, serving, widget

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as running:
        yield running


def owned(name: str, owner: Answer, **reference: Any) -> dict[str, Any]:
    """Return a ConfigMap that belongs to an object."""
    metadata = owner.body["metadata"]
    entry = {"apiVersion": owner.body["apiVersion"], "kind": owner.body["kind"], "name": metadata["name"], "uid": metadata["uid"]}
    return config(name, ownerReferences=[entry | reference])


def test_a_deleted_object_is_gone_at_once(api: Api) -> None:
    """Without finalizers DELETE answers with a Status that names kind and uid; the second time it is 404."""
    made = api.admin.post(WIDGET_PATH, widget("plain")).body
    answer = api.admin.delete(f"{WIDGET_PATH}/plain")
    assert (answer.code, answer.body["status"]) == (200, "Success")
    assert answer.body["details"] == {"name": "plain", "group": "example.org", "kind": "widgets", "uid": made["metadata"]["uid"]}
    assert api.admin.delete(f"{WIDGET_PATH}/plain").code == 404


def test_preconditions_protect_another_object_of_that_name(api: Api) -> None:
    """A delete with the wrong uid or resourceVersion is 409 and removes nothing."""
    made = api.admin.post(WIDGET_PATH, widget("guarded")).body["metadata"]
    for wrong in ({"uid": "other"}, {"resourceVersion": "1"}):
        refused = api.admin.delete(f"{WIDGET_PATH}/guarded", {"preconditions": wrong})
        assert (refused.code, refused.body["reason"]) == (409, "Conflict")
    assert refused.body["message"].startswith('Operation cannot be fulfilled on Widget.example.org "guarded": the ResourceVersion in the')
    assert api.admin.delete(f"{WIDGET_PATH}/guarded", {"preconditions": {"uid": made["uid"]}}).code == 200


def test_finalizers_hold_an_object_back(api: Api) -> None:
    """It gets a deletionTimestamp and a new generation, takes no new finalizers, and goes with the last one."""
    path = f"{WIDGET_PATH}/held"
    api.admin.post(WIDGET_PATH, widget("held", finalizers=["example.org/a"]))
    held = api.admin.delete(path).body["metadata"]
    assert held["deletionTimestamp"]
    assert (held["generation"], held["deletionGracePeriodSeconds"]) == (2, 0)
    again = api.admin.delete(path).body["metadata"]
    assert again["resourceVersion"] == held["resourceVersion"]
    refused = api.admin.patch(path, {"metadata": {"finalizers": ["example.org/a", "example.org/b"]}})
    assert refused.code == 422
    assert "no new finalizers can be added if the object is being deleted" in refused.body["message"]
    assert api.admin.patch(path, {"metadata": {"finalizers": None}}).code == 200
    assert api.gone(path)


def test_dependents_go_with_their_owner(api: Api) -> None:
    """Background deletion: the owner goes at once, what it owned soon after, through all generations."""
    owner = api.admin.post(WIDGET_PATH, widget("owner"))
    child = api.admin.post(CONFIGS, owned("child", owner))
    api.admin.post(CONFIGS, owned("grandchild", child))
    api.admin.delete(f"{WIDGET_PATH}/owner", {"propagationPolicy": "Background"})
    api.until(lambda: api.gone(f"{CONFIGS}/child") and api.gone(f"{CONFIGS}/grandchild"))


def test_an_owner_deleted_in_the_foreground_waits(api: Api) -> None:
    """Foreground deletion: the owner stays until its blocking dependents have gone."""
    owner = api.admin.post(WIDGET_PATH, widget("patient"))
    body = owned("slow", owner, blockOwnerDeletion=True)
    body["metadata"]["finalizers"] = ["example.org/slow"]
    api.admin.post(CONFIGS, body)
    answer = api.admin.delete(f"{WIDGET_PATH}/patient", {"propagationPolicy": "Foreground"})
    assert (answer.code, answer.body["metadata"]["finalizers"]) == (200, ["foregroundDeletion"])
    api.until(lambda: "deletionTimestamp" in api.admin.get(f"{CONFIGS}/slow").body["metadata"])
    assert not api.gone(f"{WIDGET_PATH}/patient")
    api.admin.patch(f"{CONFIGS}/slow", {"metadata": {"finalizers": None}})
    api.until(lambda: api.gone(f"{WIDGET_PATH}/patient"))


def test_orphans_stay_and_forget_their_owner(api: Api) -> None:
    """Orphan deletion: the dependents stay, without the reference."""
    owner = api.admin.post(WIDGET_PATH, widget("leaver"))
    api.admin.post(CONFIGS, owned("orphan", owner))
    api.admin.delete(f"{WIDGET_PATH}/leaver?propagationPolicy=Orphan")
    api.until(lambda: api.gone(f"{WIDGET_PATH}/leaver"))
    assert "ownerReferences" not in api.admin.get(f"{CONFIGS}/orphan").body["metadata"]


def test_an_object_born_without_a_living_owner_goes(api: Api) -> None:
    """An owner of that name but with another uid is no owner; a second, living one saves the object."""
    owner = api.admin.post(WIDGET_PATH, widget("living"))
    dead = {"apiVersion": "example.org/v1", "kind": "Widget", "name": "living", "uid": "an-earlier-one"}
    api.admin.post(CONFIGS, config("lost", ownerReferences=[dead]))
    saved = owned("saved", owner)
    saved["metadata"]["ownerReferences"].append(dead)
    api.admin.post(CONFIGS, saved)
    api.until(lambda: api.gone(f"{CONFIGS}/lost"))
    api.until(lambda: len(api.admin.get(f"{CONFIGS}/saved").body["metadata"]["ownerReferences"]) == 1)


def test_pods_have_a_grace_period(api: Api) -> None:
    """A scheduled pod lives on with a deletionTimestamp in the future; grace 0 ends it; one without a node goes at once."""
    path = "/api/v1/namespaces/shop/pods"
    spec = {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 40}
    for name in ("placed", "waiting"):
        api.admin.post(path, {"metadata": {"name": name}, "spec": spec})
    api.admin.post(f"{path}/placed/binding", {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "n"}})
    assert api.admin.get(f"{path}/placed").body["spec"]["nodeName"] == "n"
    metadata = api.admin.delete(f"{path}/placed").body["metadata"]
    assert metadata["deletionGracePeriodSeconds"] == 40
    assert metadata["deletionTimestamp"] > metadata["creationTimestamp"]
    assert api.admin.delete(f"{path}/placed?gracePeriodSeconds=0").code == 200
    api.admin.delete(f"{path}/waiting")
    assert api.gone(f"{path}/placed")
    assert api.gone(f"{path}/waiting")


def test_a_collection_is_deleted_by_selector(api: Api) -> None:
    """DELETE on a list path removes what the selector means and nothing else."""
    for name in ("c1", "c2"):
        api.admin.post(CONFIGS, config(name, labels={"batch": "yes"}))
    answer = api.admin.delete(f"{CONFIGS}?labelSelector=batch%3Dyes")
    assert [item["metadata"]["name"] for item in answer.body["items"]] == ["c1", "c2"]
    assert api.gone(f"{CONFIGS}/c1")
    assert not api.gone(f"{CONFIGS}/kube-root-ca.crt")


def test_nothing_is_created_in_an_absent_namespace(api: Api) -> None:
    """404 that names the namespace."""
    refused = api.admin.post("/api/v1/namespaces/nowhere/configmaps", config("x"))
    assert (refused.code, refused.body["message"]) == (404, 'namespaces "nowhere" not found')


def test_an_ending_namespace_takes_nothing_and_empties_itself(api: Api) -> None:
    """Terminating: creates are 403 with the NamespaceTerminating cause; it goes when its last object has gone."""
    api.admin.post("/api/v1/namespaces", {"metadata": {"name": "ending"}})
    path = "/api/v1/namespaces/ending/configmaps"
    api.admin.post(path, config("last", finalizers=["example.org/last"]))
    assert api.admin.delete("/api/v1/namespaces/ending").body["status"]["phase"] == "Terminating"
    refused = api.admin.post(path, config("late"))
    assert (refused.code, refused.body["reason"]) == (403, "Forbidden")
    assert refused.body["message"] == (
        'configmaps "late" is forbidden: unable to create new content in namespace ending because it is being terminated'
    )
    assert refused.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    api.until(lambda: "deletionTimestamp" in api.admin.get(f"{path}/last").body["metadata"])
    api.admin.patch(f"{path}/last", {"metadata": {"finalizers": None}})
    api.until(lambda: api.gone("/api/v1/namespaces/ending"))


def test_new_namespaces_are_furnished_and_old_ones_stay(api: Api) -> None:
    """ServiceAccount `default` and the cluster's CA appear by themselves; kube-system cannot be deleted."""
    api.admin.post("/api/v1/namespaces", {"metadata": {"name": "furnished"}})
    api.until(lambda: not api.gone("/api/v1/namespaces/furnished/serviceaccounts/default"))
    api.until(lambda: not api.gone("/api/v1/namespaces/furnished/configmaps/kube-root-ca.crt"))
    refused = api.admin.delete("/api/v1/namespaces/kube-system")
    assert (refused.code, refused.body["message"]) == (403, 'namespaces "kube-system" is forbidden: this namespace may not be deleted')


def test_a_kind_goes_with_its_definition() -> None:
    """Deleting a CustomResourceDefinition removes its objects, then the kind from discovery."""
    with serving() as api:
        api.admin.post(WIDGET_PATH, widget("doomed"))
        api.admin.delete(f"{CRDS}/{WIDGETS['metadata']['name']}")
        api.until(lambda: api.gone(f"{CRDS}/{WIDGETS['metadata']['name']}"))
        assert api.gone("/apis/example.org/v1")
        assert api.admin.get(WIDGET_PATH).body == "404 page not found\n"
        assert api.admin.post(CRDS, WIDGETS).code == 201
        api.until(lambda: api.admin.get(WIDGET_PATH).code == 200)
        assert api.admin.get(WIDGET_PATH).body["items"] == []
