"""`migrate cleanup`: what earlier runs left behind on both sides, and nothing else."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli.failure import say
from migrate.cli.options import (
    Files,
    KubeconfigOption,
    Output,
    OutputOption,
    SourceKubeconfigOption,
    TargetKubeconfigOption,
    VerboseOption,
    set_up_logs,
)
from migrate.model.errors import UsageError

if TYPE_CHECKING:
    from migrate.kube.cluster import Cluster

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
SCHEMA = "kubevirt-migrate.io/cleanup/v1"


def cleanup(
    source: Annotated[str, typer.Option("--source", metavar="CONTEXT[:NAMESPACE]", help="One side.", show_default=False)],
    target: Annotated[
        str, typer.Option("--target", metavar="CONTEXT[:NAMESPACE]", help="The other, which holds the records.", show_default=False)
    ],
    older_than: Annotated[str, typer.Option("--older-than", metavar="AGE", help="Spare what is younger: 30m, 12h, 7d, 2w.")] = "7d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, remove nothing.")] = False,
    kubeconfig: KubeconfigOption = "",
    source_kubeconfig: SourceKubeconfigOption = "",
    target_kubeconfig: TargetKubeconfigOption = "",
    output: OutputOption = Output.TEXT,
    verbose: VerboseOption = False,
) -> None:
    """Remove exports, tokens, CAs, headers and claims that earlier runs left behind; disks and VMs stay.

    A migration that somebody may be running is not touched. Records go when they are older than 90 days, beyond the newest 100, and nothing
    of their migration is on the target any more.
    """
    from migrate.model.clock import SystemClock
    from migrate.workflow.cleanup import LOOK_S, Rules, leftovers

    set_up_logs(verbose)
    age = age_of(older_than)
    with ExitStack() as stack:
        here, all_here = _open(stack, source, source_kubeconfig or kubeconfig)
        there, all_there = _open(stack, target, target_kubeconfig or kubeconfig)
        say(f"looking on both sides; where a claim is held, for {LOOK_S:.0f} s whether it is alive")
        found = leftovers(here, there, rules=Rules(age), clock=SystemClock(), everywhere=(all_here, all_there))
        for one in found.found:
            if not dry_run:
                one.remove()
            if output is Output.TEXT:
                print(f"{'would remove' if dry_run else 'removed'} {one.words}", flush=True)
    if output is Output.JSON:
        words = [one.words for one in found.found]
        print(json.dumps({"schema": SCHEMA, "removed": not dry_run, "found": words, "spared": found.spared}))
        return
    for spared in found.spared:
        print(f"left alone: {spared}")
    if not found.found:
        print("nothing else is left over" if found.spared else "nothing is left over")


def age_of(text: str) -> timedelta:
    """Read an age: a number and m, h, d or w. Raises UsageError."""
    found = re.fullmatch(r"(\d+)([mhdw])", text)
    if found is None:
        raise UsageError(f'"{text}" is no age', where="--older-than", now="give a number and m, h, d or w, as 12h or 7d")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def _open(stack: ExitStack, place: str, file: str) -> tuple[Cluster, bool]:
    from migrate.cli.status import open_place

    return open_place(stack, place, Files(target=file))
