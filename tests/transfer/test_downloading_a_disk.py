"""A disk becomes a file: whole, sparse, hashed, and gone on with after any end; never under its name before."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import random
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model.errors import Blocked, Refused
from migrate.transfer import download, gunzip, packed
from migrate.transfer.export_client import ExportClient
from migrate.transfer.journal import Journal, read_journal
from migrate.transfer.proof import Cancelled
from migrate.transfer.ranges import FULL_RANGE_BYTES, MIB, Range, every, total
from migrate.transfer.stream import Stream
from tests.transfer.range_server import RangeServer

DISK = os.urandom(2 * MIB) + bytes(5 * MIB) + os.urandom(64 * MIB) + bytes(3 * MIB) + os.urandom(77)
DIGEST = f"sha256:{hashlib.sha256(DISK).hexdigest()}"


@pytest.fixture
def url(server: RangeServer) -> str:
    server.disks["/a"] = DISK
    return server.url("/a")


def left_of(output: Path) -> list[str]:
    return sorted(path.name for path in output.parent.iterdir())


@pytest.mark.parametrize("streams", [1, 4])
def test_the_file_is_the_disk(client: ExportClient, url: str, output: Path, streams: int) -> None:
    """Bytes and digest are the disk's; holes take no room; nothing else is left."""
    seen: list[tuple[int, int]] = []
    got = download.raw(client, url, output, identity="a", streams=streams, moved=lambda *figures: seen.append(figures))
    assert (got.bytes, got.digest, got.read_bytes) == (len(DISK), DIGEST, len(DISK))
    assert output.read_bytes() == DISK
    assert output.stat().st_blocks * 512 < len(DISK) - 7 * MIB
    assert left_of(output) == ["disk.img"]
    assert seen[0] == (0, len(DISK))
    assert seen[-1] == (len(DISK), len(DISK))


def test_killed_at_twenty_places_it_goes_on_where_it_was(client: ExportClient, url: str, output: Path) -> None:
    """Every try ends after some bytes; the journal keeps them, the file has no name before its end, and nothing is read twice."""
    dice, read = random.Random(20), 0
    for _ in range(20):
        stop, limit = threading.Event(), dice.randrange(1, 4 * MIB)
        began: list[int] = []

        def moved(done: int, _: int, stop: threading.Event = stop, limit: int = limit, began: list[int] = began) -> None:
            began.append(done)
            if done - began[0] >= limit:
                stop.set()

        with pytest.raises(Cancelled):
            download.raw(client, url, output, identity="a", streams=2, moved=moved, cancelled=stop)
        assert left_of(output) == ["disk.img.part", "disk.img.part.json"]
        assert began[0] >= read
        read = began[-1]
    got = download.raw(client, url, output, identity="a")
    assert got.digest == DIGEST
    assert output.read_bytes() == DISK
    assert got.read_bytes == len(DISK) - read


def cut_at(client: ExportClient, url: str, output: Path, limit: int) -> None:
    stop = threading.Event()
    with pytest.raises(Cancelled):
        download.raw(
            client, url, output, identity="a", streams=1, cancelled=stop, moved=lambda done, _: stop.set() if done >= limit else None
        )


def test_bytes_of_another_state_are_thrown_away(server: RangeServer, client: ExportClient, url: str, output: Path) -> None:
    """Another identity, another size, other bytes in what is there: it is read anew, nothing is mixed, and it is told with the reason."""
    said = list[str]()
    cut_at(client, url, output, 3 * MIB)
    assert download.raw(client, url, output, identity="b", tell=said.append).read_bytes == len(DISK)
    cut_at(client, url, output, 3 * MIB)
    server.disks["/a"] = bytes(100) + DISK[100:]
    got = download.raw(client, url, output, identity="a", tell=said.append)
    assert got.read_bytes == len(DISK)
    assert output.read_bytes() == server.disks["/a"]
    cut_at(client, url, output, 3 * MIB)
    server.disks["/a"] = DISK[:MIB]
    assert download.raw(client, url, output, identity="a", tell=said.append).bytes == MIB
    told = [words for words in said if "thrown away" in words]
    assert [why in words for why, words in zip(("another state", "was compared", "bytes now"), told, strict=True)] == [True] * 3
    assert output.read_bytes() == DISK[:MIB]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"schema": 1}',
        json.dumps({"schema": "kubevirt-migrate.io/download/v1", "identity": "a", "bytes": len(DISK), "have": [[1, 5]]}),
    ],
)
def test_a_journal_that_is_none_is_not_believed(client: ExportClient, url: str, output: Path, text: str) -> None:
    """Broken, foreign, or with ranges that nobody reads: everything is read anew."""
    output.with_name("disk.img.part").write_bytes(os.urandom(len(DISK)))
    output.with_name("disk.img.part.json").write_text(text)
    assert download.raw(client, url, output, identity="a").read_bytes == len(DISK)
    assert output.read_bytes() == DISK


