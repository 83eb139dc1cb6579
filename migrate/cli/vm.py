"""`migrate vm` and `migrate undo`: one VM, there and back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

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
    open_pair,
    opens_clusters,
    pem_of,
)
from migrate.cli.walk import walk
from migrate.model.errors import UsageError
from migrate.model.migration import Format, Identity, OnFailure, References, Start, Verify

if TYPE_CHECKING:
    from migrate.model.report import Event
    from migrate.workflow.run import Ending


@opens_clusters
def move(
    source: SourceArgument,
    target: TargetArgument,
    method: MethodOption = Method.COLD,
    start: Annotated[
        Start, typer.Option(help="Start the target: as the source was (a copy: not at all), in any case, or not at all.")
    ] = Start.AUTO,
    verify: Annotated[Verify | None, typer.Option(help="How much of every disk is compared.", show_default="sample; full for gzip")] = None,
    format: Annotated[Format, typer.Option(help="What the target pulls: raw shows a cut at once, gzip is smaller.")] = Format.RAW,
    map_storage: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE=TARGET", help="Storage class on the target for one on the source; * is any.")
    ] = None,
    map_network: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE=TARGET", help="Network ([NAMESPACE/]NAME) on the target for one on the source.")
    ] = None,
    references: Annotated[
        References, typer.Option(help="Secrets and ConfigMaps that the VM names: copy what is missing, replace what differs too, or skip.")
    ] = References.COPY,
    parallel_disks: Annotated[int, typer.Option(min=1, max=64, help="Disks imported at the same time.")] = 4,
    create_namespace: Annotated[bool, typer.Option("--create-namespace", help="Create the target namespace if it is missing.")] = False,
    allow_managed: Annotated[
        bool, typer.Option("--allow-managed", help="Stop a VM even if Argo CD, Flux or Helm will want it running again.")
    ] = False,
    source_ca: SourceCaOption = None,
    target_ca: TargetCaOption = None,
    on_failure: Annotated[
        OnFailure, typer.Option(help="When a step fails before the start: leave all as it is, or undo.")
    ] = OnFailure.LEAVE,
    fence: Annotated[
        bool, typer.Option("--fence", help="Make the halted source unschedulable, so that nobody's start brings up its guest.")
    ] = False,
    identity: Annotated[
        Identity, typer.Option(help="Firmware uuid, serial and MACs: keep them (a move), new ones, or as the playbook is meant.")
    ] = Identity.AUTO,
    keep_snapshot: Annotated[
        bool, typer.Option("--keep-snapshot", help="With --method snapshot: leave the snapshot on the source at the end.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Ask anew after a finished or undone run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, show what would be written, write nothing.")] = False,
    output: OutputOption = Output.TEXT,
    *,
    files: Files,
) -> None:
    """Move a VM to another cluster: stop it, pull its disks, prove them equal, start it there.

    The source VM and its disks stay where they are, halted. With --method snapshot it goes on instead, and a copy of it is made that stays
    halted unless --start always. Running the same command again resumes, or says that nothing is left to do.
    """
    from migrate.model.clock import SystemClock
    from migrate.model.migration import Options
    from migrate.rendering.mapping import parse_map
    from migrate.workflow.ask import Question
    from migrate.workflow.run import Run

    _fit(method, fence=fence, keep_snapshot=keep_snapshot)
    options = Options(
        start=start,
        verify=verify or (Verify.FULL if format is Format.GZIP else Verify.SAMPLE),
        format=format,
        storage_map=parse_map(map_storage or []),
        parallel_disks=parallel_disks,
        create_namespace=create_namespace,
        allow_managed=allow_managed,
        source_ca=pem_of(source_ca, "--source-ca"),
        target_ca=pem_of(target_ca, "--target-ca"),
        on_failure=on_failure,
        fence=fence,
        identity=identity,
        references=references,
        network_map=parse_map(map_network or [], option="--map-network", what="network"),
        keep_snapshot=keep_snapshot,
    )
    with ExitStack() as stack:
        pair = open_pair(stack, source, target, files)
        question = Question(pair.source, pair.target, options, playbook=method.playbook, again=again)

        def go(show: Callable[[Event], None]) -> Ending:
            run = Run(question, source=pair.source_cluster, target=pair.target_cluster, clock=SystemClock(), show=show)
            return run.plan() if dry_run else run.move()

        walk(output, pair, go)


def _fit(method: Method, *, fence: bool, keep_snapshot: bool) -> None:
    """Raise UsageError for options that mean nothing with this method."""
    wrong = "--fence" if fence and method is Method.SNAPSHOT else "--keep-snapshot" if keep_snapshot and method is Method.COLD else ""
    if wrong:
        why = "a copy leaves the source as it is" if fence else "a move takes no snapshot"
        raise UsageError(f"{wrong} means nothing with --method {method}", where="migrate vm", why=why, now=f"leave {wrong} out")


@opens_clusters
def undo(
    what: Annotated[list[str], typer.Argument(metavar="SRC DST | ID", help="The move, as it was asked for, or its id with --target.")],
    target: Annotated[
        str, typer.Option("--target", metavar="CONTEXT[:NAMESPACE]", help="Where the record of that ID is.", show_default=False)
    ] = "",
    source: Annotated[
        str, typer.Option("--source", metavar="CONTEXT", help="Context of its source, if it has another name here.", show_default=False)
    ] = "",
    even_if_started: Annotated[
        bool, typer.Option("--even-if-started", help="Go back even if the target was started: what its guest wrote since is lost.")
    ] = False,
    method: MethodOption = Method.COLD,
    output: OutputOption = Output.TEXT,
    *,
    files: Files,
) -> None:
    """Take an unfinished move back: remove our disks and objects, give the source its run strategy again.

    Refused once the target was started, since its disks then hold what the source never saw, unless --even-if-started gives that up.
    A copy (--method snapshot) is removed with its snapshot; the source is not touched.
    """
    from migrate.model.clock import SystemClock
    from migrate.workflow.run import Run

    with ExitStack() as stack:
        found = named(stack, what, files, target=target, source=source, command="migrate undo", method=method)
        pair = found.pair

        def go(show: Callable[[Event], None]) -> Ending:
            run = Run(found.question, source=pair.source_cluster, target=pair.target_cluster, clock=SystemClock(), show=show)
            return run.undo(found.asked, even_if_started=even_if_started)

        walk(output, pair, go)
