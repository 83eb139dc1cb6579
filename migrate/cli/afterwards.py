"""`migrate verify`, `migrate retire` and `migrate unfence`: what comes after a finished move."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli.failure import say
from migrate.cli.naming import named
from migrate.cli.options import (
    Files,
    Method,
    MethodOption,
    Output,
    OutputOption,
    SourceArgument,
    SourceCaOption,
    TargetArgument,
    TargetCaOption,
    opens_clusters,
    pem_of,
)
from migrate.cli.walk import walk
from migrate.model.errors import UsageError
from migrate.model.migration import Verify

if TYPE_CHECKING:
    from migrate.model.report import Event
    from migrate.workflow.run import Ending


@opens_clusters
def verify(
    source: SourceArgument,
    target: TargetArgument,
    verify: Annotated[Verify, typer.Option("--verify", help="How much of every disk is compared: size, sample or full.")] = Verify.FULL,
    source_ca: SourceCaOption = None,
    target_ca: TargetCaOption = None,
    method: MethodOption = Method.COLD,
    output: OutputOption = Output.TEXT,
    *,
    files: Files,
) -> None:
    """Compare the disks of a finished move once more, while the source stands halted and the target was not started.

    Those of a copy (--method snapshot) are compared with its snapshot, if that was kept.
    """
    from dataclasses import replace

    from migrate.model.clock import SystemClock
    from migrate.workflow.afterwards import Afterwards

    if verify is Verify.OFF:
        raise UsageError("--verify off compares nothing", where="migrate verify", now="say size, sample or full")
    with ExitStack() as stack:
        found = named(stack, [source, target], files, target="", source="", command="migrate verify", method=method)
        options = replace(found.question.options, source_ca=pem_of(source_ca, "--source-ca"), target_ca=pem_of(target_ca, "--target-ca"))
        pair, question = found.pair, replace(found.question, options=options)

        def go(show: Callable[[Event], None]) -> Ending:
            return Afterwards(question, source=pair.source_cluster, target=pair.target_cluster, clock=SystemClock()).prove(verify, show)

        walk(output, pair, go)


@opens_clusters
def retire(
    source: SourceArgument,
    target: TargetArgument,
    yes: Annotated[
        str, typer.Option("--yes", metavar="NAME", help="The source VM's name, in place of typing it at the question.", show_default=False)
    ] = "",
    output: OutputOption = Output.TEXT,
    *,
    files: Files,
) -> None:
    """Delete the source VM and its disks after a finished move; only if every copy is proven and the source still is what was copied."""
    from migrate.model.clock import SystemClock
    from migrate.workflow.afterwards import Afterwards

    with ExitStack() as stack:
        found = named(stack, [source, target], files, target="", source="", command="migrate retire")
        pair = found.pair

        afterwards = Afterwards(found.question, source=pair.source_cluster, target=pair.target_cluster, clock=SystemClock())
        words = afterwards.to_retire()
        if words:
            _confirm(pair.source.name, yes, f"{pair.source}: {words}")
        walk(output, pair, partial(afterwards.retire, told=bool(words)))


@opens_clusters
def unfence(source: SourceArgument, target: TargetArgument, output: OutputOption = Output.TEXT, *, files: Files) -> None:
    """Take the fence of `migrate vm --fence` off the source of a finished move. It stays halted; an unfinished move is undone instead."""
    from migrate.model.clock import SystemClock
    from migrate.workflow.afterwards import Afterwards

    with ExitStack() as stack:
        found = named(stack, [source, target], files, target="", source="", command="migrate unfence")
        pair = found.pair
        walk(output, pair, Afterwards(found.question, source=pair.source_cluster, target=pair.target_cluster, clock=SystemClock()).unfence)


def _confirm(name: str, yes: str, words: str) -> None:
    """Have the VM's name typed. Raises UsageError when it is another, or when nobody is there to be asked."""
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("deleting a VM wants its name said", where="migrate retire", why=words, now=f"say --yes {name}")
    if not yes:
        say(words)
        say(f'This cannot be taken back. Type the name of the VM ("{name}") to delete it and its disks:')
        yes = sys.stdin.readline().strip()
    if yes != name:
        raise UsageError(
            f'"{yes}" is not the name of the VM', where="migrate retire", why="nothing was deleted", now=f'its name is "{name}"'
        )
