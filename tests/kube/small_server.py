"""A tiny HTTPS server that plays an API server's part by a script, for what the lab's API server should never do."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme
import yaml

from migrate.kube.session import open_cluster


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: Any
    body: Any
    peer: Any = None


@dataclass(frozen=True)
class Reply:
    """What to answer. `drop` closes the connection instead; `stream` is sent in chunks, and the end of it ends the answer."""

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    stream: Iterable[bytes] | None = None
    hold: threading.Event | None = None
    """Send the body without its length, and end the answer only when this is set."""


Script = Callable[[Request], Reply]


def refusal(code: int, reason: str, message: str, **details: Any) -> Reply:
    """A Status as the API server sends it."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }
    return Reply(code, body)


class JumpingClock:
    """A clock on which waiting takes no time and is written down."""

    def __init__(self) -> None:
        self.start = datetime(2026, 11, 1, tzinfo=UTC)
        self.passed_s = 0.0
        self.waits_s: list[float] = []

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        return self.passed_s

    def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        self.passed_s += seconds

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        if not event.is_set():
            self.sleep(seconds or 0.0)
        return event.is_set()


class SmallServer:
    """Serves `script` on a loopback port over TLS. Every request is kept in `requests`."""

    def __init__(self, *, names: tuple[str, ...] = ("localhost", "127.0.0.1"), client_certs: bool = False, expired: bool = False) -> None:
        self.authority = trustme.CA()
        ends = datetime(2020, 1, 1, tzinfo=UTC) if expired else None
        begins = datetime(2019, 1, 1, tzinfo=UTC) if expired else None
        certificate = self.authority.issue_cert(*names, not_after=ends, not_before=begins)
        self.script: Script = lambda _request: Reply(200, {})
        self.requests: list[Request] = []
        outer = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                outer._serve(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

            def log_message(self, *_args: object) -> None: ...

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None: ...

            def get_request(self) -> tuple[Any, Any]:
                raw, address = super().get_request()
                raw.settimeout(10)
                return context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False), address

            def shutdown_request(self, request: Any) -> None:
                """Read what the client still sends: a reset for unread bytes would overtake the alert that tells why."""
                with suppress(OSError):
                    request.shutdown(socket.SHUT_WR)
                    while socket.socket.recv(request, 4096):
                        pass
                self.close_request(request)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        if client_certs:
            context.verify_mode = ssl.CERT_REQUIRED
            self.authority.configure_trust(context)
        self._http = Quiet(("127.0.0.1", 0), Answers)
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def ca_pem(self) -> str:
        return self.authority.cert_pem.bytes().decode()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _serve(self, http: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(http.path)
        length = int(http.headers.get("Content-Length") or 0)
        raw = http.rfile.read(length)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        peer = http.connection.getpeercert() if isinstance(http.connection, ssl.SSLSocket) else None
        request = Request(http.command, parts.path, query, http.headers, json.loads(raw) if raw else None, peer)
        self.requests.append(request)
        reply = self.script(request)
        if reply.drop:
            http.close_connection = True
            http.connection.shutdown(socket.SHUT_RDWR)
            return
        body = reply.body if isinstance(reply.body, bytes) else b"" if reply.body is None else json.dumps(reply.body).encode()
        http.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            http.send_header(name, value)
        if reply.hold is not None:
            http.end_headers()
            http.wfile.write(body)
            reply.hold.wait(10)
            http.close_connection = True
            return
        if reply.stream is None:
            http.send_header("Content-Length", str(len(body)))
            http.end_headers()
            http.wfile.write(body)
            return
        http.send_header("Transfer-Encoding", "chunked")
        http.end_headers()
        for chunk in reply.stream:
            http.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        http.wfile.write(b"0\r\n\r\n")


def write_kubeconfig(file: Path, *, cluster: Mapping[str, Any], user: Mapping[str, Any] | None = None, context: str = "east") -> str:
    """Write a kubeconfig with one context in the namespace `shop` and return its path."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": dict(cluster)}],
        "users": [{"name": "u", "user": dict(user or {})}],
    }
    file.write_text(yaml.safe_dump(content))
    return str(file)


def trusting(server: SmallServer) -> dict[str, Any]:
    """The cluster stanza of a kubeconfig that trusts the server."""
    import base64

    return {"server": server.url, "certificate-authority-data": base64.b64encode(server.ca_pem.encode()).decode()}


__all__ = ["JumpingClock", "Reply", "Request", "SmallServer", "open_cluster", "refusal", "trusting", "write_kubeconfig"]
