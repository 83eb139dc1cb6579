"""The read-only handle: reads are real, writes are noted and tried with dryRun=All, and nothing else is ever sent."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import NAMESPACE, POD
from migrate.kube.readonly import ReadOnly
from migrate.model.errors import Refused, Taken
from tests.kube.small_server import Reply, Request, SmallServer, refusal


def _pod(name: str = "a", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}}


def _writes(server: SmallServer) -> list[Request]:
    return [request for request in server.requests if request.method != "GET" and "selfsubject" not in request.path]


def test_every_write_is_tried_as_a_dry_run_and_noted(server: SmallServer, east: Cluster) -> None:
    """All verbs, through the namespaces of `at` and on cached handles: each request carries dryRun=All."""
    dry = ReadOnly(east)
    dry.create(_pod())
    dry.at("lab").apply(_pod(), force=True)
    dry.cached().patch(POD, "a", [{"op": "remove", "path": "/x"}])
    dry.merge(POD, "a", {"status": {}}, subresource="status")
    dry.replace(_pod(resourceVersion="1"))
    dry.delete(POD, "a", uid="u")
    writes = _writes(server)
    assert [request.method for request in writes] == ["POST", "PATCH", "PATCH", "PATCH", "PUT", "DELETE"]
    assert all(request.query["dryRun"] == "All" for request in writes[:-1])
    assert writes[-1].body["dryRun"] == ["All"]
    assert [noted.verb for noted in dry.noted] == ["create", "apply", "patch", "patch status", "replace", "delete"]
    assert [noted.manifest["metadata"]["namespace"] for noted in dry.noted] == ["shop", "lab", "shop", "shop", "shop", "shop"]
    assert dry.noted[2].manifest["patch"] == [{"op": "remove", "path": "/x"}]


def test_a_dry_run_that_asks_for_the_real_thing_does_not_get_it(server: SmallServer, east: Cluster) -> None:
    """dry_run=False at the call does not reach through."""
    ReadOnly(east).create(_pod(), dry_run=False)
    ReadOnly(east).apply(_pod(), dry_run=False)
    assert all(request.query["dryRun"] == "All" for request in _writes(server))


def test_calls_and_aggregated_apis_are_only_noted(server: SmallServer, east: Cluster) -> None:
    """Subresources and upload tokens do not know dryRun: what is sent to them happens."""
    dry = ReadOnly(east)
    assert dry.call("PUT", "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines/a/stop", {"gracePeriod": 1}) == {}
    request = {"apiVersion": "upload.cdi.kubevirt.io/v1beta1", "kind": "UploadTokenRequest", "metadata": {"name": "t"}}
    dry.create(request)
    assert _writes(server) == []
    assert [noted.verb.split()[0] for noted in dry.noted] == ["PUT", "create"]


def test_reads_and_questions_of_rights_are_real(server: SmallServer, east: Cluster) -> None:
    """A dry run that could not look would have nothing to say."""
    dry = ReadOnly(east)
    server.script = lambda _request: Reply(200, {"metadata": {"name": "a"}, "items": [], "status": {"allowed": True}})
    assert dry.get(POD, "a") is not None
    assert dry.list(POD) == []
    assert dry.can("create", POD)
    assert dry.call("GET", "/version") != {}
    assert dry.noted == []


def test_a_namespace_that_would_have_been_made_makes_a_trial_impossible(server: SmallServer, east: Cluster) -> None:
    """The server cannot try an object in a namespace that is not there; the note is all there is."""

    def script(request: Request) -> Reply:
        if request.path.startswith("/api/v1/namespaces/new") or "pods" in request.path:
            return refusal(404, "NotFound", 'namespaces "new" not found', name="new", kind="namespaces")
        return Reply(201, request.body)

    server.script = script
    dry = ReadOnly(east)
    dry.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}})
    assert dry.at("new").create(_pod())[0]["metadata"] == {"name": "a", "namespace": "new"}
    assert dry.at("new").apply(_pod("b"))[0]["metadata"]["name"] == "b"
    assert len(dry.noted) == 3


def test_a_patch_of_something_only_noted_is_only_noted(server: SmallServer, east: Cluster) -> None:
    """What an earlier write would have made can be patched on paper; what nobody would have made cannot."""

    def script(request: Request) -> Reply:
        if request.method == "POST":
            return Reply(201, request.body)
        if request.path.startswith("/api/v1/namespaces/shop/pods/"):
            return refusal(404, "NotFound", "not found", name="a", kind="pods")
        return Reply(200, {"metadata": {"name": "shop"}})

    server.script = script
    dry = ReadOnly(east)
    dry.create(_pod("a"))
    dry.merge(POD, "a", {"spec": {}})
    with pytest.raises(Refused):
        dry.merge(POD, "b", {"spec": {}})
    dry.delete(POD, "b")


def test_what_the_cluster_would_refuse_is_told(server: SmallServer, east: Cluster) -> None:
    """Webhooks, quotas and taken names speak in a dry run as they would later."""
    server.script = lambda _request: refusal(409, "AlreadyExists", 'namespaces "shop" already exists', name="shop")
    with pytest.raises(Taken):
        ReadOnly(east).create({"apiVersion": "v1", "kind": NAMESPACE.kind, "metadata": {"name": "shop"}})
    server.script = lambda _request: refusal(403, "Forbidden", 'admission webhook "x" denied the request: no')
    with pytest.raises(Refused, match="denied the request"):
        ReadOnly(east).apply(_pod())
