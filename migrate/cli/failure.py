"""How errors end a command: four words on stderr, the exit code of the family, and no traceback unless it is a bug."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from migrate.model.errors import MigrateError, Problem

WIDTH = 100
INTERRUPTED = 130


@contextmanager
def ending() -> Iterator[None]:
    """Turn whatever ends a command into words and an exit code."""
    import typer

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except MigrateError as error:
        say(words(error))
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        say("stopped by you")
        sys.exit(INTERRUPTED)
    except typer.Exit as leaving:
        sys.exit(leaving.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        _usage(error)
        say("this is a bug of migrate, not of your cluster; please report it with the lines below")
        raise


def words(error: MigrateError) -> str:
    """Write all problems of an error, each with its four words."""
    return problems(error.problems, error.word)


def problems(found: Sequence[Problem], word: str) -> str:
    """Write problems one under the other, numbered when there are several."""
    head = word if len(found) == 1 else f"{word}: {len(found)} problems"
    lines = [] if len(found) == 1 else [head]
    for number, problem in enumerate(found, 1):
        mark = f"{head}: " if len(found) == 1 else f"{number}. "
        lines += textwrap.wrap(problem.what, WIDTH, initial_indent=mark, subsequent_indent="  ")
        for label, text in (("where", problem.where), ("why", problem.why), ("now", problem.now)):
            if text:
                lines += textwrap.wrap(text, WIDTH, initial_indent=f"  {label:<6}", subsequent_indent=" " * 8, break_on_hyphens=False)
    return "\n".join(lines)


def say(text: str) -> None:
    """Write to stderr."""
    print(text, file=sys.stderr, flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _usage(error: Exception) -> None:
    """End with 2 on what the command line parser refused; typer brings a click of its own, so go by shape."""
    show, code = getattr(error, "format_message", None), getattr(error, "exit_code", None)
    if show is not None and isinstance(code, int):
        context = getattr(error, "ctx", None)
        if context is not None:
            say(context.get_usage())
        say(f"usage: {show()}")
        sys.exit(2)
