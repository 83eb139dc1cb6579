"""When an export can be read and when not: gates, what there is to export, who uses the disks, its time, its token."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from migrate.kube.kinds import EXPORT, KUBEVIRT, POD, SECRET, SNAPSHOT
from migrate.lab.up import Lab
from migrate.model.errors import Refused, Stalled
from migrate.model.objects import leaving
from tests.cli.conftest import Plant
from tests.cli.disks import digest, digest_of
from tests.cli.inside import export
from tests.flows.flow import Flow

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean")]


def status(flow: Flow, name: str) -> dict[str, Any]:
    return dict((flow.east.get(EXPORT, name) or {}).get("status") or {})


def servers(flow: Flow, name: str) -> list[dict[str, Any]]:
    found = flow.east.list(POD, labels={"kubevirt.io.virt-export-service": name})
    return [one for one in found if not leaving(one)]


def test_without_its_gate_nothing_is_exported(lab: Lab, plant: Plant) -> None:
    """KubeVirt's own words are shown, and nothing is left behind."""
    flow = plant()
    kubevirt = lab.east.client("lab/user").at("kubevirt")
    (found,) = kubevirt.list(KUBEVIRT)
    developer = found["spec"]["configuration"]["developerConfiguration"]
    name = found["metadata"]["name"]
    kubevirt.merge(KUBEVIRT, name, {"spec": {"configuration": {"developerConfiguration": {"featureGates": None}}}})
    try:
        with pytest.raises(Refused, match="vm export feature gate not enabled"):
            export(lab, "create", "gate", "--vm", flow.name)
    finally:
        kubevirt.merge(KUBEVIRT, name, {"spec": {"configuration": {"developerConfiguration": developer}}})
        kubevirt.close()
    assert flow.east.get(EXPORT, "gate") is None
    assert flow.east.get(SECRET, "secret-gate") is None
    export(lab, "create", "gate", "--vm", flow.name)


@pytest.mark.parametrize("source", ["vm", "pvc"])
def test_a_start_ends_the_export_until_the_disks_are_free(lab: Lab, plant: Plant, tmp_path: Path, source: str) -> None:
    """Pending while the VM runs; served once it is off; its server is gone when it is started, and back when it is off again.

    KubeVirt takes an export of a VM back at once, one of a claim when it looks at it next: here since its pod is gone.
    """
    flow = plant(strategy="Always")
    subject = flow.name if source == "vm" else f"{flow.name}-root"
    output = tmp_path / "d.img"

    def used() -> bool:
        now = status(flow, source)
        return flow.runs() and now.get("phase") == "Pending" and not now.get("links") and not servers(flow, source)

    flow.until(flow.runs)
    export(lab, "create", source, f"--{source}", subject)
    for _ in range(2):
        flow.until(used)
        assert "the disks are in use" in export(lab, "show", source)
        with pytest.raises(Stalled, match="the disks are in use"):
            export(lab, "download", source, "--output", str(output), "--readiness-timeout", "1s")
        assert flow.runs()
        assert not output.exists()
        flow.set_strategy("Halted")
        flow.until(lambda: status(flow, source).get("phase") == "Ready")
        export(lab, "download", source, "--format", "raw", "--output", str(output))
        assert digest_of(output) == digest(lab, flow)
        output.unlink()
        flow.set_strategy("Always")
        flow.until(flow.runs)
        for pod in servers(flow, source) if source == "pvc" else ():
            flow.east.delete(POD, pod["metadata"]["name"])


@pytest.mark.parametrize("source", ["vm", "snapshot"])
def test_with_nothing_to_export_no_server_is_started(lab: Lab, plant: Plant, source: str) -> None:
    """A VM without disks, and a snapshot of it: the export is Skipped, which is said, and has no pod."""
    flow = plant(disks=())
    if source == "snapshot":
        of = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": flow.name}
        metadata = {"name": flow.name, "namespace": "shop"}
        flow.east.create(
            {"apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineSnapshot", "metadata": metadata, "spec": {"source": of}}
        )
        flow.until(lambda: (flow.east.get(SNAPSHOT, flow.name) or {}).get("status", {}).get("readyToUse"))
    export(lab, "create", "nothing", f"--{source}", flow.name)
    flow.until(lambda: status(flow, "nothing").get("phase") == "Skipped")
    assert "there is nothing to export yet" in export(lab, "show", "nothing")
    lab.clock.sleep(5)
    assert servers(flow, "nothing") == []
    flow.east.delete(SNAPSHOT, flow.name)


def test_two_hours_unless_another_time_is_given(lab: Lab, plant: Plant) -> None:
    """Without --ttl KubeVirt's own two hours; with it so long, and then the export goes, with its server and its token."""
    flow = plant()
    export(lab, "create", "long", "--vm", flow.name, "--wait")
    made = flow.east.get(EXPORT, "long") or {}
    assert "ttlDuration" not in made["spec"]
    begun = datetime.fromisoformat(made["metadata"]["creationTimestamp"])
    end = datetime.fromisoformat(json.loads(export(lab, "show", "long", "-o", "json"))["expires"])
    assert end - begun == timedelta(hours=2)
    assert end.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") in export(lab, "show", "long")
    export(lab, "create", "short", "--vm", flow.name, "--ttl", "45s")
    flow.until(lambda: flow.east.get(EXPORT, "short") is None)
    flow.until(lambda: flow.east.get(SECRET, "secret-short") is None and not servers(flow, "short"))
    assert flow.east.get(EXPORT, "long") is not None


def test_the_token_opens_a_link_as_header_and_as_parameter(lab: Lab, plant: Plant) -> None:
    """The links that `show` gives are for any client: with the token of the Secret either way, with another one not at all."""
    flow = plant()
    export(lab, "create", "t", "--vm", flow.name, "--wait")
    (volume,) = json.loads(export(lab, "show", "t", "-o", "json"))["volumes"]
    token = base64.b64decode((flow.east.get(SECRET, "secret-t") or {})["data"]["token"]).decode()
    trust = ssl.create_default_context(cadata=status(flow, "t")["links"]["external"]["cert"])

    def read(url: str, **headers: str) -> str:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=trust, timeout=60) as answer:
            return f"sha256:{hashlib.sha256(answer.read()).hexdigest()}"

    url = volume["formats"]["raw"]
    assert read(url, **{"x-kubevirt-export-token": token}) == digest(lab, flow)
    assert read(f"{url}?x-kubevirt-export-token={token}") == digest(lab, flow)
    with pytest.raises(HTTPError, match="401"):
        read(f"{url}?x-kubevirt-export-token={token}0")


def test_our_tokens_are_long_and_random(lab: Lab, plant: Plant) -> None:
    """Twenty letters and digits, other ones for every export, in a Secret of the export's namespace that goes with it."""
    flow = plant()
    for name in ("one", "two"):
        export(lab, "create", name, "--vm", flow.name)
    secrets = [flow.east.get(SECRET, f"secret-{name}") or {} for name in ("one", "two")]
    tokens = [base64.b64decode(one["data"]["token"]).decode() for one in secrets]
    assert [len(token) for token in tokens] == [20, 20]
    assert all(token.isascii() and token.isalnum() for token in tokens)
    assert tokens[0] != tokens[1]
    assert [one["metadata"]["ownerReferences"][0]["kind"] for one in secrets] == ["VirtualMachineExport"] * 2
