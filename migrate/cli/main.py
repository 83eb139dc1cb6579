"""The entrance: `migrate`. Answers --version without loading anything; every command loads its own room when it runs."""

from __future__ import annotations

import sys

from migrate import __version__


def run() -> None:
    """Run the command line; ends the process with the exit code of design section 8."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"migrate {__version__}")
        return
    from migrate.cli.app import app
    from migrate.cli.failure import INTERRUPTED, ending

    with ending():
        code = app(standalone_mode=False)  # typer returns the code of an Exit, and makes one of Ctrl-C
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
