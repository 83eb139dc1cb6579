"""The door of the node: what a kubelet serves over HTTPS, so that logs and port-forwards pass through the real API server."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from migrate.lab import portforward
from migrate.lab.api_objects import stamp
from migrate.lab.api_status import ApiError
from migrate.lab.certs import server_context
from migrate.lab.httpd import Exchange, HttpServer

if TYPE_CHECKING:
    from migrate.lab.certs import Authority
    from migrate.lab.clock import LabClock
    from migrate.lab.pods import Node

HOST = "127.0.0.1"


class KubeletServer:
    """Serves `containerLogs` and `portForward` to whoever has a certificate of the cluster's authority, as the API server has."""

    def __init__(self, *, clock: LabClock, authority: Authority) -> None:
        self.node: Node | None = None
        self._clock = clock
        context = server_context(authority.server(HOST))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=authority.ca_pem)
        self._httpd = HttpServer(self._handle, clock=clock, tls=lambda: context, name="kubelet")
        self.port = self._httpd.port

    def start(self) -> None:
        """Serve."""
        self._httpd.start()

    def stop(self) -> None:
        """Stop serving and close every connection."""
        self._httpd.stop()

    def _handle(self, exchange: Exchange) -> Callable[[], None] | None:
        if self.node is None:
            exchange.reply(503, "the node is not ready")
            return None
        node = self.node
        match exchange.request.path.strip("/").split("/"):
            case ["healthz"]:
                exchange.reply(200, "ok")
            case ["containerLogs", namespace, pod, container]:
                return self._logs(node, exchange, (namespace, pod, container))
            case ["portForward", namespace, pod, *_]:
                try:
                    named = f"{pod}_{namespace}"
                    return portforward.accept(exchange, lambda port: node.dial(namespace, pod, port), pod=named, parameter="port")
                except ApiError as error:
                    exchange.reply(error.code, error.message)
            case _:
                exchange.reply(404, "404 page not found")
        return None

    def _logs(self, node: Node, exchange: Exchange, place: tuple[str, str, str]) -> Callable[[], None] | None:
        request = exchange.request
        tail, since = request.arg("tailLines"), request.arg("sinceTime")
        if request.arg("sinceSeconds"):
            since = stamp(self._clock.now() - timedelta(seconds=int(request.arg("sinceSeconds"))))
        follow = request.arg("follow") in ("true", "1")
        previous = request.arg("previous") in ("true", "1")
        try:
            lines = node.logs(*place, tail=int(tail) if tail else None, since=since, follow=follow, previous=previous)
        except LookupError as error:
            exchange.reply(404, str(error))
            return None
        if follow:
            return lambda: _followed(exchange, lines)
        text = b"".join(lines)
        limit = request.arg("limitBytes")
        exchange.reply(200, text[: int(limit)] if limit else text, content_type="text/plain")
        return None


def _followed(exchange: Exchange, lines: Iterator[bytes]) -> None:
    stream = exchange.stream(200, content_type="text/plain")
    for line in lines:
        stream.write(line)
    stream.end()