def test_what_is_compared_is_said_first(client: ExportClient, url: str, output: Path) -> None:
    """A host that hangs just then is not silence: how much is there is told, and the meter stands at it."""
    cut_at(client, url, output, 3 * MIB)
    order = list[str]()
    download.raw(client, url, output, identity="a", tell=lambda _: order.append("said"), moved=lambda *_: order.append("moved"))
    assert order[:2] == ["said", "moved"]


@pytest.mark.parametrize("take", ["raw", "packed"])
def test_what_somebody_else_left_is_left_alone(server: RangeServer, client: ExportClient, url: str, output: Path, take: str) -> None:
    """A browser names its unfinished files so, too: without our journal beside it, it is named and not touched; empty, it harms nobody."""
    server.disks["/gz"] = gzip.compress(DISK, 1)
    part = output.with_name("disk.img.part")

    def fetch() -> download.Got:
        if take == "raw":
            return download.raw(client, url, output, identity="a")
        return packed.to_file(client, server.url("/gz"), output, disk_bytes=len(DISK))

    part.write_bytes(b"mine")
    with pytest.raises(Blocked, match=r"disk\.img\.part") as blocked:
        fetch()
    assert "move it away" in blocked.value.now
    assert (part.read_bytes(), left_of(output)) == (b"mine", ["disk.img.part"])
    part.write_bytes(b"")
    assert fetch().digest == DIGEST
    assert left_of(output) == ["disk.img"]


def test_a_packed_stream_that_was_cut_is_said_to_be_read_anew(server: RangeServer, client: ExportClient, output: Path) -> None:
    """What came of it is ours, and thrown away in words."""
    server.disks["/gz"], said = gzip.compress(DISK[: 3 * MIB], 1), list[str]()
    with pytest.raises(Blocked):
        packed.to_file(client, server.url("/gz"), output, disk_bytes=4 * MIB)
    packed.to_file(client, server.url("/gz"), output, disk_bytes=3 * MIB, tell=said.append)
    assert "thrown away" in said[0]
    assert left_of(output) == ["disk.img"]


def test_a_refusal_ends_all_streams_and_keeps_what_is_there(server: RangeServer, client: ExportClient, url: str, output: Path) -> None:
    """401 in the middle: Refused, and the next try with the right token goes on."""
    cut_at(client, url, output, 2 * MIB)
    server.token = "another"
    with pytest.raises(Refused):
        download.raw(client, url, output, identity="a")
    server.token = "t0ken"
    assert download.raw(client, url, output, identity="a").read_bytes <= len(DISK) - 2 * MIB
    assert output.read_bytes() == DISK


def test_two_never_write_one_file(client: ExportClient, url: str, output: Path) -> None:
    """The second is told, and changes nothing."""
    part = output.with_name("disk.img.part")
    with part.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Blocked, match="another process downloads"):
            download.raw(client, url, output, identity="a")


def test_a_stream_is_the_disk_in_order(server: RangeServer, client: ExportClient, url: str) -> None:
    """For standard output: taken up where it broke, also by another try after a refusal, and never said twice."""
    taken = bytearray()
    whole = Stream(taken.extend)
    server.cut_after += [MIB + 3]
    server.statuses += [401]
    with pytest.raises(Refused):
        whole.read(client, url, identity="a")
    stop = threading.Event()
    with pytest.raises(Cancelled):
        whole.read(client, url, identity="a", cancelled=stop, moved=lambda done, _: stop.set() if done > 3 * MIB else None)
    server.cut_after += [5]
    assert whole.read(client, url, identity="a").digest == DIGEST
    assert bytes(taken) == DISK
    with pytest.raises(Blocked, match="the disk changed"):
        whole.read(client, url, identity="b")


