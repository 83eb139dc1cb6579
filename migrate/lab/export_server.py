"""The program in the exporter pod: serves the volumes of its environment over TLS to whoever shows the token.

Reference: kubevirt-export.md section 3, measured answers in real-stack.md section 3.2.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from secrets import compare_digest
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from migrate.lab import certs, export_content
from migrate.lab.bytesd import ByteServer, Dropped, Reply, Request, clean_path, redirect, text
from migrate.lab.export_content import WHOLE, Cut
from migrate.lab.export_manifests import (
    Crash,
    NotThere,
    Volume,
    age_machine,
    blur_addresses,
    everything,
    header_secret,
    swap_addresses,
    volumes_of,
    written,
)

if TYPE_CHECKING:
    from migrate.lab.pods import Container
    from migrate.lab.trouble import Order

IMAGE = "lab/virt-exportserver"
READY_PATH = "/exportready"
TOKEN = "x-kubevirt-export-token"
SERVICE_LABEL = "kubevirt.io.virt-export-service"
_SPOILING = ("refuse", "delay", "drop", "truncate", "swap")
_SPOILED_MANIFESTS = {"swap": swap_addresses, "truncate": blur_addresses, "expire": age_machine}
_PORT = 8443
_KILLED = 143
_MANIFESTS = "/manifest_data"
EXPIRE = "expire"
"""Key of what the program shares with its node: an event that makes the deadline come now."""

EXIT = "exit"
"""Key of what a fault may add to that: the program dies at once, with this exit code."""

Handler = Callable[[Request], Reply]


def run(container: Container) -> int:
    """Serve until the deadline (exit 0, after running transfers have ended) or until stopped (everything is cut)."""
    server = ExportServer(container)
    for volume in server.volumes:
        if not export_content.readable_tree(container.path(volume.path)):
            container.log(f"unable to manipulate {volume.path}'s contents, exiting")
            return 1
    pair = certs.Pair(
        chain_pem=container.path(container.env["CERT_FILE"]).read_text(), key_pem=container.path(container.env["KEY_FILE"]).read_text()
    )
    listening = ByteServer(
        container.listen(_PORT), certs.server_context(pair), server.answer, name="virt-exportserver", clock=container.clock
    )
    listening.start()
    hurry = _hurry(container)
    container.clock.wait(hurry, _deadline(container))
    if not container.stop.is_set() and EXIT not in container.shared:
        container.log("Deadline exceeded, shutting down")
        listening.drain()
        threading.Thread(target=_then, args=(container, container.stop, listening.drained), daemon=True).start()
        container.clock.wait(listening.drained, None)
    listening.abort()
    return int(container.shared.get(EXIT, _KILLED if container.stop.is_set() else 0))


def _deadline(container: Container) -> float | None:
    word = container.env.get("DEADLINE")
    return None if not word else (datetime.fromisoformat(word) - container.clock.now()).total_seconds()


def _hurry(container: Container) -> threading.Event:
    """Return an event that ends the serving before its deadline: the container is stopped, or a fault sets it."""
    hurry = threading.Event()
    container.shared[EXPIRE] = hurry
    threading.Thread(target=_then, args=(container, container.stop, hurry), name="virt-exportserver-stop", daemon=True).start()
    return hurry


def _then(container: Container, first: threading.Event, second: threading.Event) -> None:
    container.clock.wait(first, None)
    second.set()


@dataclass(frozen=True, slots=True)
class _Spoiled:
    """What a fault makes of one answer: a refusal instead of it, another volume's bytes, or a cut."""

    reply: Reply | None = None
    volume: str | None = None
    cut: Cut = WHOLE


