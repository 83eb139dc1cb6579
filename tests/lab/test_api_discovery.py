"""What the server says about itself, and how it changes when kinds and virtual resources come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from migrate.lab.api_virtual import Answer, Call
from migrate.lab.discovery import AGGREGATED_TYPE
from tests.lab.api_client import WIDGETS, Api, serving

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as running:
        yield running


def test_a_definition_is_established_and_served_at_once(api: Api) -> None:
    """A new CustomResourceDefinition has the condition Established, and its kind is in discovery in all forms."""
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{WIDGETS['metadata']['name']}"
    conditions = {c["type"]: c["status"] for c in api.admin.get(path).body["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert "example.org" in [group["name"] for group in api.admin.get("/apis").body["groups"]]
    listed = api.admin.get("/apis/example.org/v1").body["resources"]
    assert {"widgets", "widgets/status"} <= {entry["name"] for entry in listed}
    whole = api.admin.get("/apis", Accept=AGGREGATED)
    assert whole.headers["content-type"] == [AGGREGATED_TYPE]
    (group,) = [item for item in whole.body["items"] if item["metadata"]["name"] == "example.org"]
    assert [version["version"] for version in group["versions"]] == ["v1", "v1beta1"]


def test_a_changed_definition_is_served_changed(api: Api) -> None:
    """A name added to a definition is there soon (at once in ours, within seconds on the real server)."""
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{WIDGETS['metadata']['name']}"
    short = api.admin.patch(path, {"spec": {"names": {"shortNames": ["wdg"]}}})
    assert short.body["metadata"]["generation"] == 2
    api.until(lambda: api.admin.get("/apis/example.org/v1").body["resources"][0]["shortNames"] == ["wdg"])


def test_virtual_resources_answer_and_are_discovered(api: Api) -> None:
    """A route gets the parsed call, its answer goes out as it is, other methods are 405, and discovery shows it."""

    def poke(call: Call) -> Answer:
        return 202, {"kind": "Poked", "who": f"{call.namespace}/{call.name}", "body": call.body, "by": call.user.name}

    api.server.route("PUT", "sub.example.org", "v1", "widgets", "poke", poke, kind="Widget")
    path = "/apis/sub.example.org/v1/namespaces/shop/widgets/w/poke"
    answer = api.admin.put(path, {"hard": True})
    assert (answer.code, answer.body["who"], answer.body["body"], answer.body["by"]) == (202, "shop/w", {"hard": True}, "admin")
    assert api.admin.get(path).code == 405
    assert [entry["name"] for entry in api.admin.get("/apis/sub.example.org/v1").body["resources"]] == ["widgets/poke"]


def test_health_version_and_openapi(api: Api) -> None:
    """The paths that clients ask before anything else."""
    for path in ("/healthz", "/livez", "/readyz", "/readyz/ping"):
        assert api.admin.get(path).body == "ok"
    assert api.admin.get("/version").body["gitVersion"] == "v1.32.4"
    assert "apis/example.org/v1" in api.admin.get("/openapi/v3").body["paths"]
    schemas = api.admin.get("/openapi/v3/apis/example.org/v1").body["components"]["schemas"]
    assert "org.example.v1.Widget" in schemas
    assert api.admin.get("/openapi/v3/apis/nothing/v1").code == 404
    assert api.admin.post("/version", {}).code == 405
