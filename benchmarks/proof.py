"""The full proof of a finished move against two curls that read the same links into sha256sum, in one run on one lab.

Aims: at least 0.8 of the curls' pace, 80 MiB at the peak; one that is missed is the exit code 1. Ratios count; seconds depend on the
machine. `--mib` takes a smaller disk, `--keep` adds the figures to figures.md.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import MIGRATE, PEAK_MIB, Aim, judged, lab, measured, seed, table

ROUNDS = 3
VM = "proof"


def kubectl(context: str, *words: str, given: str | None = None) -> str:
    """Run kubectl in the VM's namespace and return what it prints."""
    return subprocess.run(
        ["kubectl", "--context", context, "-n", "shop", *words], check=True, capture_output=True, text=True, input=given
    ).stdout


def offer(context: str, directory: Path) -> list[str]:
    """Export the VM of one side by hand; return the curl command that reads its disk."""
    version = json.loads(kubectl(context, "get", "--raw", "/apis/export.kubevirt.io"))["preferredVersion"]["groupVersion"]
    source = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": VM}
    manifest = {"apiVersion": version, "kind": "VirtualMachineExport", "metadata": {"name": "curl"}, "spec": {"source": source}}
    kubectl(context, "apply", "-f", "-", given=json.dumps(manifest))
    kubectl(context, "wait", "--for=jsonpath={.status.phase}=Ready", "vmexport/curl", "--timeout=120s")
    export = json.loads(kubectl(context, "get", "vmexport", "curl", "-o", "json"))
    secret = json.loads(kubectl(context, "get", "secret", export["status"]["tokenSecretRef"], "-o", "json"))
    token = base64.b64decode(secret["data"]["token"]).decode()
    external = export["status"]["links"]["external"]
    ca = directory / f"{context}.pem"
    ca.write_text(external["cert"], encoding="ascii")
    url = next(one["url"] for one in external["volumes"][0]["formats"] if one["format"] == "raw")
    return ["curl", "-sSf", "--cacert", str(ca), "-H", f"x-kubevirt-export-token:{token}", url]


def curls(commands: list[list[str]]) -> float:
    """Read both links at once into sha256sum; return the seconds. Raises when the sums differ."""
    began = time.monotonic()
    sums = []
    readers = [subprocess.Popen(words, stdout=subprocess.PIPE) for words in commands]
    hashers = [subprocess.Popen(["sha256sum"], stdin=reader.stdout, stdout=subprocess.PIPE, text=True) for reader in readers]
    for reader, hasher in zip(readers, hashers, strict=True):
        assert reader.stdout is not None
        reader.stdout.close()
        sums.append(hasher.communicate()[0])
        if reader.wait() != 0:
            raise RuntimeError("curl failed")
    if len(set(sums)) != 1:
        raise RuntimeError(f"the sides differ: {sums}")
    return time.monotonic() - began


def comparing_s(home: Path, log: Path) -> tuple[float, float]:
    """Prove the disk in full; return the seconds between its first and its last byte, and the peak MiB."""
    with log.open("w", encoding="utf-8") as out:
        cost = measured([*MIGRATE, "verify", f"east:shop/{VM}", "west:shop", "--verify", "full", "-o", "json"], home, out=out)
    events = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    seen = [one for one in events if one.get("step") == "verify-disks" and one.get("disk")]
    times = [_seconds(one["time"]) for one in seen if one["reason"] in ("Comparing", "ProofToWrite", "Proven")]
    return max(times) - min(times), cost.peak_mib


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def main() -> int:
    """Move a VM without proof, then prove it and read it by curl, by turns; return the exit code."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--mib", type=int, default=2048)
    asked.add_argument("--keep", action="store_true")
    said = asked.parse_args()
    mib = said.mib
    with lab(seed(VM, mib)) as home, tempfile.TemporaryDirectory() as scratch:
        move = [*MIGRATE, "vm", f"east:shop/{VM}", "west:shop", "--verify", "off", "--start", "never"]
        subprocess.run(move, check=True, stdout=subprocess.DEVNULL)
        by_curl, by_us, peak = [], [], 0.0
        for _ in range(ROUNDS):
            commands = [offer(context, Path(scratch)) for context in ("east", "west")]
            by_curl.append(curls(commands))
            for context in ("east", "west"):
                kubectl(context, "delete", "vmexport", "curl", "--wait")
            took, used = comparing_s(home, Path(scratch) / "events")
            by_us.append(took)
            peak = max(peak, used)
    curl_s, ours_s = sorted(by_curl)[ROUNDS // 2], sorted(by_us)[ROUNDS // 2]
    print(f"\none disk of {mib} MiB on either side, read through both export proxies, medians of {ROUNDS}")
    rows = [
        ("two curls into sha256sum", f"{curl_s:.2f}", f"{mib / curl_s:.0f}", "1", ""),
        ("migrate verify --verify full", f"{ours_s:.2f}", f"{mib / ours_s:.0f}", f"{curl_s / ours_s:.2f}", f"{peak:.0f}"),
    ]
    table(("who", "seconds", "MiB/s of each side", "of the curls", "peak MiB"), rows)
    aims = [Aim("full proof, of the curls", curl_s / ours_s, least=0.8), Aim("peak memory, MiB", peak, most=PEAK_MIB)]
    return judged(f"proof.py, one disk of {mib} MiB", aims, keep=said.keep)


if __name__ == "__main__":
    sys.exit(main())
