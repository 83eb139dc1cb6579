"""Options that several commands share, and how two references become two open clusters."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.model.errors import MigrateError, Problem, UsageError

if TYPE_CHECKING:
    from migrate.kube.cluster import Cluster
    from migrate.model.refs import VMRef

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class Output(StrEnum):
    """How results are written."""

    TEXT = "text"
    JSON = "json"


SourceArgument = Annotated[
    str, typer.Argument(metavar="SRC", help="The VM: CONTEXT:NAMESPACE/NAME, NAMESPACE/NAME or NAME.", show_default=False)
]
TargetArgument = Annotated[
    str, typer.Argument(metavar="DST", help="Where to: CONTEXT:NAMESPACE/NAME, CONTEXT:NAMESPACE or CONTEXT.", show_default=False)
]
KubeconfigOption = Annotated[
    str, typer.Option("--kubeconfig", metavar="FILE", help="Kubeconfig of both clusters.", show_default="$KUBECONFIG")
]
SourceKubeconfigOption = Annotated[
    str, typer.Option("--source-kubeconfig", metavar="FILE", help="Kubeconfig of the source cluster.", show_default=False)
]
TargetKubeconfigOption = Annotated[
    str, typer.Option("--target-kubeconfig", metavar="FILE", help="Kubeconfig of the target cluster.", show_default=False)
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text, or json: one event a line, the report last.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log every request and retry to stderr.")]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two references and their open clusters, each bound to its namespace."""

    source: VMRef
    target: VMRef
    source_cluster: Cluster
    target_cluster: Cluster


@dataclass(frozen=True, slots=True)
class Files:
    """Which kubeconfig files were named."""

    both: str = ""
    source: str = ""
    target: str = ""


def open_pair(stack: ExitStack, source: str, target: str, files: Files) -> Pair:
    """Read both references and open both clusters. Raises UsageError with the problems of both at once."""
    from migrate.kube.config import known_contexts, read_kubeconfig
    from migrate.kube.session import open_cluster
    from migrate.model.refs import VMRef, parse_ref

    paths = (files.source or files.both or None, files.target or files.both or None)
    here, here_now = known_contexts(paths[0])
    there, there_now = known_contexts(paths[1])
    problems: list[Problem] = []
    ref: VMRef | None = None
    aim: VMRef | None = None
    try:
        ref = parse_ref(source, contexts=here, current=here_now, namespace_of=lambda name: read_kubeconfig(paths[0]).stanza(name).namespace)
    except MigrateError as error:
        problems += error.problems
    try:
        aim = parse_ref(
            target,
            contexts=there,
            current=there_now,
            namespace_of=lambda name: read_kubeconfig(paths[1]).stanza(name).namespace,
            source=ref or VMRef("", "default", "unread"),
        )
    except MigrateError as error:
        problems += error.problems
    if problems or ref is None or aim is None:
        raise UsageError.of(problems)
    opened = []
    for one, file in ((ref, paths[0]), (aim, paths[1])):
        cluster = open_cluster(one.context, kubeconfig=file, namespace=one.namespace)
        stack.callback(cluster.close)
        opened.append(cluster)
    return Pair(ref, aim, opened[0], opened[1])


def pem_of(path: Path | None, option: str) -> str:
    """Read the certificates of a CA file; a private key beside them goes nowhere. Raises UsageError when there is none to read."""
    if path is None:
        return ""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("the CA file cannot be read", where=f"{option} {path}", why=str(error), now="name a PEM file") from error
    certificates = CERTIFICATE.findall(text)
    if not certificates:
        raise UsageError("the CA file holds no certificate", where=f"{option} {path}", now="name a file with -----BEGIN CERTIFICATE-----")
    return "\n".join(certificates) + "\n"


def set_up_logs(verbose: bool) -> None:
    """Send logs to stderr: warnings, or with --verbose every request and retry."""
    import logging

    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("migrate").setLevel(logging.DEBUG if verbose else logging.WARNING)
    logging.getLogger("migrate.kube").setLevel(logging.DEBUG if verbose else logging.ERROR)
