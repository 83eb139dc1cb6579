"""`migrate export`: what the user guide describes, with its words, on the lab."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from itertools import count

import pytest
import yaml

from migrate.kube.kinds import DATAVOLUME, EXPORT, POD, SECRET, SNAPSHOT, VM
from migrate.lab.pods import PORTS
from migrate.lab.up import Lab
from tests.cli.conftest import Plant
from tests.cli.disks import PLACE, content, digest, digest_of, files_in, files_of, fill, make_claim, remove_claims
from tests.cli.shell import MIGRATE, Shell

_numbers = count(1)
FILES = {"a.txt": b"first", "deep/er/b.bin": os.urandom(300_000), "with space+plus.txt": b"third", "empty": b""}


@pytest.fixture
def files(lab: Lab) -> Iterator[str]:
    """A claim that holds files, as nobody told KubeVirt that it holds a disk."""
    name = f"files{next(_numbers)}"
    make_claim(lab, name)
    fill(content(lab, name), FILES)
    yield name
    remove_claims(lab, name)


pytestmark = pytest.mark.usefixtures("clean")


@pytest.mark.slow
def test_step_by_step_as_in_the_guide(shell: Shell, plant: Plant, lab: Lab) -> None:
    """Create, download with --keep-vme, delete: the disk is here, and nothing is left in the cluster."""
    flow = plant()
    assert "is made" in shell("export", "create", "one", "--vm", flow.name, "--ttl", "1h", *PLACE).stdout
    export = flow.east.get(EXPORT, "one")
    assert export is not None
    assert export["spec"]["ttlDuration"] == "3600s"
    assert "was there already" in shell("export", "create", "one", "--vm", flow.name, *PLACE).stdout
    told = shell("export", "download", "one", "--output", "disk.img.gz", "--keep-vme", *PLACE).stdout
    path = shell.directory / "work" / "disk.img.gz"
    assert digest(lab, flow) in told
    assert f"sha256:{hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()}" == digest(lab, flow)
    listed = shell("export", "list", *PLACE).stdout
    assert f"VirtualMachine {flow.name}" in listed
    assert "can be reached from outside" in listed
    shown = json.loads(shell("export", "show", "east:shop/one", "-o", "json").stdout)
    assert {volume["name"]: sorted(volume["formats"]) for volume in shown["volumes"]} == {f"{flow.name}-root": ["gzip", "raw"]}
    assert yaml.safe_load(shell("export", "show", "one", "-o", "yaml", *PLACE).stdout) == shown
    shell("export", "delete", "one", *PLACE)
    flow.until(lambda: flow.east.get(EXPORT, "one") is None and flow.east.get(SECRET, "secret-one") is None)
    assert "there is no export" in shell("export", "delete", "one", *PLACE).stdout


def test_in_one_single_step(shell: Shell, plant: Plant, lab: Lab) -> None:
    """With --vm the export is made, and goes with the download; raw by four ranges at once, or in order on standard output."""
    flow = plant()
    flow.east.merge(VM, flow.name, {"metadata": {"labels": {"a": "b"}}})
    shell("export", "download", "two", "--vm", flow.name, "--format", "raw", "--output", "disk.img", *PLACE)
    assert digest_of(shell.directory / "work" / "disk.img") == digest(lab, flow)
    assert flow.east.get(EXPORT, "two") is None or "deletionTimestamp" in flow.east.get(EXPORT, "two")["metadata"]  # type: ignore[index]
    whole = subprocess.run(
        [*MIGRATE, "export", "download", "three", "--vm", flow.name, "--format", "raw", "--output", "-", *PLACE],
        env=shell.environment, capture_output=True, check=True, timeout=100,
    )  # fmt: skip
    assert f"sha256:{hashlib.sha256(whole.stdout).hexdigest()}" == digest(lab, flow)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["raw", "gzip"])
@pytest.mark.parametrize("way", ["port-forward", "service-url"])
def test_every_way_in(shell: Shell, plant: Plant, lab: Lab, form: str, way: str) -> None:
    """Through the API server, or at an address of the service: TLS is verified all the same, against the export's own name."""
    flow = plant()
    shell("export", "create", "way", "--vm", flow.name, "--wait", *PLACE)
    pod = flow.east.list(POD, labels={"kubevirt.io.virt-export-service": "way"})[0]
    port = json.loads(pod["metadata"]["annotations"][PORTS])["8443"]
    words = ["--port-forward", "--local-port", "5410"] if way == "port-forward" else ["--service-url", f"127.0.0.1:{port}"]
    shell("export", "download", "way", "--format", form, "--output", "disk", *words, *PLACE)
    there = (shell.directory / "work" / "disk").read_bytes()
    assert f"sha256:{hashlib.sha256(gzip.decompress(there) if form == 'gzip' else there).hexdigest()}" == digest(lab, flow)


