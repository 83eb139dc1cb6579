"""The set of manifests of an export: joined by name, halted, and without the token unless asked for."""

from __future__ import annotations

from typing import Any

from migrate.rendering.exports import left_out, manifests

CLAIM = {
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Block",
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "2Gi"}},
    }
}


def links(*names: str) -> dict[str, dict[str, str]]:
    return {name: {"raw": f"https://h/{name}/disk.img", "gzip": f"https://h/{name}/disk.img.gz"} for name in names}


def machine(*templates: str) -> dict[str, Any]:
    made = [{"metadata": {"name": name}, "spec": {"sourceRef": {"kind": "DataSource", "name": "x"}, "storage": {}}} for name in templates]
    spec = {"running": True, "dataVolumeTemplates": made, "template": {"spec": {"domain": {}}}}
    return {"metadata": {"name": "db", "namespace": "shop", "uid": "u", "labels": {"a": "b"}}, "spec": spec, "status": {"ready": True}}


def test_every_disk_has_the_link_of_its_name() -> None:
    """Templates and disks of their own, in another order than the links, with names that hold one another."""
    names = ("disk", "disk-2", "data")
    found = manifests("e", links(*names), ca_pem="CA", vm=machine("data", "disk"), claims=dict.fromkeys(names, CLAIM), namespace="new")
    ca, vm, volume = found
    assert ca["data"] == {"ca.pem": "CA"}
    urls = {one["metadata"]["name"]: one["spec"]["source"]["http"]["url"] for one in (*vm["spec"]["dataVolumeTemplates"], volume)}
    assert urls == {name: f"https://h/{name}/disk.img.gz" for name in names}
    assert not any("sourceRef" in one["spec"] for one in vm["spec"]["dataVolumeTemplates"])
    assert {one["metadata"]["namespace"] for one in found} == {"new"}
    assert volume["spec"]["storage"] == {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Block",
        "resources": {"requests": {"storage": "2Gi"}},
    }


def test_the_vm_is_halted_and_plain() -> None:
    """Legacy `running` goes; uid and status do not travel; what was given is not changed."""
    given = machine()
    vm = manifests("e", {}, ca_pem="", vm=given, claims={}, namespace="shop")[1]
    assert vm["spec"]["runStrategy"] == "Halted"
    assert "running" not in vm["spec"]
    assert "running" in given["spec"]
    assert set(vm["metadata"]) == {"name", "namespace", "labels", "annotations"}
    assert "status" not in vm


def test_a_bare_claim() -> None:
    """No VM; the token only when it is asked for; files are left out, and named."""
    volumes = {**links("a"), "b": {"tar.gz": "https://h/b", "dir": "https://h/d"}}
    plain = manifests("e", volumes, ca_pem="", vm=None, claims={"a": CLAIM, "b": CLAIM}, namespace="shop")
    assert [one["kind"] for one in plain] == ["ConfigMap", "DataVolume"]
    assert left_out(volumes) == ("b",)
    whole = manifests("e", volumes, ca_pem="", vm=None, claims={"a": CLAIM}, namespace="shop", secret="t0k")
    assert whole[-1]["stringData"] == {"token": "x-kubevirt-export-token:t0k"}
