"""`kubectl get` shows what it shows on a real cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from migrate.lab import ages, jsonpath, tables
from tests.lab.kinds_under_test import manifest, registry, resource

NOW = datetime(2026, 1, 2, 0, 0, 0, tzinfo=UTC)


def cells(obj: dict[str, Any]) -> dict[str, Any]:
    """Return the cells of an object's row by column name, each created an hour ago."""
    obj["metadata"]["creationTimestamp"] = "2026-01-01T23:00:00Z"
    shown = tables.table(resource(obj["kind"]), obj["apiVersion"].rpartition("/")[2], [obj], NOW)
    names = [column["name"] for column in shown["columnDefinitions"]]
    return dict(zip(names, shown["rows"][0]["cells"], strict=True))


def test_custom_columns_come_from_the_crd() -> None:
    """A VM shows its age, status and readiness; what is missing is empty."""
    status = {"printableStatus": "Running", "conditions": [{"type": "Paused", "status": "X"}, {"type": "Ready", "status": "True"}]}
    assert cells(manifest("VirtualMachine", status=status)) == {"Name": "a", "Age": "60m", "Status": "Running", "Ready": "True"}
    assert cells(manifest("VirtualMachine"))["Status"] is None


def test_custom_columns_keep_their_type_and_priority() -> None:
    """Numbers stay numbers; wide columns are marked."""
    assert cells(manifest("DataVolume", status={"phase": "ImportInProgress", "progress": "12.50%", "restartCount": 2})) == {
        "Name": "a",
        "Phase": "ImportInProgress",
        "Progress": "12.50%",
        "Restarts": 2,
        "Age": "60m",
    }
    shown = tables.table(resource("VirtualMachineInstance"), "v1", [], NOW)
    assert {c["name"]: c["priority"] for c in shown["columnDefinitions"]}["Live-Migratable"] == 1


def test_kind_without_columns_shows_its_age() -> None:
    """A CRD without printer columns gets the age column."""
    assert cells(manifest("StorageProfile")) == {"Name": "a", "Age": "60m"}


