"""`migrate export download` against curl on the same link, in one run on one lab: raw by one and by four streams, and gzip.

Aims: one stream at least 0.9 of curl, four at least 0.9 of one (on loopback there is nothing to gain) and at least 3 times one at a delay
of 80 ms, 80 MiB at the peak, and a mostly empty disk that takes the room of its content. An aim that is missed is the exit code 1; with a
small disk (`--mib`) most of the time is the start of our process, and four streams have little to share: then some are missed. curl's file
is synced, too. The long way is the lab's shaping proxy before the export server (1 MiB under way on a connection); it is left after a
while, and the bytes by then are told by the journal. Ratios count; seconds depend on the machine. `--keep` adds them to figures.md.
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

from migrate.lab.shaping import Shaper

ROUNDS = 3
SHARE = 0.25
"""So much of the disk is content; the rest are holes."""
RTT_S = 0.08
WINDOW_BYTES = 1 << 20
FAR_S = 20
"""How long a download goes by the long way."""
PORTS = "lab.kubevirt-migrate.io/ports"
EXPORT = "bench"
VM = "full"


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


def far_mib_s(directory: Path, streams: str, mib: int) -> float:
    """Read for a while by the long way, a disk of so many MiB; return MiB a second, without the time until the first byte."""
    pods = json.loads(kubectl("get", "pods", "-l", f"kubevirt.io.virt-export-service={EXPORT}", "-o", "json"))["items"]
    port = json.loads(pods[0]["metadata"]["annotations"][PORTS])["8443"]
    output = directory / f"far-{streams}"
    with Shaper(port, rtt_s=RTT_S, window_bytes=WINDOW_BYTES) as way:
        words = ["--format", "raw", "--streams", streams, "--output", str(output), "--service-url", f"127.0.0.1:{way.port}", "-o", "json"]
        child = subprocess.Popen(
            [*MIGRATE, "export", "download", f"east:shop/{EXPORT}", *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        assert child.stderr is not None
        next(line for line in child.stderr if json.loads(line).get("total"))
        began = time.monotonic()
        try:
            if child.wait(FAR_S):
                raise subprocess.CalledProcessError(child.returncode, words)
            return mib / (time.monotonic() - began)
        except subprocess.TimeoutExpired:
            child.terminate()
            child.communicate()
    have = json.loads((directory / f"{output.name}.part.json").read_text())["have"]
    return sum(stop - start for start, stop in have) / 2**20 / FAR_S


def main() -> int:
    """Read one disk by turns, three rounds; return the exit code."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--mib", type=int, default=4096)
    asked.add_argument("--keep", action="store_true")
    said = asked.parse_args()
    mib = said.mib
    with lab(seed(VM, mib)) as home, tempfile.TemporaryDirectory() as scratch:
        subprocess.run([*MIGRATE, "export", "create", f"east:shop/{EXPORT}", "--vm", VM, "--ttl", "6h", "--wait"], check=True, stdout=2)
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
        far = {streams: far_mib_s(Path(scratch), streams, mib) for streams in ("1", "4")}
    middle = {name: sorted(found)[ROUNDS // 2] for name, found in took.items()}
    print(f"\none disk of {mib} MiB, a quarter of it content, medians of {ROUNDS}; the file takes {room / 2**20:.0f} MiB of room")
    rows = [
        ("curl, raw", f"{middle['curl']:.2f}", f"{mib / middle['curl']:.0f}", "1"),
        ("ours, raw, 1 stream", f"{middle['1']:.2f}", f"{mib / middle['1']:.0f}", f"{middle['curl'] / middle['1']:.2f} of curl"),
        ("ours, raw, 4 streams", f"{middle['4']:.2f}", f"{mib / middle['4']:.0f}", f"{middle['1'] / middle['4']:.2f} of one stream"),
        ("curl, gzip", f"{middle['curl gzip']:.2f}", f"{mib / middle['curl gzip']:.0f}", "1"),
        (f"ours, raw, 1 stream, {RTT_S * 1000:.0f} ms", "", f"{far['1']:.1f}", "1"),
        (f"ours, raw, 4 streams, {RTT_S * 1000:.0f} ms", "", f"{far['4']:.1f}", f"{far['4'] / far['1']:.2f} of one stream"),
        (
            "ours, gzip",
            f"{middle['gzip']:.2f}",
            f"{mib / middle['gzip']:.0f}",
            f"{middle['curl gzip'] / middle['gzip']:.2f} of curl, and checked",
        ),
    ]
    table(("who", "seconds", "MiB/s of disk", "ratio"), rows)
    aims = [
        Aim("1 stream, of curl", middle["curl"] / middle["1"], least=0.9),
        Aim("4 streams, of one", middle["1"] / middle["4"], least=0.9),
        Aim(f"4 streams, of one, at {RTT_S * 1000:.0f} ms", far["4"] / far["1"], least=3),
        Aim("peak memory, MiB", peak, most=PEAK_MIB),
        Aim("room of the file, of its content", room / 2**20 / (mib * SHARE), most=1.02),
    ]
    return judged(f"download.py, one disk of {mib} MiB", aims, keep=said.keep)


if __name__ == "__main__":
    sys.exit(main())
