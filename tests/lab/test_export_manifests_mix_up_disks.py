"""The manifests of an export carry wrong addresses in the cases in which the real server's do."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from migrate.lab import export_manifests, export_pod
from migrate.lab.export_manifests import Crash, NotThere, Volume
from migrate.lab.export_pod import Side
from migrate.lab.export_source import Source
from migrate.lab.kubevirt_release import release

EXPORT = {
    "apiVersion": "export.kubevirt.io/v1",
    "kind": "VirtualMachineExport",
    "metadata": {"name": "ex", "namespace": "shop", "uid": "u1"},
    "spec": {},
}
V19 = release("v1.9")


def vm(*disks: str, templates: tuple[str, ...] = (), **spec: Any) -> dict[str, Any]:
    """Return a VM with these disks, some of them from templates."""
    return {
        "metadata": {"name": "db", "namespace": "shop", "uid": "v1", "resourceVersion": "7", "labels": {"app": "db"}},
        "spec": {
            "runStrategy": "Always",
            "dataVolumeTemplates": [
                {"metadata": {"name": name}, "spec": {"sourceRef": {"name": "golden"}, "storage": {}}} for name in templates
            ],
            "template": {"spec": {"volumes": [{"name": f"v{i}", "dataVolume": {"name": name}} for i, name in enumerate(disks)]}},
            **spec,
        },
        "status": {"printableStatus": "Stopped"},
    }


def claim(name: str) -> dict[str, Any]:
    """Return a claim of a disk."""
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "volumeName": "pv", "resources": {"requests": {"storage": "1Gi"}}}
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {**spec, "volumeMode": "Block"}}


def stored(machine: dict[str, Any], *disks: str, external: bool = True) -> dict[str, str]:
    """Return the files that a manifest ConfigMap gives to the server."""
    source = Source(volumes=tuple(claim(name) for name in disks), populated=True, vm_name="db", vm=machine)
    outside = Side("exp.example/api/x", "PEM") if external else None
    made = export_pod.manifest_config_map(EXPORT, source, release=V19, internal=Side("virt-export-ex.shop.svc", "CA"), external=outside)
    data: dict[str, str] = made["data"]
    return data


def volumes(*disks: str) -> tuple[Volume, ...]:
    """Return the volumes as the server sees them, from the environment that the controller writes."""
    env = {}
    for index, name in enumerate(disks):
        env[f"VOLUME{index}_EXPORT_PATH"] = f"/dev/export-volumes/{name}"
        env[f"VOLUME{index}_EXPORT_RAW_GZIP_URI"] = f"/volumes/{name}/disk.img.gz"
    return export_manifests.volumes_of(env)


def addresses(items: list[dict[str, Any]]) -> dict[str, str]:
    """Return which disk's bytes each DataVolume of a manifest would import."""
    found = {}
    for item in items:
        parts = item["spec"].get("dataVolumeTemplates") or () if item["kind"] == "VirtualMachine" else (item,)
        for part in parts if item["kind"] != "ConfigMap" else ():
            found[part["metadata"]["name"]] = part["spec"]["source"]["http"]["url"].split("/volumes/")[-1].split("/")[0]
    return found


def served(machine: dict[str, Any], *disks: str) -> dict[str, str]:
    """Return the addresses in what the server answers for a VM with these disks."""
    return addresses(export_manifests.everything(stored(machine, *disks), volumes(*disks), side="external"))


def served_configmap_free(machine: dict[str, Any], *disks: str) -> list[dict[str, Any]]:
    """Return the objects of the answer but the ConfigMap."""
    return [
        item
        for item in export_manifests.everything(stored(machine, *disks), volumes(*disks), side="external")
        if item["kind"] != "ConfigMap"
    ]


def test_a_name_inside_another_gets_the_other_disk() -> None:
    """With disks data, data-2, disk the first gets the second's bytes; `disk` is inside every address and gets the last."""
    assert served(vm("data", "data-2", "disk"), "data", "data-2", "disk") == {"data": "data-2", "data-2": "data-2", "disk": "disk"}
    assert served(vm("disk", "data", "data-2"), "disk", "data", "data-2")["disk"] == "data-2"


def test_templates_in_another_order_get_swapped_disks() -> None:
    """Template number i gets volume number i, whatever their names."""
    machine = vm("one", "two", templates=("two", "one"))
    assert served(machine, "one", "two") == {"two": "one", "one": "two"}


