"""The way into the cluster for exports: the Ingress with its certificate and the export proxy behind it, in one hop.

Reference: kubevirt-export.md section 4. It knows no tokens and no users: it finds the export that a path names, refuses unless that is
Ready, and passes everything else on to the exporter's Service, whose certificate it checks. Memory stays constant whatever the size.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from migrate.kube.kinds import CONFIGMAP, EXPORT, INGRESS, POD, SECRET, SERVICE, Kind
from migrate.lab import certs, export_certs
from migrate.lab.bytesd import ByteServer, Dropped, Reply, Request, clean_path, redirect, text
from migrate.lab.controller import Controller, Key, Object, Runtime, itself
from migrate.lab.doom import Fate, Heard
from migrate.lab.export_links import host_and_port, targets_proxy, with_port
from migrate.lab.export_outside import CA_NAME, NAMESPACE
from migrate.lab.export_server import refusal
from migrate.lab.httpwire import BadHead, Body, Headers, Inlet, read_answer
from migrate.lab.kubevirt_release import Release
from migrate.model.errors import MigrateError

if TYPE_CHECKING:
    from migrate.lab.trouble import Order

SERVED = "lab-ingress-certificate"
"""Secret with the pair that the Ingress really serves; what the Ingress object names may be something else, on purpose."""

HOST = "localhost"
_BUFFER_BYTES = 256 << 10
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_HEADER_PATIENCE_S = 30.0


class ExportProxy(Controller):
    """Serves from start to stop, and writes its port on every Ingress that leads to it."""

    name = "virt-exportproxy"

    def __init__(self, runtime: Runtime, release: Release) -> None:
        super().__init__(runtime)
        versions = "|".join(release.export_versions)
        self._paths = re.compile(
            rf"/api/export\.kubevirt\.io/(?:{versions})/namespaces/([^/]+)/virtualmachineexports/([^/]+)/(.*)", re.DOTALL
        )
        self._context: ssl.SSLContext | None = None
        self._server: ByteServer | None = None
        for kind in (EXPORT, CONFIGMAP, SERVICE, POD):
            runtime.cache(kind)
        runtime.trouble.listen(self._obey)

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [(INGRESS, itself)]

    def start(self) -> None:
        served = self.runtime.api.get(SECRET, SERVED, NAMESPACE)
        if served is None:
            raise LookupError(f"no Secret {NAMESPACE}/{SERVED}: KubeVirt is not installed")
        self._context = certs.server_context(export_certs.pair_of(served))
        self._server = ByteServer(self._listener(), self._current, self.answer, name=self.name)
        self._server.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        if self._server is not None:
            self._server.abort()

    @property
    def port(self) -> int:
        """Return the port on 127.0.0.1 that answers, once started."""
        assert self._server is not None
        return self._server.port

    def reconcile(self, namespace: str, name: str) -> float | None:
        ingress = self.runtime.cache(INGRESS).get(namespace, name)
        if ingress is None or namespace != NAMESPACE or not targets_proxy(ingress):
            return None
        if host_and_port(ingress)[1] != str(self.port):
            self.runtime.api.merge(INGRESS, name, {"spec": {"rules": with_port(ingress, self.port)}}, namespace)
        return None

    def _listener(self) -> socket.socket:
        """Listen, at the port of the last run if it is free, so that links outlive a restart of the lab."""
        for ingress in self.runtime.api.list(INGRESS, NAMESPACE):
            word = host_and_port(ingress)[1]
            if word.isdigit():
                with contextlib.suppress(OSError):
                    return socket.create_server(("127.0.0.1", int(word)), backlog=64)
        return socket.create_server(("127.0.0.1", 0), backlog=64)

    def _current(self) -> ssl.SSLContext:
        assert self._context is not None
        return self._context

    def answer(self, request: Request) -> Reply:
        """Answer one request: find the export, then pass on."""
        self._meet_doom(request)
        if request.path == "/healthz":
            return text(200, "OK")
        if (clean := clean_path(request.path)) != request.path:
            return redirect(request, clean)
        match = self._paths.fullmatch(request.path)
        if match is None:
            return Reply(400)
        namespace, name, rest = match.groups()
        export = self.runtime.cache(EXPORT).get(namespace, name)
        if export is None:
            return Reply(404)
        status = export.get("status") or {}
        if status.get("phase") != "Ready":
            return Reply(503)
        order = self._order(request, namespace, export=name, rest=rest)
        if order is not None and order.action == "refuse":
            return refusal(order, 502)
        if order is not None and order.action == "delay":
            self.clock.stall(order.number("seconds", 1))
        target = quote(f"/{rest}", safe="/:@!$&'()*+,;=~-._") + (f"?{request.query}" if request.query else "")
        try:
            reply = self._pass_on(request, target, service=status["serviceName"], namespace=namespace)
        except (OSError, ssl.SSLError, BadHead) as error:
            self.log.info("http: proxy error: %s", error)
            return Reply(502)
        return _cut(reply, order)

    def _meet_doom(self, request: Request) -> None:
        """Drop what never arrives, or would be answered to nobody."""
        doom = self.runtime.trouble.doom
        if doom is None:
            return
        part = request.headers.get("Range", "")
        heard = Heard(
            cluster=self.runtime.name,
            place="export",
            method=request.method,
            path=f"{request.path} {part}".strip(),
            verb="get",
            resource="",
            namespace="",
            name="",
            user_agent=request.headers.get("User-Agent", ""),
        )
        if doom.fate(heard) is not Fate.SERVED:
            raise Dropped

    def _order(self, request: Request, namespace: str, *, export: str, rest: str) -> Order | None:
        words = rest.split("/")
        volume = words[1] if words[0] == "volumes" and len(words) > 2 else ""
        kinds = {"disk.img": "raw", "disk.img.gz": "gzip", "disk.tar.gz": "tar.gz", "dir": "dir"}
        kind = kinds.get(words[2], "") if volume else ""
        facts = {"namespace": namespace, "export": export, "volume": volume, "format": kind, "path": request.path}
        return self.runtime.trouble.find("proxy", "refuse", "delay", "drop", "truncate", method=request.method, **facts)

    def _pass_on(self, request: Request, target: str, *, service: str, namespace: str) -> Reply:
        """Send a request to an exporter and return its answer, the body still to come. Raises OSError or BadHead."""
        bundle = ((self.runtime.cache(CONFIGMAP).get(NAMESPACE, CA_NAME) or {}).get("data") or {}).get("ca-bundle", "")
        context = certs.client_context(bundle)
        with contextlib.ExitStack() as undo:
            raw = undo.enter_context(self.runtime.dial(namespace, service, 443))
            backend = undo.enter_context(context.wrap_socket(raw, server_hostname=f"{service}.{namespace}.svc"))
            _send(backend, request, target)
            backend.setblocking(False)
            inlet = Inlet(backend)
            inlet.patience_s = _HEADER_PATIENCE_S
            head = read_answer(inlet)
            inlet.patience_s = None
            undo.pop_all()
        headers = tuple(field for field in head.headers.fields if field[0].lower() not in _HOP_BY_HOP | {"date"})
        body = Body(inlet, head)
        if request.method == "HEAD" or head.code in {204, 304}:
            backend.close()
            return Reply(head.code, headers, (), length=body.length)
        return Reply(head.code, headers, _relay(body, backend), length=body.length)

    def _obey(self, order: Order) -> None:
        """Change the certificate at once: a new authority (rotate), or a leaf that is no longer valid (expire)."""
        if order.where != "proxy" or order.action not in {"rotate", "expire"}:
            return
        authority = export_certs.new_authority("ingress")
        end = self.clock.now().replace(year=2001) if order.action == "expire" else None
        pair = export_certs.issue(authority, (HOST, "127.0.0.1"), not_after=end, whole_chain=True)
        self._context = certs.server_context(pair)
        for ingress in self.runtime.cache(INGRESS).all(NAMESPACE):
            names = [entry["secretName"] for entry in ingress["spec"].get("tls") or () if entry.get("secretName")]
            for name in {SERVED, *(names if targets_proxy(ingress) else ())}:
                data = export_certs.tls_secret(name, NAMESPACE, pair)["data"]
                with contextlib.suppress(MigrateError):
                    self.runtime.api.merge(SECRET, name, {"data": data}, NAMESPACE)


def _send(backend: ssl.SSLSocket, request: Request, target: str) -> None:
    fields = request.headers.fields if isinstance(request.headers, Headers) else tuple(request.headers.items())
    lines = [f"{request.method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields if name.lower() not in _HOP_BY_HOP | {"expect"}]
    lines.append("X-Forwarded-For: 127.0.0.1")
    chunked = request.body.length is None and request.headers.get("Transfer-Encoding", "") != ""
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    elif request.body.length is not None:
        lines.append(f"Content-Length: {request.body.length}")
    backend.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    while piece := request.body.read():
        backend.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
    if chunked:
        backend.sendall(b"0\r\n\r\n")


def _relay(body: Body, backend: ssl.SSLSocket) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    try:
        while count := body.read_into(buffer):
            yield buffer[:count]
    except (OSError, ssl.SSLError, BadHead) as error:
        raise Dropped from error
    finally:
        backend.close()


def _cut(reply: Reply, order: Order | None) -> Reply:
    """Cut an answer's body as a fault asks: the connection breaks (drop), or the body seems to end there (truncate)."""
    if order is None or order.action not in {"drop", "truncate"}:
        return reply
    after = order.count("after")
    whole = order.action == "truncate"
    length = min(reply.length, after) if whole and reply.length is not None else reply.length
    return Reply(reply.code, reply.headers, _until(reply.body, after, whole=whole), length=length)


def _until(pieces: Iterable[bytes | memoryview] | bytes, after: int, *, whole: bool) -> Iterator[bytes | memoryview]:
    left = after
    for piece in (pieces,) if isinstance(pieces, bytes) else pieces:
        if len(piece) >= left:
            yield piece[:left]
            if whole:
                return
            raise Dropped
        left -= len(piece)
        yield piece
