"""Fixtures that several rooms share: the lab, in this process, on simulated time.

The test's own thread counts as busy: lab time passes only while the test waits through the lab's clock (`lab.until`, `clock.sleep`), or
inside `clock.idle()`, for things that wait on their own (a kubectl process, another thread).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from migrate.lab.clock import RealClock
from migrate.lab.up import Lab

EMBEDDED_ONLY = Path(__file__).parent / "kubernetes" / "embedded-only.txt"
KUBE_SPEED = 4.0
"""How many times faster lab time runs on the real API server, where it cannot jump."""

MakeLab = Callable[..., Lab]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", choices=("embedded", "kube"), default="embedded", help="What the lab's clusters run on.")


def pytest_configure(config: pytest.Config) -> None:
    os.environ["LAB_BACKEND"] = str(config.getoption("--backend"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On the real API server, leave out the tests that are listed with the reason."""
    if config.getoption("--backend") != "kube":
        return
    lines = (line.split(" # ")[0].strip() for line in EMBEDDED_ONLY.read_text().splitlines())
    listed = tuple(line for line in lines if line and not line.startswith("#"))
    left_out = [item for item in items if item.nodeid.startswith(listed)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def make_lab(request: pytest.FixtureRequest) -> MakeLab:
    """Make labs on the backend that was asked for: simulated time on the embedded one, fast real time on the real one."""
    on_kube = request.config.getoption("--backend") == "kube"

    def make(directory: Path, **wishes: Any) -> Lab:
        return Lab(directory, clock=RealClock(KUBE_SPEED), backend="kube", **wishes) if on_kube else Lab(directory, **wishes)

    return make


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, make_lab: MakeLab) -> Iterator[Lab]:
    """Two clusters without seeds, shared by the tests of a module: each test uses names of its own (see tests/machines.py)."""
    with make_lab(tmp_path_factory.mktemp("lab"), seed="none") as shared:
        yield shared


@pytest.fixture
def fresh_lab(tmp_path: Path, make_lab: MakeLab) -> Iterator[Lab]:
    """Two clusters for one test alone: it may break them, or count requests."""
    with make_lab(tmp_path / "lab", seed="none") as own:
        yield own