@pytest.mark.slow
def test_a_host_that_is_not_vouched_for(shell: Shell, plant: Plant, lab: Lab) -> None:
    """The link's certificate is of nobody's CA: refused; with --insecure, or the CA by --ca, it is read."""
    flow = plant()
    lab.east.trouble.set("links", "swap")
    refused = shell("export", "download", "no", "--vm", flow.name, "--format", "raw", "--output", "disk", "--retry", "0", *PLACE, code=3)
    assert "not trusted" in refused.stderr
    assert "--ca FILE" in refused.stderr
    assert "--source-ca" not in refused.stderr
    assert "stays, so that the same command goes on" in refused.stderr
    shell("export", "download", "no", "--vm", flow.name, "--format", "raw", "--output", "disk", "--insecure", *PLACE)
    assert digest_of(shell.directory / "work" / "disk") == digest(lab, flow)
    flow.until(lambda: flow.east.get(EXPORT, "no") is None)


@pytest.mark.slow
def test_snapshots_and_claims(shell: Shell, plant: Plant, lab: Lab) -> None:
    """A running VM is exported by its snapshot, which it does not stop for; a claim by its name, once no pod uses it."""
    flow = plant(strategy="Always")
    flow.until(flow.runs)
    words = shell("export", "download", "live", "--vm", flow.name, "--output", "x", "--readiness-timeout", "3s", *PLACE, code=4).stderr
    assert "a snapshot can be exported while the VM runs" in words
    shell("export", "delete", "live", *PLACE)
    snapshot = {
        "apiVersion": "snapshot.kubevirt.io/v1beta1",
        "kind": "VirtualMachineSnapshot",
        "metadata": {"name": f"{flow.name}-snap", "namespace": "shop"},
        "spec": {"source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": flow.name}},
    }
    flow.east.create(snapshot)
    flow.until(lambda: (flow.east.get(SNAPSHOT, f"{flow.name}-snap") or {}).get("status", {}).get("readyToUse"))
    told = shell("export", "download", "snap", "--snapshot", f"{flow.name}-snap", "--format", "raw", "--output", "s.img", *PLACE).stdout
    assert digest_of(shell.directory / "work" / "s.img") in told
    assert flow.runs()
    flow.set_strategy("Halted")
    flow.until(lambda: flow.instance() is None)
    shell("export", "create", "claim", "--pvc", f"{flow.name}-root", "--wait", *PLACE)
    bare = yaml.safe_load_all(shell("export", "manifest", "claim", *PLACE).stdout)
    assert [one["kind"] for one in bare] == ["ConfigMap", "DataVolume"]
    inside = shell("export", "manifest", "claim", "--port-forward", *PLACE)
    assert ".svc/volumes/" in inside.stdout
    assert "within the source cluster only" in inside.stderr
    shell("export", "download", "claim", "--pvc", f"{flow.name}-root", "--format", "raw", "--output", "p.img", *PLACE)
    assert digest_of(shell.directory / "work" / "p.img") == digest(lab, flow)


