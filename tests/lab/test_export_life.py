"""The life of an export in a whole cluster: ready, paused, rotated, expired; read through the proxy."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from migrate.kube.kinds import EVENT, EXPORT, KUBEVIRT, POD, PVC, SECRET, SERVICE, VM, VMI
from migrate.lab.up import Lab
from tests.lab.exports import make
from tests.machines import disk, machine


@pytest.fixture(autouse=True)
def calm(lab: Lab) -> Iterator[None]:
    yield
    lab.east.trouble.clear()
    api = lab.east.client("lab/user")
    for export in api.list(EXPORT, "shop"):
        api.delete(EXPORT, export["metadata"]["name"], "shop")


def set_strategy(lab: Lab, name: str, strategy: str) -> None:
    """Change a VM's run strategy as a user would."""
    lab.east.client("lab/user").merge(VM, name, {"spec": {"runStrategy": strategy}}, "shop")


def pods(lab: Lab, export: str) -> list[dict[str, Any]]:
    return [pod for pod in lab.east.runtime.api.list(POD, "shop") if pod["metadata"]["name"] == f"virt-export-{export}"]


def events(lab: Lab, name: str) -> set[str]:
    return {event["reason"] for event in lab.east.runtime.api.list(EVENT, "shop") if event["involvedObject"]["name"] == name}


def test_a_halted_machine_is_exported_byte_for_byte(lab: Lab) -> None:
    """Every disk, block and file system, comes whole through the proxy, raw, gzip and in ranges, with the bytes of the storage."""
    lab.plant([disk("a1"), disk("a2", mode="Block"), machine("a", ["a1", "a2"])])
    export = make(lab, "ex-a", "a")
    status = export.until("Ready", "PodReady")
    assert status["virtualMachineName"] == "a"
    assert [volume["name"] for volume in status["links"]["external"]["volumes"]] == ["a1", "a2"]
    wanted = lab.disks()
    for name in ("a1", "a2"):
        raw = export.fetch(export.url(name))
        assert hashlib.sha256(raw.body.rstrip(b"\0")).hexdigest() == wanted["east", "shop", name]
        assert gzip.decompress(export.fetch(export.url(name, "gzip")).body) == raw.body
        part = export.fetch(export.url(name), Range="bytes=1000-1999")
        assert (part.code, part.body) == (206, raw.body[1000:2000])
        assert export.fetch(export.url(name), "HEAD").headers["content-length"] == str(len(raw.body))
    assert export.fetch(export.url("a1"), token="wrong").code == 401
    assert {"ServiceCreated", "SecretCreated", "ExporterPodCreated", "DataManifestCreated"} <= events(lab, "ex-a")
    assert len(export.token) == 20


def test_starting_the_machine_breaks_the_download_and_stopping_brings_the_export_back(lab: Lab) -> None:
    """A start makes the export Pending/InUse, cuts streams, takes the links away; a stop makes a new pod, and the links return."""
    lab.plant([disk("b1", mib=32), machine("b", ["b1"])])
    export = make(lab, "ex-b", "b")
    export.until("Ready")
    url, token, first = export.url("b1"), export.token, pods(lab, "ex-b")[0]["metadata"]["uid"]
    ca = export.status["links"]["external"]["cert"]
    answer = export.open(url, x_kubevirt_export_token=token)
    assert answer.read(1000)
    set_strategy(lab, "b", "Always")
    status = export.until("Pending", "InUse")
    assert status["links"] == {}
    with pytest.raises((http.client.IncompleteRead, OSError)), lab.clock.idle():
        answer.read()
    assert export.fetch(url, ca=ca).code == 503
    assert "ExportPaused" in events(lab, "ex-b")
    set_strategy(lab, "b", "Halted")
    export.until("Ready")
    assert (export.url("b1"), export.token) == (url, token)
    assert pods(lab, "ex-b")[0]["metadata"]["uid"] != first
    assert export.fetch(url).code == 200


