"""The client of an export: asks for sizes, and reads disks by ranges in constant memory, straight or through a port-forward.

Token and CA are given once and sit in a header and a TLS context: no address, log line or error text holds the token, and redirects
are never followed, since they would carry it elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from migrate import __version__
from migrate.model.clock import Clock
from migrate.model.errors import Blocked, Unreachable
from migrate.model.labels import OWNER
from migrate.transfer import trust
from migrate.transfer.answers import Changed, check_answer, host_of, https, refused
from migrate.transfer.patience import AGAIN, Interrupted, Patience, Waits
from migrate.transfer.ranges import READ_BYTES, Range

if TYPE_CHECKING:
    import urllib3

    from migrate.transfer.straight import Way

TOKEN_HEADER = "x-kubevirt-export-token"  # noqa: S105 - the name of a header
USER_AGENT = f"{OWNER}/{__version__}"
T = TypeVar("T")
CONNECT_S = 10.0
READ_S = 60.0
"""The proxy gives an export server 30 s for its headers; silence of a minute is a dead stream."""
NEVER = threading.Event()


class NotTrusted(Blocked):
    """The host answers with a certificate that the given CA does not vouch for; only a person can say whom to believe."""

    reason = "HostNotTrusted"


class ExportClient:
    """One export host, one CA, one token. Safe to use from several threads at once."""

    def __init__(
        self,
        *,
        ca_pem: str,
        token: str,
        clock: Clock,
        streams: int = 4,
        forward: Way | None = None,
        insecure: bool = False,
        distrusted: str = "give its CA as a PEM file with --source-ca or --target-ca",
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`ca_pem` is PEM text, "" for the system's roots alone; `token` "" sends none; `streams` is how many connections are kept.

        With `forward` every connection goes that way, whatever host the URL names; its certificate must be for that host all the same.
        `insecure`: whoever answers is believed, as the user said. `distrusted`: what to do about a certificate that is refused.
        `tell` is told when it waits for a host that does not answer, and when it goes on.
        """
        self._tls = trust.blind() if insecure else trust.context(ca_pem)
        self._headers = {"user-agent": USER_AGENT} | ({TOKEN_HEADER: token} if token else {})
        self._clock = clock
        self._streams = streams
        self._distrusted = distrusted
        self._forward = forward
        self._bulk: urllib3.PoolManager | None = None
        self._lock = threading.Lock()
        self._waits = Waits(tell)

    def probe(self, url: str) -> int:
        """Return the status that the host itself answers for a URL, whatever it is. One try, never through a port-forward.

        Raises NotTrusted when its certificate is refused, Unreachable when nothing answers.
        """
        import httpx

        timeout = httpx.Timeout(READ_S / 2, connect=CONNECT_S)
        try:
            with (
                httpx.Client(verify=self._tls, timeout=timeout) as client,
                client.stream("GET", https(url), headers=self._headers) as answer,
            ):
                return answer.status_code
        except httpx.TransportError as error:
            _raise_distrust(error, url, self._distrusted)
            raise Unreachable(
                "the export host does not answer",
                where=host_of(url),
                why=f"{type(error).__name__}: {error}",
                now="see that this machine and the target's nodes reach it",
            ) from None

    def size(self, url: str, cancelled: threading.Event = NEVER) -> int:
        """Return the bytes of a disk: Content-Length of HEAD on its raw link (real-stack 3.2).

        Raises Refused for any answer but 200 with a length, NotTrusted, Unreachable.
        """
        answer = self._head(url, cancelled, what="the size of a disk could not be read")
        length = answer.headers.get("content-length", "")
        if answer.status != 200 or not length.isdigit():
            raise refused("the size of a disk could not be read", url, answer.status)
        return int(length)

    def status(self, url: str, cancelled: threading.Event = NEVER) -> int:
        """Return what a HEAD is answered with. Raises NotTrusted, Unreachable."""
        return self._head(url, cancelled, what="the files of a claim could not be read").status

    def pieces(
        self, url: str, part: Range, *, of: int, cancelled: threading.Event = NEVER, same: Callable[[], bool] = lambda: True
    ) -> Iterator[bytes]:
        """Yield the bytes of one range in pieces of READ_BYTES (the last may be shorter), of a disk that holds `of` bytes.

        A broken stream is taken up where it broke. Before each such try it is asked whether the disk is still in the `same` state.
        Raises Changed when it is not, Refused when the host ignores ranges or the disk has another size by now,
        NotTrusted, and Unreachable once six tries in a row brought no byte.
        """
        patience = Patience(self._clock, cancelled, self._waits)
        at = part.start
        held = bytearray()
        while at + len(held) < part.stop:
            try:
                for chunk in self._stream(url, Range(at + len(held), part.stop), of=of):
                    patience.moved()
                    held += chunk
                    while len(held) >= READ_BYTES:
                        yield bytes(memoryview(held)[:READ_BYTES])
                        del held[:READ_BYTES]
                        at += READ_BYTES
            except Interrupted as trouble:
                patience.pause(trouble, what="a disk could not be read", where=url)
                if not same():
                    raise Changed(url) from None
        if held:
            yield bytes(held)

    def whole(
        self,
        url: str,
        read: Callable[[Iterator[bytes]], T],
        cancelled: threading.Event = NEVER,
        *,
        look: Callable[[Mapping[str, str]], None] = lambda _headers: None,
    ) -> T:
        """Let `read` take a whole body, piece by piece, and return what it makes of it. What breaks off is read anew from its start.

        `look` sees the headers first and may raise. `read` raises Interrupted for a body that is no good.
        Raises Refused for any answer but 200, NotTrusted, Unreachable.
        """
        patience = Patience(self._clock, cancelled, self._waits)
        while True:
            try:
                return read(self._body(url, look))
            except Interrupted as trouble:
                patience.pause(trouble, what="the files of a claim could not be read", where=url)

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            if self._bulk is not None:
                self._bulk.clear()
        if self._forward is not None:
            self._forward.close()

    def _head(self, url: str, cancelled: threading.Event, *, what: str) -> urllib3.BaseHTTPResponse:
        patience = Patience(self._clock, cancelled, self._waits)
        while True:
            try:
                answer = self._ask("HEAD", url)
                break
            except Interrupted as trouble:
                patience.pause(trouble, what=what, where=url)
        self._waits.end()
        return answer

    def _ask(self, method: str, url: str) -> urllib3.BaseHTTPResponse:
        """Ask for a head; of a body nothing is read."""
        answer = self._request(method, url, self._headers, READ_S / 2)
        answer.close()
        if answer.status in AGAIN:
            raise Interrupted(f"status {answer.status}")
        return answer

    def _body(self, url: str, look: Callable[[Mapping[str, str]], None]) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        answer: Any = self._request("GET", url, self._headers, READ_S)
        try:
            if answer.status in AGAIN:
                raise Interrupted(f"status {answer.status}")
            if answer.status != 200:
                raise refused("the files of a claim could not be read", url, answer.status)
            look(answer.headers)
            while chunk := answer.read(READ_BYTES):
                self._waits.end()
                yield chunk
        except (HTTPError, OSError) as error:
            raise Interrupted(self._words(error)) from None
        finally:
            answer.close()

    def _request(
        self, method: str, url: str, headers: dict[str, str], read_s: float, body: IO[bytes] | None = None
    ) -> urllib3.BaseHTTPResponse:
        import urllib3
        from urllib3.exceptions import HTTPError

        try:
            return self._pool(url).request(
                method,
                https(url),
                headers={**headers, "accept-encoding": "identity"},
                body=body,
                preload_content=False,
                redirect=False,
                retries=False,
                enforce_content_length=False,
                timeout=urllib3.Timeout(connect=CONNECT_S, read=read_s),
            )
        except HTTPError as error:
            _raise_distrust(error, url, self._distrusted)
            raise Interrupted(self._words(error)) from None

    def _words(self, error: Exception) -> str:
        """Return the words of an error, and what the far end of a port-forward said about it."""
        said = self._forward.trouble if self._forward is not None else ""
        words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return f"{said} ({words})" if said else words

    def _stream(self, url: str, part: Range, *, of: int) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        answer: Any = self._request("GET", url, {**self._headers, "range": part.header}, READ_S)
        left = part.bytes
        try:
            check_answer(answer.status, answer.headers.get("content-range", ""), part, of=of, url=url)
            while left and (chunk := answer.read(min(left, READ_BYTES))):
                left -= len(chunk)
                yield chunk
        except (HTTPError, OSError) as error:
            raise Interrupted(self._words(error)) from None
        finally:
            if left:
                answer.close()
            else:
                answer.release_conn()
        if left:
            raise Interrupted(f"the body ended {left} bytes early")

    def _pool(self, url: str) -> urllib3.PoolManager:
        from urllib.request import getproxies, proxy_bypass

        import urllib3

        with self._lock:
            if self._bulk is None and self._forward is not None:
                from migrate.transfer.portforward import pool_through

                self._bulk = pool_through(self._forward, tls=self._tls, streams=self._streams)
            elif self._bulk is None:
                proxy = getproxies().get("https", "")
                if proxy and not proxy_bypass(urlsplit(url).hostname or ""):
                    self._bulk = urllib3.ProxyManager(proxy, ssl_context=self._tls, maxsize=self._streams)
                else:
                    self._bulk = urllib3.PoolManager(ssl_context=self._tls, maxsize=self._streams)
            return self._bulk


def _raise_distrust(error: Exception, url: str, now: str) -> None:
    words = trust.distrust(error)
    if words:
        raise NotTrusted("the certificate of the export host is not trusted", where=host_of(url), why=words, now=now) from None
