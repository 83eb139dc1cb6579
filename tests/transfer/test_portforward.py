"""The way through an API server: whole bytes, several streams, real back-pressure, and words for everything that goes wrong."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from urllib3 import Timeout
from urllib3.exceptions import HTTPError

from migrate.model.errors import Refused, Unreachable
from migrate.transfer.export_client import ExportClient, NotTrusted
from migrate.transfer.portforward import Access, Broken, Forward, pool_through
from migrate.transfer.pump import MOST_WAITING_BYTES
from migrate.transfer.ranges import MIB, Range
from tests.transfer.conftest import QuickClock
from tests.transfer.gateway import Gateway
from tests.transfer.range_server import CA, RangeServer

DISK = os.urandom(3 * MIB + 17)
POD = "/api/v1/namespaces/shop/pods/exporter"
CA_PEM = CA.cert_pem.bytes().decode()


class Doorman:
    """Hands out accesses to a gateway, and remembers when it was told that the login before was refused."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.again: list[bool] = []

    def __call__(self, again: bool) -> Access:
        self.again.append(again)
        tls = ssl.create_default_context(cadata=CA_PEM)
        return Access(self.gateway.url, tls, "api.test", headers=(("Authorization", "Bearer s3cret"),))


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as running:
        yield running


@pytest.fixture
def pod() -> Iterator[RangeServer]:
    with RangeServer(CA.issue_cert("export.shop.svc"), disks={"/disk": DISK}) as running:
        yield running


def way(gateway: Gateway) -> Forward:
    return Forward(access=Doorman(gateway), pod_path=lambda: POD, port=8443, where="context west")


def client(gateway: Gateway, pod: RangeServer, clock: QuickClock) -> ExportClient:
    gateway.port = int(pod.url("/").rsplit(":", 1)[1].strip("/"))
    return ExportClient(ca_pem=CA_PEM, token="t0ken", clock=clock, forward=way(gateway))


URL = "https://export.shop.svc/disk"


def read(reader: ExportClient, part: Range) -> bytes:
    return b"".join(reader.pieces(URL, part, of=len(DISK)))


def test_bytes_arrive_whole_over_several_streams(gateway: Gateway, pod: RangeServer, clock: QuickClock) -> None:
    """Size and four ranges at once, through the API server, with TLS verified for the service's own name."""
    reader = client(gateway, pod, clock)
    assert reader.size(URL) == len(DISK)
    quarter = len(DISK) // 4
    parts = [Range(at, min(at + quarter, len(DISK))) for at in range(0, len(DISK), quarter)]
    with ThreadPoolExecutor(4) as pool:
        assert b"".join(pool.map(lambda part: read(reader, part), parts)) == DISK
    reader.close()
    assert gateway.asked[0].target == f"/prefix{POD}/portforward?ports=8443"
    assert gateway.asked[0].subprotocols == ["v4.channel.k8s.io"]


def test_who_reads_nothing_is_sent_little(gateway: Gateway) -> None:
    """Back-pressure: while nobody reads, the server can send no more than the buffers of both sides hold; later all of it arrives."""
    gateway.flood = True
    forward = way(gateway)
    sock = forward.connect()
    assert gateway.done.wait(30)
    stuck_at = gateway.flooded
    assert stuck_at < 4 * MIB + 2 * MOST_WAITING_BYTES + 6 * MIB
    got = 0
    while data := sock.recv(MIB):
        got += len(data)
    assert got >= stuck_at - gateway.chunk
    sock.close()


def test_a_connection_that_breaks_is_taken_up_where_it_broke(gateway: Gateway, pod: RangeServer, clock: QuickClock) -> None:
    """The API server hangs up in the middle, twice; the disk is read whole, and no byte twice."""
    gateway.hang_up_after = [MIB, 2 * MIB]
    reader = client(gateway, pod, clock)
    assert read(reader, Range(0, len(DISK))) == DISK
    assert len(gateway.asked) == 3


def test_a_far_end_that_says_nothing_is_given_up(gateway: Gateway) -> None:
    """The exporter's node dies while the API server keeps the connection: its TLS handshake ends with the time limit, and is an error."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gateway.port = silent.getsockname()[1]
        pool = pool_through(way(gateway), tls=ssl.create_default_context(), streams=1)
        with pytest.raises(HTTPError, match="timed out"):
            pool.request("HEAD", URL, timeout=Timeout(connect=0.3, read=0.3), retries=False)


def test_the_words_of_the_kubelet_are_kept(gateway: Gateway, clock: QuickClock) -> None:
    """What the error channel says is in the error that a person reads."""
    gateway.error = "error forwarding port 8443 to pod exporter: connection refused"
    reader = ExportClient(ca_pem=CA_PEM, token="t0ken", clock=clock, forward=way(gateway))
    with pytest.raises(Unreachable) as caught:
        reader.size(URL)
    assert "connection refused" in caught.value.why


def test_a_refusal_names_the_verb_that_is_missing(gateway: Gateway) -> None:
    """403 is final: Refused in the cluster's words, with the remedy; nothing of the token in it."""
    gateway.answers = [(403, 'User "eve" cannot get resource "pods/portforward"')]
    with pytest.raises(Refused) as caught:
        way(gateway).connect()
    assert caught.value.status == 403
    assert 'User "eve"' in caught.value.why
    assert "pods/portforward" in caught.value.now
    assert "s3cret" not in repr(caught.value.problems)


def test_an_expired_login_is_renewed_once(gateway: Gateway, pod: RangeServer, clock: QuickClock) -> None:
    """401: asked again with a new login; twice is a refusal."""
    gateway.answers = [(401, "Unauthorized")]
    reader = client(gateway, pod, clock)
    assert reader.size(URL) == len(DISK)
    gateway.answers = [(401, "Unauthorized"), (401, "Unauthorized")]
    doorman = Doorman(gateway)
    with pytest.raises(Refused):
        Forward(access=doorman, pod_path=lambda: POD, port=8443, where="").connect()
    assert doorman.again == [False, True]


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_what_may_pass_is_tried_again(gateway: Gateway, pod: RangeServer, clock: QuickClock, status: int) -> None:
    """A pod that is being replaced, a busy API server: one refusal costs one try."""
    gateway.answers = [(status, "not now")]
    with pytest.raises(Broken, match="not now"):
        way(gateway).connect()
    gateway.answers = [(status, "not now")]
    assert client(gateway, pod, clock).size(URL) == len(DISK)


def test_another_server_inside_is_not_trusted(gateway: Gateway, pod: RangeServer, clock: QuickClock) -> None:
    """The certificate inside must be for the host of the link, whatever the API server is."""
    reader = client(gateway, pod, clock)
    with pytest.raises(NotTrusted):
        reader.size("https://other.shop.svc/disk")


def test_an_access_shows_no_token(gateway: Gateway) -> None:
    """Neither in its own text nor in that of the forward."""
    assert "s3cret" not in repr(Doorman(gateway)(False))


def test_closing_ends_every_connection(gateway: Gateway, pod: RangeServer, clock: QuickClock) -> None:
    """After close nothing of a forward is left running."""
    gateway.port = int(pod.url("/").rsplit(":", 1)[1].strip("/"))
    forward = way(gateway)
    socks = [forward.connect() for _ in range(3)]
    forward.close()
    assert [sock.recv(1) for sock in socks] == [b""] * 3
