"""Readiness probes: really asked, at the times that the pod's spec says."""

from __future__ import annotations

import http.client
import socket
import ssl
from functools import cache
from typing import Any


@cache
def _any_certificate() -> ssl.SSLContext:
    """Kubelets do not check the certificates of the pods they probe."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Probe:
    """The readiness of one container run. Times are seconds of the lab's monotonic clock."""

    def __init__(self, spec: dict[str, Any] | None, started: float) -> None:
        self._spec = spec or {}
        self.ready = spec is None
        self._good = 0
        self._bad = 0
        self.next: float | None = None if spec is None else started + self._spec.get("initialDelaySeconds", 0)

    def ask(self, moment: float, ports: dict[int, int]) -> None:
        """Probe once and note the answer; `ports` maps container ports to the real ones."""
        self.next = moment + self._spec.get("periodSeconds", 10)
        if self._answer(ports):
            self._good, self._bad = self._good + 1, 0
            self.ready = self.ready or self._good >= self._spec.get("successThreshold", 1)
        else:
            self._good, self._bad = 0, self._bad + 1
            self.ready = self.ready and self._bad < self._spec.get("failureThreshold", 3)

    def _answer(self, ports: dict[int, int]) -> bool:
        seconds = float(self._spec.get("timeoutSeconds", 1)) + 2  # real ones: the machine under the lab may be slow
        get = self._spec.get("httpGet")
        wanted = (get or self._spec.get("tcpSocket") or {}).get("port")
        if wanted is None:
            return True
        port = ports.get(int(wanted))
        if port is None:
            return False
        try:
            if get is None:
                socket.create_connection(("127.0.0.1", port), timeout=seconds).close()
                return True
            if get.get("scheme", "HTTP") == "HTTPS":
                secured = http.client.HTTPSConnection("127.0.0.1", port, timeout=seconds, context=_any_certificate())
                return _status(secured, get.get("path", "/")) < 400
            return _status(http.client.HTTPConnection("127.0.0.1", port, timeout=seconds), get.get("path", "/")) < 400
        except (OSError, http.client.HTTPException):
            return False


def _status(connection: http.client.HTTPConnection, path: str) -> int:
    try:
        connection.request("GET", path, headers={"User-Agent": "kube-probe/lab"})
        return connection.getresponse().status
    finally:
        connection.close()