class ExportServer:
    """The routes of one exporter pod."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.volumes: tuple[Volume, ...] = volumes_of(container.env)
        self._routes: dict[str, Handler] = {}
        self._dirs: dict[str, Volume] = {}
        for volume in self.volumes:
            self._route(volume)
        for side in ("internal", "external"):
            if uri := container.env.get("EXPORT_VM_DEF_URI"):
                self._routes[f"/{side}{uri}"] = self._only_get(self._everything(side))
            if uri := container.env.get("EXPORT_SECRET_DEF_URI"):
                self._routes[f"/{side}{uri}"] = self._only_get(self._header_secret)

    def _route(self, volume: Volume) -> None:
        if volume.raw:
            self._routes[volume.raw] = lambda request: self._spoilable(request, volume, "raw")
        if volume.gzip:
            self._routes[volume.gzip] = self._only_get(lambda request: self._spoilable(request, volume, "gzip"))
        if volume.archive:
            self._routes[volume.archive] = self._only_get(lambda request: self._spoilable(request, volume, "tar.gz"))
        if volume.dir:
            self._dirs[volume.dir] = volume

    @staticmethod
    def _only_get(handler: Handler) -> Handler:
        return lambda request: handler(request) if request.method == "GET" else Reply(400)

    def answer(self, request: Request) -> Reply:
        """Answer one request as the real server's routes do: paths first, then the token, then the method."""
        path = request.path
        if path == READY_PATH:
            return text(200, "OK")
        if (clean := clean_path(path)) != path:
            return redirect(request, clean)
        if f"{path}/" in self._dirs:
            return redirect(request, f"{path}/")
        handler = self._routes.get(path) or self._directory(path)
        if handler is None:
            return text(404, "404 page not found\n", ("X-Content-Type-Options", "nosniff"))
        try:
            token = self._token()
        except OSError:
            return Reply(500)
        if not any(compare_digest(shown, token) for shown in _shown(request)):
            return Reply(401)
        return handler(request)

    def _directory(self, path: str) -> Handler | None:
        for prefix, volume in self._dirs.items():
            if path.startswith(prefix):
                return self._file(volume, path.removeprefix(prefix))
        return None

    def _file(self, volume: Volume, inside: str) -> Handler:
        def handler(request: Request) -> Reply:
            facts = self._facts(request, volume=volume.claim, format="dir")
            order = self._container.trouble.find("export", "refuse", **facts)
            return (
                refusal(order, 503) if order is not None else export_content.directory(request, self._container.path(volume.path), inside)
            )

        return handler

    def _token(self) -> bytes:
        return self._container.path(self._container.env["TOKEN_FILE"]).read_bytes()

    def _spoilable(self, request: Request, volume: Volume, kind: str) -> Reply:
        spoiled = self._spoiled(request, volume, kind)
        if spoiled.reply is not None:
            return spoiled.reply
        if spoiled.volume is not None:
            volume = next((other for other in self.volumes if other.claim == spoiled.volume), volume)
        path = self._container.path(volume.path)
        match kind:
            case "raw":
                return export_content.raw(request, _disk(path), cut=spoiled.cut)
            case "gzip":
                return export_content.gzipped(_disk(path), cut=spoiled.cut)
            case _:
                return export_content.archive(path, cut=spoiled.cut)

    def _spoiled(self, request: Request, volume: Volume, kind: str) -> _Spoiled:
        order = self._container.trouble.find("export", *_SPOILING, **self._facts(request, volume=volume.claim, format=kind))
        if order is None:
            return _Spoiled()
        match order.action:
            case "refuse":
                return _Spoiled(reply=refusal(order, 503))
            case "delay":
                self._container.clock.stall(order.number("seconds", 1))
                return _Spoiled()
            case "drop":
                return _Spoiled(cut=Cut(drop=order.count("after")))
            case "truncate":
                return _Spoiled(cut=Cut(end=order.count("after")))
            case _:
                return _Spoiled(volume=next((other.claim for other in self.volumes if other.claim != volume.claim), None))

    def _facts(self, request: Request, **more: str) -> dict[str, str]:
        labels = self._container.pod["metadata"].get("labels") or {}
        export = labels.get(SERVICE_LABEL, "")
        return {"namespace": self._container.namespace, "export": export, "path": request.path, "method": request.method, **more}

    def _everything(self, side: str) -> Handler:
        def handler(request: Request) -> Reply:
            facts = self._facts(request)
            order = self._container.trouble.find(
                "manifest", "swap", "refuse", "truncate", "expire", namespace=facts["namespace"], export=facts["export"], type="all"
            )
            if order is not None and order.action == "refuse":
                return Reply(500)
            try:
                items = everything(self._manifest_files(), self.volumes, side=side)
            except NotThere as missing:
                return Reply(missing.code)
            except Crash:
                self._container.log(f"http: panic serving {request.path}: runtime error")
                raise Dropped from None
            if order is not None:
                _SPOILED_MANIFESTS[order.action](items)
            return _manifest(request, items)

        return handler

    def _header_secret(self, request: Request) -> Reply:
        files = self._manifest_files()
        if "export-name" not in files:
            return Reply(500)
        secret = header_secret(files["export-name"], self._token().decode())
        return _manifest(request, [secret])

    def _manifest_files(self) -> dict[str, str]:
        root = self._container.mounts.get(_MANIFESTS)
        if root is None:
            return {}
        return {path.name: path.read_text() for path in Path(root).iterdir() if path.is_file() and not path.name.startswith(".")}


def refusal(order: Order, code: int) -> Reply:
    """Return the answer of a `refuse` order: its status (else `code`), its message, its Retry-After."""
    after = (("Retry-After", order.args["retry_after"]),) if "retry_after" in order.args else ()
    return text(order.count("status", code), order.text("message"), *after)


def _manifest(request: Request, items: list[dict[str, Any]]) -> Reply:
    return Reply(200, (("Content-Type", "text/plain; charset=utf-8"),), written(items, request.headers.get("Accept", "")))


def _disk(path: Path) -> Path:
    return path / "disk.img" if path.is_dir() else path


def _shown(request: Request) -> tuple[bytes, bytes]:
    """Return the tokens that a request shows, as query parameter and as header; empty where it shows none."""
    query = next((value for name, value in parse_qsl(request.query, keep_blank_values=True) if name == TOKEN), "")
    return query.encode(), request.headers.get(TOKEN, "").encode("latin-1")
