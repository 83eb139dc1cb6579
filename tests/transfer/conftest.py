"""A clock that passes at once, and a range server with a certificate of its own CA."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migrate.transfer.export_client import ExportClient
from tests.transfer.range_server import CA, RangeServer

CA_PEM = CA.cert_pem.bytes().decode()


class QuickClock:
    """Time that passes as fast as anybody waits for it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        if not event.is_set():
            self.seconds += seconds or 0.0
        return event.is_set()


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture(scope="session")
def certificate() -> object:
    return CA.issue_cert("localhost")


@pytest.fixture
def server(certificate: object) -> Iterator[RangeServer]:
    with RangeServer(certificate) as running:
        yield running


@pytest.fixture
def client(clock: QuickClock) -> ExportClient:
    return ExportClient(ca_pem=CA_PEM, token="t0ken", clock=clock)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "disk.img"
