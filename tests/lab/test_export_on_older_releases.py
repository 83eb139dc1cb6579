"""What is different on older releases of KubeVirt, and behind other Ingresses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from migrate.kube.kinds import INGRESS, KUBEVIRT, POD, VM
from migrate.model.errors import Refused
from tests.lab.exports import alone, make, manifest


def test_release_1_3_speaks_v1beta1_and_needs_its_gate(tmp_path: Path) -> None:
    """Version 1.3: v1beta1 in links, v1alpha1 served, no readiness probe, whole claims in manifests, exports only with the gate."""
    with alone(tmp_path, "v1.3", external="leaf-only") as lab:
        export = make(lab, "ex", "db", version="v1alpha1")
        status = export.until("Ready")
        assert "/v1beta1/" in export.url("root")
        assert status["links"]["external"]["cert"].count("BEGIN CERTIFICATE") == 1
        (pod,) = [pod for pod in lab.east.runtime.api.list(POD, "shop") if pod["metadata"]["name"] == "virt-export-ex"]
        assert "readinessProbe" not in pod["spec"]["containers"][0]
        assert export.fetch(export.url("root").replace("v1beta1", "v1alpha1")).code == 200
        assert export.fetch(export.url("root").replace("v1beta1", "v1")).code == 400
        items = json.loads(export.fetch(export.manifest()).body)["items"]
        assert "pvc" in items[-1]["spec"]
        api = lab.east.client("lab/user")
        vm = api.get(VM, "db", "shop")
        assert vm is not None
        assert "firmware" not in vm["spec"]["template"]["spec"]["domain"]
        gates: dict[str, Any] = {"spec": {"configuration": {"developerConfiguration": {"featureGates": []}}}}
        api.merge(KUBEVIRT, "kubevirt", gates, "kubevirt")
        with pytest.raises(Refused, match="vm export feature gate not enabled"):
            api.create(manifest("ex2", "db", version="v1beta1"))


@pytest.mark.slow
def test_release_1_6_without_an_ingress(tmp_path: Path) -> None:
    """Version 1.6: the uuid comes later from the controller, and bumps the generation; without an Ingress only internal links exist."""
    with alone(tmp_path, "v1.6", external="none") as lab:
        api = lab.east.client("lab/user")
        lab.until(lambda: (api.get(VM, "db", "shop") or {})["metadata"]["generation"] == 2)
        vm = api.get(VM, "db", "shop")
        assert vm is not None
        assert vm["spec"]["template"]["spec"]["domain"]["firmware"].keys() == {"uuid"}
        export = make(lab, "ex", "db", version="v1beta1")
        links = export.until("Ready")["links"]
        assert set(links) == {"internal"}
        assert links["internal"]["volumes"][0]["formats"][0]["url"] == "https://virt-export-ex.shop.svc/volumes/root/disk.img"


@pytest.mark.slow
def test_an_ingress_may_name_a_certificate_that_it_does_not_serve(tmp_path: Path) -> None:
    """The link then shows the wrong one, and a client that trusts it fails; with no certificate at all the link shows none."""
    with alone(tmp_path, "v1.9", external="foreign-ca") as lab:
        export = make(lab, "ex", "db")
        assert export.until("Ready")["links"]["external"]["cert"].count("BEGIN CERTIFICATE") == 2
        with pytest.raises(OSError, match="certificate verify failed"):
            export.fetch(export.url("root"))
        api = lab.east.client("lab/user")
        (ingress,) = api.list(INGRESS, "kubevirt")
        missing = [{"hosts": ["localhost"], "secretName": "nowhere"}]
        api.merge(INGRESS, ingress["metadata"]["name"], {"spec": {"tls": missing}}, "kubevirt")
        again = make(lab, "ex-again", "db")
        assert again.until("Ready")["links"]["external"]["cert"] == ""
