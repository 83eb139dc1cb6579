"""The API server refuses what the real one refuses, in its words, and fills in what it fills in."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.lab import schema
from tests.lab.kinds_under_test import check, manifest, refused, resource


def machine(**spec: Any) -> dict[str, Any]:
    return manifest("VirtualMachine", spec={"runStrategy": "Halted", "template": {"spec": spec}})


def pod(**container: Any) -> dict[str, Any]:
    return manifest("Pod", spec={"containers": [{"name": "main", "image": "lab/x", **container}]})


def claim(size: Any = "1Gi", **spec: Any) -> dict[str, Any]:
    return manifest("PersistentVolumeClaim", spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec})


def test_typo_in_a_custom_resource_is_a_strict_decoding_error() -> None:
    """A misspelt field of a VM is refused with the path of the field."""
    assert refused(machine(domian={"devices": {}})) == (
        'VirtualMachine in version "v1" cannot be handled as a VirtualMachine: '
        'strict decoding error: unknown field "spec.template.spec.domian"'
    )


def test_typo_inside_a_list_names_the_item() -> None:
    """The path of an unknown field counts list items."""
    volumes = [{"name": "a", "emptyDisk": {"capacity": "1Gi"}}, {"name": "b", "dataVolum": {}}]
    assert 'unknown field "spec.template.spec.volumes[1].dataVolum"' in refused(machine(domain={"devices": {}}, volumes=volumes))


def test_typo_warns_when_asked_to_warn_and_is_pruned() -> None:
    """With validation Warn the unknown field is dropped and mentioned; with Ignore it is dropped in silence."""
    typo = machine(domain={"devices": {}}, nodeSelecter={})
    warned, ignored = check(typo, "Warn"), check(typo, "Ignore")
    assert warned.warnings == ('unknown field "spec.template.spec.nodeSelecter"',)
    assert ignored.warnings == ()
    assert "nodeSelecter" not in warned.obj["spec"]["template"]["spec"]
    assert warned.obj == ignored.obj


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (
            manifest("VirtualMachineExport", spec={"source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine"}}),
            'VirtualMachineExport.export.kubevirt.io "a" is invalid: spec.source.name: Required value',
        ),
        (
            manifest("DataVolume", spec={"source": {"http": {}}, "contentType": "tarball"}),
            'DataVolume.cdi.kubevirt.io "a" is invalid: ['
            "spec.source.http.url: Required value, "
            'spec.contentType: Unsupported value: "tarball": supported values: "kubevirt", "archive"]',
        ),
        (
            manifest("VirtualMachineExport", spec={"source": {"kind": "PersistentVolumeClaim", "name": "a"}, "ttlDuration": 7}),
            'VirtualMachineExport.export.kubevirt.io "a" is invalid: spec.ttlDuration: Invalid value: "integer": '
            'spec.ttlDuration in body must be of type string: "integer"',
        ),
        (
            machine(domain={"devices": {}, "memory": {"guest": True}}),
            'VirtualMachine.kubevirt.io "a" is invalid: spec.template.spec.domain.memory.guest: Invalid value: "boolean": '
            'spec.template.spec.domain.memory.guest in body must be of type integer,string: "boolean"',
        ),
        (
            machine(domain={"devices": None}),
            'VirtualMachine.kubevirt.io "a" is invalid: spec.template.spec.domain.devices: Invalid value: "null": '
            'spec.template.spec.domain.devices in body must be of type object: "null"',
        ),
        (manifest("VirtualMachine"), 'VirtualMachine.kubevirt.io "a" is invalid: spec: Required value'),
        (
            manifest("ConfigMap", data={"a": 1}),
            'ConfigMap in version "v1" cannot be handled as a ConfigMap: '
            "json: cannot unmarshal number into Go struct field ConfigMap.data.a of type string",
        ),
        (
            manifest("Secret", data={"a": "not base64!"}),
            'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 0',
        ),
        (
            claim("much"),
            'PersistentVolumeClaim in version "v1" cannot be handled as a PersistentVolumeClaim: '
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            manifest("PersistentVolumeClaim", spec={"resources": {"requests": {"storage": "1Gi"}}}),
            'PersistentVolumeClaim "a" is invalid: spec.accessModes: Required value: at least 1 access mode is required',
        ),
        (
            claim(accessModes=["RWO"]),
            'PersistentVolumeClaim "a" is invalid: spec.accessModes: Unsupported value: "RWO": supported values: '
            '"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"',
        ),
        (
            manifest("Pod", spec={"containers": []}),
            'Pod "a" is invalid: spec.containers: Required value',
        ),
        (
            pod(volumeMounts=[{"name": "x", "mountPath": "/x"}]),
            'Pod "a" is invalid: spec.containers[0].volumeMounts[0].name: Not found: "x"',
        ),
        (
            pod(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}], ports=[{"containerPort": 0}]),
            'Pod "a" is invalid: [spec.containers[0].env[1]: Duplicate value: {"name":"A"}, '
            "spec.containers[0].ports[0].containerPort: Invalid value: 0: "
            "spec.containers[0].ports[0].containerPort in body should be greater than or equal to 1]",
        ),
    ],
)
def test_refusal_has_the_words_of_the_real_server(obj: dict[str, Any], message: str) -> None:
    """Required, type, enum, decoding and cross-field problems read as kubectl users know them."""
    assert refused(obj) == message


def test_duplicate_keys_are_strict_decoding_errors() -> None:
    """A key given twice is reported with its path beside unknown fields."""
    found = schema.check(resource("ConfigMap"), "v1", manifest("ConfigMap", datta={}), twice=("data.a",))
    assert found.unknown == ('duplicate field "data.a"', 'unknown field "datta"')


def test_patch_that_does_not_decode_is_refused_with_its_result() -> None:
    """A merge patch that makes an undecodable object answers 422 about the patch, not about a field."""
    answer = schema.patch_refusal('{"a":1}', check(machine(domian={})))
    assert answer is not None
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.message == (
        ' "" is invalid: patch: Invalid value: "{\\"a\\":1}": strict decoding error: unknown field "spec.template.spec.domian"'
    )


def test_defaults_of_a_pod_are_filled_in() -> None:
    """A minimal pod comes back with the defaults that controllers rely on."""
    spec = check(pod(readinessProbe={"httpGet": {"port": 8443, "path": "/r"}}, resources={"limits": {"memory": "1G"}})).obj["spec"]
    container = spec["containers"][0]
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"], spec["dnsPolicy"]) == ("Always", 30, "ClusterFirst")
    assert container["imagePullPolicy"] == "Always"
    assert container["readinessProbe"]["failureThreshold"] == 3
    assert container["readinessProbe"]["httpGet"]["scheme"] == "HTTP"
    assert container["resources"]["requests"] == {"memory": "1G"}


def test_image_with_a_tag_is_pulled_only_when_absent() -> None:
    """The pull policy follows the tag, also with a registry port in the name."""
    spec = check(
        manifest("Pod", spec={"containers": [{"name": "a", "image": "host:5000/x:1"}, {"name": "b", "image": "host:5000/x"}]})
    ).obj["spec"]
    assert [c["imagePullPolicy"] for c in spec["containers"]] == ["IfNotPresent", "Always"]


def test_claim_gets_volume_mode_and_both_spellings_of_its_source() -> None:
    """volumeMode defaults to Filesystem; dataSourceRef and dataSource say the same."""
    source = {"apiGroup": "cdi.kubevirt.io", "kind": "VolumeImportSource", "name": "x"}
    spec = check(claim(dataSourceRef=source)).obj["spec"]
    assert spec["volumeMode"] == "Filesystem"
    assert spec["dataSource"] == source


def test_string_data_of_a_secret_becomes_data() -> None:
    """stringData is written into data and is gone."""
    obj = check(manifest("Secret", stringData={"token": "abc"})).obj
    assert obj["data"] == {"token": "YWJj"}
    assert "stringData" not in obj
    assert obj["type"] == "Opaque"


def test_quantities_of_builtin_kinds_are_respelt_and_those_of_crds_are_not() -> None:
    """1024Mi reads back as 1Gi in a claim, and stays in a DataVolume."""
    assert check(claim("1024Mi")).obj["spec"]["resources"]["requests"] == {"storage": "1Gi"}
    volume = manifest("DataVolume", spec={"source": {"blank": {}}, "storage": {"resources": {"requests": {"storage": "1024Mi"}}}})
    assert check(volume).obj["spec"]["storage"]["resources"]["requests"] == {"storage": "1024Mi"}


def test_status_of_a_machine_gets_its_default_only_when_there_is_a_status() -> None:
    """printableStatus defaults to Stopped inside an existing status."""
    bare = machine(domain={"devices": {}})
    assert "status" not in check(bare).obj
    assert check({**bare, "status": {"created": False}}).obj["status"]["printableStatus"] == "Stopped"


def test_template_metadata_keeps_unknown_fields() -> None:
    """KubeVirt keeps whatever stands in the metadata of a template."""
    obj = machine(domain={"devices": {}})
    obj["spec"]["template"]["metadata"] = {"labels": {"a": "b"}, "somethingElse": 1}
    assert check(obj).unknown == ()
    assert check(obj).obj["spec"]["template"]["metadata"]["somethingElse"] == 1


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"name": "A_b"}, 'metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain'),
        ({"name": "a" * 254}, "must be no more than 253 bytes"),
        ({}, "metadata.name: Required value: name or generateName is required"),
        ({"name": "a", "labels": {"x": "not valid"}}, 'metadata.labels: Invalid value: "not valid": a valid label must be an empty string'),
        ({"name": "a", "labels": {"x": "y" * 64}}, "must be no more than 63 bytes"),
        ({"name": "a", "labels": {"/x": "y"}}, "prefix part must be non-empty"),
        ({"name": "a", "annotations": {"x": "y" * 262145}}, "metadata.annotations: Too long: may not be more than 262144 bytes"),
        ({"name": "a", "ownerReferences": [{"kind": "Pod", "name": "p", "apiVersion": "v1"}]}, "uid must not be empty"),
        (
            {"name": "a", "labels": {"x": 1}},
            "json: cannot unmarshal number into Go struct field ConfigMap.metadata.labels.x of type string",
        ),
        ({"name": "a", "lables": {}}, 'unknown field "metadata.lables"'),
    ],
)
def test_metadata_has_the_same_rules_for_every_kind(metadata: dict[str, Any], message: str) -> None:
    """Names, labels, annotations and owners are checked by the rules of the API."""
    assert message in refused({**manifest("ConfigMap"), "metadata": metadata})


def test_service_and_role_names_have_rules_of_their_own() -> None:
    """A service name is a DNS-1035 label; a role name may hold colons."""
    assert "a DNS-1035 label" in refused(manifest("Service", "1st", spec={}))
    assert refused(manifest("ClusterRole", "system:node", rules=[])) == ""


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (claim(), claim(storageClassName="other") | {"status": {"phase": "Bound"}}, None),
        (claim(storageClassName="a"), claim(storageClassName="b"), "spec"),
        (claim(volumeName="a", storageClassName="x"), claim("2Gi", volumeName="a", storageClassName="x"), "spec"),
        (manifest("Secret", type="Opaque"), manifest("Secret", type="kubernetes.io/tls"), "type"),
        (manifest("ConfigMap", immutable=True, data={"a": "1"}), manifest("ConfigMap", immutable=True, data={"a": "2"}), "data"),
        (manifest("StorageClass", provisioner="a"), manifest("StorageClass", provisioner="b"), "provisioner"),
        (pod(), pod(image="lab/y"), None),
        (pod(), pod(args=["x"]), "spec"),
    ],
)
def test_updates_keep_what_never_changes(old: dict[str, Any], new: dict[str, Any], field: str | None) -> None:
    """Immutable fields of builtin kinds are refused, the exceptions pass."""
    causes = schema.check_update(resource(old["kind"]), check(old).obj, check(new).obj)
    assert [cause.field for cause in causes] == ([field] if field else [])


def test_bound_claim_may_grow_but_not_shrink() -> None:
    """Only the request of a bound claim may change, upwards."""
    bound = {"status": {"phase": "Bound"}}
    old, more, less = (check(claim(size, volumeName="v") | bound).obj for size in ("2Gi", "3Gi", "1Gi"))
    pvc = resource("PersistentVolumeClaim")
    assert schema.check_update(pvc, old, more) == ()
    assert schema.check_update(pvc, old, less)[0].message == "Forbidden: field can not be less than status.capacity"


def test_finalizers_cannot_be_added_to_what_is_being_deleted() -> None:
    """An object on its way out takes no new finalizers."""
    old = manifest("ConfigMap")
    old["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/a"]}
    new = {**old, "metadata": {**old["metadata"], "finalizers": ["x/a", "x/b"]}}
    assert "no new finalizers" in schema.check_update(resource("ConfigMap"), old, new)[0].message


def test_check_leaves_its_input_alone() -> None:
    """Pruning and defaulting work on a copy."""
    obj = pod()
    before = {**obj, "spec": {"containers": [dict(obj["spec"]["containers"][0])]}}
    check(obj)
    assert obj == before