def test_a_stream_of_two_states_is_no_disk(server: RangeServer, client: ExportClient, url: str) -> None:
    """The server was away while the VM ran, and the client went on by itself: asked at the end, and told before any digest is."""
    server.cut_after += [MIB + 3]
    with pytest.raises(Blocked, match="the disk changed"):
        Stream(lambda _: None).read(client, url, identity="a", same=lambda: False)


def test_a_disk_that_changed_meanwhile_gets_no_name(client: ExportClient, url: str, output: Path) -> None:
    """Asked at the end: what was read is of two states, so it is read anew by the next try."""
    with pytest.raises(Blocked, match="the disk changed"):
        download.raw(client, url, output, identity="a", same=lambda: False)
    assert left_of(output) == ["disk.img.part"]
    assert download.raw(client, url, output, identity="a").read_bytes == len(DISK)


def test_an_empty_file_is_a_file(server: RangeServer, client: ExportClient, output: Path) -> None:
    """Nothing to read is no trouble."""
    server.disks["/empty"] = b""
    assert download.raw(client, server.url("/empty"), output, identity="a").bytes == 0
    assert output.read_bytes() == b""


def test_a_gzip_that_ends_cleanly_but_early_is_no_copy(server: RangeServer, client: ExportClient, output: Path) -> None:
    """Its length is compared with the disk's: read anew, and then refused; the file never gets its name."""
    server.disks["/gz"] = gzip.compress(DISK[: 3 * MIB], 1)
    with pytest.raises(Blocked, match="twice at the same place"):
        packed.to_file(client, server.url("/gz"), output, disk_bytes=4 * MIB)
    assert "disk.img" not in left_of(output)
    got = packed.to_file(client, server.url("/gz"), output, disk_bytes=3 * MIB)
    assert got.digest == f"sha256:{hashlib.sha256(DISK[: 3 * MIB]).hexdigest()}"
    assert gzip.decompress(output.read_bytes()) == DISK[: 3 * MIB]


def test_zeros_that_were_packed_small_are_unpacked_bit_by_bit() -> None:
    """A gigabyte of them fits into a megabyte; a few pieces of that must not fill the memory."""
    packed_small = gzip.compress(bytes(64 * MIB), 9)
    stream = gunzip.Gunzip()
    sizes = [len(plain) for plain in stream.feed(packed_small)]
    assert sum(sizes) == 64 * MIB
    assert max(sizes) <= gunzip.MOST_BYTES
    assert stream.ended


def test_a_cut_gzip_is_read_anew_but_not_on_standard_output(server: RangeServer, client: ExportClient, output: Path) -> None:
    """A file forgets what came; what was piped cannot."""
    server.disks["/gz"] = gzip.compress(DISK[: 3 * MIB], 1)
    server.cut_after += [MIB]
    packed.to_file(client, server.url("/gz"), output, disk_bytes=3 * MIB)
    assert gzip.decompress(output.read_bytes()) == DISK[: 3 * MIB]
    server.cut_after += [MIB]
    with pytest.raises(Blocked, match="cannot be taken back"):
        packed.to_sink(client, server.url("/gz"), packed.Once(lambda _: None), disk_bytes=3 * MIB)


@given(size=st.integers(1, 5 * FULL_RANGE_BYTES), data=st.data())
def test_a_journal_and_what_is_left_make_the_disk(size: int, data: st.DataObject) -> None:
    """Without gap or overlap, whatever is there; and a journal that was written is read back."""
    chosen = [part for part in every(0, size) if data.draw(st.booleans())]
    have = tuple(Range(part.start, data.draw(st.integers(part.start + 1, part.stop))) for part in chosen)
    journal = Journal("a", size, have)
    pieces = sorted((*journal.left, *have))
    assert total(pieces) == size
    assert all(one.stop == two.start for one, two in pairwise(pieces))


def test_a_journal_is_read_back(tmp_path: Path) -> None:
    """Unless it tells of what the disk does not have."""
    journal, path = Journal("a", 3 * FULL_RANGE_BYTES, (Range(FULL_RANGE_BYTES, FULL_RANGE_BYTES + 7),)), tmp_path / "j"
    journal.write(path)
    assert read_journal(path) == journal
    Journal("a", FULL_RANGE_BYTES, (Range(FULL_RANGE_BYTES, FULL_RANGE_BYTES + 7),)).write(path)
    assert read_journal(path) is None
