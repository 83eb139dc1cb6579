"""One run of the importer program against a real TLS server: what lands on the disk, what it says when it ends."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migrate.lab.cdi_golden import SIZE, block
from migrate.lab.cdi_importer import CLAIM, importer
from migrate.lab.cdi_progress import PROGRESS
from migrate.lab.cdi_sizes import required, usable
from migrate.lab.certs import Authority
from migrate.lab.clock import RealClock
from migrate.lab.pods import Container, Killed, Mounted
from migrate.lab.trouble import Trouble
from tests.lab.cdi_source import TOKEN, DiskServer

MIB = 1 << 20
DISK = os.urandom(MIB + 4097) + bytes(2 * MIB) + os.urandom(MIB - 4097)
AUTHORITY = Authority("export")
DONE = {"scratchSpaceRequired": False, "preallocationApplied": False, "message": "Import Complete"}


@pytest.fixture
def server() -> Iterator[DiskServer]:
    found = DiskServer(AUTHORITY, RealClock(), data=DISK)
    found.start()
    yield found
    found.stop()


class Pod:
    """The volumes of an importer pod, and its runs."""

    def __init__(self, root: Path, *, block_size: int = 0) -> None:
        self.root = root
        self.block = root / "block" if block_size else None
        self.request = required(0.06, len(DISK))
        self.capacity = {root / "data": self.request, root / "scratch": 64 * MIB}
        self.trouble = Trouble()
        self.clock = RealClock()
        self.env: dict[str, str] = {}
        for name in ("data", "scratch", "certs", "headers"):
            (root / name).mkdir()
        (root / "certs" / "ca.pem").write_text(AUTHORITY.ca_pem)
        (root / "headers" / "token").write_text(f"{TOKEN}: s3cr3t")
        if self.block:
            self.block.write_bytes(os.urandom(block_size))

    def run(self, url: str, *, scratch: bool = True) -> tuple[int, str, Container]:
        mounts = {"/certs": self.root / "certs", "/extraheaders/0": self.root / "headers"}
        mounts |= {"/scratch": self.root / "scratch"} if scratch else {}
        mounts |= {} if self.block else {"/data": self.root / "data"}
        container = Container(
            {"metadata": {"namespace": "shop", "name": "importer-x", "annotations": {CLAIM: "disk"}}},
            {"name": "importer"},
            clock=self.clock,
            trouble=self.trouble,
            env={
                "IMPORTER_SOURCE": "http",
                "IMPORTER_ENDPOINT": url,
                "IMPORTER_IMAGE_SIZE": str(self.request),
                "IMPORTER_CERT_DIR": "/certs",
                "FILESYSTEM_OVERHEAD": "0.06",
                "OWNER_UID": "owner",
            }
            | self.env,
            volumes=Mounted(mounts, {"/dev/cdi-block-volume": self.block} if self.block else {}, self.capacity),
            on_listen=lambda *_: None,
        )
        return importer(container), container.message, container

    @property
    def image(self) -> Path:
        return self.root / "data" / "disk.img"


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    PROGRESS.forget("owner")
    return Pod(tmp_path)


def test_a_disk_lands_byte_for_byte(server: DiskServer, pod: Pod) -> None:
    """HEAD, then one GET with the token; the disk is equal, as sparse as it can be, and of mode 0660."""
    code, message, container = pod.run(server.url)
    assert (code, json.loads(message)) == (0, DONE)
    assert pod.image.read_bytes() == DISK
    assert pod.image.stat().st_blocks * 512 < len(DISK) - MIB
    assert pod.image.stat().st_mode & 0o777 == 0o660
    assert server.requests == [("HEAD", "/disk.img", "s3cr3t"), ("GET", "/disk.img", "s3cr3t")]
    assert any(line.startswith(f"Read {len(DISK)} bytes, wrote ") for _, line in container.lines)
    assert PROGRESS.scrape("owner") == 100.0


def test_a_device_is_overwritten(server: DiskServer, tmp_path: Path) -> None:
    """On a used device the image is exact, holes included; what lies behind it is not touched."""
    pod = Pod(tmp_path, block_size=len(DISK) + MIB)
    assert pod.block is not None
    behind = pod.block.read_bytes()[len(DISK) :]
    assert pod.run(server.url)[0] == 0
    assert pod.block.read_bytes() == DISK + behind


def test_without_scratch_it_asks_for_it(server: DiskServer, pod: Pod) -> None:
    """The first pod only looks, and ends well with a message that is no success."""
    code, message, _ = pod.run(server.url, scratch=False)
    assert code == 0
    assert json.loads(message) == DONE | {"scratchSpaceRequired": True}
    assert not pod.image.exists()
    assert [method for method, _, _ in server.requests] == ["HEAD", "GET"]


def test_gzip_is_unpacked_and_has_no_download_progress(server: DiskServer, pod: Pod) -> None:
    """A chunked gzip stream gives the same disk although HEAD is refused."""
    server.data, server.length = gzip.compress(DISK, 1), False
    assert pod.run(server.url)[0] == 0
    assert pod.image.read_bytes() == DISK


def test_a_larger_claim_grows_the_disk(server: DiskServer, pod: Pod) -> None:
    """On a file system the image grows to what is usable of the claim, the new part reads as zeroes."""
    pod.request = 64 * MIB
    pod.capacity[pod.root / "data"] = pod.request
    assert pod.run(server.url)[0] == 0
    assert pod.image.stat().st_size == usable(0.06, pod.request)
    assert pod.image.read_bytes() == DISK.ljust(usable(0.06, pod.request), b"\x00")


UNREACHED = "Unable to connect to http data source: HTTP request errored: "
CUT = "Unable to process data: Unable to transfer source data to scratch space: failed to pull image: unexpected EOF"


def test_refused_tokens(server: DiskServer, pod: Pod) -> None:
    """A 401 is told in CDI's words."""
    server.token = "another"
    assert pod.run(server.url)[:2] == (
        1,
        "Unable to connect to http data source: expected status code 200, got 401. Status: 401 Unauthorized",
    )


