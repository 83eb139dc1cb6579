"""Our move against the user guide's manual way (kubectl and curl), and the lab's importer against curl, all in one run on one lab.

Aims: no more than 2 s over the manual way (which proves nothing), 120 MiB at the peak; the importer at half of curl's rate, both of its
writes done. Ratios count; seconds depend on the machine.
"""

from __future__ import annotations

import base64
import json
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path

from bench import MIGRATE, lab, measured, table

SIZE_MIB = 256
ROUNDS = 3


def seed(names: list[str]) -> str:
    """Return VMs with one disk each, a quarter of it random."""
    parts = ["apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, annotations: {lab.kubevirt-migrate.io/cluster: both}}"]
    for name in names:
        parts += [
            f"""apiVersion: cdi.kubevirt.io/v1beta1
kind: DataVolume
metadata: {{name: {name}-root, namespace: shop}}
spec:
  source: {{blank: {{}}}}
  storage:
    storageClassName: fast
    volumeMode: Filesystem
    accessModes: [ReadWriteOnce]
    resources: {{requests: {{storage: {SIZE_MIB}Mi}}}}""",
            f"""apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {{name: {name}, namespace: shop}}
spec:
  runStrategy: Always
  template:
    spec:
      domain: {{devices: {{disks: [{{name: root, disk: {{bus: virtio}}}}]}}, memory: {{guest: 512Mi}}}}
      volumes: [{{name: root, dataVolume: {{name: {name}-root}}}}]""",
        ]
    return "\n---\n".join(parts) + "\n"


def kubectl(*words: str) -> str:
    """Run kubectl and return what it prints."""
    return subprocess.run(["kubectl", *words], check=True, capture_output=True, text=True).stdout


def moves(home: Path) -> None:
    """Move twins by hand and by us, alternating."""
    manual = str(Path(__file__).with_name("manual.sh"))
    rows = []
    for number in range(ROUNDS):
        hand = measured(["bash", manual, f"hand-{number}"], home)
        unproven = measured([*MIGRATE, "vm", f"east:shop/bare-{number}", "west:shop", "--verify", "off", "-o", "json"], home)
        proven = measured([*MIGRATE, "vm", f"east:shop/ours-{number}", "west:shop", "-o", "json"], home)
        for label, cost in (("by hand", hand), ("ours, no proof", unproven), ("ours, proven", proven)):
            over = f"{cost.seconds - hand.seconds:+.1f}"
            rows.append(
                (
                    label,
                    f"{cost.seconds:.1f}",
                    over,
                    cost.requests["east"],
                    cost.requests["west"],
                    f"{cost.cpu_s:.1f}",
                    f"{cost.peak_mib:.0f}",
                )
            )
    print(f"\none VM, one disk of {SIZE_MIB} MiB, stopped, moved, started")
    table(("way", "seconds", "over", "requests east", "requests west", "CPU s", "peak MiB"), rows)


def importer() -> None:
    """Compare one import by the lab's importer with curl on the same link."""
    kubectl("--context", "east", "-n", "shop", "patch", "vm", "pull", "--type", "merge", "-p", '{"spec":{"runStrategy":"Halted"}}')
    kubectl("--context", "east", "-n", "shop", "wait", "--for=delete", "vmi/pull", "--timeout=60s")
    version = json.loads(kubectl("--context", "east", "get", "--raw", "/apis/export.kubevirt.io"))["preferredVersion"]["groupVersion"]
    _apply(
        "east",
        {
            "apiVersion": version,
            "kind": "VirtualMachineExport",
            "metadata": {"name": "pull"},
            "spec": {"source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "pull"}},
        },
    )
    kubectl("--context", "east", "-n", "shop", "wait", "--for=jsonpath={.status.phase}=Ready", "vmexport/pull", "--timeout=60s")
    export = json.loads(kubectl("--context", "east", "-n", "shop", "get", "vmexport", "pull", "-o", "json"))
    secret = json.loads(kubectl("--context", "east", "-n", "shop", "get", "secret", export["status"]["tokenSecretRef"], "-o", "json"))
    token = base64.b64decode(secret["data"]["token"]).decode()
    external = export["status"]["links"]["external"]
    url = next(one["url"] for one in external["volumes"][0]["formats"] if one["format"] == "raw")
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as ca:
        ca.write(external["cert"])
        ca.flush()
        curls = []
        for _ in range(ROUNDS):
            began = time.monotonic()
            subprocess.run(
                ["curl", "-sSf", "--cacert", ca.name, "-H", f"x-kubevirt-export-token:{token}", "-o", "/dev/null", url], check=True
            )
            curls.append(time.monotonic() - began)
    _apply(
        "west",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "pull-ca"},
            "data": {"ca.pem": external["cert"], "tls.crt": external["cert"]},
        },
    )
    _apply(
        "west",
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "pull-header"},
            "stringData": {"token": f"x-kubevirt-export-token:{token}"},
        },
    )
    pulls = [_pull(f"pull-{number}", url) for number in range(ROUNDS)]
    curl_s, pull_s = sorted(curls)[ROUNDS // 2], sorted(pulls)[ROUNDS // 2]
    print(f"\none raw disk of {SIZE_MIB} MiB over the export proxy, medians of {ROUNDS}")
    rows = [
        ("curl to /dev/null", f"{curl_s:.2f}", f"{SIZE_MIB / curl_s:.0f}", "1"),
        ("importer, scratch and target written", f"{pull_s:.2f}", f"{SIZE_MIB / pull_s:.0f}", f"{curl_s / pull_s:.2f}"),
    ]
    table(("who", "seconds", "MiB/s", "of curl"), rows)


def _apply(context: str, manifest: dict[str, object]) -> None:
    subprocess.run(
        ["kubectl", "--context", context, "-n", "shop", "apply", "-f", "-"],
        input=json.dumps(manifest),
        text=True,
        check=True,
        capture_output=True,
    )


def _pull(name: str, url: str) -> float:
    """Import once and return the seconds that the importer's data pod ran, from its own log."""
    _apply(
        "west",
        {
            "apiVersion": "cdi.kubevirt.io/v1beta1",
            "kind": "DataVolume",
            "metadata": {"name": name, "annotations": {"cdi.kubevirt.io/storage.pod.retainAfterCompletion": "true"}},
            "spec": {
                "source": {"http": {"url": url, "certConfigMap": "pull-ca", "secretExtraHeaders": ["pull-header"]}},
                "storage": {
                    "storageClassName": "fast",
                    "volumeMode": "Filesystem",
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": f"{SIZE_MIB}Mi"}},
                },
            },
        },
    )
    kubectl("--context", "west", "-n", "shop", "wait", "--for=jsonpath={.status.phase}=Succeeded", f"dv/{name}", "--timeout=300s")
    pods = json.loads(kubectl("--context", "west", "-n", "shop", "get", "pods", "-l", "cdi.kubevirt.io=importer", "-o", "json"))["items"]
    ended = [pod["status"]["containerStatuses"][0]["state"]["terminated"] for pod in pods if pod["status"]["phase"] == "Succeeded"]
    took = max((_moment(one["finishedAt"]) - _moment(one["startedAt"])).total_seconds() for one in ended)
    kubectl("--context", "west", "-n", "shop", "delete", "pods", "-l", "cdi.kubevirt.io=importer")
    return took


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def main() -> None:
    """Run both comparisons."""
    names = [f"{kind}-{number}" for number in range(ROUNDS) for kind in ("hand", "bare", "ours")]
    with lab(seed([*names, "pull"])) as home:
        moves(home)
        importer()


if __name__ == "__main__":
    main()
