"""`migrate export download` against curl on the same link, in one run on one lab: raw by one and by four streams, and gzip.

Aims: one stream at least 0.9 of curl, four at least 0.9 of one (on loopback there is nothing to gain), 80 MiB at the peak, and a mostly
empty disk that takes the room of its content. curl's file is synced, too. Ratios count; seconds depend on the machine.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import tempfile
import time
from pathlib import Path

from bench import MIGRATE, lab, measured, table

ROUNDS = 3
EXPORT = "bench"
SEED = """apiVersion: v1
kind: Namespace
metadata: {{name: shop, annotations: {{lab.kubevirt-migrate.io/cluster: both}}}}
---
apiVersion: cdi.kubevirt.io/v1beta1
kind: DataVolume
metadata: {{name: full, namespace: shop}}
spec:
  source: {{blank: {{}}}}
  storage: {{storageClassName: fast, volumeMode: Filesystem, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {mib}Mi}}}}}}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {{name: full, namespace: shop}}
spec:
  runStrategy: Halted
  template:
    spec:
      domain: {{devices: {{disks: [{{name: root, disk: {{bus: virtio}}}}]}}, memory: {{guest: 512Mi}}}}
      volumes: [{{name: root, dataVolume: {{name: full}}}}]
"""


def kubectl(*words: str) -> str:
    """Run kubectl on the source and return what it prints."""
    return subprocess.run(["kubectl", "--context", "east", "-n", "shop", *words], check=True, capture_output=True, text=True).stdout


def links(directory: Path) -> tuple[list[str], dict[str, str]]:
    """Return the options with which curl reads the export, and its links by format."""
    export = json.loads(kubectl("get", "vmexport", EXPORT, "-o", "json"))
    token = base64.b64decode(json.loads(kubectl("get", "secret", f"secret-{EXPORT}", "-o", "json"))["data"]["token"]).decode()
    external = export["status"]["links"]["external"]
    ca = directory / "ca.pem"
    ca.write_text(external["cert"], encoding="ascii")
    urls = {one["format"]: one["url"] for one in external["volumes"][0]["formats"]}
    return ["-sSf", "--cacert", str(ca), "-H", f"x-kubevirt-export-token:{token}"], urls


def curl_s(options: list[str], url: str, output: Path) -> float:
    """Read a link with curl into a file, and sync that; return the seconds."""
    began = time.monotonic()
    subprocess.run(["curl", *options, "-o", str(output), url], check=True)
    subprocess.run(["sync", str(output)], check=True)
    return time.monotonic() - began


def ours(home: Path, output: Path, *words: str) -> tuple[float, float, float]:
    """Download with our command; return seconds, peak MiB and CPU seconds."""
    output.unlink(missing_ok=True)
    cost = measured([*MIGRATE, "export", "download", f"east:shop/{EXPORT}", "--output", str(output), *words], home)
    return cost.seconds, cost.peak_mib, cost.cpu_s


def main() -> None:
    """Read one disk by turns, three rounds."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--mib", type=int, default=4096)
    mib = asked.parse_args().mib
    with lab(SEED.format(mib=mib)) as home, tempfile.TemporaryDirectory() as scratch:
        subprocess.run([*MIGRATE, "export", "create", f"east:shop/{EXPORT}", "--vm", "full", "--ttl", "6h", "--wait"], check=True, stdout=2)
        options, urls = links(Path(scratch))
        output, taken = Path(scratch) / "disk", Path(scratch) / "ours"
        took: dict[str, list[float]] = {"curl": [], "1": [], "4": [], "gzip": [], "curl gzip": []}
        peak, room = 0.0, 0
        for _ in range(ROUNDS):
            took["curl"].append(curl_s(options, urls["raw"], output))
            for streams in ("1", "4"):
                seconds, used, _cpu = ours(home, taken, "--format", "raw", "--streams", streams)
                took[streams].append(seconds)
                peak, room = max(peak, used), taken.stat().st_blocks * 512
            took["curl gzip"].append(curl_s(options, urls["gzip"], output))
            seconds, used, _cpu = ours(home, taken, "--format", "gzip")
            took["gzip"].append(seconds)
            peak = max(peak, used)
    middle = {name: sorted(found)[ROUNDS // 2] for name, found in took.items()}
    print(f"\none disk of {mib} MiB, a quarter of it content, medians of {ROUNDS}; the file takes {room / 2**20:.0f} MiB of room")
    rows = [
        ("curl, raw", f"{middle['curl']:.2f}", f"{mib / middle['curl']:.0f}", "1"),
        ("ours, raw, 1 stream", f"{middle['1']:.2f}", f"{mib / middle['1']:.0f}", f"{middle['curl'] / middle['1']:.2f} of curl"),
        ("ours, raw, 4 streams", f"{middle['4']:.2f}", f"{mib / middle['4']:.0f}", f"{middle['1'] / middle['4']:.2f} of one stream"),
        ("curl, gzip", f"{middle['curl gzip']:.2f}", f"{mib / middle['curl gzip']:.0f}", "1"),
        (
            "ours, gzip",
            f"{middle['gzip']:.2f}",
            f"{mib / middle['gzip']:.0f}",
            f"{middle['curl gzip'] / middle['gzip']:.2f} of curl, and checked",
        ),
    ]
    table(("who", "seconds", "MiB/s of disk", "ratio"), rows)
    print(f"peak {peak:.0f} MiB")


if __name__ == "__main__":
    main()
