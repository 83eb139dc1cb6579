"""The way to an export's service at an address of the user's choice: a NodePort, a load balancer, a tunnel."""

from __future__ import annotations

import socket
from typing import Protocol
from urllib.parse import urlsplit

from migrate.model.errors import UsageError


class Way(Protocol):
    """How connections are made where a link's own host is not dialled. The certificate must be for that host all the same."""

    trouble: str
    """What the far end said when a connection broke."""

    def connect(self, timeout_s: float) -> socket.socket:
        """Return a connected socket. Raises OSError."""
        ...

    def close(self) -> None:
        """End every connection that is still open."""
        ...


class Straight:
    """HOST[:PORT], 443 without a port. Raises UsageError."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address if "//" in address else f"//{address}")
        try:
            self._place = (parts.hostname or "", parts.port or 443)
        except ValueError as error:
            raise UsageError(f'"{address}" is no HOST[:PORT]', where="--service-url", why=str(error)) from None
        if not self._place[0] or parts.path not in ("", "/"):
            raise UsageError(f'"{address}" is no HOST[:PORT]', where="--service-url", now="give the host, and the port if it is not 443")
        self.trouble = ""

    def connect(self, timeout_s: float) -> socket.socket:
        return socket.create_connection(self._place, timeout_s)

    def close(self) -> None:
        pass
