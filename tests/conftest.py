"""Fixtures that several rooms share: the lab, in this process, on simulated time; or, for flows, two clusters that somebody names.

The test's own thread counts as busy: lab time passes only while the test waits through the lab's clock (`lab.until`, `clock.sleep`), or
inside `clock.idle()`, for things that wait on their own (a kubectl process, another thread).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings

from migrate.lab import kube_binaries
from migrate.lab.clock import RealClock
from migrate.lab.places import LabError
from migrate.lab.up import Lab
from tests.accounts import AUDITED, keep_uses
from tests.pair import Pair

pytest.register_assert_rewrite("tests.flows.deeds", "tests.flows.deeds_export")

settings.register_profile(
    "here", deadline=None, print_blob=True, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("here")
EMBEDDED_ONLY = Path(__file__).parent / "kubernetes" / "embedded-only.txt"
LAST = "test_rights_granted_are_rights_used.py"
KUBE_SPEED = 4.0
"""How many times faster lab time runs on the real API server, where it cannot jump."""

MakeLab = Callable[..., Lab]
"""On two clusters that somebody names it makes a Pair, which has all of a Lab that the flows marked `anywhere` need."""


def pytest_addoption(parser: pytest.Parser) -> None:
    backends = ("embedded", "kube", "named")
    parser.addoption("--backend", choices=backends, default="embedded", help="What the lab's clusters run on; named = none of ours.")
    parser.addoption("--uses", type=Path, help="Folder in which sessions keep what their accounts did (--backend kube).")
    parser.addoption("--source", default="", help="Context of a source cluster (--backend named).")
    parser.addoption("--target", default="", help="Context of a target cluster (--backend named).")
    parser.addoption("--image", default="", help="URL of a disk image for the disks (--backend named); they are blank without.")
    parser.addoption("--size", default="64Mi", help="Size of the disks (--backend named); an image must fit.")


def pytest_configure(config: pytest.Config) -> None:
    """Tell the backend to fixtures without a request; without the real programs, end at once and say how to get them.

    Whoever runs the tests in the background has them ignore Ctrl-C, and so would the commands that tests interrupt.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["LAB_BACKEND"] = str(config.getoption("--backend"))
    if config.getoption("--backend") == "kube":
        try:
            kube_binaries.find()
        except LabError as missing:
            pytest.exit(f"{missing}. {missing.now}", returncode=2)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On the real API server, leave out the tests that are listed with the reason; on named clusters, keep those that run anywhere.

    Files with the longest tests come first, so that no worker is left alone with one of them in the end.
    """
    longest: dict[Path, float] = {}
    for item in items:
        limit = item.get_closest_marker("timeout")
        longest[item.path] = max(longest.get(item.path, 0.0), float(limit.args[0]) if limit is not None else 0.0)
    items.sort(key=lambda item: -longest[item.path])
    match config.getoption("--backend"):
        case "kube":
            lines = (line.split(" # ")[0].strip() for line in EMBEDDED_ONLY.read_text().splitlines())
            listed = tuple(line for line in lines if line and not line.startswith("#"))
            left_out = [item for item in items if item.nodeid.startswith(listed)]
        case "named":
            left_out = [item for item in items if item.get_closest_marker("anywhere") is None]
        case _:
            return
    config.hook.pytest_deselected(items=left_out)
    items[:] = sorted((item for item in items if item not in left_out), key=lambda item: item.path.name == LAST)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep what accounts did, for the session that judges it all."""
    folder = session.config.getoption("--uses")
    if folder is not None and AUDITED:
        keep_uses(folder, f"uses-{os.getpid()}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests told of their size and result with `record_property`, also where xdist ran them."""
    reports = [report for word in ("passed", "failed") for report in terminalreporter.stats.get(word, [])]
    for topic, words in sorted(pair for report in reports if report.when == "call" for pair in report.user_properties):
        terminalreporter.write_line(f"{topic}: {words}")


@pytest.fixture(scope="session")
def make_lab(request: pytest.FixtureRequest) -> MakeLab:
    """Make labs on the backend that was asked for: simulated time on the embedded one, fast real time on the real one."""
    option = request.config.getoption

    def make(directory: Path, **wishes: Any) -> Lab:
        match option("--backend"):
            case "kube":
                return Lab(directory, clock=RealClock(KUBE_SPEED), backend="kube", **wishes)
            case "named":
                return cast(Lab, Pair(option("--source"), option("--target"), image=option("--image"), size=option("--size")))
            case _:
                return Lab(directory, **wishes)

    return make


@pytest.fixture(scope="session")
def shared_lab(tmp_path_factory: pytest.TempPathFactory, make_lab: MakeLab) -> Iterator[Lab]:
    """Two clusters of different releases without seeds, for all flows of a session: names are per test, so nothing meets."""
    with make_lab(tmp_path_factory.mktemp("lab"), seed="none", releases={"east": "v1.6", "west": "v1.9"}) as shared:
        yield shared


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