def test_the_manifest_was_written_once(lab: Lab) -> None:
    """The manifest keeps the state of the first pod: a label added later is missing, though the pod is a new one."""
    lab.plant([disk("c1"), machine("c", ["c1"])])
    export = make(lab, "ex-c", "c")
    export.until("Ready")
    lab.east.client("lab/user").merge(VM, "c", {"metadata": {"labels": {"late": "yes"}}}, "shop")
    first = pods(lab, "ex-c")[0]["metadata"]
    lab.east.client("lab/user").delete(POD, first["name"], "shop")
    lab.until(lambda: any(pod["metadata"]["uid"] != first["uid"] for pod in pods(lab, "ex-c")))
    export.until("Ready")
    answer = lab.until(lambda: (got := export.fetch(export.manifest(), Accept="application/yaml")).code == 200 and got, what="an answer")
    items = list(yaml.safe_load_all(answer.body))
    authority, vm, dv = [item for item in items if item]
    assert "late" not in (vm["metadata"].get("labels") or {})
    assert authority["data"]["ca.pem"] == export.status["links"]["external"]["cert"]
    assert dv["spec"]["source"]["http"]["url"] == export.url("c1", "gzip")
    listed = json.loads(export.fetch(export.manifest("auth-header-secret")).body)
    assert listed["items"][0]["stringData"] == {"token": f"x-kubevirt-export-token:{export.token}"}


def test_the_manifest_of_similar_names_is_wrong(lab: Lab) -> None:
    """With disks data and data-2 the manifest sends both to data-2, while the links of the status are right."""
    lab.plant([disk("data"), disk("data-2"), machine("d", ["data", "data-2"])])
    export = make(lab, "ex-d", "d")
    export.until("Ready")
    items = json.loads(export.fetch(export.manifest()).body)["items"]
    found = {item["metadata"]["name"]: item["spec"]["source"]["http"]["url"] for item in items if item["kind"] == "DataVolume"}
    assert found == {"data": export.url("data-2", "gzip"), "data-2": export.url("data-2", "gzip")}


def test_the_time_to_live_ends_everything(lab: Lab) -> None:
    """At the end of its time the export is deleted with pod, Service and token; the user's own token Secret stays."""
    lab.plant([disk("e1"), machine("e", ["e1"])])
    api = lab.east.client("lab/user")
    api.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "own", "namespace": "shop"}, "stringData": {"token": "abc"}})
    export = make(lab, "ex-e", "e", ttlDuration="1m", tokenSecretRef="own")
    assert export.until("Ready")["tokenSecretRef"] == "own"
    assert export.fetch(export.url("e1"), token="abc").code == 200
    lab.clock.sleep(30)
    assert export.status["phase"] == "Ready"
    lab.until(lambda: api.get(EXPORT, "ex-e", "shop") is None, seconds=90)
    lab.until(lambda: not pods(lab, "ex-e") and api.get(SERVICE, "virt-export-ex-e", "shop") is None, seconds=60)
    assert api.get(SECRET, "own", "shop") is not None


def test_without_a_pod_time_is_not_enforced(lab: Lab) -> None:
    """An export that waits for its VM outlives its time."""
    export = make(lab, "ex-ghost", "ghost", ttlDuration="1m")
    assert export.until("Skipped", "VMNotFound")["links"] == {}
    lab.clock.sleep(300)
    assert export.status["phase"] == "Skipped"


def test_skipped_is_not_final(lab: Lab) -> None:
    """When the VM appears the export goes on."""
    export = make(lab, "ex-f", "f")
    export.until("Skipped", "VMNotFound")
    lab.plant([machine("f")])
    export.until("Skipped", "VMNoVolumes")
    lab.plant([disk("f1")])
    patch = {"spec": {"template": {"spec": machine("f", ["f1"])["spec"]["template"]["spec"]}}}
    lab.east.client("lab/user").merge(VM, "f", patch, "shop")
    export.until("Ready")