def test_an_unknown_authority(server: DiskServer, pod: Pod) -> None:
    """TLS is verified against the mounted certificates; adding the right one, under any name, cures it in place."""
    (pod.root / "certs" / "ca.pem").write_text(Authority("other").ca_pem)
    code, message, _ = pod.run(server.url)
    assert code == 1
    assert message == f'{UNREACHED}Get "{server.url}": tls: failed to verify certificate: x509: certificate signed by unknown authority'
    (pod.root / "certs" / "..data").mkdir()
    (pod.root / "certs" / "whatever").write_text(AUTHORITY.ca_pem)
    (pod.root / "certs" / "rubbish").write_text("not a certificate")
    assert pod.run(server.url)[0] == 0


def test_another_host_name(server: DiskServer, pod: Pod) -> None:
    """A certificate for another name is refused."""
    code, message, _ = pod.run(server.url.replace("localhost", "127.0.0.1"))
    assert code == 1
    assert "x509: certificate is not valid" in message


def test_nobody_listens(server: DiskServer, pod: Pod) -> None:
    """A refused connection says so."""
    server.stop()
    assert pod.run(server.url)[1].endswith("connect: connection refused")


def test_a_newline_in_a_header(server: DiskServer, pod: Pod) -> None:
    """Go refuses such a header before it asks anybody."""
    (pod.root / "headers" / "token").write_text(f"{TOKEN}: s3cr3t\n")
    code, message, _ = pod.run(server.url)
    assert code == 1
    assert message == f'{UNREACHED}Get "{server.url}": net/http: invalid header field value for "X-Kubevirt-Export-Token"'
    assert server.requests == []


def test_header_lines_without_a_space_and_without_a_colon(server: DiskServer, pod: Pod) -> None:
    """`name:value` works, a line without colon is skipped, plain extra headers are sent too."""
    (pod.root / "headers" / "token").write_text("nonsense")
    pod.env["IMPORTER_EXTRA_HEADER_0"] = f"{TOKEN}:s3cr3t"
    assert pod.run(server.url)[0] == 0


def test_redirects_are_followed_with_all_headers(server: DiskServer, pod: Pod) -> None:
    """The token goes along to wherever the server points."""
    server.redirect_to = server.url.replace("disk.img", "moved")
    assert pod.run(server.url)[0] == 0
    assert ("GET", "/moved", "s3cr3t") in server.requests


@pytest.mark.parametrize(("spoiled", "length"), [("drop_after", True), ("drop_after", False), ("end_after", False)])
def test_a_body_cut_short(server: DiskServer, pod: Pod, spoiled: str, length: bool) -> None:
    """A disk that ends early is an unexpected EOF, whether the connection breaks or the stream ends, and leaves no image."""
    server.data = DISK if length else gzip.compress(DISK, 1)
    server.length = length
    setattr(server, spoiled, 700_000)
    code, message, _ = pod.run(server.url)
    assert code == 1
    assert message.startswith(CUT.removesuffix("unexpected EOF"))
    assert "unexpected EOF" in message or "connection reset" in message
    assert not pod.image.exists()


def test_a_silent_server(server: DiskServer, pod: Pod) -> None:
    """After ten minutes of lab time without a byte the importer gives up."""
    server.end_after = 700_000
    pod.clock = RealClock(speed=20_000)
    assert pod.run(server.url)[:2] == (1, CUT.replace("unexpected EOF", "context canceled"))


