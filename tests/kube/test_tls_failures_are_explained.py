"""TLS: what the kubeconfig can say about it, and what a failure is called."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import POD
from migrate.kube.session import open_cluster
from migrate.model.errors import MigrateError, Refused, Unreachable, UsageError
from tests.kube.conftest import Opener
from tests.kube.small_server import JumpingClock, SmallServer, refusal, trusting, write_kubeconfig


def _b64(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


def _user(certificate: trustme.LeafCert) -> dict[str, Any]:
    pem = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    return {"client-certificate-data": _b64(pem), "client-key-data": _b64(certificate.private_key_pem.bytes())}


@pytest.fixture
def mutual() -> Iterator[SmallServer]:
    """A server that wants client certificates."""
    small = SmallServer(client_certs=True)
    yield small
    small.close()


def _open(tmp_path: Path, server: SmallServer, clock: JumpingClock, user: dict[str, Any], **cluster: Any) -> Cluster:
    path = write_kubeconfig(tmp_path / "config", cluster=trusting(server) | cluster, user=user)
    return open_cluster("east", kubeconfig=path, clock=clock)


def test_an_unknown_authority_is_explained_and_not_retried(server: SmallServer, opened: Opener, clock: JumpingClock) -> None:
    """Another CA in the kubeconfig: the error says so, at once."""
    other = _b64(trustme.CA().cert_pem.bytes())
    with pytest.raises(Unreachable) as caught:
        opened(None, {"certificate-authority-data": other}).get(POD, "a")
    assert "authority that this kubeconfig does not know" in caught.value.why
    assert "certificate-authority-data" in caught.value.now
    assert (clock.waits_s, server.requests) == ([], [])


def test_an_expired_server_certificate_is_explained(tmp_path: Path, clock: JumpingClock) -> None:
    """The clock of this machine is named too, since it is the other cause."""
    small = SmallServer(expired=True)
    with pytest.raises(Unreachable) as caught:
        _open(tmp_path, small, clock, {}).get(POD, "a")
    small.close()
    assert "has expired" in caught.value.why
    assert "clock of this machine" in caught.value.now


def test_a_certificate_for_another_name_is_explained_and_tls_server_name_cures_it(tmp_path: Path, clock: JumpingClock) -> None:
    """tls-server-name is what the certificate is checked against, and what is asked for."""
    small = SmallServer(names=("api.example.org",))
    with pytest.raises(Unreachable) as caught:
        _open(tmp_path, small, clock, {}).get(POD, "a")
    assert "for another host name" in caught.value.why
    assert _open(tmp_path, small, clock, {}, **{"tls-server-name": "api.example.org"}).get(POD, "a") is not None
    small.close()


def test_insecure_skip_tls_verify_is_obeyed_and_logged(opened: Opener, caplog: pytest.LogCaptureFixture) -> None:
    """The user asked for it in writing; the log still says it."""
    other = _b64(trustme.CA().cert_pem.bytes())
    assert opened(None, {"certificate-authority-data": other, "insecure-skip-tls-verify": True}).get(POD, "a") is not None
    assert "insecure-skip-tls-verify" in caplog.text


def test_a_client_certificate_is_shown_and_leaves_no_file(
    tmp_path: Path, mutual: SmallServer, clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key touches the disk for a moment, mode 0600, and is gone when the first request is sent."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    modes: list[int] = []
    load = ssl.SSLContext.load_cert_chain

    def watching(context: ssl.SSLContext, certfile: Any, *rest: Any, **more: Any) -> None:
        modes.append(os.stat(certfile).st_mode & 0o777)  # noqa: PTH116
        load(context, certfile, *rest, **more)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watching, raising=False)
    east = _open(tmp_path, mutual, clock, _user(mutual.authority.issue_cert("jane@example.org")))
    assert east.get(POD, "a") is not None
    assert "jane@example.org" in str(mutual.requests[0].peer)
    assert modes == [0o600]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_missing_client_certificate_is_a_question_of_credentials(tmp_path: Path, mutual: SmallServer, clock: JumpingClock) -> None:
    """The TLS alert of the server is told as what it is: we are not let in."""
    with pytest.raises(MigrateError) as caught:
        _open(tmp_path, mutual, clock, {}).get(POD, "a")
    assert isinstance(caught.value, Refused)
    assert "client certificate" in caught.value.why


def test_an_expired_client_certificate_is_named_as_such(tmp_path: Path, server: SmallServer, clock: JumpingClock) -> None:
    """API servers answer a plain 401 to it; we look at the date ourselves."""
    ended = server.authority.issue_cert(
        "jane@example.org", not_before=datetime(2019, 1, 1, tzinfo=UTC), not_after=datetime(2020, 1, 1, tzinfo=UTC)
    )
    server.script = lambda _request: refusal(401, "Unauthorized", "Unauthorized")
    with pytest.raises(Refused) as caught:
        _open(tmp_path, server, clock, _user(ended)).get(POD, "a")
    assert caught.value.why.startswith("our client certificate expired on 2020-01-01")
    assert "fresh kubeconfig" in caught.value.now


def test_a_key_that_does_not_fit_is_a_usage_error(tmp_path: Path, server: SmallServer, clock: JumpingClock) -> None:
    """A broken pair is found before anything is sent, and no PEM is in the error."""
    one, other = (_user(server.authority.issue_cert("a@example.org")) for _ in range(2))
    with pytest.raises(UsageError) as caught:
        _open(tmp_path, server, clock, one | {"client-key-data": other["client-key-data"]}).get(POD, "a")
    assert "client-certificate or client-key" in caught.value.what
    assert "BEGIN" not in f"{caught.value}"


def test_a_certificate_without_its_key_is_a_usage_error(opened: Opener) -> None:
    """Half a pair cannot be meant."""
    with pytest.raises(UsageError, match="has no client-key"):
        opened({"client-certificate-data": _b64(b"-----BEGIN CERTIFICATE-----")})


def test_an_authority_that_is_no_pem_is_a_usage_error(opened: Opener) -> None:
    """Found when the cluster is opened or first spoken to, and named."""
    with pytest.raises(UsageError, match="certificate-authority"):
        opened(None, {"certificate-authority-data": _b64(b"nonsense")}).get(POD, "a")


def test_a_port_that_speaks_no_tls_is_explained(opened: Opener) -> None:
    """https:// to a plain port is a common slip."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        peer, _address = listener.accept()
        peer.recv(1000)
        peer.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        peer.close()

    threading.Thread(target=answer, daemon=True).start()
    with pytest.raises(Unreachable) as caught:
        opened(None, {"server": f"https://localhost:{listener.getsockname()[1]}"}).get(POD, "a")
    listener.close()
    assert caught.value.why == "it does not speak TLS"


