"""`python -m migrate`: the same as the console script."""

from __future__ import annotations

from migrate.cli.main import run

run()
