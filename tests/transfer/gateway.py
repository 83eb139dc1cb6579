"""A small API server that forwards one port over `v4.channel.k8s.io`, on order badly. Knows nothing of the product."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import struct
import threading
from dataclasses import dataclass, field

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, RejectConnection, RejectData, Request

from tests.transfer.range_server import CA, server_context

STUCK_S = 0.4
"""Real seconds without room to send, after which the reader counts as full."""


@dataclass
class Gateway:
    """Forwards to `port` on this machine. `answers` are refusals (status, message) given before any forward."""

    port: int = 0
    answers: list[tuple[int, str]] = field(default_factory=list)
    error: str = ""
    flood: bool = False
    flooded: int = 0
    """Bytes that could be sent before nobody took any more."""
    chunk: int = 50_000
    hang_up_after: list[int] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Gateway:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tls = server_context(CA.issue_cert("api.test"))
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}/prefix"

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            sock = self._tls.wrap_socket(raw, server_side=True)
            ws = WSConnection(ConnectionType.SERVER)
            request = None
            while request is None:
                ws.receive_data(sock.recv(65536))
                request = next((event for event in ws.events() if isinstance(event, Request)), None)
            self.asked.append(request)
            if self.answers:
                status, message = self.answers.pop(0)
                body = json.dumps({"kind": "Status", "message": message}).encode()
                head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
                sock.sendall(ws.send(RejectConnection(status_code=status, headers=head, has_body=True)) + ws.send(RejectData(data=body)))
                sock.close()
                return
            sock.sendall(ws.send(AcceptConnection(subprotocol="v4.channel.k8s.io")))
            for channel in (0, 1):
                sock.sendall(ws.send(BytesMessage(data=bytes([channel]) + struct.pack("<H", 8443))))
            if self.error:
                sock.sendall(ws.send(BytesMessage(data=b"\x01" + self.error.encode())) + ws.send(CloseConnection(code=1000)))
            elif self.flood:
                self._flood(sock, ws)
            else:
                self._carry(sock, ws)
            sock.close()

    def _flood(self, sock: ssl.SSLSocket, ws: WSConnection) -> None:
        message = ws.send(BytesMessage(data=b"\x00" + bytes(self.chunk)))
        sock.setblocking(False)
        while select.select([], [sock], [], STUCK_S)[1]:
            with contextlib.suppress(ssl.SSLWantWriteError):
                rest = memoryview(message)
                while rest:
                    rest = rest[sock.send(rest) :]
                self.flooded += self.chunk
        self.done.set()

    def _carry(self, sock: ssl.SSLSocket, ws: WSConnection) -> None:
        pod = socket.create_connection(("127.0.0.1", self.port))
        left = self.hang_up_after.pop(0) if self.hang_up_after else None
        sock.sendall(ws.send(Ping(payload=b"are you there")))
        while True:
            ready = [sock] if sock.pending() else select.select([sock, pod], [], [])[0]
            if pod in ready:
                data = pod.recv(self.chunk)
                if left is not None and (left := left - len(data)) <= 0:
                    return
                sock.sendall(ws.send(BytesMessage(data=b"\x00" + data)) if data else ws.send(CloseConnection(code=1000)))
                if not data:
                    return
            if sock in ready:
                ws.receive_data(sock.recv(65536) or None)
                for event in ws.events():
                    if isinstance(event, BytesMessage) and event.data:
                        pod.sendall(bytes(event.data[1:]))
                    elif isinstance(event, CloseConnection):
                        pod.close()
                        return
