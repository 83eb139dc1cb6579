"""docs/export.md: every test that it names exists, every row names one, its script runs, and nothing of virtctl's is left out."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from typing import Any

import pytest
import typer.main

from migrate.cli.app import app
from migrate.kube.kinds import EXPORT
from migrate.lab.up import Lab
from tests.cli.conftest import Plant
from tests.cli.disks import digest, digest_of
from tests.cli.shell import ROOT, Shell

HERE = "tests/cli/test_exports_by_hand.py"
PAGE = (ROOT / "docs" / "export.md").read_text()
VIRTCTL: dict[str, Any] = {
    "vm": "",
    "snapshot": "",
    "pvc": "",
    "vmtemplate": "",
    "output": "",
    "volume": "",
    "format": "",
    "insecure": False,
    "keep-vme": False,
    "delete-vme": False,
    "ttl": "",
    "manifest": False,
    "include-secret": False,
    "manifest-output-format": "yaml",
    "service-url": "",
    "port-forward": False,
    "local-port": 0,
    "retry": 0,
    "labels": [],
    "annotations": [],
    "readiness-timeout": "2m",
}
"""Flags of `virtctl vmexport` and their defaults (kubevirt-export section 8)."""


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading."""
    table = PAGE.split(f"## {heading}")[1].split("\n## ")[0]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines() if line.startswith("| ")][1:]


PROMISES, DIFFERENCES = rows("What the user guide promises"), rows("Where it differs from virtctl, and why")


def defined_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", PROMISES + DIFFERENCES, ids=lambda row: row[0].strip()[:40])
def test_every_row_has_its_test(row: list[str]) -> None:
    """A row without a test, or with one that is not there, is a promise that nobody keeps."""
    assert len(row) == (3 if row in PROMISES else 4)
    named = re.findall(r"`([^`]+)`", row[-1])
    assert named
    for one in named:
        path, _, name = one.rpartition("::")
        assert name in defined_in(path or HERE), one


def test_the_tables_are_long_enough() -> None:
    """Nothing of them was lost on the way to this test."""
    assert len(PROMISES) >= 60
    assert len(DIFFERENCES) >= 15


@pytest.mark.parametrize("flag", VIRTCTL)
def test_every_flag_of_virtctl_is_here_or_named(flag: str) -> None:
    """With the same default; what is missing or has another one is in the table of differences."""
    group: Any = typer.main.get_command(app).commands["export"]  # type: ignore[attr-defined]
    ours = {
        name: option.default
        for verb in ("manifest", "create", "download")
        for option in group.commands[verb].params
        for name in option.opts
    }  # fmt: skip
    if f"--{flag}" not in ours or (ours[f"--{flag}"] or None) != (VIRTCTL[flag] or None):
        assert any(f"`--{flag}" in row[0] for row in DIFFERENCES)


@pytest.mark.slow
def test_the_script_of_the_page_runs(shell: Shell, plant: Plant, lab: Lab) -> None:
    """As it stands there: every disk of a VM is here, twice the same, and the export is gone."""
    flow = plant(disks=("root", "data"))
    script = shell.directory / "disks.py"
    script.write_text(PAGE.split("```python\n")[1].split("```")[0])
    for _ in range(2):
        words = ["east", "shop", flow.name, str(shell.directory / "work")]
        done = subprocess.run(
            [sys.executable, str(script), *words], env=shell.environment, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        for disk in ("root", "data"):
            assert digest(lab, flow, disk) in done.stdout
            assert digest_of(shell.directory / "work" / f"{flow.name}-{disk}.img") == digest(lab, flow, disk)
        flow.until(lambda: flow.east.get(EXPORT, flow.name) is None)
