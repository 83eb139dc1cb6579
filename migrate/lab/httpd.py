"""A small HTTP/1.1 server of threads, because the lab needs what the ready-made ones do not give together.

One thread per connection, TLS handshakes in that thread, keep-alive, chunked streams, client certificates, upgrades to other
protocols, and the power to misbehave on request: drop, cut short, hang.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from io import BufferedReader
from typing import Any, Protocol, cast

from migrate.lab.exchange import Dropped, Exchange, Pipe, Request, Stream, read_request

__all__ = ["Dropped", "Exchange", "HttpServer", "Pipe", "Request", "Stream"]

HANDSHAKE_S = 15.0
"""Real seconds that a client may take for its TLS handshake."""


class Busy(Protocol):
    """The part of a lab clock that the server needs: a mark that this thread is computing."""

    def busy(self) -> contextlib.AbstractContextManager[Any]: ...


class HttpServer:
    """Listens on loopback and gives every request to `handler`, in the thread of its connection.

    The handler runs under the clock's busy mark. It may return a function: that is run afterwards without the mark, for
    conversations that mostly wait (port-forwards, followed logs). Exceptions other than Dropped and OSError are the handler's bug
    and reach `threading.excepthook`.
    """

    def __init__(
        self,
        handler: Callable[[Exchange], Callable[[], None] | None],
        *,
        clock: Busy,
        tls: Callable[[], ssl.SSLContext] | None = None,
        port: int = 0,
        name: str = "httpd",
    ) -> None:
        self._handler = handler
        self._clock = clock
        self._tls = tls
        self._name = name
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopped = False
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port: int = self._listener.getsockname()[1]

    def start(self) -> None:
        """Begin to accept connections."""
        threading.Thread(target=self._accept, name=f"{self._name}-accept", daemon=True).start()

    def stop(self) -> None:
        """Stop listening and close every connection."""
        self._stopped = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.disconnect()

    def disconnect(self) -> None:
        """Close every open connection; new ones are still accepted."""
        with self._lock:
            doomed = list(self._open)
        for sock in doomed:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._stopped:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connection, args=(sock,), name=f"{self._name}-conn", daemon=True).start()

    def _connection(self, plain: socket.socket) -> None:
        sock = plain
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = None
            if self._tls is not None:
                plain.settimeout(HANDSHAKE_S)
                sock = secured = self._tls().wrap_socket(plain, server_side=True)
                peer = secured.getpeercert() or None
                sock.settimeout(None)
            with self._lock:
                if self._stopped:
                    return
                self._open.add(sock)
            self._converse(sock, peer)
        except (OSError, Dropped, ValueError):
            pass
        finally:
            with self._lock:
                self._open.discard(sock)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _converse(self, sock: socket.socket, peer: dict[str, Any] | None) -> None:
        reader = cast(BufferedReader, sock.makefile("rb", buffering=1 << 16))
        with reader:
            while request := read_request(reader):
                exchange = Exchange(request, sock, reader, peer=peer)
                with self._clock.busy():
                    afterwards = self._handler(exchange)
                if afterwards is not None:
                    afterwards()
                if exchange.close or not exchange.answered:
                    return
                while exchange.read(1 << 20):
                    pass
