"""Options that several commands share, and how two references become two open clusters."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
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


class Method(StrEnum):
    """How a VM gets to the other side."""

    COLD = "cold"
    SNAPSHOT = "snapshot"

    @property
    def playbook(self) -> str:
        return "snapshot-copy" if self is Method.SNAPSHOT else "cold-move"


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
SourceCaOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="CA of the source's export host, where the cluster names none or a wrong one.")
]
TargetCaOption = Annotated[Path | None, typer.Option(metavar="FILE", help="CA of the target's export host, for the proof.")]
MethodOption = Annotated[Method, typer.Option("--method", help="cold: a move, with a stop; snapshot: a copy of a VM that goes on.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text, or json: one event a line, the report last.")]


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


def _shared(
    *,
    kubeconfig: Annotated[
        str, typer.Option("--kubeconfig", metavar="FILE", help="Kubeconfig of both clusters.", show_default="$KUBECONFIG")
    ] = "",
    source_kubeconfig: Annotated[
        str, typer.Option("--source-kubeconfig", metavar="FILE", help="Kubeconfig of the source cluster.", show_default=False)
    ] = "",
    target_kubeconfig: Annotated[
        str, typer.Option("--target-kubeconfig", metavar="FILE", help="Kubeconfig of the target cluster.", show_default=False)
    ] = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every request and retry to stderr.")] = False,
) -> Files:
    set_up_logs(verbose)
    return Files(kubeconfig, source_kubeconfig, target_kubeconfig)


def _shared_by_one(
    *,
    kubeconfig: Annotated[
        str, typer.Option("--kubeconfig", metavar="FILE", help="Kubeconfig of the cluster.", show_default="$KUBECONFIG")
    ] = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every request and retry to stderr.")] = False,
) -> Files:
    return _shared(kubeconfig=kubeconfig, verbose=verbose)


def opens_clusters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all have which open two clusters: it takes them as `files`, and logs are set up before it runs."""
    return _giving(_shared, command)


def opens_one_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that opens one cluster the options of those that open two, as far as they mean anything to it."""
    return _giving(_shared_by_one, command)


def _giving(share: Callable[..., Files], command: Callable[..., None]) -> Callable[..., None]:
    """Put together what typer reads of a command, its signature and its annotations, from both functions."""
    own, shared = (inspect.signature(function, eval_str=True).parameters for function in (command, share))

    @functools.wraps(command)
    def whole(**said: object) -> None:
        files = share(**{name: said.pop(name) for name in shared})
        command(**said, files=files)

    parameters = [*(parameter for parameter in own.values() if parameter.name != "files"), *shared.values()]
    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    whole.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    whole.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return whole


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


def open_place(stack: ExitStack, place: str, file: str, *, option: str) -> tuple[Cluster, bool]:
    """Open the cluster of CONTEXT[:NAMESPACE] ("" = the current context); True when no namespace was named, so that all are meant.

    Raises UsageError where all are meant and we may not look into all.
    """
    from migrate.kube.config import known_contexts
    from migrate.kube.kinds import CONFIGMAP, LEASE
    from migrate.kube.session import open_cluster
    from migrate.model.refs import parse_place

    contexts, current = known_contexts(file or None)
    ref = parse_place(place or current, contexts=contexts)
    cluster = open_cluster(ref.context, kubeconfig=file or None, namespace=ref.namespace)
    stack.callback(cluster.close)
    kind = LEASE if option == "--source" else CONFIGMAP
    if ref.namespace is None and not cluster.can("list", kind, ""):
        raise UsageError(
            "we may not look into all namespaces",
            where=f"context {ref.context}",
            why=f"list {kind.plural} is not allowed in all of them",
            now=f"name the one to look into: {option} {ref.context}:{cluster.namespace}",
        )
    return cluster, ref.namespace is None


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
    logging.getLogger("migrate.kube.contact").setLevel(logging.WARNING)
