"""Lists: pages that belong together, selectors, tables, metadata only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.api_client import CONFIGS, WIDGET_PATH, Api, config, serving, widget


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(history=20) as running:
        for name in "abcde":
            assert running.admin.post(WIDGET_PATH, widget(name, labels={"side": "left" if name in "ab" else "right"})).code == 201
        yield running


def names(body: dict[str, Any]) -> str:
    return "".join(item["metadata"]["name"] for item in body["items"])


def test_pages_show_one_moment(api: Api) -> None:
    """limit and continue walk through the state of the first page, whatever happens meanwhile."""
    first = api.admin.get(f"{WIDGET_PATH}?limit=2").body
    assert (names(first), first["metadata"]["remainingItemCount"]) == ("ab", 3)
    api.admin.delete(f"{WIDGET_PATH}/d")
    api.admin.post(WIDGET_PATH, widget("bb"))
    api.admin.patch(f"{WIDGET_PATH}/c", {"spec": {"size": 9}})
    second = api.admin.get(f"{WIDGET_PATH}?limit=2&continue={first['metadata']['continue']}").body
    third = api.admin.get(f"{WIDGET_PATH}?limit=2&continue={second['metadata']['continue']}").body
    assert names(second) + names(third) == "cde"
    assert second["items"][0]["spec"]["size"] == 1
    assert not third["metadata"].get("continue")
    assert first["metadata"]["resourceVersion"] == third["metadata"]["resourceVersion"]


def test_an_old_page_is_gone(api: Api) -> None:
    """A continue token beyond the history is 410 Expired."""
    token = api.admin.get(f"{WIDGET_PATH}?limit=2").body["metadata"]["continue"]
    for number in range(25):
        api.admin.patch(f"{WIDGET_PATH}/a", {"spec": {"size": number + 2}})
    refused = api.admin.get(f"{WIDGET_PATH}?limit=2&continue={token}")
    assert (refused.code, refused.body["reason"]) == (410, "Expired")
    assert refused.body["message"].startswith("The provided continue parameter is too old")


def test_a_list_of_an_exact_version(api: Api) -> None:
    """resourceVersionMatch=Exact shows the state of that version."""
    rv = api.rv
    api.admin.delete(f"{WIDGET_PATH}/a")
    assert names(api.admin.get(f"{WIDGET_PATH}?resourceVersion={rv}&resourceVersionMatch=Exact").body) == "abcde"
    assert names(api.admin.get(WIDGET_PATH).body) == "bcde"


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("side=left", "ab"),
        ("side==left", "ab"),
        ("side!=left", "cde"),
        ("side in (left,right)", "abcde"),
        ("side notin (left)", "cde"),
        ("side", "abcde"),
        ("!side", ""),
        ("side,side!=right", "ab"),
    ],
)
def test_label_selectors(api: Api, selector: str, found: str) -> None:
    """Every form of requirement selects what it says."""
    from urllib.parse import quote

    assert names(api.admin.get(f"{WIDGET_PATH}?labelSelector={quote(selector)}").body) == found


def test_field_selectors(api: Api) -> None:
    """Names for every kind, the fields of Events and Pods for those; anything else is 400."""
    assert names(api.admin.get(f"{WIDGET_PATH}?fieldSelector=metadata.name%3Dc").body) == "c"
    refused = api.admin.get(f"{WIDGET_PATH}?fieldSelector=spec.size%3D1")
    assert (refused.code, refused.body["message"]) == (400, "field label not supported: spec.size")
    path = "/api/v1/namespaces/shop/events"
    for number, name in enumerate(("a", "b")):
        target = {"kind": "Widget", "namespace": "shop", "name": name, "uid": f"u{number}"}
        api.admin.post(path, {"metadata": {"name": f"{name}.1"}, "involvedObject": target, "reason": "R", "type": "Normal"})
    query = "fieldSelector=involvedObject.kind%3DWidget,involvedObject.name%3Db,involvedObject.namespace%3Dshop,involvedObject.uid%3Du1"
    assert names(api.admin.get(f"{path}?{query}").body) == "b.1"


def test_pods_are_selected_by_phase(api: Api) -> None:
    """status.phase and spec.nodeName work for Pods."""
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert api.admin.post("/api/v1/namespaces/shop/pods", pod).code == 201
    assert names(api.admin.get("/api/v1/pods?fieldSelector=status.phase%3DPending,spec.nodeName%3D").body) == "p"
    assert names(api.admin.get("/api/v1/pods?fieldSelector=status.phase!%3DPending").body) == ""


def test_lists_across_namespaces(api: Api) -> None:
    """A path without namespace lists all of them, ordered by namespace and name."""
    api.admin.post("/apis/example.org/v1/namespaces/default/widgets", widget("z"))
    assert names(api.admin.get("/apis/example.org/v1/widgets").body) == "zabcde"


def test_items_of_builtin_lists_have_no_kind(api: Api) -> None:
    """As on the real server: items of built-in lists leave apiVersion and kind out, those of custom resources carry them."""
    api.admin.post(CONFIGS, config("x"))
    assert "kind" not in api.admin.get(CONFIGS).body["items"][0]
    listed = api.admin.get(WIDGET_PATH).body
    assert (listed["kind"], listed["items"][0]["kind"]) == ("WidgetList", "Widget")


def test_tables_and_metadata_only(api: Api) -> None:
    """kubectl's Accept header gets a Table; PartialObjectMetadata is offered too; other encodings are 406."""
    table = api.admin.get(WIDGET_PATH, Accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json").body
    assert table["kind"] == "Table"
    assert [row["cells"] for row in table["rows"]][:2] == [["a", 1], ["b", 1]]
    assert table["metadata"]["resourceVersion"] == str(api.rv)
    partial = api.admin.get(WIDGET_PATH, Accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").body
    assert partial["kind"] == "PartialObjectMetadataList"
    assert set(partial["items"][0]) == {"kind", "apiVersion", "metadata"}
    assert api.admin.get(WIDGET_PATH, Accept="application/xml").code == 406


def test_a_list_from_the_future_is_refused(api: Api) -> None:
    """504 with the versions in its words."""
    refused = api.admin.get(f"{WIDGET_PATH}?resourceVersion=99999")
    assert refused.code == 504
    assert refused.body["message"] == f"Timeout: Too large resource version: 99999, current: {api.rv}"
