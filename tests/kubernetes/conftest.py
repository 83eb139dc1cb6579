"""What only the real API server can show. Run with `make test-kube`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.lab.up import Lab
from tests.conftest import MakeLab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kube)


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, make_lab: MakeLab) -> Iterator[Lab]:
    """Two clusters on the real API server, without seeds, for this whole folder."""
    if request.config.getoption("--backend") != "kube":
        pytest.fail("these tests need the real API server: make kube-assets, then make test-kube (or pytest --backend kube)")
    with make_lab(tmp_path_factory.mktemp("kube"), seed="none", releases={"east": "v1.6", "west": "v1.9"}) as shared:
        yield shared
