"""A download ends in the middle, by kill, Ctrl-C or a full disk: at once, in words, and what is there is gone on with."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migrate.model.errors import Blocked
from migrate.transfer import download, packed
from migrate.transfer.export_client import ExportClient
from migrate.transfer.proof import Cancelled
from migrate.transfer.ranges import FULL_RANGE_BYTES, MIB
from tests.cli.shell import ROOT
from tests.transfer.conftest import CA_PEM
from tests.transfer.range_server import RangeServer

DISK = os.urandom(40 * MIB) + bytes(9 * MIB) + os.urandom(30 * MIB) + bytes(3 * MIB) + os.urandom(77)
DIGEST = f"sha256:{hashlib.sha256(DISK).hexdigest()}"
SOON_S = 20
"""A silent host is given up after a minute; whoever is done by then has not waited for it."""


@pytest.fixture
def url(server: RangeServer) -> str:
    server.disks["/a"] = DISK
    return server.url("/a")


def started(url: str, output: Path, *, limit: int = 0) -> subprocess.Popen[str]:
    ca = output.with_name("ca.pem")
    ca.write_text(CA_PEM)
    words = [sys.executable, "-m", "tests.transfer.one_download", url, str(ca), str(output), str(limit)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Let this process write no byte of a file behind a place: what a full disk says, the kernel says then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
def test_killed_twenty_times_it_goes_on_from_its_journal(url: str, output: Path) -> None:
    """SIGKILL in the middle of whatever it does, at twenty places by chance: what the journal says is there, and the end is the disk."""
    dice, there = random.Random(9), list[int]()
    for _ in range(20):
        child = started(url, output, limit=dice.randrange(MIB // 4, 5 * MIB))
        said = child.communicate()[0].splitlines()
        assert child.returncode == -signal.SIGKILL
        there.append(int(said[0]))
        assert not output.exists()
    child = started(url, output)
    said, errors = child.communicate()
    assert child.returncode == 0, errors
    assert said.splitlines()[-1] == DIGEST
    assert output.read_bytes() == DISK
    assert sorted(path.name for path in output.parent.iterdir()) == ["ca.pem", "disk.img"]
    assert sum(one > 0 for one in there) >= 10


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_a_silent_host(server: RangeServer, url: str, output: Path) -> None:
    """Both streams hang, one before its first header: it ends at once, and the journal says what came."""
    server.silent_after += [-1, MIB]
    child = started(url, output)
    assert child.stdout is not None
    while int(child.stdout.readline()) < MIB:
        pass
    child.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in child.communicate(timeout=SOON_S)[1]
    assert output.with_name("disk.img.part.json").exists()


def test_whoever_cancels_does_not_wait_for_a_silent_host(server: RangeServer, client: ExportClient, url: str, output: Path) -> None:
    """The event of the caller ends the readers, too; the next try goes on with what came."""
    server.silent_after += [-1, MIB]
    stop, ended = threading.Event(), list[BaseException]()

    def body() -> None:
        try:
            download.raw(
                client, url, output, identity="a", streams=2, keep_s=0.1, cancelled=stop,
                moved=lambda done, _: stop.set() if done >= MIB else None,
            )  # fmt: skip
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join(SOON_S)
    assert [type(one) for one in ended] == [Cancelled]
    assert download.raw(client, url, output, identity="a").read_bytes <= len(DISK) - MIB
    assert output.read_bytes() == DISK


@pytest.mark.parametrize("room", [FULL_RANGE_BYTES + 2 * MIB, 8])
def test_a_full_disk_is_said_and_gone_on_with(client: ExportClient, url: str, output: Path, room: int) -> None:
    """In the middle, also where not even the journal fits: Blocked, with what to do; then it goes on with what the journal has."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def moved(done: int, _: int) -> None:
        if done >= 2 * MIB:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))

    with no_file_longer_than(before[0]), pytest.raises(Blocked, match="could not be written any further") as met:
        download.raw(client, url, output, identity="a", streams=1, moved=moved)
    assert "make room" in met.value.now
    assert str(output) in met.value.where
    got = download.raw(client, url, output, identity="a")
    assert got.digest == DIGEST
    assert got.read_bytes < len(DISK) if room > MIB else got.read_bytes == len(DISK)
    assert [path.name for path in output.parent.iterdir()] == ["disk.img"]


def test_a_file_that_may_not_be_so_long_is_said_at_once(server: RangeServer, client: ExportClient, url: str, output: Path) -> None:
    """Before a byte is read of a raw disk, in the middle of what is packed."""
    server.disks["/gz"] = gzip.compress(DISK[: 3 * MIB], 1)
    with no_file_longer_than(MIB):
        with pytest.raises(Blocked, match="could not be written any further"):
            download.raw(client, url, output, identity="a")
        with pytest.raises(Blocked, match="could not be written any further"):
            packed.to_file(client, server.url("/gz"), output.with_name("disk.gz"), disk_bytes=3 * MIB)
    assert packed.to_file(client, server.url("/gz"), output.with_name("disk.gz"), disk_bytes=3 * MIB).bytes == len(server.disks["/gz"])


def test_a_stream_that_breaks_twice_at_one_place_is_read_no_third_time(server: RangeServer, client: ExportClient, output: Path) -> None:
    """Whoever cannot read a block will not read it at the third try: said in words, not retried by anybody."""
    server.disks["/gz"] = gzip.compress(DISK[: 3 * MIB], 1)
    with pytest.raises(Blocked, match="twice at the same place") as met:
        packed.to_file(client, server.url("/gz"), output, disk_bytes=4 * MIB)
    assert f"after {3 * MIB} of {4 * MIB} bytes" in met.value.why
    assert "--format raw" in met.value.now
    assert len([path for _, path, _ in server.seen if path == "/gz"]) == 2
    assert not output.exists()