@pytest.mark.slow
def test_a_claim_that_holds_files(shell: Shell, files: str, lab: Lab) -> None:
    """Listed, one fetched, all fetched, as an archive; raw is refused, since a tar is no disk."""
    work = shell.directory / "work"
    shell("export", "create", files, "--pvc", files, "--wait", *PLACE)
    assert set(shell("export", "files", files, *PLACE).stdout.splitlines()) >= {"a.txt", "deep/", "empty", "with space+plus.txt"}
    assert shell("export", "files", files, "deep/er", *PLACE).stdout.splitlines() == ["deep/er/b.bin"]
    shell("export", "files", files, "deep/er/b.bin", "--output", "b.bin", *PLACE)
    assert (work / "b.bin").read_bytes() == FILES["deep/er/b.bin"]
    assert shell("export", "files", files, "a.txt", "--output", "-", *PLACE).stdout == "first"
    shell("export", "download", files, "--format", "dir", "--output", "all", *PLACE)
    assert files_in(work / "all") == FILES
    assert "is not empty" in shell("export", "download", files, "--format", "dir", "--output", "all", *PLACE, code=2).stderr
    again = shell("export", "download", files, "--format", "dir", "--output", "again", "-o", "json", *PLACE)
    told = json.loads(again.stdout)
    assert {json.loads(line)["schema"] for line in again.stderr.splitlines()} == {told["schema"]}
    assert (told["digest"], told["files"], told["bytes"]) == (None, len(FILES), sum(map(len, FILES.values())))
    shell("export", "download", files, "--output", "all.tar.gz", *PLACE)
    assert files_of(work / "all.tar.gz") == FILES
    refused = shell("export", "download", files, "--format", "raw", "--output", "no.img", *PLACE, code=2).stderr
    assert "would be a tar, not a disk" in " ".join(refused.split())
    assert not (work / "no.img").exists()
    for words, told in (
        (("nowhere",), "there is no directory nowhere on the volume"),
        (("a.txt",), "a.txt is no directory, but a file"),
        (("deep/none", "--output", "z"), "there is no file deep/none on the volume"),
        (("deep/er", "--output", "z"), "deep/er is no file, but a directory"),
    ):
        refused = shell("export", "files", files, *words, *PLACE, code=2).stderr
        assert told in " ".join(refused.split())
        assert "looking at it anew" not in refused
    assert not list(work.glob("z*"))


@pytest.mark.slow
def test_tokens_labels_and_mistakes(shell: Shell, plant: Plant) -> None:
    """A given token is used, a missing one named at once; labels and annotations reach the pod; what there is is named."""
    flow = plant(disks=("root", "data"))
    assert "holds no token" in shell("export", "create", "t", "--vm", flow.name, "--token-secret", "nobodys", *PLACE, code=2).stderr
    assert "there is no VirtualMachine nobody" in shell("export", "create", "t", "--vm", "nobody", *PLACE, code=2).stderr
    assert "one source" in shell("export", "create", "t", "--vm", flow.name, "--pvc", "x", *PLACE, code=2).stderr
    assert flow.east.get(EXPORT, "t") is None
    flow.east.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": "shop"}, "stringData": {"token": "1234567890ab"}}
    )
    try:
        marks = ("--labels", "team=a,tier=b", "--annotations", "note=hello")
        shell("export", "create", "t", "--vm", flow.name, "--token-secret", "mine", *marks, "--wait", *PLACE)
        pod = flow.east.list(POD, labels={"team": "a"})[0]
        assert (pod["metadata"]["labels"]["tier"], pod["metadata"]["annotations"]["note"]) == ("b", "hello")
        several = shell("export", "download", "t", "--output", "x", *PLACE, code=2).stderr
        assert f"{flow.name}-data" in several
        assert f"{flow.name}-root" in several
        shell("export", "download", "t", "--volume", f"{flow.name}-data", "--output", "x", *PLACE)
        assert "there is an export t already" in shell("export", "create", "t", "--pvc", f"{flow.name}-root", *PLACE, code=6).stderr
    finally:
        flow.east.delete(SECRET, "mine")


