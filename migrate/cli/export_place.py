"""How the export commands name an export, and open its cluster."""

from __future__ import annotations

import re
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli.options import Files, pem_of
from migrate.model.errors import UsageError
from migrate.model.exports import Source, Subject

if TYPE_CHECKING:
    from migrate.kube.cluster import Cluster
    from migrate.workflow.exports import Approach, Wish

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The export: NAME, NAMESPACE/NAME or CONTEXT:NAMESPACE/NAME.", show_default=False)
]
ContextOption = Annotated[
    str, typer.Option("--context", metavar="CONTEXT", help="Context of a NAME that has none.", show_default="the current one")
]
NamespaceOption = Annotated[
    str, typer.Option("--namespace", "-n", metavar="NS", help="Namespace of a NAME that has none.", show_default="the context's")
]
VmOption = Annotated[str, typer.Option("--vm", metavar="VM", help="Export this VM (it must be stopped).", show_default=False)]
SnapshotOption = Annotated[str, typer.Option("--snapshot", metavar="SNAPSHOT", help="Export this VM snapshot.", show_default=False)]
PvcOption = Annotated[str, typer.Option("--pvc", metavar="PVC", help="Export this claim.", show_default=False)]
TtlOption = Annotated[str, typer.Option("--ttl", metavar="TIME", help="How long the export lives: 90m, 6h.", show_default="2h, KubeVirt's")]
LabelsOption = Annotated[
    list[str] | None, typer.Option("--labels", metavar="KEY=VALUE,...", help="Labels of the export, its pod and its service.")
]
AnnotationsOption = Annotated[list[str] | None, typer.Option("--annotations", metavar="KEY=VALUE,...", help="Annotations, likewise.")]
TokenOption = Annotated[
    str, typer.Option("--token-secret", metavar="SECRET", help="A Secret of yours with the key `token`.", show_default="one is made")
]
VolumeOption = Annotated[str, typer.Option("--volume", metavar="PVC", help="The volume, where there are several.", show_default=False)]
ForwardOption = Annotated[bool, typer.Option("--port-forward", help="Read through the API server; TLS is verified all the same.")]
LocalPortOption = Annotated[
    int | None, typer.Option("--local-port", help="Taken for virtctl's sake; no local port is opened.", show_default=False)
]
ServiceOption = Annotated[
    str,
    typer.Option("--service-url", metavar="HOST[:PORT]", help="A NodePort or load balancer of the export's service.", show_default=False),
]
InsecureOption = Annotated[bool, typer.Option("--insecure", help="Believe whoever answers for the export's host.")]
CaOption = Annotated[Path | None, typer.Option("--ca", metavar="FILE", help="CA of the host outside, where the cluster names none.")]
ReadinessOption = Annotated[str, typer.Option("--readiness-timeout", metavar="TIME", help="How long to wait until it can be read.")]

_UNITS = {"h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def open_export(stack: ExitStack, name: str, context: str, namespace: str, files: Files) -> tuple[Cluster, str]:
    """Open the cluster of an export, bound to its namespace; return it with the export's own name. Raises UsageError."""
    from migrate.kube.config import known_contexts, read_kubeconfig
    from migrate.kube.session import open_cluster
    from migrate.model.refs import parse_ref

    path = files.both or None
    contexts, current = known_contexts(path)
    if context and context not in contexts:
        raise UsageError(f'there is no context "{context}"', where="--context", why=f"there are: {', '.join(contexts)}")
    ref = parse_ref(
        name,
        contexts=contexts,
        current=context or current,
        namespace_of=lambda one: namespace or read_kubeconfig(path).stanza(one).namespace,
    )
    cluster = open_cluster(ref.context, kubeconfig=path, namespace=ref.namespace)
    stack.callback(cluster.close)
    return cluster, ref.name


def subject(vm: str, snapshot: str, pvc: str) -> Subject | None:
    """Return what is to be exported; None when nothing was named. Raises UsageError for more than one."""
    named = [Subject(source, name) for source, name in ((Source.VM, vm), (Source.SNAPSHOT, snapshot), (Source.PVC, pvc)) if name]
    if len(named) > 1:
        raise UsageError("an export has one source", where="--vm, --snapshot, --pvc", now="give one of them")
    return named[0] if named else None


def wish_of(
    of: Subject, ttl: str, token_secret: str, labels: list[str] | None, annotations: list[str] | None, *, passing: str = ""
) -> Wish:
    """Gather what an export is to be; `passing`: name of the download that it goes with. Raises UsageError."""
    from migrate.workflow.exports import Wish

    return Wish(
        of,
        ttl=duration(ttl, "--ttl") if ttl else None,
        token_secret=token_secret,
        labels=pairs(labels, "--labels"),
        annotations=pairs(annotations, "--annotations"),
        passing=passing,
    )


def approach_of(port_forward: bool, service_url: str, insecure: bool, ca: Path | None) -> Approach:
    """Gather how an export is to be reached. Raises UsageError."""
    from migrate.workflow.exports import Approach

    if port_forward and service_url:
        raise UsageError("there are two ways given", where="--port-forward, --service-url", now="give one of them")
    if ca is not None and (port_forward or service_url):
        raise UsageError(
            "a CA of the host outside was given, which this way does not pass",
            where="--ca",
            why="the server within is believed by the CA that the export names for it",
            now="leave --ca out",
        )
    return Approach(port_forward, service_url, insecure, pem_of(ca, "--ca"))


def duration(text: str, option: str) -> timedelta:
    """Read a time as 1h30m, 90m or 45s. Raises UsageError."""
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        raise UsageError(f'"{text}" is no time', where=option, now="give hours, minutes, seconds: 6h, 1h30m, 90s")
    seconds = sum(int(number) * unit for number, unit in zip(found.groups(default="0"), _UNITS.values(), strict=True))
    if not seconds:
        raise UsageError("a time of nothing", where=option, now="give more than 0 s")
    return timedelta(seconds=seconds)


def pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    """Read KEY=VALUE,KEY=VALUE. Raises UsageError."""
    found = {}
    for one in (part for text in texts or () for part in text.split(",") if part):
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise UsageError(f'"{one}" is no KEY=VALUE', where=option)
        found[key] = value
    return found
