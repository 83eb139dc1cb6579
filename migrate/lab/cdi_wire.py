"""The connection under the importer's http client: TLS really verified, patience in lab time, failures in the words of Go."""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from migrate.lab.cdi_formats import Broken

if TYPE_CHECKING:
    from migrate.lab.clock import LabClock

IDLE_S: Final = 600.0
"""Lab seconds without a byte after which CDI gives up."""
_GLANCE_S: Final = 0.02
"""Real seconds for which a thread that waits for a byte still counts as busy."""


class HttpFailed(Exception):
    """No answer, or not the right one. The text is what Go's http client and CDI say."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What to fetch and how: the URL, header lines as (name, value), and the certificates to trust."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    trust: ssl.SSLContext | None = None
    clock: LabClock | None = None
    check: Callable[[], None] = field(default=lambda: None)
    """Called while waiting for bytes; raises when the program was killed."""


class Wire(io.RawIOBase):
    """A socket that knows the lab's time: whoever waits long on it lets time pass, and gives up after ten idle minutes."""

    def __init__(self, endpoint: Endpoint, sock: socket.socket) -> None:
        super().__init__()
        self._endpoint = endpoint
        self.sock = sock
        self.divisible = False
        """Whether a read may give less than was asked for; chunked bodies may not."""
        self.began = False
        sock.settimeout(_GLANCE_S)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there. When nothing more is there just now, and something was, let the caller have that (None)."""
        try:
            size = self.sock.recv_into(buffer)
        except TimeoutError:
            if self.began:
                return None
            size = int(self.patiently(lambda: self.sock.recv_into(buffer)))
        self.began = self.divisible
        return size

    def close(self) -> None:
        self.sock.close()
        super().close()

    def patiently(self, action: Callable[[], Any]) -> Any:
        """Run a socket call again until it no longer times out. Raise Broken after ten idle minutes."""
        clock = self._endpoint.clock
        since = None
        while True:
            try:
                return action()
            except TimeoutError:
                self._endpoint.check()
                if clock is None:
                    continue
                since = clock.monotonic() if since is None else since
                if clock.monotonic() - since > IDLE_S:
                    raise Broken("context canceled") from None
                with clock.idle():
                    select.select([self.sock], [], [], _GLANCE_S)


class Lent:
    """The socket that http.client believes to own; it closes it early, when body bytes are still to be read."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def sendall(self, data: Any) -> None:
        self._wire.sock.settimeout(30)
        self._wire.sock.sendall(data)
        self._wire.sock.settimeout(_GLANCE_S)

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(self._wire, 1 << 16)

    def close(self) -> None:
        """Leave it open: the answer closes it."""


def connect(endpoint: Endpoint, url: str) -> Wire:
    """Connect to a URL's host. Raise HttpFailed with Go's words."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host = parts.hostname or ""
    address = (host, parts.port or (443 if secure else 80))
    try:
        raw = socket.create_connection(address, timeout=30)
    except socket.gaierror as error:
        raise HttpFailed(f"dial tcp: lookup {host}: no such host") from error
    except ConnectionRefusedError as error:
        raise HttpFailed(f"dial tcp {address[0]}:{address[1]}: connect: connection refused") from error
    except OSError as error:
        raise HttpFailed(f"dial tcp {address[0]}:{address[1]}: {error.strerror or error}") from error
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    if not secure:
        return Wire(endpoint, raw)
    context = endpoint.trust or ssl.create_default_context()
    sock = context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
    wire = Wire(endpoint, sock)
    try:
        wire.patiently(sock.do_handshake)
    except ssl.SSLCertVerificationError as error:
        wire.close()
        raise HttpFailed(f"tls: failed to verify certificate: x509: {_x509(error, host)}") from error
    except (OSError, Broken) as error:
        wire.close()
        raise HttpFailed(network_words(error)) from error
    return wire


def _x509(error: ssl.SSLCertVerificationError, host: str) -> str:
    match error.verify_code:
        case 62 | 64:
            return f"certificate is not valid for any names, but wanted to match {host}"
        case 9 | 10:
            return "certificate has expired or is not yet valid"
        case _:
            return "certificate signed by unknown authority"


def network_words(error: Exception) -> str:
    """Return what Go says when a connection breaks."""
    match error:
        case ConnectionResetError() | BrokenPipeError():
            return "read: connection reset by peer"
        case ssl.SSLEOFError() | http.client.RemoteDisconnected() | EOFError():
            return "EOF"
        case ssl.SSLError() if "WRONG_VERSION_NUMBER" in str(error) or "record layer" in str(error).lower():
            return "http: server gave HTTP response to HTTPS client"
        case _:
            return str(error)
