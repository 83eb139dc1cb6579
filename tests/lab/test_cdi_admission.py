"""What CDI's webhook refuses, with its literal sentences (reference/cdi-import.md section 1.3)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from migrate.lab.cdi_admission import create_refusals, update_refusals

SIZE = {"requests": {"storage": "1Gi"}}


def volume(**spec: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"source": {"http": {"url": "https://export.example/disk.img"}}, "storage": {"resources": SIZE}}
    made = {**base, **spec}
    return {"metadata": {"name": "disk", "namespace": "shop"}, "spec": {key: value for key, value in made.items() if value is not None}}


def pvc(**spec: Any) -> dict[str, Any]:
    return volume(storage=None, pvc={"resources": SIZE, "accessModes": ["ReadWriteOnce"], **spec})


def http(**source: Any) -> dict[str, Any]:
    return volume(source={"http": {"url": "https://export.example/disk.img", **source}})


MODES = 'supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"'
REFUSED = [
    (volume(storage=None), "Missing Data volume PVC"),
    (volume(pvc={"resources": SIZE}), "Duplicate storage definition, both target storage and target pvc defined"),
    (volume(storage={"resources": {"requests": {"storage": "0"}}}), "Storage size can't be equal or less than zero"),
    (pvc(resources={"requests": {"storage": "-1"}}), "PVC size can't be equal or less than zero"),
    (volume(storage={"resources": {"requests": {"storage": "1048575"}}}), "Storage size should be at least 1MiB"),
    (volume(storage={}), "Storage size is missing"),
    (pvc(resources={}), "PVC size is missing"),
    (pvc(accessModes=[]), "Required value: at least 1 access mode is required"),
    (pvc(accessModes=["ReadWriteOnce", "ReadWriteMany"]), "PVC multiple accessModes"),
    (pvc(accessModes=["Sometimes"]), f'Unsupported value: "Sometimes": {MODES}'),
    (volume(storage={"resources": SIZE, "accessModes": ["Often"]}), f'Unsupported value: "Often": {MODES}'),
    (volume(storage={"resources": SIZE, "dataSource": {"name": "x"}}), "External population is incompatible with Source and SourceRef"),
    (volume(source=None), "Data volume should have either Source or SourceRef, or be externally populated"),
    (volume(sourceRef={"name": "x"}), "Data volume should have either Source or SourceRef, or be externally populated"),
    (volume(source={}), "Missing Data volume source"),
    (volume(source={"http": {"url": "https://x"}, "blank": {}}), "Multiple Data volume sources"),
    (volume(contentType="iso"), "ContentType not one of: kubevirt, archive"),
    (volume(source={"blank": {}}, contentType="archive"), "SourceType cannot be blank and the contentType be archive"),
    (http(url=""), "spec.source source URL is empty"),
    (http(url="export.example/disk.img"), "spec.source Invalid source URL: export.example/disk.img"),
    (http(url="ftp://export.example/x"), "spec.source Invalid source URL scheme: ftp://export.example/x"),
    (http(checksum="sha256"), "Invalid checksum format: expected 'algorithm:hash'"),
    (http(checksum="crc:00"), "Invalid checksum format: unsupported algorithm crc"),
    (http(checksum="md5:00"), "Invalid checksum format: invalid hash length for md5: expected 32, got 2"),
    (http(checksum="md5:" + "g" * 32), "Invalid checksum format: hash is not hexadecimal"),
    (volume(source={"pvc": {"name": "x"}}), "spec.source.PVC source PVC is not valid"),
    (volume(source={"snapshot": {"namespace": "x"}}), "spec.source.Snapshot source snapshot is not valid"),
]


@pytest.mark.parametrize(("dv", "message"), REFUSED, ids=[message[:50] for _, message in REFUSED])
def test_refusals(dv: dict[str, Any], message: str) -> None:
    """Every check answers with its sentence, and with nothing else."""
    assert [refusal.message for refusal in create_refusals(dv, None)] == [message]


@pytest.mark.parametrize(
    "dv",
    [
        volume(),
        pvc(),
        http(checksum="sha256:" + "ab" * 32, secretExtraHeaders=["absent"], certConfigMap="absent"),
        volume(source={"blank": {}}),
        volume(source={"upload": {}}),
        volume(source={"pvc": {"namespace": "a", "name": "b"}}, storage={}),
        volume(source=None, storage={"resources": SIZE, "dataSourceRef": {"kind": "X", "name": "y"}}),
    ],
)
def test_admitted(dv: dict[str, Any]) -> None:
    """What is complete in itself is admitted; nothing that it refers to is looked up."""
    assert create_refusals(dv, None) == []


def test_a_long_name() -> None:
    """Names end at 253 characters."""
    dv = volume()
    dv["metadata"]["name"] = "a" * 254
    assert create_refusals(dv, None)[0].message == "Name cannot be longer than 253 characters"


def test_a_claim_of_the_same_name() -> None:
    """A foreign claim of that name refuses the DataVolume; one of a DataVolume, or one that may be adopted, does not."""
    claim: dict[str, Any] = {"metadata": {"name": "disk", "namespace": "shop"}}
    assert create_refusals(volume(), claim)[0].message == "Destination PVC shop/disk already exists"
    willing = volume()
    willing["metadata"]["annotations"] = {"cdi.kubevirt.io/allowClaimAdoption": "true"}
    assert create_refusals(willing, claim) == []
    claim["metadata"]["ownerReferences"] = [{"kind": "DataVolume", "name": "disk", "controller": True}]
    assert create_refusals(volume(), claim) == []


def test_the_spec_is_immutable() -> None:
    """A changed spec is refused; another spelling of the same size, labels and annotations are not a change."""
    old = volume()
    new = deepcopy(old)
    new["metadata"]["labels"] = {"a": "b"}
    new["spec"]["storage"]["resources"]["requests"]["storage"] = "1024Mi"
    new["spec"]["storage"]["accessModes"] = []
    assert update_refusals(old, new) == []
    new["spec"]["source"]["http"]["url"] += "2"
    assert [refusal.message for refusal in update_refusals(old, new)] == ["Cannot update DataVolume Spec"]


def test_checkpoints_may_move_on() -> None:
    """The checkpoints of a multi-stage source are the exception, those of an http source are not."""
    staged = volume(source={"vddk": {"url": "x"}})
    later = deepcopy(staged)
    later["spec"]["checkpoints"] = [{"previous": "", "current": "1"}]
    assert update_refusals(staged, later) == []
    plain = volume()
    later = deepcopy(plain)
    later["spec"]["checkpoints"] = [{"previous": "", "current": "1"}]
    assert update_refusals(plain, later) != []
