"""The CRDs of the lab: complete enough for real machines, and acceptable to a real API server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from migrate.lab import crd, kinds
from tests.lab.kinds_under_test import check, manifest, refused, registry, resource

VOLUMES: list[dict[str, Any]] = [
    {"dataVolume": {"name": "a", "hotpluggable": True}},
    {"persistentVolumeClaim": {"claimName": "a", "readOnly": True, "hotpluggable": True}},
    {"memoryDump": {"claimName": "a", "hotpluggable": True}},
    {"containerDisk": {"image": "x", "imagePullSecret": "s", "path": "/disk", "imagePullPolicy": "Always"}},
    {"ephemeral": {"persistentVolumeClaim": {"claimName": "a"}}},
    {"cloudInitNoCloud": {"userData": "#cloud-config", "networkDataBase64": "YQ=="}},
    {"cloudInitConfigDrive": {"secretRef": {"name": "s"}, "networkDataSecretRef": {"name": "n"}}},
    {"sysprep": {"secret": {"name": "s"}}},
    {"sysprep": {"configMap": {"name": "s"}}},
    {"secret": {"secretName": "s", "optional": True, "volumeLabel": "l"}},
    {"configMap": {"name": "s", "optional": True}},
    {"serviceAccount": {"serviceAccountName": "s"}},
    {"hostDisk": {"path": "/x", "type": "DiskOrCreate", "capacity": "1Gi", "shared": True}},
    {"emptyDisk": {"capacity": "2Gi"}},
    {"downwardAPI": {"fields": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    {"downwardMetrics": {}},
    {"containerPath": {"path": "/var/run/x"}},
]


def everything() -> dict[str, Any]:
    """Return a machine that uses every part that a migration looks at."""
    devices = {
        "disks": [{"name": f"v{n}", "bootOrder": n + 1, "disk": {"bus": "virtio"}, "serial": "S"} for n in range(len(VOLUMES))]
        + [{"name": "cd", "cdrom": {"bus": "sata", "tray": "closed"}}, {"name": "l", "lun": {"reservation": True}}],
        "interfaces": [
            {"name": "pod", "masquerade": {}, "macAddress": "02:00:00:00:00:01", "ports": [{"port": 22}]},
            {"name": "n", "bridge": {}},
        ],
        "tpm": {"persistent": True},
        "rng": {},
        "gpus": [{"name": "g", "deviceName": "nvidia.com/x"}],
        "hostDevices": [{"name": "h", "deviceName": "intel.com/x"}],
        "filesystems": [{"name": "v0", "virtiofs": {}}],
        "watchdog": {"name": "w", "i6300esb": {"action": "reset"}},
    }
    firmware = {
        "uuid": "u",
        "serial": "s",
        "bootloader": {"efi": {"secureBoot": True, "persistent": True}},
        "acpi": {"slicNameRef": "v9"},
        "kernelBoot": {"container": {"image": "x", "kernelPath": "/k", "initrdPath": "/i", "imagePullSecret": "s"}, "kernelArgs": "x"},
    }
    domain = {
        "devices": devices,
        "firmware": firmware,
        "cpu": {"cores": 2, "sockets": 1, "threads": 1, "model": "host-model", "features": [{"name": "x", "policy": "require"}]},
        "memory": {"guest": "2Gi", "hugepages": {"pageSize": "2Mi"}, "maxGuest": "4Gi"},
        "resources": {"requests": {"memory": "2Gi", "cpu": 1}, "limits": {"memory": "3Gi"}},
        "machine": {"type": "q35"},
        "clock": {"utc": {"offsetSeconds": 0}, "timer": {"hpet": {"present": False}}},
        "features": {"acpi": {}, "hyperv": {"relaxed": {}, "spinlocks": {"spinlocks": 8191}}, "smm": {"enabled": True}},
        "ioThreadsPolicy": "auto",
        "launchSecurity": {"sev": {}},
    }
    template = {
        "domain": domain,
        "volumes": [{"name": f"v{n}", **source} for n, source in enumerate(VOLUMES)],
        "networks": [{"name": "pod", "pod": {"vmNetworkCIDR": "10.0.0.0/24"}}, {"name": "n", "multus": {"networkName": "other/nad"}}],
        "accessCredentials": [
            {"sshPublicKey": {"source": {"secret": {"secretName": "s"}}, "propagationMethod": {"qemuGuestAgent": {"users": ["root"]}}}},
            {"userPassword": {"source": {"secret": {"secretName": "s"}}, "propagationMethod": {"qemuGuestAgent": {}}}},
        ],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": []}]}}},
        "tolerations": [{"key": "x", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "nodeSelector": {"zone": "a"},
        "priorityClassName": "high",
        "schedulerName": "x",
        "hostname": "h",
        "subdomain": "s",
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["10.0.0.1"]},
        "evictionStrategy": "LiveMigrate",
        "terminationGracePeriodSeconds": 180,
        "readinessProbe": {"tcpSocket": {"port": "ssh"}, "periodSeconds": 5},
        "livenessProbe": {"guestAgentPing": {}},
        "resourceClaims": [{"name": "x", "resourceClaimName": "y"}],
        "architecture": "amd64",
    }
    volume = {
        "storage": {"resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "fast"},
        "source": {"http": {"url": "https://x"}},
    }
    spec = {
        "running": False,
        "instancetype": {"kind": "VirtualMachineInstancetype", "name": "u1.small", "revisionName": "r"},
        "preference": {"name": "fedora", "inferFromVolume": "v0", "inferFromVolumeFailurePolicy": "Ignore"},
        "dataVolumeTemplates": [
            {"metadata": {"name": "a"}, "spec": volume},
            {
                "metadata": {"name": "b", "annotations": {"x": "y"}},
                "spec": {
                    "sourceRef": {"kind": "DataSource", "name": "d", "namespace": "images"},
                    "pvc": {"accessModes": ["ReadWriteMany"]},
                },
            },
        ],
        "template": {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": template},
        "updateVolumesStrategy": "Migration",
    }
    return manifest("VirtualMachine", spec=spec)


def test_machine_with_every_volume_and_reference_passes_strict_validation() -> None:
    """Every part that the references name is known to the schema."""
    assert refused(everything()) == ""


def test_machine_survives_the_check_unchanged_but_for_defaults() -> None:
    """Nothing of a valid machine is pruned; defaults only add."""
    before, after = everything(), check(everything()).obj
    assert _without(after, before) == []


def _without(after: Any, before: Any, path: str = "") -> list[str]:
    match before:
        case dict():
            return [
                lost
                for key, value in before.items()
                for lost in (_without(after[key], value, f"{path}.{key}") if key in after else [f"{path}.{key}"])
            ]
        case list():
            return [lost for n, value in enumerate(before) for lost in _without(after[n], value, f"{path}[{n}]")]
        case _:
            return [] if after == before else [path]


def test_data_volume_templates_know_an_older_api_than_data_volumes() -> None:
    """KubeVirt's copy of CDI's API has no checksum; CDI's own has."""
    source = {"http": {"url": "https://x", "checksum": "sha256:0"}}
    obj = everything()
    obj["spec"]["dataVolumeTemplates"] = [{"metadata": {"name": "a"}, "spec": {"source": source}}]
    assert 'unknown field "spec.dataVolumeTemplates[0].spec.source.http.checksum"' in refused(obj)
    assert refused(manifest("DataVolume", spec={"source": source})) == ""


