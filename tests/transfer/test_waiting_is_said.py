"""Whoever waits for a host says so once, for all its streams, and says when that is over."""

from __future__ import annotations

import os

from migrate.model.clock import Clock
from migrate.transfer.export_client import ExportClient
from migrate.transfer.ranges import MIB, Range
from tests.transfer.conftest import CA_PEM
from tests.transfer.range_server import RangeServer

DISK = os.urandom(MIB)


def test_a_pause_is_said_and_its_end(server: RangeServer, clock: Clock) -> None:
    """Refused three times, and cut once: two pauses, each with its cause, and each time when it goes on."""
    said = list[str]()
    client = ExportClient(ca_pem=CA_PEM, token="t0ken", clock=clock, tell=said.append)
    server.disks["/a"] = DISK
    server.statuses += [503, 503, 503]
    assert client.size(server.url("/a")) == len(DISK)
    server.cut_after += [1000]
    assert b"".join(client.pieces(server.url("/a"), Range(0, MIB), of=MIB)) == DISK
    assert [words.split(";")[-1].strip() for words in said] == ["trying again", "going on", "trying again", "going on"]
    assert "status 503" in said[0]
    assert "early" in said[2]


def test_a_long_wait_is_said_again(server: RangeServer, clock: Clock) -> None:
    """Whoever waits longer than ten seconds hears of it again, with what is the matter by then."""
    said = list[str]()
    client = ExportClient(ca_pem=CA_PEM, token="t0ken", clock=clock, tell=said.append)
    server.disks["/a"] = DISK
    server.statuses += [503, 503, 503, 503, 502]
    assert client.size(server.url("/a")) == len(DISK)
    assert [word in words for word, words in zip(("503", "502", "going on"), said, strict=True)] == [True] * 3
