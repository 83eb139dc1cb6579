"""The http data source of the importer: one HEAD, one plain GET, headers and CA from mounted files, errors in the words of Go.

Source: reference/cdi-import.md sections 2.1, 2.2 and 2.5.
"""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

from migrate.lab.cdi_formats import Broken
from migrate.lab.cdi_wire import Endpoint, HttpFailed, Lent, Wire, connect, network_words

USER_AGENT: Final = "cdi-golang-importer"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HOPS: Final = 50


def header_lines(lines: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Split whole header lines at the first colon; a line without one is skipped in silence, as CDI does."""
    found = []
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            found.append((name, value))
    return tuple(found)


def secret_headers(directory: Path) -> list[str]:
    """Return the contents of all files under the mounted header Secrets (`/extraheaders/<i>/<key>`), dot names left out."""
    if not directory.is_dir():
        return []
    lines: list[str] = []
    for path in sorted(directory.iterdir()):
        if path.name.startswith("."):
            continue
        lines += secret_headers(path) if path.is_dir() else [path.read_bytes().decode("latin-1")]
    return lines


def basic_auth(user: str, password: str) -> tuple[tuple[str, str], ...]:
    """Return the Authorization header, only if both words are there."""
    if not (user and password):
        return ()
    return (("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()),)


def trust(directory: Path | None, *, insecure: bool, log: Callable[[str], None]) -> ssl.SSLContext:
    """Return a context that trusts the system's roots and every certificate in the directory's files (dot names left out)."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # Go takes any given certificate as a root
    for path in sorted(directory.iterdir()) if directory is not None and directory.is_dir() else ():
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            context.load_verify_locations(cadata=path.read_bytes().decode("ascii", "ignore"))
        except (ssl.SSLError, ValueError):
            log(f"No certs in {path.name}")
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class Answer:
    """An answer whose body is read piece by piece. `length` is None for chunked ones."""

    def __init__(self, wire: Wire, response: http.client.HTTPResponse) -> None:
        self._wire = wire
        self._response = response
        self.status = response.status
        length = response.getheader("Content-Length")
        self.length = int(length) if length is not None and length.isdigit() and not response.chunked else None
        self.received = 0
        wire.divisible = not response.chunked

    def header(self, name: str) -> str:
        """Return a header's value, empty if absent."""
        return self._response.getheader(name) or ""

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer with body bytes; 0 = the end. Raise Broken for a body cut short of its promised length."""
        self._wire.began = False
        try:
            size = self._response.readinto(buffer)
        except http.client.IncompleteRead as error:
            raise Broken("unexpected EOF") from error
        except OSError as error:
            raise Broken("unexpected EOF" if isinstance(error, ssl.SSLError) else network_words(error)) from error
        self.received += size
        if size == 0 and self.length is not None and self.received < self.length:
            raise Broken("unexpected EOF")
        return size

    def close(self) -> None:
        """Drop the connection, whatever is left of the body."""
        self._response.close()
        self._wire.close()


def _valid(headers: Iterable[tuple[str, str]]) -> None:
    for name, value in headers:
        if any(char in "\r\n\0" or (char < " " and char != "\t") or char == "\x7f" for char in value):
            raise HttpFailed(f'net/http: invalid header field value for "{_go_case(name)}"')
        if not name or any(char <= " " or char in '()<>@,;:\\"/[]?={}\x7f' for char in name):
            raise HttpFailed(f'net/http: invalid header field name "{name}"')


def _go_case(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


def ask(endpoint: Endpoint, method: str) -> Answer:
    """Send one request and return its answer, redirects followed (with all headers, as CDI does). Raise HttpFailed without one."""
    url = endpoint.url
    try:
        for _ in range(_HOPS):
            answer = _once(endpoint, method, url)
            target = answer.header("Location")
            if answer.status not in _REDIRECTS or not target:
                return answer
            answer.close()
            url = urljoin(url, target)
    except HttpFailed as error:
        raise HttpFailed(f'{method.capitalize()} "{url}": {error}') from error
    raise HttpFailed(f'{method.capitalize()} "{url}": too many redirects')


def _once(endpoint: Endpoint, method: str, url: str) -> Answer:
    _valid(endpoint.headers)
    parts = urlsplit(url)
    wire = connect(endpoint, url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0)
    connection.sock = Lent(wire)
    try:
        connection.putrequest(
            method, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), skip_accept_encoding=True, skip_host=True
        )
        connection.putheader("Host", parts.netloc.rpartition("@")[2])
        connection.putheader("User-Agent", USER_AGENT)
        for name, value in endpoint.headers:
            connection.putheader(name, value.strip(" \t"))
        connection.endheaders()
        return Answer(wire, connection.getresponse())
    except (OSError, http.client.HTTPException, Broken) as error:
        wire.close()
        raise HttpFailed(network_words(error)) from error


def status_text(status: int) -> str:
    """Return a status as Go shows it: `401 Unauthorized`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