@pytest.mark.parametrize(
    ("release", "versions", "stored"),
    [("v1.3", ("v1beta1", "v1alpha1"), "v1beta1"), ("v1.6", ("v1beta1", "v1alpha1"), "v1beta1"), ("v1.9", ("v1", "v1beta1"), "v1")],
)
def test_export_versions_follow_the_release(release: str, versions: tuple[str, ...], stored: str) -> None:
    """Each release serves and stores the export API that the reference lists."""
    export = resource("VirtualMachineExport", release)
    assert (export.served, export.stored) == (versions, stored)


def test_deprecated_export_version_warns() -> None:
    """v1beta1 of the export API carries a deprecation warning since v1.9."""
    assert (
        resource("VirtualMachineExport")
        .version("v1beta1")
        .warning.startswith("export.kubevirt.io/v1beta1 VirtualMachineExport is now deprecated")
    )
    assert resource("VirtualMachineExport").version("v1").warning == ""


def test_unknown_release_is_an_error() -> None:
    """A release that is not imitated has no CRDs."""
    with pytest.raises(ValueError, match=r"no KubeVirt release 'v0\.1'"):
        kinds.crds("v0.1")


def test_running_instance_and_importer_settings_have_no_status_subresource() -> None:
    """Upstream writes the status of these through the object itself."""
    assert resource("VirtualMachineInstance").subresources == frozenset()
    assert resource("CDIConfig").subresources == frozenset()
    assert resource("VirtualMachine").subresources == resource("DataVolume").subresources == frozenset({"status"})


