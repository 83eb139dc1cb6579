"""`migrate cleanup`: what earlier runs left behind on both sides, and nothing else."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from datetime import timedelta
from typing import Annotated

import typer

from migrate.cli.failure import say
from migrate.cli.options import (
    Files,
    Output,
    OutputOption,
    open_place,
    opens_clusters,
)
from migrate.model.errors import MigrateError, Problem, StepFailed, UsageError

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
SCHEMA = "kubevirt-migrate.io/cleanup/v1"


@opens_clusters
def cleanup(
    source: Annotated[str, typer.Option("--source", metavar="CONTEXT[:NAMESPACE]", help="The side that VMs left.", show_default=False)],
    target: Annotated[
        str,
        typer.Option("--target", metavar="CONTEXT[:NAMESPACE]", help="The side they went to; it holds the records.", show_default=False),
    ],
    older_than: Annotated[str, typer.Option("--older-than", metavar="AGE", help="Spare what is younger: 30m, 12h, 7d, 2w.")] = "7d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, remove nothing.")] = False,
    output: OutputOption = Output.TEXT,
    *,
    files: Files,
) -> None:
    """Remove exports, tokens, CAs, headers and claims that earlier runs left behind; disks and VMs stay.

    A migration that somebody may be running is not touched. Records go when they are older than 90 days, beyond the newest 100, and nothing
    of their migration is on the target any more.
    """
    from migrate.model.clock import SystemClock
    from migrate.workflow.cleanup import LOOK_S, Rules, leftovers

    age = age_of(older_than)
    with ExitStack() as stack:
        here, all_here = open_place(stack, source, files.source or files.both, option="--source")
        there, all_there = open_place(stack, target, files.target or files.both, option="--target")
        say(f"looking on both sides; where a claim is held, for {LOOK_S:.0f} s whether it is alive")
        found = leftovers(here, there, rules=Rules(age), clock=SystemClock(), everywhere=(all_here, all_there))
        gone, spared, problems = list[str](), list(found.spared), list[Problem]()
        for one in found.found:
            try:
                stays = "" if dry_run else one.remove()
            except MigrateError as error:
                problems += error.problems
                continue
            if stays:
                spared.append(f"{one.words}; {stays}")
                continue
            gone.append(one.words)
            if output is Output.TEXT:
                print(f"{'would remove' if dry_run else 'removed'} {one.words}", flush=True)
    if output is Output.JSON:
        print(json.dumps({"schema": SCHEMA, "removed": not dry_run, "found": gone, "spared": spared}))
    else:
        for words in spared:
            print(f"left alone: {words}")
        if not found.found:
            print("nothing else is left over" if spared else "nothing is left over")
    if problems:
        raise StepFailed.of(problems)


def age_of(text: str) -> timedelta:
    """Read an age: a number and m, h, d or w. Raises UsageError."""
    found = re.fullmatch(r"(\d+)([mhdw])", text)
    if found is None:
        raise UsageError(f'"{text}" is no age', where="--older-than", now="give a number and m, h, d or w, as 12h or 7d")
    return timedelta(**{UNITS[found[2]]: int(found[1])})
