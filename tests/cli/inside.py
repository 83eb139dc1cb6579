"""Export commands in the test's own process: cheaper than one of their own, where it does not matter how they end."""

from __future__ import annotations

from typer.testing import CliRunner

from migrate.cli.app import app
from migrate.lab.up import Lab
from tests.cli.disks import PLACE


def export(lab: Lab, *words: str) -> str:
    """Run `migrate export`; return what it prints, or raise what ended it."""
    done = CliRunner().invoke(app, ["export", *words, *PLACE], env={"KUBECONFIG": str(lab.kubeconfig)}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout
