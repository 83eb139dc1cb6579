"""Move bulk bytes over HTTPS the way the data servers of KubeVirt and CDI do: one thread a connection, constant memory, no frills.

The API server has a server of its own (`httpd`), made for many small JSON answers. This one is for the export server, the export proxy,
the upload server and the upload proxy: bodies of any size in both directions, chunked or of known length, connections that can be
dropped in the middle, and a graceful end that lets running transfers finish.

A handler gets a `Request` and returns a `Reply`. A reply's body is bytes or an iterator of pieces; a piece may be a view of a buffer that
is used again for the next one. To drop the connection in the middle, raise `Dropped` from the handler or the iterator.
Time: while a handler or an iterator computes, the lab's clock stands still; while a peer is slow, it runs.
"""

from __future__ import annotations

import contextlib
import logging
import posixpath
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from migrate.lab.httpwire import BadHead, Body, Head, Inlet, read_head

if TYPE_CHECKING:
    from migrate.lab.clock import LabClock

_log = logging.getLogger("migrate.lab.bytesd")

PIECE_BYTES = 1 << 20
"""What the servers read from a disk at a time."""

_TLS_HANDSHAKE = 0x16
_PLAIN_REFUSAL = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
_MALFORMED = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request"
_RESET = struct.pack("ii", 1, 0)
_BUFFER_BYTES = 1 << 20


class Dropped(Exception):
    """Cut the connection here and now, as a dying server does."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `path` is decoded, `query` raw, `peer` the client's certificate as `getpeercert` gives it (None without one)."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Body
    peer: dict[str, Any] | None = None

    @property
    def path(self) -> str:
        return unquote(self.target.partition("?")[0], errors="surrogateescape")

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `length` is the body's size when an iterator's is known; without it the body is chunked."""

    code: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Iterable[bytes | memoryview] = b""
    length: int | None = None

    @property
    def size(self) -> int | None:
        return len(self.body) if isinstance(self.body, bytes) else self.length


def text(code: int, words: str, *headers: tuple[str, str]) -> Reply:
    """Return a short plain-text answer."""
    return Reply(code, (("Content-Type", "text/plain; charset=utf-8"), *headers), words.encode())


@dataclass(eq=False)
class _Connection:
    sock: socket.socket
    idle: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)


