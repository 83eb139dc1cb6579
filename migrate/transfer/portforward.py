"""A way to one port of a pod through its API server, for clusters whose exports have no link from outside.

Each connection is a websocket of its own (`v4.channel.k8s.io`: channel 0 for bytes, 1 for errors), so that streams cannot hold each other
up. The official client reads as fast as the server sends and keeps what nobody takes; here a connection is read no further once
`MOST_WAITING_BYTES` wait on either side, and TCP does the rest. TLS runs inside, from end to end: the API server sees ciphertext.
"""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from migrate.model.errors import Refused
from migrate.transfer.pump import MOST_WAITING_BYTES, Pump
from migrate.transfer.straight import Way

if TYPE_CHECKING:
    import urllib3
    from wsproto import WSConnection
    from wsproto.events import Event

__all__ = ["MOST_WAITING_BYTES", "Access", "Broken", "Forward", "pool_through"]

log = logging.getLogger("migrate.transfer")

PROTOCOL = "v4.channel.k8s.io"
CONNECT_S = 10.0
MOST_ANSWER_BYTES = 1 << 16
_PASSING = frozenset({404, 429, 500, 502, 503, 504})
"""Answers that another try may better: the pod is being replaced, the API server is busy or its kubelet away."""


class Broken(OSError):
    """A connection that could not be made, or broke, for a cause that may pass. Its words are the cluster's."""


@dataclass(frozen=True, slots=True)
class Access:
    """How an API server is reached now, and who we are towards it."""

    server: str
    """URL, with the path prefix if it has one."""
    tls: ssl.SSLContext | None
    """None = plain http (`kubectl proxy`)."""
    server_name: str
    """Name that its certificate must carry."""
    proxy: str = ""
    """URL of the http proxy between here and there, "" for none."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """They hold the token."""


@dataclass(slots=True)
class Forward:
    """The way to one port of whichever pod serves now. Every connection asks anew, so that a replaced pod and a renewed token are found."""

    access: Callable[[bool], Access]
    """Asked before every connection; True = the login of the one before was refused with 401."""
    pod_path: Callable[[], str]
    """Return `/api/v1/namespaces/NS/pods/POD` of the pod that serves now. Raises Broken while there is none."""
    port: int
    where: str
    trouble: str = ""
    """What the far end said when a connection broke, in its own words."""
    _pumps: set[Pump] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def connect(self, timeout_s: float = CONNECT_S) -> socket.socket:
        """Return a socket that leads to the port. Closing it ends the forward.

        Raises Broken for what may pass (no pod, no answer, 5xx), Refused when the API server says no.
        """
        self.trouble, again = "", False
        while True:
            try:
                found = _shake_hands(self.access(again), f"{self.pod_path()}/portforward?ports={self.port}", timeout_s)
            except _Unauthorized as error:
                if again:
                    raise self._refused(401, str(error)) from None
                again = True
            except _Rejected as error:
                if error.status in _PASSING:
                    raise Broken(f"port-forward: status {error.status}: {error}") from None
                raise self._refused(error.status, str(error)) from None
            except OSError as error:
                raise Broken(f"port-forward: {error}") from error
            else:
                return self._carry(*found, timeout_s=timeout_s)

    def close(self) -> None:
        """End every connection."""
        with self._lock:
            pumps = list(self._pumps)
        for pump in pumps:
            pump.stop()

    def _carry(self, wire: socket.socket, websocket: WSConnection, ahead: list[Event], *, timeout_s: float) -> socket.socket:
        """Return the near end. It waits for a byte no longer than `timeout_s`, unless its owner says how long: nor for a handshake."""
        ours, theirs = socket.socketpair()
        theirs.settimeout(timeout_s)
        pump = Pump(wire, websocket, ours, ahead, on_end=self._ended)
        with self._lock:
            self._pumps.add(pump)
        pump.start()
        return theirs

    def _ended(self, pump: Pump) -> None:
        with self._lock:
            self._pumps.discard(pump)
            self.trouble = pump.trouble or self.trouble
        if pump.trouble:
            log.info("%s: port-forward ended: %s", self.where, pump.trouble)

    def _refused(self, status: int, words: str) -> Refused:
        match status:
            case 401 | 403:
                now = "ask for the verbs get and create on pods/portforward, or give this cluster's exports an external link"
            case _:
                now = "see what stands between here and the API server: port-forward needs websockets"
        return Refused("the pod's port could not be forwarded", where=self.where, why=words, now=now, status=status)


def pool_through(way: Way, *, tls: ssl.SSLContext, streams: int) -> urllib3.PoolManager:
    """Return a pool whose every connection is made by a way of its own. TLS inside is verified against the host name of the URL."""
    import urllib3
    from urllib3.connection import HTTPSConnection
    from urllib3.connectionpool import HTTPSConnectionPool

    class Through(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return way.connect(self.timeout or CONNECT_S)

    class Pool(HTTPSConnectionPool):
        ConnectionCls = Through

    made = urllib3.PoolManager(ssl_context=tls, maxsize=streams)
    made.pool_classes_by_scheme = {"https": Pool}
    return made


class _Rejected(Exception):
    """The API server answered the handshake with something else than 101."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class _Unauthorized(_Rejected):
    """401."""


