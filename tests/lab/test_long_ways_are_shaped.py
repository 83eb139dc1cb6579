"""The shaping proxy: bytes arrive as they were sent, never sooner than a way of that length and width would let them."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from migrate.lab.shaping import Shaper

DATA = random.Random(5).randbytes(400_000)


@pytest.fixture
def giver() -> Iterator[int]:
    """Serve DATA to everybody who connects, and then close."""
    listener = socket.create_server(("127.0.0.1", 0))

    def give(sock: socket.socket) -> None:
        with sock:
            sock.recv(1)
            sock.sendall(DATA)

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=give, args=(sock,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def read(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"!")
        return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.parametrize(
    ("words", "least_s"),
    [
        ({}, 0.0),
        ({"rtt_s": 0.1}, 0.1),
        ({"rtt_s": 0.02, "window_bytes": 40_000}, 0.02 * 9),
        ({"rate_bytes_s": 2_000_000.0}, 0.2),
    ],
    ids=["nothing", "delay", "window", "rate"],
)
def test_a_connection_is_as_slow_as_its_way(giver: int, words: dict[str, float], least_s: float) -> None:
    """A round trip at least; one window for each round trip; no more than the rate. What arrives is what was sent."""
    with Shaper(giver, **words) as way:  # type: ignore[arg-type]
        began = time.monotonic()
        found = read(way.port)
        took = time.monotonic() - began
    assert hashlib.sha256(found).digest() == hashlib.sha256(DATA).digest()
    assert took >= least_s * 0.98


def test_connections_share_the_rate(giver: int) -> None:
    """Two connections at once take twice as long as one where the wire holds them up."""
    with Shaper(giver, rate_bytes_s=4_000_000.0) as way:
        began = time.monotonic()
        readers = [threading.Thread(target=read, args=(way.port,)) for _ in range(2)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert time.monotonic() - began >= 2 * len(DATA) / 4_000_000 * 0.98