@pytest.mark.slow
def test_an_export_made_by_somebody_else(shell: Shell, plant: Plant, lab: Lab) -> None:
    """Without a token Secret KubeVirt makes one; it is read with that, and is not removed by a download."""
    flow = plant()
    source = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": flow.name}
    flow.east.create(
        {
            "apiVersion": f"export.kubevirt.io/{flow.east.served_version(EXPORT)}",
            "kind": "VirtualMachineExport",
            "metadata": {"name": "theirs", "namespace": "shop"},
            "spec": {"source": source},
        }
    )
    shell("export", "download", "theirs", "--vm", flow.name, "--format", "raw", "--output", "d.img", *PLACE)
    assert digest_of(shell.directory / "work" / "d.img") == digest(lab, flow)
    assert flow.east.get(EXPORT, "theirs") is not None
    shell("export", "download", "theirs", "--output", "d.gz", "--delete-vme", *PLACE)
    flow.until(lambda: flow.east.get(EXPORT, "theirs") is None)


@pytest.mark.slow
def test_the_manifest_moves_the_vm_with_two_commands(shell: Shell, plant: Plant, lab: Lab) -> None:
    """Halted, every disk filled by the link of its own name even where the server's own set mixes them; then it can be started.

    With it come the CA that the links are believed by and, only on request, the token as the header that CDI sends.
    """
    flow = plant(disks=("root", "data", "disk"))
    shell("export", "create", "m", "--vm", flow.name, "--wait", *PLACE)
    plain = shell("export", "manifest", "m", *PLACE).stdout
    assert "header-secret" in plain
    assert "kind: Secret" not in plain
    old = shell.directory / "work" / "import.yaml"
    old.write_text("was readable")
    old.chmod(0o644)
    shell("export", "manifest", "m", "--include-secret", "--output", "import.yaml", "--target-namespace", "default", *PLACE)
    assert old.stat().st_mode & 0o777 == 0o600
    documents = list(yaml.safe_load_all(old.read_text()))
    assert {one["metadata"]["namespace"] for one in documents} == {"default"}
    kinds = {one["kind"]: one for one in documents}
    export = flow.east.get(EXPORT, "m") or {}
    assert kinds["ConfigMap"]["data"] == {"ca.pem": export["status"]["links"]["external"]["cert"]}
    token = base64.b64decode((flow.east.get(SECRET, "secret-m") or {})["data"]["token"]).decode()
    assert kinds["Secret"]["stringData"] == {"token": f"x-kubevirt-export-token:{token}"}
    there = flow.west.at("default")
    there.create(*documents)
    machine = there.get(VM, flow.name)
    assert machine is not None
    assert machine["spec"]["runStrategy"] == "Halted"
    try:
        for disk in ("root", "data", "disk"):
            name = f"{flow.name}-{disk}"
            flow.until(lambda name=name: (there.get(DATAVOLUME, name) or {}).get("status", {}).get("phase") == "Succeeded")
        sums = {row: value for row, value in lab.disks().items() if row[2].startswith(f"{flow.name}-")}
        for disk in ("root", "data", "disk"):
            name = f"{flow.name}-{disk}"
            assert sums["east", "shop", name] == sums["west", "default", name]
        there.merge(VM, flow.name, {"spec": {"runStrategy": "Always"}})
        flow.until(lambda: ((there.get(VM, flow.name) or {}).get("status") or {}).get("ready"))
        assert json.loads(shell("export", "manifest", "m", "-o", "json", *PLACE).stdout)["kind"] == "List"
    finally:
        there.delete(VM, flow.name)
        for disk in ("root", "data", "disk"):
            there.delete(DATAVOLUME, f"{flow.name}-{disk}")


