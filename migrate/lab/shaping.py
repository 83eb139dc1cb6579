"""A TCP proxy that makes a long way of a short one: delay, rate, and how much may be under way on one connection, as a TCP window would.

For measuring on one machine, in real time. One connection cannot be faster than its window for each round trip; several share the rate.
Not modelled: loss, slow start, the round trip of the TCP handshake itself.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque

_CHUNK_BYTES = 64 << 10


class Link:
    """The wire that all connections of one direction share."""

    def __init__(self, rate_bytes_s: float) -> None:
        self._rate = rate_bytes_s
        self._lock = threading.Lock()
        self._free_at = 0.0

    def sent_at(self, count: int) -> float:
        """Put bytes on the wire; return when the last of them has left."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + (count / self._rate if self._rate else 0.0)
            return self._free_at


class Lane:
    """One direction of one connection."""

    def __init__(self, taker: socket.socket, giver: socket.socket, link: Link, *, rtt_s: float, window_bytes: int) -> None:
        self._from, self._to, self._link = taker, giver, link
        self._half_s = rtt_s / 2
        self._window = window_bytes
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._unheard: deque[tuple[float, int]] = deque()
        """When the sender hears that so many bytes have arrived."""
        self._in_flight = 0
        self._change = threading.Condition()
        self._over = False

    def start(self) -> None:
        """Begin, with a thread at either end."""
        for body in (self._take, self._give):
            threading.Thread(target=body, name="lab-shaping", daemon=True).start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._from.recv(self._room()):
                with self._change:
                    self._in_flight += len(data)
                    self._under_way.append((self._link.sent_at(len(data)) + self._half_s, data))
                    self._change.notify_all()
        with self._change:
            self._over = True
            self._change.notify_all()

    def _room(self) -> int:
        """Wait until the window has room, and return how much may be read."""
        with self._change:
            while True:
                now = time.monotonic()
                while self._unheard and self._unheard[0][0] <= now:
                    self._in_flight -= self._unheard.popleft()[1]
                room = self._window - self._in_flight if self._window else _CHUNK_BYTES
                if room > 0:
                    return min(room, _CHUNK_BYTES)
                self._change.wait(self._unheard[0][0] - now if self._unheard else None)

    def _give(self) -> None:
        with contextlib.suppress(OSError):
            while (found := self._next()) is not None:
                due, data = found
                if (early := due - time.monotonic()) > 0:
                    time.sleep(early)
                self._to.sendall(data)
                with self._change:
                    self._unheard.append((time.monotonic() + self._half_s, len(data)))
                    self._change.notify_all()
        with contextlib.suppress(OSError):
            self._to.shutdown(socket.SHUT_WR)

    def _next(self) -> tuple[float, bytes] | None:
        with self._change:
            while not self._under_way and not self._over:
                self._change.wait()
            return self._under_way.popleft() if self._under_way else None


class Shaper:
    """Listens on loopback and leads to another port there."""

    def __init__(self, port: int, *, rtt_s: float = 0.0, window_bytes: int = 0, rate_bytes_s: float = 0.0) -> None:
        """`port`: where to. `window_bytes` may be under way on a connection in each direction; 0 = no limit, as for `rate_bytes_s`."""
        self._target = port
        self._rtt_s, self._window = rtt_s, window_bytes
        self._links = (Link(rate_bytes_s), Link(rate_bytes_s))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Shaper:
        threading.Thread(target=self._accept, name="lab-shaping-accept", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    near.close()
                    continue
                for sock in (near, far):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for link, (taker, giver) in zip(self._links, ((near, far), (far, near)), strict=True):
                    Lane(taker, giver, link, rtt_s=self._rtt_s, window_bytes=self._window).start()