class ByteServer:
    """Serve one listening socket with one handler.

    `context` may be a function, asked at each connection, so that certificates can change. `clock` is None for relays, which only wait
    for other servers and must never hold time still.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext | Callable[[], ssl.SSLContext],
        handler: Callable[[Request], Reply],
        *,
        name: str,
        clock: LabClock | None = None,
    ) -> None:
        self.port: int = listener.getsockname()[1]
        self.drained = threading.Event()
        self._listener = listener
        self._context = context
        self._handler = handler
        self._name = name
        self._clock = clock
        self._closing = False
        self._connections: set[_Connection] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to accept connections, in threads of this server."""
        threading.Thread(target=self._accept, name=f"{self._name}-accept", daemon=True).start()

    def drain(self) -> None:
        """Stop accepting, let running transfers finish, however long they take; `drained` is set after the last."""
        self._stop_accepting()
        with self._lock:
            idle = [connection for connection in self._connections if connection.idle]
        for connection in idle:
            _shut(connection.sock)
        self._note_drained()

    def abort(self) -> None:
        """Stop accepting and cut every connection at once."""
        self._stop_accepting()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            _shut(connection.sock)
        self._note_drained()

    def _stop_accepting(self) -> None:
        self._closing = True
        _shut(self._listener)
        self._listener.close()

    def _note_drained(self) -> None:
        with self._lock:
            if self._closing and not self._connections:
                self.drained.set()

    def _accept(self) -> None:
        while not self._closing:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connection, args=(raw,), name=f"{self._name}-connection", daemon=True).start()

    def _connection(self, raw: socket.socket) -> None:
        connection = _Connection(raw)
        with self._lock:
            self._connections.add(connection)
        try:
            self._serve(connection)
        except (OSError, ssl.SSLError, Dropped, BadHead):
            pass  # the peer went away, or was sent away: nobody is left to tell
        except Exception:
            _log.exception("%s: the handler broke, the connection is cut", self._name)
        finally:
            with contextlib.suppress(OSError):
                connection.sock.close()
            with self._lock:
                self._connections.discard(connection)
            self._note_drained()

    def _serve(self, connection: _Connection) -> None:
        raw = connection.sock
        raw.settimeout(None)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            raw.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        first = raw.recv(1, socket.MSG_PEEK)
        if not first:
            return
        if first[0] != _TLS_HANDSHAKE:
            raw.sendall(_PLAIN_REFUSAL)
            return
        context = self._context() if callable(self._context) else self._context
        tls = context.wrap_socket(raw, server_side=True)
        connection.sock = tls
        peer = tls.getpeercert()
        inlet = Inlet(tls)
        while not self._closing:
            connection.idle = True
            if self._closing:
                return
            try:
                head = read_head(inlet)
            except BadHead:
                tls.sendall(_MALFORMED)
                return
            if head is None:
                return
            connection.idle = False
            if not self._exchange(tls, inlet, head, peer):
                return

    def _exchange(self, tls: ssl.SSLSocket, inlet: Inlet, head: Head, peer: dict[str, Any] | None) -> bool:
        """Answer one request; return whether the connection may carry another."""
        body = Body(inlet, head, lambda: tls.sendall(b"HTTP/1.1 100 Continue\r\n\r\n"))
        request = Request(head.method, head.target, head.headers, body, peer or None)
        try:
            with self._computing():
                reply = self._handler(request)
            stays = head.keep_alive and body.skip() and not self._closing
            self._send(tls, head, reply, stays=stays)
        except Dropped:
            with contextlib.suppress(OSError):
                tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            raise
        return stays

    def _send(self, tls: ssl.SSLSocket, head: Head, reply: Reply, *, stays: bool) -> None:
        chunked = reply.size is None and head.version != "HTTP/1.0"
        bare = head.method == "HEAD" or reply.code in {204, 304}
        lines = [f"HTTP/1.1 {reply.code} {_phrase(reply.code)}", *(f"{name}: {value}" for name, value in reply.headers)]
        lines.append(f"Date: {formatdate(usegmt=True)}")
        if reply.size is not None:
            lines.append(f"Content-Length: {reply.size}")
        elif chunked:
            lines.append("Transfer-Encoding: chunked")
        if not stays:
            lines.append("Connection: close")
        start = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if bare:
            tls.sendall(start)
        elif isinstance(reply.body, bytes):
            tls.sendall(start + reply.body)
        else:
            tls.sendall(start)
            self._send_pieces(tls, iter(reply.body), chunked=chunked)

    def _send_pieces(self, tls: ssl.SSLSocket, pieces: Iterator[bytes | memoryview], *, chunked: bool) -> None:
        try:
            while True:
                with self._computing():
                    piece = next(pieces, None)
                if piece is None:
                    break
                if not piece:
                    continue
                if chunked:
                    tls.sendall(b"%x\r\n" % len(piece))
                tls.sendall(piece)
                if chunked:
                    tls.sendall(b"\r\n")
            if chunked:
                tls.sendall(b"0\r\n\r\n")
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    def _computing(self) -> contextlib.AbstractContextManager[None]:
        return self._clock.busy() if self._clock is not None else contextlib.nullcontext()


def clean_path(path: str) -> str:
    """Return a path without doubled slashes and dots, keeping a trailing slash, as Go's servers redirect to."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return f"{clean}/" if path.endswith("/") and clean != "/" else clean


def redirect(request: Request, path: str) -> Reply:
    """Send a client to another path of the same server, with its query."""
    return Reply(307, (("Location", quote(path, errors="surrogateescape") + (f"?{request.query}" if request.query else "")),))


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "status code"


def _shut(sock: socket.socket) -> None:
    """Shut a socket from another thread, below TLS, so that whoever waits on it wakes."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
