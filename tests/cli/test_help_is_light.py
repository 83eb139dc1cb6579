"""Help and version load nothing heavy: asserted on sys.modules, never on seconds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("kubernetes", "httpx", "jinja2", "pydantic", "rich")
PROGRAM = """
import json, sys
sys.argv = ["migrate", *{words!r}]
from migrate.cli.main import run
try:
    run()
except SystemExit:
    pass
print(json.dumps([name for name in {heavy!r} if name in sys.modules]), file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["--version"], ["--help"], []])
def test_help_and_version_load_nothing_heavy(words: list[str]) -> None:
    """Neither kubernetes, httpx, jinja2, pydantic nor rich is imported to print the help or the version."""
    assert loaded(words) == []


@pytest.mark.parametrize("words", [["vm", "--help"], ["status", "--help"], ["undo", "--help"], ["lab", "--help"]])
def test_help_of_a_command_loads_nothing_of_ours(words: list[str]) -> None:
    """The help of a command loads no more than pydantic, which typer itself wants to read defaults."""
    assert loaded(words) in ([], ["pydantic"])


def loaded(words: list[str]) -> list[str]:
    """Run the command line in a process of its own and return which heavy packages it loaded."""
    program = PROGRAM.format(words=words, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "migrate" in done.stdout + done.stderr
    *_, last = done.stderr.splitlines()
    names: list[str] = json.loads(last)
    return names