def test_a_raw_chunked_stream_that_ends_early_is_not_noticed(server: DiskServer, pod: Pod) -> None:
    """Without a length nothing tells a short disk: this is why copies need proof."""
    server.length, server.end_after = False, 700_000
    assert pod.run(server.url)[0] == 0
    assert pod.image.read_bytes().startswith(DISK[:700_000])


def test_a_disk_that_is_too_large(server: DiskServer, pod: Pod) -> None:
    """It is measured against the claim after the download, and never truncated."""
    pod.request = 4 * MIB - 1
    code, message, _ = pod.run(server.url)
    assert code == 1
    assert (
        f"virtual image size {len(DISK)} is larger than the reported available storage {4 * MIB - 1}. A larger PVC is required" in message
    )


def test_leftovers_of_a_killed_run_count_as_used(server: DiskServer, pod: Pod) -> None:
    """What an OOM kill left behind makes every retry fail as too small."""
    pod.image.write_bytes(os.urandom(2 * MIB))
    assert "is larger than the reported available" in pod.run(server.url)[1]


def test_full_scratch_space(server: DiskServer, pod: Pod) -> None:
    """Scratch space that is too small fails in the words of the kernel."""
    pod.capacity[pod.root / "scratch"] = MIB
    code, message, _ = pod.run(server.url)
    assert code == 1
    assert message.endswith("unable to write to file: write /scratch/tmpimage: no space left on device")


@pytest.mark.parametrize("size", [0, 100])
def test_objects_that_are_no_disks(server: DiskServer, pod: Pod, size: int) -> None:
    """An object of less than 512 bytes has no image header."""
    server.data = b"x" * size
    code, message, _ = pod.run(server.url)
    assert code == 1
    assert message.startswith("Unable to process data: Unable to obtain information about data source: could not process image header: ")


def test_checksums_cover_the_wire(server: DiskServer, pod: Pod) -> None:
    """The right one passes, for gzip that of the packed bytes; a wrong one ends with exit code 0 and no disk."""
    server.data, server.length = gzip.compress(DISK, 1), False
    pod.env["IMPORTER_CHECKSUM"] = "sha256:" + hashlib.sha256(server.data).hexdigest()
    assert json.loads(pod.run(server.url)[1]) == DONE
    pod.env["IMPORTER_CHECKSUM"] = "md5:" + "0" * 32
    code, message, _ = pod.run(server.url)
    assert code == 0
    assert "checksum mismatch: expected 00000000000000000000000000000000, got " in json.loads(message)["message"]
    assert not pod.image.exists()


def test_ordered_troubles(server: DiskServer, pod: Pod) -> None:
    """Orders are matched by claim and attempt; the first pod, which has no scratch space, uses none up."""
    pod.trouble.set("importer", "drop", after=MIB, name="disk", attempt=1, times=1)
    pod.trouble.set("importer", "restart", after=0, code=3, attempt=2, times=1)
    assert pod.run(server.url, scratch=False)[0] == 0
    assert pod.run(server.url)[:2] == (1, CUT)
    assert pod.run(server.url)[0] == 3
    assert pod.run(server.url)[0] == 0
    assert pod.image.read_bytes() == DISK


def test_out_of_memory(server: DiskServer, pod: Pod) -> None:
    """The kill comes in the middle of the conversion and leaves a part of the image."""
    pod.trouble.set("importer", "oom", after=MIB)

    def kill(order: Any) -> None:
        if order.where == "node":
            raise Killed

    pod.trouble.listen(kill)
    with pytest.raises(Killed):
        pod.run(server.url)
    assert 0 < pod.image.stat().st_blocks * 512 < len(DISK)


def test_blank_disks(pod: Pod) -> None:
    """A blank disk is as large as is usable, and asks nobody."""
    pod.env |= {"IMPORTER_SOURCE": "none"}
    assert pod.run("")[0] == 0
    assert pod.image.stat().st_size == len(DISK)
    assert pod.image.stat().st_blocks == 0


def test_golden_images_come_from_their_url(pod: Pod) -> None:
    """Content of a registry source is made from its URL: the same for the same, another for another."""
    pod.request = 16 * MIB
    pod.capacity[pod.root / "data"] = pod.request
    pod.env |= {"IMPORTER_SOURCE": "registry"}
    assert pod.run("docker://registry.example/fedora:41")[0] == 0
    image = pod.image.read_bytes()
    assert image[: 1 << 16] == block("docker://registry.example/fedora:41", 0)
    assert pod.run("docker://registry.example/fedora:42")[0] == 0
    assert pod.image.read_bytes()[:SIZE] != image[:SIZE]
