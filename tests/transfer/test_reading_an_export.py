"""The export client against a TLS server: sizes, ranges, trust, and what it does when the wire breaks."""

from __future__ import annotations

import os
import threading

import pytest

from migrate.model.errors import Refused, Unreachable, UsageError
from migrate.transfer.export_client import ExportClient, NotTrusted
from migrate.transfer.ranges import MIB, READ_BYTES, Range
from tests.transfer.conftest import QuickClock
from tests.transfer.range_server import CA, RangeServer

CA_PEM = CA.cert_pem.bytes().decode()
DISK = os.urandom(3 * MIB + 77)


def client(clock: QuickClock, ca_pem: str = CA_PEM, token: str = "t0ken") -> ExportClient:
    return ExportClient(ca_pem=ca_pem, token=token, clock=clock)


def read(reader: ExportClient, url: str, start: int, stop: int, *, of: int = len(DISK)) -> bytes:
    return b"".join(reader.pieces(url, Range(start, stop), of=of))


def test_size_is_what_head_says(server: RangeServer, clock: QuickClock) -> None:
    """HEAD on the raw link answers the size; no body is read."""
    server.disks["/a"] = DISK
    assert client(clock).size(server.url("/a")) == len(DISK)
    assert server.seen == [("HEAD", "/a", "")]


def test_pieces_are_the_bytes_in_order(server: RangeServer, clock: QuickClock) -> None:
    """A range arrives in pieces of 256 KiB, the last one shorter, and is the disk's own bytes."""
    server.disks["/a"] = DISK
    pieces = list(client(clock).pieces(server.url("/a"), Range(5, len(DISK)), of=len(DISK)))
    assert [len(piece) for piece in pieces] == [READ_BYTES] * 12 + [72]
    assert b"".join(pieces) == DISK[5:]


def test_a_broken_stream_is_taken_up_where_it_broke(server: RangeServer, clock: QuickClock) -> None:
    """After a cut the next request asks only for what is missing, and the bytes are whole."""
    server.disks["/a"] = DISK
    server.cut_after += [MIB + 5, 10]
    assert read(client(clock), server.url("/a"), 0, len(DISK)) == DISK
    starts = [int(asked.removeprefix("bytes=").split("-")[0]) for _, _, asked in server.seen]
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert starts[-1] == MIB + 15


def test_a_proxy_whose_export_is_away_is_asked_again(server: RangeServer, clock: QuickClock) -> None:
    """503 and 502 pass: the request is repeated, with pauses on the clock that it was given."""
    server.disks["/a"] = DISK
    server.statuses += [503, 502]
    assert read(client(clock), server.url("/a"), 0, 10) == DISK[:10]
    assert clock.seconds == 3.0


def test_patience_ends(server: RangeServer, clock: QuickClock) -> None:
    """Six tries in a row without a byte are enough: Unreachable, with the host's own status."""
    server.disks["/a"] = DISK
    server.statuses += [503] * 9
    with pytest.raises(Unreachable, match="503"):
        read(client(clock), server.url("/a"), 0, 10)
    assert len(server.seen) == 6


def test_progress_renews_patience(server: RangeServer, clock: QuickClock) -> None:
    """A stream that breaks often but moves is never given up."""
    server.disks["/a"] = DISK
    server.cut_after += [1000] * 20
    assert read(client(clock), server.url("/a"), 0, MIB) == DISK[:MIB]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_not_repeated(server: RangeServer, clock: QuickClock, status: int) -> None:
    """A refused token or a missing volume is told at once, with the status and without the token."""
    server.statuses.append(status)
    with pytest.raises(Refused) as caught:
        client(clock).size(server.url("/a"))
    assert caught.value.status == status
    assert "t0ken" not in repr(caught.value.problems)
    assert len(server.seen) == 1


def test_a_host_that_ignores_ranges_is_refused(server: RangeServer, clock: QuickClock) -> None:
    """200 in place of 206 would be the wrong bytes for every range but the first."""
    server.disks["/a"] = DISK
    server.ignore_ranges = True
    with pytest.raises(Refused, match="status 200"):
        read(client(clock), server.url("/a"), 10, 20)


def test_a_disk_that_changes_its_size_is_refused(server: RangeServer, clock: QuickClock) -> None:
    """The total in Content-Range must stay the size that HEAD answered."""
    server.disks["/a"] = DISK
    server.total = 5 * MIB
    with pytest.raises(Refused, match="another size"):
        read(client(clock), server.url("/a"), 0, 10)


def test_redirects_are_not_followed(server: RangeServer, clock: QuickClock) -> None:
    """A redirect would carry the token elsewhere: it is refused, on the small and on the bulk way."""
    server.disks["/a"] = DISK
    server.redirect = server.url("/elsewhere")
    for attempt in (lambda: client(clock).size(server.url("/a")), lambda: read(client(clock), server.url("/a"), 0, 1)):
        with pytest.raises(Refused, match="307"):
            attempt()
    assert {path for _, path, _ in server.seen} == {"/a"}


def test_plain_http_is_refused(clock: QuickClock) -> None:
    """A link without TLS would show the token to everybody."""
    with pytest.raises(Refused, match="not https"):
        client(clock).size("http://localhost:1/a")


def test_a_leaf_alone_is_trusted(server: RangeServer, clock: QuickClock) -> None:
    """KubeVirt may publish only the leaf of its Ingress; as for the importer, that is enough."""
    server.disks["/a"] = DISK
    leaf = server.certificate.cert_chain_pems[0].bytes().decode()
    assert client(clock, ca_pem=leaf).size(server.url("/a")) == len(DISK)
    assert read(client(clock, ca_pem=leaf), server.url("/a"), 0, 10) == DISK[:10]


@pytest.mark.parametrize("ca_pem", ["", "other"])
def test_an_unknown_certificate_is_named_so(server: RangeServer, clock: QuickClock, ca_pem: str) -> None:
    """Neither no CA nor a foreign one opens the way; the error is NotTrusted with OpenSSL's words, on every way in."""
    import trustme

    pem = trustme.CA().cert_pem.bytes().decode() if ca_pem else ""
    reader = client(clock, ca_pem=pem)
    for attempt in (
        lambda: reader.probe(server.url("/healthz")),
        lambda: reader.size(server.url("/a")),
        lambda: read(reader, server.url("/a"), 0, 1),
    ):
        with pytest.raises(NotTrusted) as caught:
            attempt()
        assert "certificate" in caught.value.why
    assert clock.seconds == 0


def test_a_certificate_for_another_host_is_refused(server: RangeServer, clock: QuickClock) -> None:
    """The name in the certificate must be the host's."""
    with pytest.raises(NotTrusted):
        client(clock).probe(server.url("/healthz", host="127.0.0.1"))


def test_a_probe_tells_any_status(server: RangeServer, clock: QuickClock) -> None:
    """For a probe every HTTP answer is an answer; only silence and distrust are trouble."""
    assert client(clock).probe(server.url("/healthz")) == 404
    with pytest.raises(Unreachable, match="does not answer"):
        client(clock).probe("https://localhost:1/healthz")


def test_text_that_is_no_certificate_is_a_usage_error(clock: QuickClock) -> None:
    """A CA file with anything but PEM is told before a byte is sent."""
    with pytest.raises(UsageError, match="PEM"):
        client(clock, ca_pem="-----BEGIN NONSENSE-----")


def test_who_cancels_does_not_wait(server: RangeServer, clock: QuickClock) -> None:
    """A cancelled read stops at its next trouble."""
    server.statuses += [503] * 9
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Unreachable):
        client(clock).size(server.url("/a"), cancelled)
    assert len(server.seen) == 1