@pytest.mark.slow
def test_a_pod_is_replaced_when_its_certificate_runs_out(lab: Lab) -> None:
    """Other certificate settings replace the pod at once, and at the end of a certificate's time the pod ends and another takes over."""
    lab.plant([disk("g1"), machine("g", ["g1"])])
    export = make(lab, "ex-g", "g")
    export.until("Ready")
    url, first = export.url("g1"), pods(lab, "ex-g")[0]["metadata"]["uid"]
    api = lab.east.client("lab/user")
    lasting = {"spec": {"certificateRotateStrategy": {"selfSigned": {"server": {"duration": "1h", "renewBefore": "59m"}}}}}
    api.merge(KUBEVIRT, "kubevirt", lasting, "kubevirt")
    lab.until(lambda: [pod["metadata"]["uid"] for pod in pods(lab, "ex-g")] not in ([], [first]))
    assert "CertificateParametersChanged" in events(lab, "ex-g")
    export.until("Ready")
    second = pods(lab, "ex-g")[0]["metadata"]["uid"]
    lab.clock.sleep(30)
    assert pods(lab, "ex-g")[0]["metadata"]["uid"] == second
    lab.until(lambda: [pod["metadata"]["uid"] for pod in pods(lab, "ex-g")] not in ([], [second]))
    export.until("Ready")
    assert export.fetch(url).code == 200
    assert "ExporterPodFailedOrCompleted" in events(lab, "ex-g")
    api.merge(KUBEVIRT, "kubevirt", {"spec": {"certificateRotateStrategy": {"selfSigned": None}}}, "kubevirt")


def test_a_missing_token_secret_keeps_the_pod_waiting(lab: Lab) -> None:
    """The export stays Pending until the Secret that the user named is there."""
    lab.plant([disk("i1"), machine("i", ["i1"])])
    export = make(lab, "ex-i", "i", tokenSecretRef="later")
    export.until("Pending", "PodPending")
    lab.clock.sleep(60)
    assert (export.status["phase"], export.reason) == ("Pending", "PodPending")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "later", "namespace": "shop"}, "stringData": {"token": "xyz"}}
    lab.east.client("lab/user").create(secret)
    export.until("Ready")
    assert export.fetch(export.url("i1")).code == 200


def test_a_rotated_token_counts_within_the_kubelets_time(lab: Lab) -> None:
    """After the Secret changed, the old token is refused within some seconds and the new one taken."""
    lab.plant([disk("j1"), machine("j", ["j1"])])
    export = make(lab, "ex-j", "j")
    export.until("Ready")
    old, url = export.token, export.url("j1")
    name = export.status["tokenSecretRef"]
    lab.east.client("lab/user").merge(SECRET, name, {"stringData": {"token": "fresh"}}, "shop")
    lab.until(lambda: export.fetch(url, "HEAD", token=old).code == 401, seconds=30)
    assert export.fetch(url, "HEAD", token="fresh").code == 200


def test_a_claim_in_use_waits(lab: Lab) -> None:
    """An export of a claim waits while a running VM uses it, says so by its own condition, and has no VM in its manifest."""
    lab.plant([disk("k1"), machine("k", ["k1"], strategy="Always")])
    export = make(lab, "ex-k", "k1", kind="PersistentVolumeClaim")
    status = export.until("Pending", "InUse")
    assert {entry["type"]: entry["reason"] for entry in status["conditions"]}["PVCReady"] == "PVCBound"
    set_strategy(lab, "k", "Halted")
    export.until("Ready")
    types = [entry["type"] for entry in export.status["links"]["external"]["manifests"]]
    assert types == ["auth-header-secret"]
    assert export.fetch(export.manifest("auth-header-secret")).code == 500


