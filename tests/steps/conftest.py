"""One lab for all tests of the steps, and scenes in it: a machine of its own for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from migrate.lab.up import Lab
from tests.steps.scene import Scene

_numbers = count(1)

Stage = Callable[..., Scene]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two clusters without seeds for this whole folder: names are per test, so nothing meets."""
    with Lab(tmp_path_factory.mktemp("lab"), seed="none") as shared:
        yield shared


@pytest.fixture
def stage(lab: Lab) -> Iterator[Stage]:
    """Build scenes for one test."""
    yield from _stage(lab)


@pytest.fixture(scope="module")
def shared_stage(lab: Lab) -> Iterator[Stage]:
    """Build scenes that several tests of a module look at."""
    yield from _stage(lab)


@pytest.fixture(autouse=True)
def no_trouble(lab: Lab) -> Iterator[None]:
    """Troubles that a test ordered are over after it."""
    yield
    for cluster in lab.clusters.values():
        cluster.trouble.clear()


def _stage(lab: Lab) -> Iterator[Stage]:
    scenes: list[Scene] = []

    def build(**wishes: Any) -> Scene:
        scenes.append(Scene(lab, f"vm{next(_numbers)}", **wishes))
        return scenes[-1]

    yield build
    for scene in scenes:
        scene.close()