def test_of_twelve_disks_from_templates_eleven_are_wrong() -> None:
    """The server sorts its volumes as text, so that 10 and 11 come before 1 wherever they are."""
    disks = [f"d{index}-x" for index in range(12)]
    found = served(vm(*disks, templates=tuple(disks)), *disks)
    assert sum(found[name] != name for name in disks) == 11
    assert found["d1-x"] == "d10-x"


def test_disks_with_unlike_names_are_right() -> None:
    """Without templates and without names inside names everything is right."""
    assert served(vm("alpha", "beta"), "alpha", "beta") == {"alpha": "alpha", "beta": "beta"}


def test_a_template_without_an_exported_volume_crashes_the_request() -> None:
    """More templates than volumes, or one that no volume uses, make the real handler panic."""
    with pytest.raises(Crash):
        served(vm("one", "two", templates=("one", "two")), "one")
    with pytest.raises(Crash):
        served(vm("one", templates=("other",)), "one")


def test_an_archive_gives_an_address_without_a_path() -> None:
    """A volume that is no disk has no gzip path; its template's address ends at the export."""
    machine = vm("one", templates=("one",))
    archive = (Volume("/export-volumes/one", archive="/volumes/one/disk.tar.gz", dir="/volumes/one/dir/"),)
    items = export_manifests.everything(stored(machine, "one"), archive, side="external")
    assert items[1]["spec"]["dataVolumeTemplates"][0]["spec"]["source"]["http"]["url"] == "https://exp.example/api/x"


def test_the_machine_is_stripped_but_runs_as_it_did() -> None:
    """Metadata is cut down and the status emptied; the run strategy stays, and a template's sourceRef is replaced."""
    machine, *_ = served_configmap_free(vm("one", templates=("one",)), "one")
    assert machine["metadata"] == {"name": "db", "namespace": "shop", "labels": {"app": "db"}}
    assert machine["spec"]["runStrategy"] == "Always"
    assert machine["status"] == {}
    template = machine["spec"]["dataVolumeTemplates"][0]["spec"]
    assert "sourceRef" not in template
    assert template["source"]["http"]["secretExtraHeaders"] == ["header-secret-ex"]
    assert template["source"]["http"]["certConfigMap"] == "export-ca-cm-ex"


def test_a_disk_without_template_takes_size_and_modes_from_its_claim() -> None:
    """The DataVolume copies modes and size, never the storage class; before release 1.5 it is a whole claim."""
    (disk,) = export_manifests.manifest_disks(vm("one"), {"one": claim("one")}, V19)
    wanted = {"accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "resources": {"requests": {"storage": "1Gi"}}}
    assert disk["spec"]["storage"] == wanted
    (old,) = export_manifests.manifest_disks(vm("one"), {"one": claim("one")}, release("v1.3"))
    assert old["spec"]["pvc"] == wanted
    assert "storage" not in old["spec"]


@pytest.mark.parametrize(("missing", "code"), [("export-name", 500), ("external_host", 404), ("virtualmachine-manifest", 500)])
def test_missing_pieces_answer_as_the_real_server(missing: str, code: int) -> None:
    """No external host is 404; anything else that is missing is 500."""
    files = stored(vm("one"), "one")
    del files[missing]
    with pytest.raises(NotThere) as caught:
        export_manifests.everything(files, volumes("one"), side="external")
    assert caught.value.code == code


def test_without_an_ingress_only_the_internal_manifest_exists() -> None:
    """Without external host at the time of the ConfigMap the external manifest is 404 and the internal one complete."""
    files = stored(vm("one"), "one", external=False)
    with pytest.raises(NotThere) as caught:
        export_manifests.everything(files, volumes("one"), side="external")
    assert caught.value.code == 404
    authority, _, disk = export_manifests.everything(files, volumes("one"), side="internal")
    assert authority["data"] == {"ca.pem": "CA"}
    assert disk["spec"]["source"]["http"]["url"] == "https://virt-export-ex.shop.svc/volumes/one/disk.img.gz"


def test_the_accept_header_chooses_the_notation() -> None:
    """Exactly application/yaml gives documents that each end with a separator; anything else gives one JSON List."""
    items = [export_manifests.header_secret("ex", "abc")]
    written = export_manifests.written(items, "application/yaml").decode()
    assert written.endswith("---\n")
    assert next(yaml.safe_load_all(written))["stringData"] == {"token": "x-kubevirt-export-token:abc"}
    listed = json.loads(export_manifests.written(items, "application/yaml, */*"))
    assert (listed["kind"], listed["items"]) == ("List", items)
