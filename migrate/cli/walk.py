"""How a command that walks steps is run: under a screen, its report last, its exit code by how it ended."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from migrate.cli.failure import INTERRUPTED
from migrate.cli.options import Output, Pair
from migrate.cli.screen import screen_for
from migrate.model.errors import MigrateError, UsageError

if TYPE_CHECKING:
    from migrate.model.report import Event
    from migrate.workflow.run import Ending

    Show = Callable[[Event], None]


def walk(output: Output, pair: Pair, go: Callable[[Show], Ending]) -> None:
    """Run something that tells events; leaves the process with the exit code of design section 8 unless it ended well."""
    from migrate.workflow.reporting import unasked

    with screen_for(output, f"{pair.source} → {pair.target}") as screen:
        try:
            ending = go(screen.event)
        except UsageError as error:
            if output is Output.JSON:
                screen.report(unasked(pair.source, pair.target, error))
            raise
        except MigrateError as error:
            screen.report(unasked(pair.source, pair.target, error, here=pair.source_cluster, there=pair.target_cluster))
            sys.exit(error.exit_code)
        screen.report(ending.report)
    if isinstance(ending.error, MigrateError):
        sys.exit(ending.error.exit_code)
    if ending.error is not None:
        sys.exit(INTERRUPTED)
