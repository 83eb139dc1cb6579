"""`migrate status`: what was moved, what is on its way, what was proven. Reads only."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli.options import (
    Files,
    Method,
    MethodOption,
    Output,
    OutputOption,
    open_pair,
    open_place,
    opens_clusters,
)
from migrate.model.errors import Blocked, MigrateError, UsageError

if TYPE_CHECKING:
    from migrate.kube.cluster import Cluster
    from migrate.model.record import Record
    from migrate.model.report import Report


@opens_clusters
def status(
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[SRC DST | ID]", help="One migration; without it, all of the target.")
    ] = None,
    target: Annotated[
        str, typer.Option(metavar="CONTEXT[:NAMESPACE]", help="Where to look for records.", show_default="the current context")
    ] = "",
    method: MethodOption = Method.COLD,
    output: OutputOption = Output.TEXT,
    *,
    files: Files,
) -> None:
    """Show one migration, or list those whose records stand in a target cluster."""
    words = what or []
    with ExitStack() as stack:
        if len(words) == 2 and not target:
            _one(_asked(stack, words[0], words[1], files, method), output)
            return
        if len(words) > 1:
            raise UsageError("name one migration: SRC DST, or an ID with --target", where="migrate status", now="see migrate status --help")
        cluster, everywhere = open_place(stack, target, files.target or files.both, option="--target")
        _from_records(stack, cluster, words, files, everywhere=everywhere, output=output)


def _asked(stack: ExitStack, source: str, target: str, files: Files, method: Method) -> Report:
    from migrate.workflow.ask import Question, ask
    from migrate.workflow.by_hand import way_back
    from migrate.workflow.reporting import standing

    pair = open_pair(stack, source, target, files)
    asked = ask(Question(pair.source, pair.target, playbook=method.playbook), pair.source_cluster, pair.target_cluster, strict=False)
    if asked.record is None:
        where, back = f"{pair.source} → {pair.target}", way_back(pair.source_cluster, pair.source)
        if back:
            why = "the source carries the notes of a migration that halted it, but the target holds no record of it"
            now = f"take it back: migrate undo {pair.source} {pair.target}; {back}"
            raise Blocked("the source is held halted by a migration whose record is lost", where=where, why=why, now=now)
        raise UsageError(
            "there is no such migration", where=where, now=f"begin it: migrate vm {pair.source} {pair.target} --method {method}"
        )
    return standing(asked.record, pair.source_cluster, pair.target_cluster)


def _from_records(stack: ExitStack, cluster: Cluster, words: list[str], files: Files, *, everywhere: bool, output: Output) -> None:
    from migrate.kube.session import open_cluster
    from migrate.workflow import records
    from migrate.workflow.reporting import standing

    found = records.every(cluster, everywhere=everywhere)
    if not words:
        _list(found, output)
        return
    record = next((one for one in found if one.migration.id == words[0]), None)
    if record is None:
        known = ", ".join(one.migration.id for one in found[:10]) or "none"
        raise UsageError(
            f'there is no migration "{words[0]}"',
            where=f"context {cluster.context}",
            why=f"the records there are: {known}",
            now="name one of them",
        )
    m = record.migration
    try:
        source = open_cluster(m.source.context, kubeconfig=files.source or files.both or None, namespace=m.source.namespace)
        stack.callback(source.close)
    except MigrateError:
        source = None
    _one(standing(record, source, cluster.at(m.target.namespace)), output)


def _one(report: Report, output: Output) -> None:
    from migrate.cli.show_report import report_text

    print(json.dumps(report.to_json()) if output is Output.JSON else report_text(report))


def _list(found: list[Record], output: Output) -> None:
    from migrate.model.report import stamp

    rows = [
        {
            "id": record.migration.id,
            "source": str(record.migration.source),
            "target": str(record.migration.target),
            "outcome": record.outcome.value if record.outcome else "unfinished",
            "started": stamp(record.started),
            "finished": stamp(record.finished),
            "proven": sum(bool(proof.digest) for proof in record.disks),
        }
        for record in found
    ]
    if output is Output.JSON:
        print(json.dumps({"schema": "kubevirt-migrate.io/migrations/v1", "migrations": rows}))
    elif not rows:
        print("no migrations are recorded there")
    else:
        _table(rows)


def _table(rows: list[dict[str, str | int | None]]) -> None:
    heads = ("id", "source", "target", "outcome", "started", "proven")
    cells = [[head.upper() for head in heads], *([str(row[head] if row[head] is not None else "") for head in heads] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
