"""A TLS server that plays the export server, for tests of the importer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from migrate.lab.bytesd import ByteServer, Dropped, Reply, Request
from migrate.lab.certs import Authority
from migrate.lab.clock import LabClock

TOKEN = "x-kubevirt-export-token"


@dataclass
class DiskServer:
    """Serves `data` at every path to those who show the token. The switches make it misbehave."""

    authority: Authority
    clock: LabClock
    data: bytes = b""
    token: str = "s3cr3t"
    length: bool = True
    """Whether the answer says its length and HEAD works (raw); else it is chunked and HEAD is a 400 (gzip)."""
    drop_after: int | None = None
    end_after: int | None = None
    pause_after: int | None = None
    go_on: threading.Event = field(default_factory=threading.Event)
    """What a pause waits for."""
    status: int = 200
    redirect_to: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """(method, path, token)"""

    def start(self) -> None:
        self._server = ByteServer(
            socket.create_server(("127.0.0.1", 0)), self.authority.server_context("localhost"), self.answer, name="source", clock=self.clock
        )
        self._server.start()

    def stop(self) -> None:
        self._server.abort()

    @property
    def url(self) -> str:
        return f"https://localhost:{self._server.port}/disk.img"

    def answer(self, request: Request) -> Reply:
        token = request.headers.get(TOKEN, "")
        self.requests.append((request.method, request.path, token))
        if self.redirect_to and request.path != "/moved":
            return Reply(302, (("Location", self.redirect_to),))
        if token != self.token:
            return Reply(401)
        if self.status != 200:
            return Reply(self.status)
        if request.method == "HEAD":
            return Reply(200, (("Accept-Ranges", "bytes"),), iter(()), length=len(self.data)) if self.length else Reply(400)
        return Reply(200, (), self._pieces(), length=len(self.data) if self.length else None)

    def _pieces(self) -> Iterator[bytes]:
        end = len(self.data) if self.end_after is None else self.end_after
        for at in range(0, end, 1 << 18):
            if self.pause_after is not None and at >= self.pause_after:
                with self.clock.idle():
                    self.go_on.wait(30)
            piece = self.data[at : min(at + (1 << 18), end)]
            if self.drop_after is not None and at + len(piece) > self.drop_after:
                yield piece[: self.drop_after - at]
                raise Dropped
            yield piece
