"""What only the real API server can show. Run with `make test-kube`."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrate.lab.up import Lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.kube)


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Lab:
    """The two clusters on the real API server that all flows share."""
    if request.config.getoption("--backend") != "kube":
        pytest.fail("these tests need the real API server: make kube-assets, then make test-kube (or pytest --backend kube)")
    shared: Lab = request.getfixturevalue("shared_lab")
    return shared