def test_rows_carry_what_the_client_asked_for() -> None:
    """includeObject decides between metadata, the object and nothing."""
    obj = manifest("ConfigMap", data={"a": "1"})
    rows = {
        include: tables.table(resource("ConfigMap"), "v1", [obj], NOW, include=include)["rows"][0]
        for include in ("Metadata", "Object", "None")
    }
    assert rows["Metadata"]["object"] == {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
    assert rows["Object"]["object"] == obj
    assert "object" not in rows["None"]


def pod(**status: Any) -> dict[str, Any]:
    return manifest("Pod", spec={"containers": [{"name": "c"}]}, status=status)


@pytest.mark.parametrize(
    ("obj", "word"),
    [
        (pod(phase="Pending"), "Pending"),
        (pod(phase="Pending", containerStatuses=[{"state": {"waiting": {"reason": "ContainerCreating"}}}]), "ContainerCreating"),
        (pod(phase="Running", containerStatuses=[{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]), "CrashLoopBackOff"),
        (pod(phase="Failed", containerStatuses=[{"state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}]), "OOMKilled"),
        (pod(phase="Failed", containerStatuses=[{"state": {"terminated": {"exitCode": 3}}}]), "ExitCode:3"),
        (pod(phase="Failed", containerStatuses=[{"state": {"terminated": {"exitCode": 137, "signal": 9}}}]), "Signal:9"),
        (pod(phase="Failed", reason="Evicted"), "Evicted"),
        (pod(phase="Succeeded", containerStatuses=[{"state": {"terminated": {"reason": "Completed"}}}]), "Completed"),
    ],
)
def test_status_of_a_pod_is_one_word(obj: dict[str, Any], word: str) -> None:
    """The word comes from the phase, the reason, or the container that is worst."""
    assert cells(obj)["Status"] == word
    obj["metadata"]["deletionTimestamp"] = "2026-01-01T23:59:00Z"
    assert cells(obj)["Status"] == "Terminating"


def test_readiness_and_restarts_of_a_pod_are_counted() -> None:
    """Ready containers of all; restarts with the age of the last one."""
    ended = {"terminated": {"finishedAt": "2026-01-01T23:58:00Z"}}
    found = cells(pod(phase="Running", podIP="127.0.0.1", containerStatuses=[{"ready": True, "restartCount": 3, "lastState": ended}]))
    assert (found["Ready"], found["Restarts"], found["IP"], found["Node"]) == ("1/1", "3 (2m ago)", "127.0.0.1", "<none>")


def test_claims_and_volumes_show_size_and_modes() -> None:
    """Access modes are shortened; the claim of a volume has its namespace."""
    spec = {"volumeName": "v", "storageClassName": "fast", "volumeMode": "Block"}
    status = {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce", "ReadWriteMany"]}
    claim = cells(manifest("PersistentVolumeClaim", spec=spec, status=status))
    assert [claim[n] for n in ("Status", "Volume", "Capacity", "Access Modes", "StorageClass", "VolumeMode")] == [
        "Bound",
        "v",
        "1Gi",
        "RWO,RWX",
        "fast",
        "Block",
    ]
    volume = cells(manifest("PersistentVolume", spec={"claimRef": {"namespace": "shop", "name": "a"}}, status={"phase": "Bound"}))
    assert (volume["Claim"], volume["Status"]) == ("shop/a", "Bound")


def test_default_storage_class_says_so() -> None:
    """The name column of the default class carries a note."""
    obj = manifest("StorageClass", "fast", provisioner="x")
    assert cells(obj)["Name"] == "fast"
    obj["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
    assert cells(obj)["Name"] == "fast (default)"


def test_services_events_quotas_and_leases_show_what_matters() -> None:
    """One row each of the kinds that people read during a migration."""
    service = cells(manifest("Service", spec={"type": "ClusterIP", "ports": [{"port": 443}], "selector": {"a": "b"}}))
    assert (service["External-IP"], service["Port(s)"], service["Selector"]) == ("<none>", "443/TCP", "a=b")
    about = {"kind": "Pod", "name": "p"}
    event = cells(
        manifest("Event", involvedObject=about, reason="Pulled", message="x\n", lastTimestamp="2026-01-01T23:59:30Z", type="Normal")
    )
    assert [event[n] for n in ("Last Seen", "Reason", "Object", "Message")] == ["30s", "Pulled", "pod/p", "x"]
    quota = cells(manifest("ResourceQuota", status={"hard": {"pods": "2", "limits.cpu": "1"}, "used": {"pods": "1"}}))
    assert (quota["Request"], quota["Limit"]) == ("pods: 1/2", "limits.cpu: 0/1")
    assert cells(manifest("Lease", spec={"holderIdentity": "me"}))["Holder"] == "me"
    assert cells(manifest("Secret", type="Opaque", data={"a": "", "b": ""}))["Data"] == 2


@pytest.mark.parametrize("kind", [r.kind for r in registry().all()])
def test_every_kind_can_be_shown_empty(kind: str) -> None:
    """An object with nothing but a name makes a row with a cell for each column."""
    obj = manifest(kind)
    if kind in ("RoleBinding", "ClusterRoleBinding"):
        obj["roleRef"] = {"kind": "Role", "name": "r"}
    assert cells(obj)["Name"] == "a"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (600, "10m"),
        (10_799, "179m"),
        (3 * 3600 + 120, "3h2m"),
        (8 * 3600 + 120, "8h"),
        (47 * 3600, "47h"),
        (50 * 3600, "2d2h"),
        (8 * 86400 + 3600, "8d"),
        (729 * 86400, "729d"),
        (800 * 86400, "2y70d"),
        (3000 * 86400, "8y"),
    ],
)
def test_ages_have_two_significant_parts(seconds: float, text: str) -> None:
    """Ages read as kubectl writes them."""
    assert ages.human(seconds) == text


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        (".list[0].n", ["x"]),
        (".list[-1].n", ["y"]),
        (".list[*].n", ["x", "y"]),
        (".list[?(@.n=='y')].v", [2]),
        ('.list[?(@.n == "x")].v', [1]),
        (".list[?(@.on==true)].n", ["x"]),
        (r".marks.kubevirt\.io/size", ["big"]),
        (".marks['kubevirt.io/size']", ["big"]),
        (".list[9].n", []),
        (".missing.x", []),
        ("{.a.b}", [1]),
    ],
)
def test_json_paths_of_printer_columns(path: str, found: list[Any]) -> None:
    """Fields, indexes, wildcards and equality filters are understood."""
    obj = {"a": {"b": 1}, "list": [{"n": "x", "v": 1, "on": True}, {"n": "y", "v": 2}], "marks": {"kubevirt.io/size": "big"}}
    assert jsonpath.find(obj, path) == found


def test_other_json_paths_are_errors() -> None:
    """What is not understood is said, not guessed."""
    with pytest.raises(ValueError, match="JSONPath not understood"):
        jsonpath.find({}, ".a[1:2]")
