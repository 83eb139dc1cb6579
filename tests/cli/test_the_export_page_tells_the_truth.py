"""docs/export.md: every test that it names exists, and every row names one."""

from __future__ import annotations

import ast
import re

import pytest

from tests.cli.shell import ROOT

HERE = "tests/cli/test_exports_by_hand.py"
TABLE = (ROOT / "docs" / "export.md").read_text().split("## What the user guide promises")[1].split("\n## ")[0]
ROWS = [re.split(r"(?<!\\)\|", line)[1:-1] for line in TABLE.splitlines() if line.startswith("| ")][1:]


def defined_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip()[:40])
def test_every_row_has_its_test(row: list[str]) -> None:
    """A row without a test, or with one that is not there, is a promise that nobody keeps."""
    assert len(row) == 3
    named = re.findall(r"`([^`]+)`", row[2])
    assert named
    for one in named:
        path, _, name = one.rpartition("::")
        assert name in defined_in(path or HERE), one


def test_the_table_is_long_enough() -> None:
    """Nothing of it was lost on the way to this test."""
    assert len(ROWS) >= 30