def test_a_claim_that_nobody_knows_is_an_archive(lab: Lab) -> None:
    """A file-system claim made by hand is offered as directory and archive only."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "l1", "namespace": "shop"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "2Mi"}}},
    }
    api = lab.east.client("lab/user")
    api.create(claim)
    lab.until(lambda: (api.get(PVC, "l1", "shop") or {}).get("status", {}).get("phase") == "Bound")
    export = make(lab, "ex-l", "l1", kind="PersistentVolumeClaim")
    export.until("Ready")
    formats = export.status["links"]["external"]["volumes"][0]["formats"]
    assert [entry["format"] for entry in formats] == ["dir", "tar.gz"]
    assert export.fetch(export.url("l1", "dir")).code == 200


def test_the_proxy_knows_paths_and_phases_only(lab: Lab) -> None:
    """Another version or form of path is 400, an unknown export 404, one that is not Ready 503, and a broken backend 502."""
    lab.plant([disk("m1"), machine("m", ["m1"])])
    export = make(lab, "ex-m", "m")
    export.until("Ready")
    url = export.url("m1")
    assert export.fetch(url.replace("/v1/", "/v1alpha1/")).code == 400
    assert export.fetch(url.replace("/v1/", "/v1beta1/")).code == 200
    assert export.fetch(url.replace("virtualmachineexports/", "exports/")).code == 400
    assert export.fetch(url.replace("/ex-m/", "/ex-none/")).code == 404
    assert export.fetch(url.replace("volumes", "nothing")).code == 404
    lab.east.trouble.set("proxy", "refuse", export="ex-m", times=1)
    assert export.fetch(url).code == 502
    lab.east.trouble.set("proxy", "drop", volume="m1", format="raw", after=5000, times=1)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        export.fetch(url)
    assert export.fetch(url).code == 200
    waiting = make(lab, "ex-m2", "nobody")
    waiting.until("Skipped")
    assert export.fetch(url.replace("/ex-m/", "/ex-m2/")).code == 503


@pytest.mark.slow
def test_a_dying_exporter_is_replaced(lab: Lab) -> None:
    """An exporter that breaks down, or whose deadline comes early, is followed by another, as is one with a new certificate."""
    lab.plant([disk("n1"), machine("n", ["n1"])])
    export = make(lab, "ex-n", "n")
    export.until("Ready")
    for action in ("restart", "expire", "rotate"):
        first = pods(lab, "ex-n")[0]["metadata"]["uid"]
        lab.east.trouble.set("export", action, export="ex-n", times=1)
        lab.until(lambda first=first: [pod["metadata"]["uid"] for pod in pods(lab, "ex-n")] not in ([], [first]), what=action)
        export.until("Ready")


def test_a_new_ingress_certificate_reaches_the_links(lab: Lab) -> None:
    """After a rotation the old certificate is no longer trusted by clients, and the links show the new one."""
    lab.plant([disk("o1"), machine("o", ["o1"])])
    export = make(lab, "ex-o", "o")
    before = export.until("Ready")["links"]["external"]["cert"]
    url = export.url("o1")
    lab.east.trouble.set("proxy", "rotate")
    lab.until(lambda: export.status["links"]["external"]["cert"] != before)
    assert export.fetch(url).code == 200
    with pytest.raises(OSError, match="certificate verify failed"):
        export.fetch(url, ca=before)


def test_links_can_be_missing_late_or_poor(lab: Lab) -> None:
    """The faults of links: none at all, without the authority, without any certificate, after a while."""
    lab.plant([disk("p1"), machine("p", ["p1"])])
    lab.east.trouble.set("links", "refuse", export="ex-p1")
    lab.east.trouble.set("links", "truncate", export="ex-p2")
    lab.east.trouble.set("links", "swap", export="ex-p3")
    lab.east.trouble.set("links", "delay", export="ex-p4", seconds=60)
    none, leaf, empty, late = (make(lab, f"ex-p{number}", "p") for number in (1, 2, 3, 4))
    assert "external" not in none.until("Ready")["links"]
    assert leaf.until("Ready")["links"]["external"]["cert"].count("BEGIN CERTIFICATE") == 1
    assert empty.until("Ready")["links"]["external"]["cert"] == ""
    begun = lab.clock.monotonic()
    assert "external" not in late.until("Ready")["links"]
    lab.until(lambda: "external" in late.status["links"], seconds=90)
    assert lab.clock.monotonic() - begun > 40


def test_a_start_does_not_wake_the_export_of_a_claim(lab: Lab) -> None:
    """KubeVirt looks at exports of the VM, not of its claims: their server goes on beside the guest, until something else wakes it."""
    lab.plant([disk("l1"), machine("l", ["l1"])])
    export = make(lab, "ex-l", "l1", kind="PersistentVolumeClaim")
    export.until("Ready")
    set_strategy(lab, "l", "Always")
    user = lab.east.client("lab/user").at("shop")
    lab.until(lambda: (user.get(VMI, "l") or {}).get("status", {}).get("phase") == "Running")
    assert export.status["phase"] == "Ready"
    user.delete(POD, pods(lab, "ex-l")[0]["metadata"]["name"])
    export.until("Pending", "InUse")
    set_strategy(lab, "l", "Halted")
    export.until("Ready")
