"""A disk of east's export, pulled by west's CDI through the external link: raw and gzip, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from migrate.kube.kinds import DATAVOLUME, EXPORT, PVC
from migrate.lab.up import Lab
from tests.lab.cdi_lab import AT_ONCE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")) as found:
        yield found


def links(lab: Lab) -> dict[str, Any] | None:
    export = lab.east.client().at("shop").get(EXPORT, "offer") or {}
    status = export.get("status") or {}
    found: dict[str, Any] | None = (status.get("links") or {}).get("external") if status.get("phase") == "Ready" else None
    return found


def test_pulled_disks_are_equal(lab: Lab) -> None:
    """Export of a stopped machine's disk, import on the other side into a file system and a device."""
    east, west = (cluster.client().at("shop") for cluster in (lab.east, lab.west))
    east.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "offer-token"}, "stringData": {"token": "t0ken-of-the-test"}},
        {
            "apiVersion": "export.kubevirt.io/v1beta1",
            "kind": "VirtualMachineExport",
            "metadata": {"name": "offer"},
            "spec": {"source": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "cold-1"}, "tokenSecretRef": "offer-token"},
        },
    )
    external = lab.until(lambda: links(lab), what="the export")
    formats = {entry["format"]: entry["url"] for entry in external["volumes"][0]["formats"]}
    west.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "ca"},
            "data": {"ca.pem": external["cert"], "tls.crt": external["cert"]},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "header"},
            "stringData": {"t": "x-kubevirt-export-token:t0ken-of-the-test"},
        },
    )
    sha = lab.disks()["east", "shop", "cold-1"]
    size = next(row for row in lab.east.disks() if row.pvc == "cold-1").bytes
    cases = {f"{form}-{mode.lower()}": (url, mode) for form, url in formats.items() for mode in ("Filesystem", "Block")}
    for name, (url, mode) in cases.items():
        http = {"url": url, "certConfigMap": "ca", "secretExtraHeaders": ["header"]}
        storage = {"resources": {"requests": {"storage": str(size)}}, "storageClassName": "fast", "volumeMode": mode}
        meta = {"name": name, "annotations": {AT_ONCE: ""}}
        spec = {"source": {"http": http}, "storage": storage}
        west.create({"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": meta, "spec": spec})
    for name in cases:
        lab.until(lambda name=name: ((west.get(DATAVOLUME, name) or {}).get("status") or {}).get("phase") == "Succeeded", what=name)
        lab.until(lambda name=name: ((west.get(PVC, name) or {}).get("status") or {}).get("phase") == "Bound", what=name)
    disks = lab.disks()
    assert {name: disks["west", "shop", name] for name in cases} == dict.fromkeys(cases, sha)
    assert set(formats) == {"raw", "gzip"}
