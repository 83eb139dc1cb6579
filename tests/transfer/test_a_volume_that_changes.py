"""What is read is asked for again and again: a volume that changed meanwhile is not read to its end for nothing, nor called whole."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from migrate.transfer import download, packed
from migrate.transfer.answers import Changed
from migrate.transfer.export_client import ExportClient
from migrate.transfer.ranges import MIB
from tests.transfer.range_server import RangeServer

DISK = os.urandom(2 * MIB)


def test_asked_before_what_broke_is_taken_up(server: RangeServer, client: ExportClient, output: Path) -> None:
    """The stream breaks, and the disk is another one since: no byte of that one is asked for."""
    server.disks["/a"] = DISK
    server.cut_after += [MIB]
    with pytest.raises(Changed):
        download.raw(client, server.url("/a"), output, identity="a", streams=1, same=lambda: False)
    assert [asked for method, _, asked in server.seen if method == "GET"] == [f"bytes=0-{2 * MIB - 1}"]


def test_a_packed_volume_is_asked_for_at_the_end(server: RangeServer, client: ExportClient, output: Path) -> None:
    """It came whole, and may be of two states: it gets no name."""
    server.disks["/a"] = gzip.compress(DISK, 1)
    with pytest.raises(Changed):
        packed.to_file(client, server.url("/a"), output, disk_bytes=len(DISK), same=lambda: False)
    assert not output.exists()
