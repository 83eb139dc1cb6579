"""A small TLS server of disks: ranges, HEAD, token, and troubles on order. Knows nothing of the product."""

from __future__ import annotations

import re
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme

CA = trustme.CA()


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


class _Httpd(ThreadingHTTPServer):
    """Clients that hang up are part of the play."""

    def handle_error(self, *_: object) -> None:
        pass


@dataclass
class RangeServer:
    """Serves `disks[path]`; each request that a trouble meets takes one off its list."""

    certificate: trustme.LeafCert
    token: str = "t0ken"
    disks: dict[str, bytes] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    cut_after: list[int] = field(default_factory=list)
    silent_after: list[int] = field(default_factory=list)
    """After so many bytes of a body nothing comes any more, and the connection stands; -1 = not even a header comes."""
    ignore_ranges: bool = False
    redirect: str = ""
    total: int | None = None
    seen: list[tuple[str, str, str]] = field(default_factory=list)

    def __enter__(self) -> RangeServer:
        self._over = threading.Event()
        self._httpd = _Httpd(("127.0.0.1", 0), self._handler())
        self._httpd.daemon_threads = True
        self._httpd.socket = server_context(self.certificate).wrap_socket(self._httpd.socket, server_side=True)
        self._thread = threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._httpd.shutdown()
        self._httpd.server_close()

    def url(self, path: str, host: str = "localhost") -> str:
        return f"https://{host}:{self._httpd.server_port}{path}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def _plain(self, status: int, **headers: str) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _answer(self, *, body: bool) -> None:
                asked = self.headers.get("Range", "")
                server.seen.append((self.command, self.path, asked))
                if body and server.silent_after[:1] == [-1]:
                    server.silent_after.pop(0)
                    server._over.wait()
                if server.statuses:
                    return self._plain(server.statuses.pop(0))
                if server.redirect:
                    return self._plain(307, Location=server.redirect)
                if self.path not in server.disks:
                    return self._plain(404)
                if self.headers.get("x-kubevirt-export-token") != server.token:
                    return self._plain(401)
                disk = server.disks[self.path]
                size = len(disk) if server.total is None else server.total
                found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
                if found is None or server.ignore_ranges:
                    self.send_response(200)
                    data = disk
                else:
                    data = disk[int(found[1]) : int(found[2]) + 1]
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {found[1]}-{int(found[1]) + len(data) - 1}/{size}")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if not body:
                    return None
                if server.silent_after:
                    self.wfile.write(data[: server.silent_after.pop(0)])
                    self.close_connection = True
                    server._over.wait()
                    return None
                if server.cut_after:
                    self.wfile.write(data[: server.cut_after.pop(0)])
                    self.close_connection = True
                    return None
                self.wfile.write(data)
                return None

        return Handler
