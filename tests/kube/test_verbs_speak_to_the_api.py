"""What the verbs of a handle send, and what they make of the answers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import EXPORT, POD, PVC, VM
from migrate.model.errors import Refused
from tests.kube.small_server import JumpingClock, Reply, Request, SmallServer, refusal


def test_an_absent_object_is_none(server: SmallServer, east: Cluster) -> None:
    """A 404 that names the object is an answer, not an error."""
    server.script = lambda _request: refusal(404, "NotFound", 'pods "a" not found', name="a", kind="pods")
    assert east.get(POD, "a") is None
    assert server.requests[0].path == "/api/v1/namespaces/shop/pods/a"


def test_an_unserved_kind_is_refused(server: SmallServer, east: Cluster) -> None:
    """A 404 for the resource type is an error that names it, since nobody may take it for an absent object."""
    server.script = lambda _request: Reply(404, b"404 page not found\n")
    with pytest.raises(Refused) as caught:
        east.get(EXPORT, "a")
    assert 'no resource type "virtualmachineexports.export.kubevirt.io" in v1, v1beta1, v1alpha1' in caught.value.what
    assert caught.value.where == "context east"
    with pytest.raises(Refused, match="persistentvolumeclaims"):
        east.get(PVC, "a")


def test_a_kind_is_asked_for_in_the_version_that_is_served(server: SmallServer, east: Cluster) -> None:
    """Export v1 is not there, v1beta1 is: the object is read in that version, and discovery is not repeated."""

    def script(request: Request) -> Reply:
        match request.path:
            case "/apis/export.kubevirt.io/v1beta1":
                return Reply(200, {"resources": [{"name": "virtualmachineexports", "kind": "VirtualMachineExport", "namespaced": True}]})
            case "/apis/export.kubevirt.io/v1beta1/namespaces/shop/virtualmachineexports/a":
                return Reply(200, {"metadata": {"name": "a"}})
            case _:
                return Reply(404, b"404 page not found\n")

    server.script = script
    assert east.serves(EXPORT) == "v1beta1"
    found = east.get(EXPORT, "a")
    assert found == {"apiVersion": "export.kubevirt.io/v1beta1", "kind": "VirtualMachineExport", "metadata": {"name": "a"}}
    asked = len(server.requests)
    east.get(EXPORT, "a")
    assert len(server.requests) == asked + 1


def test_lists_come_in_pages_and_items_know_what_they_are(server: SmallServer, east: Cluster) -> None:
    """The pages of a list are joined; items get the apiVersion and kind that the API leaves out."""

    def script(request: Request) -> Reply:
        if request.path == "/apis/kubevirt.io/v1":
            return Reply(200, {"resources": [{"name": "virtualmachines", "kind": "VirtualMachine"}]})
        if "continue" not in request.query:
            assert request.query == {"limit": "500", "labelSelector": "a=b,c"}
            return Reply(200, {"metadata": {"continue": "more"}, "apiVersion": "kubevirt.io/v1", "items": [{"metadata": {"name": "x"}}]})
        return Reply(200, {"metadata": {}, "apiVersion": "kubevirt.io/v1", "items": [{"metadata": {"name": "y"}}]})

    server.script = script
    found = east.list(VM, labels={"c": None, "a": "b"})
    assert [item["metadata"]["name"] for item in found] == ["x", "y"]
    assert {(item["apiVersion"], item["kind"]) for item in found} == {("kubevirt.io/v1", "VirtualMachine")}


def test_a_version_that_vanishes_in_mid_run_is_replaced(server: SmallServer, east: Cluster) -> None:
    """KubeVirt is upgraded under our feet: the old version answers 404 page not found, and the new one is found and used."""
    served = {"v1beta1"}

    def script(request: Request) -> Reply:
        version = request.path.split("/")[3]
        if version not in served:
            return Reply(404, b"404 page not found\n")
        if request.path == f"/apis/export.kubevirt.io/{version}":
            return Reply(200, {"resources": [{"name": "virtualmachineexports", "kind": "VirtualMachineExport"}]})
        return Reply(200, {"metadata": {"name": "a"}})

    server.script = script
    assert east.get(EXPORT, "a") is not None
    served.remove("v1beta1")
    served.add("v1")
    found = east.get(EXPORT, "a")
    assert found is not None
    assert found["apiVersion"] == "export.kubevirt.io/v1"


def test_not_served_is_believed_for_a_few_seconds_only(server: SmallServer, east: Cluster, clock: JumpingClock) -> None:
    """A component that is being installed is noticed soon, and its absence is not asked for at every look."""
    server.script = lambda _request: Reply(404, b"404 page not found\n")
    assert east.serves(PVC) is None
    assert east.serves(PVC) is None
    assert len(server.requests) == 1
    clock.passed_s += 6
    server.script = lambda _request: Reply(200, {"resources": [{"name": "persistentvolumeclaims"}]})
    assert east.serves(PVC) == "v1"


def test_a_manifest_is_sent_in_its_version_or_else_in_the_one_served(server: SmallServer, east: Cluster) -> None:
    """A template in v1 works on a cluster that has only v1beta1; the body says the version it is sent in."""

    def script(request: Request) -> Reply:
        if request.path.endswith("/v1"):
            return Reply(404, b"404 page not found\n")
        if request.method == "GET":
            return Reply(200, {"resources": [{"name": "virtualmachineexports", "kind": "VirtualMachineExport"}]})
        return Reply(201, request.body)

    server.script = script
    made = east.create({"apiVersion": "export.kubevirt.io/v1", "kind": "VirtualMachineExport", "metadata": {"name": "a"}})
    assert made[0]["apiVersion"] == "export.kubevirt.io/v1beta1"
    assert server.requests[-1].path == "/apis/export.kubevirt.io/v1beta1/namespaces/shop/virtualmachineexports"
    assert server.requests[-1].body["metadata"] == {"name": "a", "namespace": "shop"}


def test_a_kind_that_is_not_among_ours_is_found_by_discovery(server: SmallServer, east: Cluster) -> None:
    """Users carry objects of kinds that we do not know; their plural is asked for, and one that is not there is refused."""

    def script(request: Request) -> Reply:
        if request.method == "GET":
            return Reply(
                200,
                {"resources": [{"name": "widgets/status", "kind": "Widget"}, {"name": "widgets", "kind": "Widget", "namespaced": False}]},
            )
        return Reply(201, request.body)

    server.script = script
    east.create({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}})
    assert server.requests[-1].path == "/apis/example.org/v1/widgets"
    assert server.requests[-1].body["metadata"] == {"name": "w"}
    with pytest.raises(Refused, match="no resource type"):
        east.create({"apiVersion": "example.org/v1", "kind": "Gadget", "metadata": {"name": "g"}})
    with pytest.raises(ValueError, match="apiVersion and kind"):
        east.create({"kind": "Gadget"})


def test_the_identity_of_a_cluster_is_asked_once(server: SmallServer, east: Cluster) -> None:
    """It is the UID of kube-system, whatever the context is called."""
    server.script = lambda _request: Reply(200, {"metadata": {"uid": "cluster-uid"}})
    assert (east.uid(), east.at("x").uid(), east.cached().uid()) == ("cluster-uid",) * 3
    assert [request.path for request in server.requests] == ["/api/v1/namespaces/kube-system"]


def test_apply_is_server_side_and_strict(server: SmallServer, east: Cluster) -> None:
    """A PATCH with our manager, force only if asked, unknown fields refused, and no managedFields in the body."""
    server.script = lambda request: Reply(200, request.body)
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "managedFields": [{}]}}
    east.apply(manifest)
    east.apply(manifest, force=True, dry_run=True)
    first, second = server.requests
    assert (first.method, first.headers["Content-Type"]) == ("PATCH", "application/apply-patch+yaml")
    assert first.query == {"fieldManager": "kubevirt-migrate", "fieldValidation": "Strict", "force": "false"}
    assert (second.query["force"], second.query["dryRun"]) == ("true", "All")
    assert "managedFields" not in first.body["metadata"]
    assert manifest["metadata"] == {"name": "a", "managedFields": [{}]}


def test_names_are_quoted_in_paths(server: SmallServer, east: Cluster) -> None:
    """A name from a user cannot leave its place in the path."""
    east.get(POD, "../secrets/x?y")
    assert server.requests[0].path == "/api/v1/namespaces/shop/pods/..%2Fsecrets%2Fx%3Fy"


def test_nothing_is_asked_for_without_a_name(east: Cluster) -> None:
    """An empty name would address the whole collection."""
    with pytest.raises(ValueError, match="without a name"):
        east.get(POD, "")
    with pytest.raises(ValueError, match="without a name"):
        east.delete(POD, "")


def test_a_closed_session_says_so(east: Cluster) -> None:
    """Using a handle after close is a mistake in our code, and is told as one."""
    east.close()
    east.close()
    with pytest.raises(RuntimeError, match="closed"):
        east.get(POD, "a")


def test_opening_imports_nothing_heavy() -> None:
    """`migrate --help` reads modules of this room; the Kubernetes client waits until a request is made."""
    code = "import sys, migrate.kube.session, migrate.kube.cluster, migrate.kube.readonly, migrate.kube.bell; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"kubernetes", "urllib3", "tenacity", "yaml", "cryptography", "httpx"} & set(loaded) == set()
