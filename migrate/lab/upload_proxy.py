"""The upload proxy: the one door of a cluster for uploads. It checks the token, finds the claim's upload server, and passes the bytes on.

Source: reference/cdi-import.md section 5.2. Not modelled: the form paths.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from migrate.kube.kinds import CDICONFIG, PVC, SECRET, SERVICE, Kind
from migrate.lab import cdi_names as names
from migrate.lab import certs, upload_certs
from migrate.lab.bytesd import ByteServer, Dropped, Reply, Request, text
from migrate.lab.cdi_import import annotations_of
from migrate.lab.controller import Controller, Key, Object, Runtime
from migrate.lab.doom import Fate, Heard
from migrate.lab.export_certs import pair_of
from migrate.lab.httpwire import BadHead, Body, Head, Headers, Inlet
from migrate.lab.upload_server import ARCHIVE, PATHS
from migrate.lab.upload_token import OPERATION, BadToken, Signer

if TYPE_CHECKING:
    from migrate.lab.trouble import Order

READY_S: Final = 10.0
"""Lab seconds that the proxy waits for an upload server."""
_PIECE: Final = 256 << 10
_OPEN: Final = ("Access-Control-Allow-Origin", "*")


class NotNow(Exception):
    """There is no server for this upload; the text goes to the client with a 503."""


class UploadProxy(Controller):
    """Serves from start to stop."""

    name = "cdi-uploadproxy"

    def __init__(self, runtime: Runtime, signer: Signer) -> None:
        super().__init__(runtime)
        self._signer = signer
        self._server: ByteServer | None = None
        self._inside: ssl.SSLContext | None = None
        for kind in (PVC, SERVICE):
            runtime.cache(kind)

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return []

    @property
    def url(self) -> str:
        """Return what the CDIConfig says: host and port, no scheme. Empty before the start."""
        return f"{upload_certs.HOST}:{self._server.port}" if self._server is not None else ""

    def start(self) -> None:
        own = self.runtime.api.get(SECRET, upload_certs.PROXY_SECRET, names.NAMESPACE)
        client = self.runtime.api.get(SECRET, upload_certs.CLIENT_SECRET, names.NAMESPACE)
        if own is None or client is None:
            raise LookupError(f"no Secret {names.NAMESPACE}/{upload_certs.PROXY_SECRET}: CDI is not installed")
        self._inside = upload_certs.client_context(client)
        self._server = ByteServer(self._listener(), certs.server_context(pair_of(own)), self.answer, name=self.name)
        self._server.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        if self._server is not None:
            self._server.abort()

    def _listener(self) -> socket.socket:
        """Listen at the port of the last run if it is free."""
        known = ((self.runtime.api.get(CDICONFIG, "config") or {}).get("status") or {}).get("uploadProxyURL") or ""
        port = known.rpartition(":")[2]
        if port.isdigit():
            with contextlib.suppress(OSError):
                return socket.create_server(("127.0.0.1", int(port)), backlog=64)
        return socket.create_server(("127.0.0.1", 0), backlog=64)

    def answer(self, request: Request) -> Reply:
        """Answer one request, unless its client is dead: then it never arrives, or is answered to nobody."""
        fate = self._fate(request)
        if fate is Fate.CUT:
            raise Dropped
        reply = self._answer(request)
        if fate is Fate.LOST:
            raise Dropped
        return reply

    def _fate(self, request: Request) -> Fate:
        doom = self.runtime.trouble.doom
        if doom is None:
            return Fate.SERVED
        heard = Heard(
            cluster=self.runtime.name,
            place="upload",
            method=request.method,
            path=request.path,
            verb="create",
            resource="",
            namespace="",
            name="",
            user_agent=request.headers.get("User-Agent", ""),
        )
        return doom.fate(heard)

    def _answer(self, request: Request) -> Reply:
        if request.path == "/healthz":
            return text(200, "OK")
        if request.path not in PATHS:
            return Reply(404, (_OPEN,))
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token.strip():
            return Reply(400, (_OPEN,))
        try:
            claims = self._signer.check(token.strip())
        except BadToken as error:
            self.log.info("token refused: %s", error)
            return Reply(401, (_OPEN,))
        if (claims.operation, claims.resource) != (OPERATION, "persistentvolumeclaims"):
            return Reply(400, (_OPEN,))
        if (refusal := self._trouble(request, claims.namespace, claims.name)) is not None:
            return refusal
        try:
            claim = self._ready_claim(claims.namespace, claims.name)
            return self._pass_on(request, claim)
        except NotNow as error:
            return text(503, str(error), _OPEN)
        except (OSError, ssl.SSLError, BadHead) as error:
            self.log.info("http: proxy error: %s", error)
            return Reply(502, (_OPEN,))

    def _trouble(self, request: Request, namespace: str, name: str) -> Reply | None:
        facts = {"namespace": namespace, "name": name, "pod": "", "path": request.path, "method": request.method}
        order: Order | None = self.runtime.trouble.find("upload", "refuse", "delay", "expire", **facts)
        match order.action if order is not None else "":
            case "refuse" if order is not None:
                after = order.text("retry_after")
                return Reply(order.count("status", 503), ((("Retry-After", after),) if after else ()), order.text("message").encode())
            case "expire":
                return Reply(401, (_OPEN,))
            case "delay" if order is not None:
                self.clock.stall(order.number("seconds", 1))
        return None

    def _ready_claim(self, namespace: str, name: str) -> Object:
        """Return the claim whose upload server is ready, waiting a while for it. Raise NotNow."""
        until = self.clock.monotonic() + READY_S
        while True:
            claim = self._upload_claim(namespace, name)
            if annotations_of(claim).get(names.POD_READY) == "true":
                return claim
            if self.clock.monotonic() >= until:
                raise NotNow(f"timed out waiting for the upload server of {namespace}/{name}")
            self.clock.sleep(0.5)

    def _upload_claim(self, namespace: str, name: str) -> Object:
        target = self.runtime.api.get(PVC, name, namespace)
        if target is None:
            raise NotNow(f"PVC {namespace}/{name} not found")
        if annotations_of(target).get(names.POD_PHASE) == "Succeeded":
            raise NotNow("PVC Upload: already succeeded")
        ref = target["spec"].get("dataSourceRef") or {}
        if ref.get("kind") != "VolumeUploadSource":
            if names.UPLOAD_TARGET not in annotations_of(target):
                raise NotNow(f"PVC {namespace}/{name} is not an upload target")
            return target
        hidden = self.runtime.api.get(PVC, names.prime(target["metadata"]["uid"]), namespace)
        if hidden is None:
            raise NotNow(f"PVC Prime of {namespace}/{name} not yet created")
        return hidden

    def _pass_on(self, request: Request, claim: Object) -> Reply:
        """Send a request to the claim's upload server and return its (short) answer."""
        assert self._inside is not None
        meta = claim["metadata"]
        service = names.upload_service(meta["name"])
        with contextlib.ExitStack() as undo:
            raw = undo.enter_context(self.runtime.dial(meta["namespace"], service, 443))
            raw.settimeout(None)
            backend = undo.enter_context(self._inside.wrap_socket(raw, server_hostname=upload_certs.SERVER_NAME))
            inlet = Inlet(backend)
            files = annotations_of(claim).get(names.CONTENT_TYPE) == "archive" and request.method == "POST"
            backend.sendall(_head(request, ARCHIVE if files else request.target))
            answer = _answer(inlet)
            if answer.code == 100:
                _send_body(request.body, backend)
                answer = _answer(inlet)
            body = Body(inlet, answer)
            words = b"" if request.method == "HEAD" else b"".join(iter(body.read, b""))
        kind = answer.headers.get("Content-Type", "")
        return Reply(answer.code, (_OPEN, *((("Content-Type", kind),) if kind else ())), words)