def _shake_hands(access: Access, path: str, timeout_s: float) -> tuple[socket.socket, WSConnection, list[Event]]:
    """Open a websocket; return its socket and state, and the events that came with the answer."""
    from wsproto import ConnectionType, WSConnection
    from wsproto.events import AcceptConnection, Request
    from wsproto.utilities import ProtocolError

    url = urlsplit(access.server)
    wire = _dial(access, timeout_s)
    try:
        websocket = WSConnection(ConnectionType.CLIENT)
        headers = [(name.encode(), value.encode()) for name, value in access.headers]
        asked = Request(host=url.netloc, target=url.path.rstrip("/") + path, subprotocols=[PROTOCOL], extra_headers=headers)
        wire.sendall(websocket.send(asked))
        answer = _Answer()
        while True:
            data = _heard(wire)
            websocket.receive_data(data)
            events = list(websocket.events())
            for index, event in enumerate(events):
                if isinstance(event, AcceptConnection):
                    return wire, websocket, events[index + 1 :]
                answer.take(event)
    except ProtocolError as error:
        wire.close()
        raise Broken(f"the API server's answer is no websocket: {error}") from error
    except BaseException:
        wire.close()
        raise


def _heard(wire: socket.socket) -> bytes:
    data = wire.recv(MOST_ANSWER_BYTES)
    if not data:
        raise Broken("the API server hung up during the handshake")
    return data


class _Answer:
    """An answer that is no 101, gathered until it is whole."""

    def __init__(self) -> None:
        self._status = 0
        self._body = bytearray()

    def take(self, event: Event) -> None:
        """Take one event; raises _Rejected when the answer is whole."""
        from wsproto.events import RejectConnection, RejectData

        if isinstance(event, RejectConnection):
            self._status = event.status_code
            if event.has_body:
                return
        elif isinstance(event, RejectData):
            self._body += event.data[: MOST_ANSWER_BYTES - len(self._body)]
            if not event.body_finished:
                return
        else:
            return
        kind = _Unauthorized if self._status == 401 else _Rejected
        raise kind(self._status, _words(bytes(self._body)) or f"status {self._status}")


def _words(body: bytes) -> str:
    """Return the message of a Status, or the text of whatever else it is, cut short."""
    text = body.decode(errors="replace").strip()
    try:
        status = json.loads(text)
    except ValueError:
        return text[:200]
    return str(status.get("message") or "") if isinstance(status, Mapping) else text[:200]


def _dial(access: Access, timeout_s: float) -> socket.socket:
    """Connect to the API server, by way of the proxy if there is one."""
    url = urlsplit(access.server)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    plain = _by_proxy(access.proxy, host, port, timeout_s) if access.proxy else socket.create_connection((host, port), timeout=timeout_s)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.settimeout(timeout_s)
        return access.tls.wrap_socket(plain, server_hostname=access.server_name or host) if access.tls is not None else plain
    except BaseException:
        plain.close()
        raise


def _by_proxy(proxy: str, host: str, port: int, timeout_s: float) -> socket.socket:
    from base64 import b64encode
    from http.client import HTTPConnection
    from urllib.parse import unquote

    url = urlsplit(proxy)
    if url.scheme != "http" or not url.hostname:
        raise Refused(
            "the pod's port cannot be forwarded through this proxy",
            where=f"{url.scheme}://{url.hostname}",
            why="only http:// proxies are known here",
            now="name an http:// proxy, or give the exports of this cluster an external link",
        )
    given = f"{unquote(url.username)}:{unquote(url.password or '')}" if url.username else ""
    headers = {"Proxy-Authorization": f"Basic {b64encode(given.encode()).decode()}"} if given else {}
    way = HTTPConnection(url.hostname, url.port or 80, timeout=timeout_s)
    way.set_tunnel(host, port, headers)
    way.connect()
    assert isinstance(way.sock, socket.socket)
    return way.sock
