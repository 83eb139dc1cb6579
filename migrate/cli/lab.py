"""`migrate lab`: two practice clusters on this machine, with real bytes and trouble on request."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migrate.cli.options import Output
from migrate.model.errors import StepFailed, UsageError

if TYPE_CHECKING:
    from migrate.lab.supervisor import Processes

lab_app = typer.Typer(help="Two practice clusters on this machine.", no_args_is_help=True, rich_markup_mode=None)

DirOption = Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where the lab keeps its things.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text or json.")]
DEFAULT_DIR = Path(".lab")


class Backend(StrEnum):
    """What answers as the API server of a lab cluster."""

    EMBEDDED = "embedded"
    KUBE = "kube"


@contextmanager
def _lab(directory: Path) -> Iterator[Processes]:
    """Open the lab of a directory; what it has to complain about becomes an error of ours."""
    from migrate.lab.places import LabError
    from migrate.lab.supervisor import Processes

    try:
        yield Processes(directory)
    except LabError as problem:
        raise UsageError(str(problem), where="migrate lab", now=problem.now) from None


@lab_app.command()
def up(
    directory: DirOption = DEFAULT_DIR,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the lab is ready and leave it running.")] = False,
    seed: Annotated[str, typer.Option(metavar="none|FILE", help="Plant nothing, or the manifests of a file.")] = "default",
    kubevirt: Annotated[
        list[str] | None,
        typer.Option(metavar="[CLUSTER=]RELEASE", help="KubeVirt release to imitate: v1.3, v1.6 or v1.9.", show_default="v1.9"),
    ] = None,
    speed: Annotated[float, typer.Option(help="How many times faster lab time runs.")] = 1.0,
    backend: Annotated[
        Backend, typer.Option(help="Our own API server, or the real Kubernetes programs (make kube-assets).")
    ] = Backend.EMBEDDED,
) -> None:
    """Start the clusters east and west, and plant the seeds."""
    from migrate.lab import seed as seeds

    releases = _releases(kubevirt or [])
    if speed <= 0:
        raise UsageError(f"--speed {speed:g} is not more than zero", where="migrate lab up")
    seed = seed if seed in ("none", "default") else str(Path(seed).absolute())
    try:
        seeds.read(seed)
    except seeds.BadSeed as problem:
        raise UsageError(str(problem), where="migrate lab up --seed") from None
    with _lab(directory) as processes:
        if backend is Backend.KUBE:
            from migrate.lab.kube_binaries import find

            find()
        processes.up(seed=seed, releases=releases, speed=speed, backend=backend.value, tied=not detach, say=_say)
        _say(_what_now(processes))
        if detach:
            return
        _say("Ctrl-C ends it.")
        try:
            ended = processes.wait()
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            processes.down()
            _say("the lab is down")
            return
        processes.down()
        raise StepFailed(
            f"{' and '.join(ended)} ended by itself", where=f"the lab in {directory}", now=f"See {processes.places.log(ended[0])}."
        )


def _releases(words: list[str]) -> dict[str, str]:
    from migrate.lab.places import CLUSTERS, DEFAULT_RELEASE, RELEASES

    chosen = dict.fromkeys(CLUSTERS, DEFAULT_RELEASE)
    for word in words:
        name, _, release = word.rpartition("=")
        if release not in RELEASES or name not in ("", *CLUSTERS):
            raise UsageError(
                f"--kubevirt {word} means nothing here",
                where="migrate lab up",
                now=f"Write one of {', '.join(RELEASES)}, or CLUSTER=RELEASE with {' or '.join(CLUSTERS)}.",
            )
        chosen |= {name: release} if name else dict.fromkeys(CLUSTERS, release)
    return chosen


def _what_now(processes: Processes) -> str:
    places = processes.places
    return "\n".join(
        (
            "",
            f"  export KUBECONFIG={places.kubeconfig}",
            "  kubectl --context east -n shop get vm,vmi,dv,pvc",
            "  migrate vm east:shop/web-1 west:shop",
            f"  migrate lab disks --dir {places.directory}",
            f"  migrate lab down --dir {places.directory}",
            "",
        )
    )


@lab_app.command()
def down(
    directory: DirOption = DEFAULT_DIR,
    purge: Annotated[bool, typer.Option("--purge", help="Remove its files too: kubeconfig, logs, volumes.")] = False,
) -> None:
    """End the lab. Its files stay unless --purge is given."""
    with _lab(directory) as processes:
        ended = processes.down()
        _say(f"ended: {', '.join(ended)}" if ended else f"no lab was running in {processes.places.directory}")
        if purge:
            processes.purge()
            _say(f"removed what the lab had put into {processes.places.directory}")
        elif processes.places.kubeconfig.exists():
            _say(f"its files are still in {processes.places.directory}; --purge removes them, the next up replaces them")


@lab_app.command()
def status(directory: DirOption = DEFAULT_DIR, output: OutputOption = Output.TEXT) -> None:
    """Show how each cluster stands, and who asked how much of it."""
    with _lab(directory) as processes:
        rows = processes.status()
    if output is Output.JSON:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        if row["state"] != "up":
            print(f"{row['cluster']}: {row['state']}: {row['problem']}")
            continue
        print(f"{row['cluster']}: up since {row['since']}, KubeVirt {row['release']}, {row['url']}, pid {row['pid']}")
        for agent, counts in row["requests"].items():
            print(f"  {agent}: " + ", ".join(f"{number} {sort}s" for sort, number in sorted(counts.items())))
        for order in row["troubles"]:
            print(f"  trouble {_words(order)}")


@lab_app.command()
def disks(directory: DirOption = DEFAULT_DIR, output: OutputOption = Output.TEXT) -> None:
    """List every bound claim with the SHA-256 of its content up to the last byte that is not zero, read from the storage."""
    with _lab(directory) as processes:
        rows: list[dict[str, Any]] = []
        for cluster in processes.running() or ["east"]:
            rows += processes.ask(cluster, "GET", "/disks")
    if output is Output.JSON:
        print(json.dumps(rows, indent=2))
        return
    width = max((len(f"{row['namespace']}/{row['pvc']}") for row in rows), default=0)
    for row in rows:
        print(f"{row['cluster']}  {row['namespace'] + '/' + row['pvc']:<{width}}  {row['bytes']:>12}  {row['sha256']}")


@lab_app.command()
def trouble(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[CLUSTER WHERE ACTION [KEY=VALUE]...]", help="An order; see docs/lab.md.")
    ] = None,
    directory: DirOption = DEFAULT_DIR,
    list_: Annotated[bool, typer.Option("--list", help="Show the orders that stand.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Withdraw all orders, or those of the CLUSTER named.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make trouble: `migrate lab trouble east export drop after=2Mi times=1`."""
    from migrate.lab.places import CLUSTERS

    given = words or []
    with _lab(directory) as processes:
        if list_ or clear:
            if len(given) > 1:
                raise UsageError("--list and --clear take at most the name of a cluster", where="migrate lab trouble")
            method = "DELETE" if clear else "GET"
            found = {name: processes.ask(name, method, "/trouble") for name in given or processes.running() or CLUSTERS[:1]}
        elif len(given) < 3:
            raise UsageError("an order has a cluster, a place and an action", where="migrate lab trouble", now=_known_troubles())
        else:
            found = {given[0]: [processes.ask(given[0], "POST", "/trouble", _order(given))]}
    if output is Output.JSON:
        print(json.dumps([{"cluster": name, **order} for name, orders in found.items() for order in orders], indent=2))
        return
    for name, orders in found.items():
        for order in orders:
            print(f"{name}: {'cleared ' if clear else ''}{_words(order)}")


def _order(given: list[str]) -> dict[str, Any]:
    from migrate.lab.trouble import BadOrder, parse

    pairs: dict[str, str] = {}
    for word in given[3:]:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{word!r} is not KEY=VALUE", where="migrate lab trouble", now=_known_troubles())
        pairs[key] = value
    try:
        parse(given[1], given[2], pairs)
    except BadOrder as problem:
        raise UsageError(str(problem), where="migrate lab trouble") from None
    return {"where": given[1], "action": given[2], "words": pairs}


def _known_troubles() -> str:
    from migrate.lab.trouble import ACTIONS

    return "Known: " + "; ".join(f"{where}: {', '.join(actions)}" for where, actions in ACTIONS.items()) + "."


def _words(order: dict[str, Any]) -> str:
    pairs = [f"{key}={value}" for key, value in {**order["args"], **order["match"]}.items()]
    times = "" if order["times"] is None else f" times={order['times']}"
    return f"{order['id']}: {order['where']} {order['action']} {' '.join(pairs)}{times} (used {order['used']})"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
