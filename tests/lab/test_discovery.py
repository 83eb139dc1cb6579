"""The server tells clients what it serves, in every form that they ask for."""

from __future__ import annotations

import json
from typing import Any

from migrate.lab import discovery, kinds, openapi
from migrate.lab.discovery import Virtual
from migrate.lab.kinds import Registry
from tests.lab.kinds_under_test import registry, resource

STOP = Virtual("subresources.kubevirt.io", "v1", "virtualmachines", "VirtualMachine", ("update",), subresource="stop")
TOKENS = Virtual("upload.cdi.kubevirt.io", "v1beta1", "uploadtokenrequests", "UploadTokenRequest", ("create",))
VIRTUALS = [*discovery.core_virtuals(), STOP, TOKENS]


def names(answer: dict[str, Any] | None) -> list[str]:
    assert answer is not None
    return [entry["name"] for entry in answer["resources"]]


def test_groups_list_versions_with_the_preferred_one_first() -> None:
    """/apis names each group once, virtual ones included."""
    found = {g["name"]: g for g in discovery.groups(registry(), VIRTUALS)["groups"]}
    assert [v["version"] for v in found["export.kubevirt.io"]["versions"]] == ["v1", "v1beta1"]
    assert found["export.kubevirt.io"]["preferredVersion"] == {"groupVersion": "export.kubevirt.io/v1", "version": "v1"}
    assert {"subresources.kubevirt.io", "upload.cdi.kubevirt.io", "authorization.k8s.io", "coordination.k8s.io"} <= set(found)
    assert "" not in found


def test_group_that_is_not_served_is_absent() -> None:
    """Neither its group document nor its resources exist."""
    assert discovery.group(registry(), "route.openshift.io") is None
    assert discovery.resources(registry(), "route.openshift.io", "v1") is None
    assert discovery.resources(registry(), "export.kubevirt.io", "v1alpha1") is None
    assert discovery.resources(registry(), "", "v2") is None


def test_resources_include_stored_and_virtual_subresources() -> None:
    """A kind's status and the subresources with handlers stand beside it."""
    assert names(discovery.resources(registry(), "kubevirt.io", "v1")) == [
        "kubevirts",
        "kubevirts/status",
        "virtualmachineinstances",
        "virtualmachines",
        "virtualmachines/status",
    ]
    assert {"pods", "pods/status", "pods/log", "pods/portforward", "pods/eviction"} <= set(
        names(discovery.resources(registry(), "", "v1", VIRTUALS))
    )
    assert names(discovery.resources(registry(), "subresources.kubevirt.io", "v1", VIRTUALS)) == ["virtualmachines/stop"]


def test_resource_entry_has_what_kubectl_needs() -> None:
    """Short names, categories, verbs and scope."""
    answer = discovery.resources(registry(), "kubevirt.io", "v1")
    assert answer is not None
    entry = next(e for e in answer["resources"] if e["name"] == "virtualmachines")
    assert (entry["kind"], entry["singularName"], entry["namespaced"]) == ("VirtualMachine", "virtualmachine", True)
    assert entry["shortNames"] == ["vm", "vms"]
    assert entry["categories"] == ["all"]
    assert "watch" in entry["verbs"]


def test_aggregated_discovery_says_the_same_at_once() -> None:
    """The aggregated form lists every resource that the plain form lists."""
    items = discovery.aggregated(registry(), VIRTUALS, core=False)["items"] + discovery.aggregated(registry(), VIRTUALS, core=True)["items"]
    for item in items:
        group = item["metadata"].get("name", "")
        for version in item["versions"]:
            plain = set(names(discovery.resources(registry(), group, version["version"], VIRTUALS)))
            listed = set()
            for entry in version["resources"]:
                if entry["responseKind"]["kind"]:
                    listed.add(entry["resource"])
                listed |= {f"{entry['resource']}/{sub['subresource']}" for sub in entry.get("subresources", ())}
            assert listed == plain


