"""Case files: YAML with `about`, `given` and `expect`. A new case is a new file; a reviewer reads it without Python."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from _pytest.mark.structures import ParameterSet

from migrate.model.errors import Problem
from migrate.model.observation import Observation

CASES = Path(__file__).parent / "cases"
Case = dict[str, Any]


def cases(folder: str) -> list[ParameterSet]:
    """Return every case of a folder below tests/cases as a parameter named like its file."""
    found = sorted((CASES / folder).glob("*.yaml"))
    assert found, f"no case files in {folder}"
    return [pytest.param(load(path), id=path.stem) for path in found]


def load(path: Path) -> Case:
    case: Case = yaml.safe_load(path.read_text())
    assert set(case) == {"about", "given", "expect"}, f"{path.name} has the keys {sorted(case)}"
    return case


def words_of(problems: Iterable[Problem]) -> str:
    """Join everything that problems say, for looking words up in."""
    return "\n".join(" | ".join((p.what, p.where, p.why, p.now)) for p in problems)


def check_observation(seen: Observation, expect: Case) -> None:
    """Compare an observation with `state`, `reason`, `says` (words in it) and `progress`; BLOCKED and FAILED must say what now."""
    text = seen.message + "\n" + words_of(seen.problems)
    assert (seen.state.value, seen.reason) == (expect["state"], expect["reason"]), text
    for word in expect.get("says", ()):
        assert word in text, text
    if "progress" in expect:
        assert seen.progress == pytest.approx(expect["progress"])
    if seen.state.value in {"blocked", "failed"}:
        assert seen.problems
        assert all(problem.what and problem.why and problem.now for problem in seen.problems), text
