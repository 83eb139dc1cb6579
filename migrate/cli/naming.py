"""How a command names a migration: by its two references, or by its id and the place of its record."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migrate.cli.options import Files, Method, Pair, open_pair, open_place
from migrate.model.errors import UsageError

if TYPE_CHECKING:
    from migrate.workflow.ask import Asked, Question


@dataclass(frozen=True, slots=True)
class Named:
    """A migration that was named, and its two clusters."""

    pair: Pair
    question: Question
    asked: Asked | None = None
    """None: it is found by its question."""


def named(
    stack: ExitStack, words: Sequence[str], files: Files, *, target: str, source: str, command: str, method: Method = Method.COLD
) -> Named:
    """Open what SRC DST, or ID with --target, mean. Raises UsageError for anything else, and for an id that no record has."""
    from migrate.workflow.ask import Question

    match list(words):
        case [src, dst] if not target and not source:
            pair = open_pair(stack, src, dst, files)
            return Named(pair, Question(pair.source, pair.target, playbook=method.playbook))
        case [identity] if target:
            return _by_id(stack, identity, target, source, files)
        case _:
            raise UsageError(
                "name one migration: SRC DST, or an ID with --target CONTEXT",
                where=command,
                now=f"see {command} --help; ids: migrate status",
            )


def _by_id(stack: ExitStack, identity: str, target: str, source: str, files: Files) -> Named:
    """Find the record, and open the source that it names; the cluster must be the very one, whatever the context is called here."""
    from migrate.kube.session import open_cluster
    from migrate.workflow import records
    from migrate.workflow.ask import Asked, Question

    there, everywhere = open_place(stack, target, files.target or files.both, option="--target")
    record = next((one for one in records.every(there, everywhere=everywhere) if one.migration.id == identity), None)
    if record is None:
        raise UsageError(
            f'there is no record of a migration "{identity}"', where=f"context {there.context}", now="list them: migrate status"
        )
    m = record.migration
    here = open_cluster(source or m.source.context, kubeconfig=files.source or files.both or None, namespace=m.source.namespace)
    stack.callback(here.close)
    if here.uid() != m.source_cluster_uid:
        raise UsageError(
            f'context "{here.context}" leads to another cluster than the one that the VM was moved from',
            where=f"migration {identity}",
            why=f"its kube-system namespace has the UID {here.uid()}, the record says {m.source_cluster_uid}",
            now="name the right context with --source",
        )
    m = replace(m, source=replace(m.source, context=here.context), target=replace(m.target, context=there.context))
    pair = Pair(m.source, m.target, here, there.at(m.target.namespace))
    return Named(pair, Question(m.source, m.target, m.options, playbook=m.playbook), Asked(m, record))