def test_subresource_without_a_stored_parent_is_listed_with_an_empty_one() -> None:
    """Aggregated discovery has virtualmachines/stop below a parent that nobody can get."""
    items = discovery.aggregated(registry(), [STOP], core=False)["items"]
    group = next(i for i in items if i["metadata"]["name"] == "subresources.kubevirt.io")
    (parent,) = group["versions"][0]["resources"]
    assert parent["verbs"] == []
    assert parent["subresources"][0]["subresource"] == "stop"


def test_beta_form_is_marked_as_such() -> None:
    """Older clients ask for v2beta1."""
    assert discovery.aggregated(registry(), core=True, beta=True)["apiVersion"] == "apidiscovery.k8s.io/v2beta1"


def test_version_names_its_parts() -> None:
    """/version splits the version."""
    assert discovery.version_info("1.32.4") | {"gitVersion": "v1.32.4", "major": "1", "minor": "32"} == discovery.version_info("1.32.4")


def test_openapi_describes_kinds_with_their_patch_rules() -> None:
    """Each kind's schema carries its identity; a patch operation says what it takes."""
    core = openapi.document(registry(), "", "v1")
    assert core is not None
    pod = core["components"]["schemas"]["io.k8s.api.core.v1.Pod"]
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "version": "v1", "kind": "Pod"}]
    containers = pod["properties"]["spec"]["properties"]["containers"]
    assert (containers["x-kubernetes-patch-strategy"], containers["x-kubernetes-patch-merge-key"]) == ("merge", "name")
    patch = core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    assert {"fieldValidation", "dryRun", "fieldManager", "force"} == {p["name"] for p in patch["parameters"]}


def test_custom_kinds_take_no_strategic_merge() -> None:
    """kubectl must fall back to merge patches for CRDs."""
    document = openapi.document(registry(), "kubevirt.io", "v1")
    assert document is not None
    patch = document["paths"]["/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachines/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    assert "io.kubevirt.v1.VirtualMachine" in document["components"]["schemas"]


def test_openapi_references_resolve() -> None:
    """No document refers to a schema that it does not hold."""
    for path in openapi.index(registry())["paths"]:
        group, _, version = path.partition("/")[2].rpartition("/")
        document = openapi.document(registry(), group, version)
        assert document is not None
        _resolves(document, document["components"]["schemas"], "#/components/schemas/")
    swagger = openapi.v2(registry())
    _resolves(swagger, swagger["definitions"], "#/definitions/")


def _resolves(document: Any, schemas: dict[str, Any], prefix: str) -> None:
    text = json.dumps(document)
    for part in text.split('"$ref": "')[1:]:
        reference = part.partition('"')[0]
        assert reference.startswith(prefix)
        assert reference.removeprefix(prefix) in schemas


def test_openapi_index_changes_with_the_documents() -> None:
    """Installing a CRD adds its document; changing one changes its URL."""
    known = Registry(kinds.builtin())
    before = openapi.index(known)["paths"]
    manifest = next(m for m in kinds.crds("v1.9") if m["spec"]["names"]["kind"] == "DataVolume")
    known.install(manifest)
    with_volumes = openapi.index(known)["paths"]
    assert set(with_volumes) - set(before) == {"apis/cdi.kubevirt.io/v1beta1"}
    manifest["spec"]["names"]["shortNames"] = ["x"]
    manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "changed"
    known.install(manifest)
    changed = openapi.index(known)["paths"]
    assert changed["apis/cdi.kubevirt.io/v1beta1"] != with_volumes["apis/cdi.kubevirt.io/v1beta1"]
    assert changed["api/v1"] == before["api/v1"]


def test_registry_finds_by_plural_and_kind_only_served_versions() -> None:
    """A version that is not served is not found."""
    assert registry().find("export.kubevirt.io", "v1", "virtualmachineexports") is resource("VirtualMachineExport")
    assert registry("v1.6").find("export.kubevirt.io", "v1", "virtualmachineexports") is None
    assert registry().by_kind("", "v1", "Pod") is resource("Pod")
    assert registry().by_kind("", "v2", "Pod") is None
    assert resource("VirtualMachineExport").group_resource == "virtualmachineexports.export.kubevirt.io"
    assert resource("Pod").group_resource == "pods"
