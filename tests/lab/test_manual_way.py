"""The user guide's own way of moving a VM, with kubectl and curl alone: what we are measured against, and what it gets wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "abcdefghij0123456789"

pytestmark = [pytest.mark.kubectl, pytest.mark.timeout(300)]

EXPORT = """
apiVersion: v1
kind: Secret
metadata: {{name: token-{name}}}
stringData: {{token: {token}}}
---
apiVersion: export.kubevirt.io/v1
kind: VirtualMachineExport
metadata: {{name: export-{name}}}
spec:
  tokenSecretRef: token-{name}
  source: {{apiGroup: kubevirt.io, kind: VirtualMachine, name: {name}}}
"""


class Hands:
    """Somebody with kubectl and curl in front of a lab."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {**os.environ, "KUBECONFIG": str(directory / "kubeconfig"), "PYTHONPATH": str(ROOT)}

    def run(self, *words: str, text: str = "") -> str:
        done = subprocess.run(words, env=self.environment, input=text, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def kubectl(self, context: str, *words: str, text: str = "") -> str:
        return self.run("kubectl", "--context", context, "--namespace", "shop", *words, text=text)

    def lab(self, *words: str) -> str:
        return self.run(
            sys.executable, "-c", "from migrate.cli.main import run; run()", "lab", words[0], "--dir", str(self.directory), *words[1:]
        )

    def hashes(self) -> dict[tuple[str, str], str]:
        return {(row["cluster"], row["pvc"]): row["sha256"] for row in json.loads(self.lab("disks", "-o", "json"))}

    def export(self, name: str) -> dict[str, Any]:
        """Halt a VM, export it, and return the external links."""
        self.kubectl("east", "patch", "vm", name, "--type=merge", "-p", '{"spec":{"runStrategy":"Halted"}}')
        self.kubectl("east", "wait", f"vm/{name}", "--for=jsonpath={.status.printableStatus}=Stopped", "--timeout=90s")
        self.kubectl("east", "apply", "-f", "-", text=EXPORT.format(name=name, token=TOKEN))
        self.kubectl("east", "wait", f"vmexport/export-{name}", "--for=jsonpath={.status.phase}=Ready", "--timeout=90s")
        links = json.loads(self.kubectl("east", "get", f"vmexport/export-{name}", "-o", "json"))["status"]["links"]["external"]
        (self.directory / "ca.pem").write_text(links["cert"])
        return dict(links)

    def fetch(self, url: str) -> str:
        header = f"x-kubevirt-export-token: {TOKEN}"
        ca = str(self.directory / "ca.pem")
        return self.run("curl", "--silent", "--show-error", "--fail", "--cacert", ca, "-H", header, "-H", "Accept: application/yaml", url)

    def move(self, name: str, *disks: str) -> None:
        """Do what the user guide says, and wait for the disks."""
        urls = {manifest["type"]: manifest["url"] for manifest in self.export(name)["manifests"]}
        self.kubectl("west", "apply", "-f", "-", text=self.fetch(urls["auth-header-secret"]))
        self.kubectl("west", "apply", "-f", "-", text=self.fetch(urls["all"]))
        done = "--for=jsonpath={.status.phase}=Succeeded"
        self.kubectl("west", "wait", *(f"dv/{disk}" for disk in disks), done, "--timeout=120s")
        self.kubectl("west", "wait", *(f"pvc/{disk}" for disk in disks), "--for=jsonpath={.status.phase}=Bound", "--timeout=60s")


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hands]:
    missing = [tool for tool in ("kubectl", "curl") if shutil.which(tool) is None]
    assert not missing, f"{' and '.join(missing)} must be installed for this tier"
    made = Hands(tmp_path_factory.mktemp("manual") / "lab")
    made.lab("up", "--detach")
    yield made
    made.lab("down", "--purge")


def test_one_disk_arrives_as_it_was(hands: Hands) -> None:
    """A VM with one disk, exported, fetched and applied by hand, has the same bytes on the other cluster."""
    hands.move("web-1", "web-1")
    found = hands.hashes()
    assert found["west", "web-1"] == found["east", "web-1"]
    vm = json.loads(hands.kubectl("west", "get", "vm/web-1", "-o", "json"))
    assert vm["spec"]["runStrategy"] == "Halted"


def test_disks_whose_names_hold_one_another_are_mixed_up(hands: Hands) -> None:
    """With disks data, data-2 and disk the same way ends in success everywhere, and data holds the bytes of data-2."""
    hands.move("db-1", "data", "data-2", "disk")
    found = hands.hashes()
    assert found["east", "data"] != found["east", "data-2"]
    assert found["west", "data"] == found["east", "data-2"]
    assert found["west", "data-2"] == found["east", "data-2"]
    assert found["west", "disk"] == found["east", "disk"]


def test_disks_from_templates_are_swapped(hands: Hands) -> None:
    """With templates in another order than the volumes, each disk gets the other one's bytes."""
    hands.move("tpl-1", "tpl-1-root", "tpl-1-logs")
    found = hands.hashes()
    assert found["west", "tpl-1-root"] == found["east", "tpl-1-logs"]
    assert found["west", "tpl-1-logs"] == found["east", "tpl-1-root"]


def test_logs_and_ports_of_an_exporter_can_be_reached(hands: Hands) -> None:
    """kubectl describes an export with its events, and reads the exporter's log."""
    hands.export("cold-1")
    assert "Ready" in hands.kubectl("east", "describe", "vmexport/export-cold-1")
    hands.kubectl("east", "logs", "pod/virt-export-export-cold-1")