def test_a_refused_connection_is_tried_a_while_and_then_named(opened: Opener, clock: JumpingClock) -> None:
    """Nobody listens: bounded attempts with growing waits, then the server's address and what to check."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable) as caught:
        opened(None, {"server": f"https://localhost:{port}"}).get(POD, "a")
    assert caught.value.why == "the connection was refused"
    assert f"https://localhost:{port}" in caught.value.what
    assert clock.waits_s == [0.5, 1.0, 1.5]


def test_an_unknown_host_is_explained(opened: Opener) -> None:
    """DNS is named, with the VPN as the usual suspect."""
    with pytest.raises(Unreachable) as caught:
        opened(None, {"server": "https://no-such-host.invalid"}).get(POD, "a")
    assert "cannot be resolved" in caught.value.why


def test_proxy_url_is_used(server: SmallServer, opened: Opener) -> None:
    """Requests go through the proxy of the kubeconfig by CONNECT, and TLS is still with the API server."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []

    def pump(one: socket.socket, other: socket.socket) -> None:
        while data := one.recv(65536):
            other.sendall(data)

    def proxy() -> None:
        peer, _address = listener.accept()
        seen.append(peer.recv(4000).split(b" HTTP")[0])
        upstream = socket.create_connection(("127.0.0.1", server.port))
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        threading.Thread(target=pump, args=(peer, upstream), daemon=True).start()
        pump(upstream, peer)

    threading.Thread(target=proxy, daemon=True).start()
    east = opened(None, {"proxy-url": f"http://127.0.0.1:{listener.getsockname()[1]}"})
    assert east.get(POD, "a") is not None
    assert seen == [f"CONNECT localhost:{server.port}".encode()]
    listener.close()


def test_the_proxy_of_the_environment_is_not_for_this_machine(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab on loopback works behind a company proxy; other hosts do go through it."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert opened().get(POD, "a") is not None
    with pytest.raises(Unreachable) as caught:
        opened(None, {"server": "https://cluster.invalid"}).get(POD, "a")
    assert "proxy" in caught.value.why


def test_certificates_of_a_command_are_renewed_with_their_connections(tmp_path: Path, mutual: SmallServer, clock: JumpingClock) -> None:
    """A credential command that prints certificates is asked again at their expiry, and new connections carry the new one."""
    import json

    answer, script = tmp_path / "answer.json", tmp_path / "plugin.sh"

    def prints(name: str, expires: str) -> None:
        pair = mutual.authority.issue_cert(name)
        status = {
            "clientCertificateData": b"".join(blob.bytes() for blob in pair.cert_chain_pems).decode(),
            "clientKeyData": pair.private_key_pem.bytes().decode(),
            "expirationTimestamp": expires,
        }
        answer.write_text(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))

    script.write_text(f"#!/bin/sh\ncat {answer}\n")
    script.chmod(0o755)
    prints("first@example.org", "2026-11-01T01:00:00Z")
    east = _open(tmp_path, mutual, clock, {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(script)}})
    east.get(POD, "a")
    prints("second@example.org", "2026-11-01T09:00:00Z")
    clock.passed_s = 3600
    east.get(POD, "a")
    assert ["first" in str(request.peer) for request in mutual.requests] == [True, False]
    assert "second" in str(mutual.requests[1].peer)
