"""`migrate export create|list|show|delete|manifest`: the export API, as virtctl has it and more."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from migrate.cli import export_place as place
from migrate.cli import show_export
from migrate.cli.failure import say
from migrate.cli.options import Files, Output, OutputOption, opens_one_cluster
from migrate.model.errors import Taken, UsageError


class Written(StrEnum):
    """How an object is written."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


class Documents(StrEnum):
    """How manifests are written."""

    YAML = "yaml"
    JSON = "json"


@opens_one_cluster
def create(
    name: place.NameArgument,
    vm: place.VmOption = "",
    snapshot: place.SnapshotOption = "",
    pvc: place.PvcOption = "",
    ttl: place.TtlOption = "",
    token_secret: place.TokenOption = "",
    labels: place.LabelsOption = None,
    annotations: place.AnnotationsOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it can be read.")] = False,
    readiness_timeout: place.ReadinessOption = "2m",
    context: place.ContextOption = "",
    namespace: place.NamespaceOption = "",
    *,
    files: Files,
) -> None:
    """Offer the disks of a stopped VM, a snapshot or a claim over HTTPS. The same again completes what is missing."""
    from migrate.model.clock import SystemClock
    from migrate.workflow.exports import Approach, Exports

    of = place.subject(vm, snapshot, pvc)
    if of is None:
        raise UsageError("nothing to export was named", where="migrate export create", now="give --vm, --snapshot or --pvc")
    wish = place.wish_of(of, ttl, token_secret, labels, annotations)
    patience = place.duration(readiness_timeout, "--readiness-timeout")
    with ExitStack() as stack:
        cluster, name = place.open_export(stack, name, context, namespace, files)
        exports = Exports(cluster, SystemClock())
        export, new = exports.create(name, wish, tell=say)
        if not new and (unlike := exports.unlike(export, wish)):
            raise Taken(
                f"export {name} was there already, and is not as asked",
                where=f"{cluster.context}, namespace {cluster.namespace}",
                why="; ".join(unlike),
                now=f"leave these options out; or remove it and make it anew: migrate export delete {name}",
            )
        print(f"export {name} of {of} {'is made' if new else 'was there already'}", flush=True)
        if wait:
            exports.ready(name, Approach(), patience=patience, tell=say).client.close()
            print(show_export.text(exports.one(name)))


@opens_one_cluster
def list_(
    context: place.ContextOption = "",
    namespace: place.NamespaceOption = "",
    output: OutputOption = Output.TEXT,
    *,
    files: Files,
) -> None:
    """List the exports of a namespace, with what each of them waits for."""
    from migrate.model.clock import SystemClock
    from migrate.workflow.exports import Exports

    with ExitStack() as stack:
        cluster, _ = place.open_export(stack, "any", context, namespace, files)
        found = Exports(cluster, SystemClock()).every()
        if output is Output.JSON:
            print(json.dumps({"schema": show_export.LIST_SCHEMA, "exports": [show_export.to_json(one) for one in found]}))
        else:
            print(show_export.table(found) if found else f"there is no export in namespace {cluster.namespace} of {cluster.context}")


@opens_one_cluster
def show(
    name: place.NameArgument,
    context: place.ContextOption = "",
    namespace: place.NamespaceOption = "",
    output: Annotated[Written, typer.Option("--output", "-o", help="text, json or yaml.")] = Written.TEXT,
    *,
    files: Files,
) -> None:
    """Show one export: where it stands and why, its links, formats and sizes, and when it ends."""
    from migrate.model.clock import SystemClock
    from migrate.workflow.exports import Exports

    with ExitStack() as stack:
        cluster, name = place.open_export(stack, name, context, namespace, files)
        seen = Exports(cluster, SystemClock()).one(name)
        print(show_export.text(seen) if output is Written.TEXT else _written([show_export.to_json(seen)], Documents(output.value)), end="")
        print(end="\n" if output is not Written.YAML else "")


@opens_one_cluster
def delete(name: place.NameArgument, context: place.ContextOption = "", namespace: place.NamespaceOption = "", *, files: Files) -> None:
    """Remove an export. Its server, its token and what was restored for it go with it; what it exports stays."""
    from migrate.model.clock import SystemClock
    from migrate.workflow.exports import Exports

    with ExitStack() as stack:
        cluster, name = place.open_export(stack, name, context, namespace, files)
        there = Exports(cluster, SystemClock()).delete(name)
        print(f"export {name} is removed" if there else f"there is no export {name} in namespace {cluster.namespace} of {cluster.context}")


@opens_one_cluster
def manifest(
    name: place.NameArgument,
    include_secret: Annotated[bool, typer.Option("--include-secret", help="Write the Secret with the token, too.")] = False,
    form: Annotated[Documents, typer.Option("-o", help="yaml or json.")] = Documents.YAML,
    output: Annotated[str, typer.Option("--output", metavar="FILE|-", help="Where to; a file is for you alone.")] = "-",
    target_namespace: Annotated[
        str, typer.Option("--target-namespace", metavar="NS", help="Namespace on the target.", show_default="the source's")
    ] = "",
    port_forward: place.ForwardOption = False,
    readiness_timeout: place.ReadinessOption = "2m",
    context: place.ContextOption = "",
    namespace: place.NamespaceOption = "",
    *,
    files: Files,
) -> None:
    """Write what `kubectl apply` needs on another cluster: CA, VM (halted) and disks, each with the link of its own name."""
    from migrate.model.clock import SystemClock
    from migrate.transfer.landing import landing
    from migrate.workflow.export_manifests import manifests
    from migrate.workflow.exports import Exports

    approach = place.approach_of(port_forward, "", insecure=False, ca=None)
    patience = place.duration(readiness_timeout, "--readiness-timeout")
    path = landing(Path(output)) if output != "-" else None
    with ExitStack() as stack:
        cluster, name = place.open_export(stack, name, context, namespace, files)
        opened = Exports(cluster, SystemClock()).ready(name, approach, patience=patience, tell=say)
        opened.client.close()
        made = manifests(cluster, opened, namespace=target_namespace or cluster.namespace, secret=include_secret)
    for words in made.notes:
        say(words)
    if approach.inside:
        say("the links hold within the source cluster only: a target elsewhere cannot import from them")
    if not include_secret:
        say(f"the Secret header-secret-{name} is not in it: add it with --include-secret, or create it on the target")
    text = _written(made.documents, form)
    if path is None:
        print(text, end="")
        return
    _keep(path, text)
    say(f"{output} is written, for you alone to read; on the target: kubectl apply -f {output}")


def _written(documents: list[dict[str, Any]], form: Documents) -> str:
    """Write documents: JSON as a v1 List where there are several; in YAML text of several lines as a block, as people write it."""
    import yaml

    class Blocks(yaml.SafeDumper):
        pass

    Blocks.add_representer(
        str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)
    )
    if form is Documents.YAML:
        return "---\n".join(yaml.dump(one, Dumper=Blocks, sort_keys=False) for one in documents)
    whole = documents[0] if len(documents) == 1 else {"apiVersion": "v1", "kind": "List", "items": documents}
    return json.dumps(whole, indent=2) + "\n"


def _keep(path: Path, text: str) -> None:
    """Write a file that may hold a token: nobody else reads it, also where a readable one was there before. Raises UsageError."""
    try:
        young = path.with_name(f".{path.name}.new")
        with os.fdopen(os.open(young, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
        young.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written", where="--output", why=str(error), now="name another file") from error