@pytest.mark.slow
def test_no_link_from_outside_is_said_with_the_way_out(shell: Shell, plant: Plant, lab: Lab) -> None:
    """Ready, but no Ingress: --port-forward is named, and works; the export stays until then and goes then."""
    flow = plant()
    lab.east.trouble.set("links", "refuse")
    words = ("export", "download", "nolink", "--vm", flow.name, "--format", "raw", "--output", "d.img", *PLACE)
    refused = shell(*words, "--readiness-timeout", "8s", code=3).stderr
    assert "--port-forward" in refused
    assert "no links from outside" in shell("export", "manifest", "nolink", "--readiness-timeout", "3s", *PLACE, code=3).stderr
    shell(*words, "--port-forward")
    assert digest_of(shell.directory / "work" / "d.img") == digest(lab, flow)
    flow.until(lambda: flow.east.get(EXPORT, "nolink") is None)


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on(shell: Shell, plant: Plant, lab: Lab) -> None:
    """SIGKILL while bytes come: no file of that name; the same again reads what is left, and removes the export that it finds."""
    flow = plant(mib=64)
    work = shell.directory / "work"
    words = ("export", "download", "kill", "--vm", flow.name, "--format", "raw", "--streams", "1", "--output", "d.img", *PLACE)
    part = work / "d.img.part"
    for _ in range(3):
        process = shell.start(*words)
        while process.poll() is None and not (part.exists() and part.stat().st_blocks):
            lab.clock.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (work / "d.img").exists()
    shell(*words)
    assert digest_of(work / "d.img") == digest(lab, flow)
    assert [path.name for path in work.iterdir()] == ["d.img"]
    flow.until(lambda: flow.east.get(EXPORT, "kill") is None)


def test_what_was_not_finished_is_not_written_over(shell: Shell, plant: Plant) -> None:
    """No name, no output, two ways, a file that cannot be: each is said before anything is made."""
    flow = plant(disks=())
    for verb in ("create", "download", "delete"):
        assert "Missing argument" in shell("export", verb, "--context", "east", code=2).stderr
    assert "give --output FILE" in shell("export", "download", "n", "--vm", flow.name, *PLACE, code=2).stderr
    both = ("--port-forward", "--service-url", "x:1")
    assert "two ways" in shell("export", "download", "n", "--vm", flow.name, "--output", "x", *both, *PLACE, code=2).stderr
    ca = shell.directory / "ca.pem"
    ca.write_text("-----BEGIN CERTIFICATE-----")
    inside = ("--ca", str(ca), "--port-forward")
    assert "leave --ca out" in shell("export", "download", "n", "--vm", flow.name, "--output", "x", *inside, *PLACE, code=2).stderr
    assert (
        "cannot be written to standard output"
        in shell("export", "download", "n", "--format", "dir", "--output", "-", *PLACE, code=2).stderr
    )
    assert "there is no export n" in shell("export", "download", "n", "--output", "x", *PLACE, code=2).stderr
    assert flow.east.get(EXPORT, "n") is None


@pytest.mark.slow
def test_a_token_is_never_shown(shell: Shell, plant: Plant) -> None:
    """Neither by show, list nor a download that logs all it does; only a manifest has it, when asked for."""
    flow = plant()
    shell("export", "create", "quiet", "--vm", flow.name, "--wait", *PLACE)
    token = base64.b64decode((flow.east.get(SECRET, "secret-quiet") or {})["data"]["token"]).decode()
    said = io.StringIO()
    for words in (("show", "quiet", "-o", "json"), ("list",), ("download", "quiet", "--output", "x", "-v"), ("manifest", "quiet")):
        done = shell("export", *words, *PLACE)
        said.write(done.stdout + done.stderr)
    assert token not in said.getvalue()
    assert token in shell("export", "manifest", "quiet", "--include-secret", *PLACE).stdout