def test_short_names_and_categories_are_those_of_upstream() -> None:
    """The names that people type."""
    short = {r.kind: r.short_names for r in registry().all()}
    assert short["VirtualMachine"] == ("vm", "vms")
    assert short["DataVolume"] == ("dv", "dvs")
    assert short["VirtualMachineExport"] == ("vmexport", "vmexports")
    assert resource("VirtualMachine").categories == ("all",)


@pytest.mark.parametrize("release", crd.RELEASES)
def test_manifests_are_valid_crds(release: str) -> None:
    """Every CRD passes the checks of CustomResourceDefinition and holds nothing that only builtin kinds may say."""
    for obj in kinds.crds(release):
        assert refused(obj) == ""
        assert "x-kubernetes-patch" not in json.dumps(obj)
        assert _not_structural(obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"]) == []


def _not_structural(schema: dict[str, Any], path: str = "") -> list[str]:
    """Return where a schema breaks a rule of structural schemas or of list maps."""
    found = []
    if "type" not in schema and not schema.get("x-kubernetes-int-or-string") and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found.append(f"{path}: no type")
    items = schema.get("items", {})
    for key in schema.get("x-kubernetes-list-map-keys", ()):
        if key not in items.get("properties", {}) or (key not in items.get("required", ()) and "default" not in items["properties"][key]):
            found.append(f"{path}: list key {key} may be missing")
    for name in schema.get("required", ()):
        if name not in schema.get("properties", {}):
            found.append(f"{path}: requires unknown {name}")
    below = {**schema.get("properties", {}), **({"[]": items} if items else {})}
    if isinstance(schema.get("additionalProperties"), dict):
        below["*"] = schema["additionalProperties"]
    return found + [line for name, part in below.items() for line in _not_structural(part, f"{path}.{name}")]


def test_established_crd_has_its_status() -> None:
    """A CRD that the server accepted says so, and which versions were ever stored."""
    export = next(m for m in kinds.crds("v1.6") if m["spec"]["names"]["kind"] == "VirtualMachineExport")
    done = crd.established(export, "2026-01-01T00:00:00Z")
    assert done["status"]["storedVersions"] == ["v1beta1"]
    assert {c["type"]: c["status"] for c in done["status"]["conditions"]} == {"NamesAccepted": "True", "Established": "True"}
    newer = next(m for m in kinds.crds("v1.9") if m["spec"]["names"]["kind"] == "VirtualMachineExport")
    assert crd.established({**newer, "status": done["status"]}, "t")["status"]["storedVersions"] == ["v1beta1", "v1"]


def test_removed_crd_is_no_longer_found() -> None:
    """The registry forgets a kind, and only that one."""
    known = kinds.Registry(kinds.builtin())
    for obj in kinds.crds("v1.9"):
        known.install(obj)
    assert known.by_kind("cdi.kubevirt.io", "v1beta1", "DataVolume") is not None
    assert known.remove("datavolumes.cdi.kubevirt.io") is not None
    assert known.by_kind("cdi.kubevirt.io", "v1beta1", "DataVolume") is None
    assert known.remove("datavolumes.cdi.kubevirt.io") is None
    assert known.find("cdi.kubevirt.io", "v1beta1", "cdis") is not None


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["v1alpha1", "v1beta1", "v1"], ["v1", "v1beta1", "v1alpha1"]),
        (["v1beta1", "v10", "v2", "v1beta2", "x"], ["v10", "v2", "v1beta2", "v1beta1", "x"]),
    ],
)
def test_versions_are_preferred_stable_first(names: list[str], ordered: list[str]) -> None:
    """The order of versions is that of discovery."""
    assert sorted(names, key=crd.version_priority) == ordered