def _head(request: Request, path: str) -> bytes:
    """Return the head for the server. It asks to be told before the body is sent, since a busy server takes none."""
    lines = [f"{request.method} {path} HTTP/1.1", f"Host: {upload_certs.SERVER_NAME}", "Connection: close"]
    kind = request.headers.get("Content-Type", "")
    if kind:
        lines.append(f"Content-Type: {kind}")
    if request.method == "POST":
        lines.append("Expect: 100-continue")
        length = request.body.length
        lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _send_body(body: Body, backend: ssl.SSLSocket) -> None:
    """Pass the body on. A client that goes away in the middle takes the server's connection with it."""
    chunked = body.length is None
    buffer = memoryview(bytearray(_PIECE))
    try:
        while size := body.read_into(buffer):
            if chunked:
                backend.sendall(b"%x\r\n" % size)
            backend.sendall(buffer[:size])
            if chunked:
                backend.sendall(b"\r\n")
        if chunked:
            backend.sendall(b"0\r\n\r\n")
    except BadHead as error:
        raise Dropped from error


def _answer(inlet: Inlet) -> Head:
    """Read the head of an answer, a 100 Continue too. Raise BadHead."""
    version, _, rest = inlet.line().decode("latin-1").partition(" ")
    code = rest.partition(" ")[0]
    if not version.startswith("HTTP/1.") or not code.isdigit():
        raise BadHead("no status line")
    fields = []
    while line := inlet.line().decode("latin-1"):
        name, _, value = line.partition(":")
        fields.append((name, value.strip()))
    return Head(version=version, headers=Headers(tuple(fields)), code=int(code))
