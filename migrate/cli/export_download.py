"""`migrate export download` and `files`: what an export offers, as files on this machine or on standard output."""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import export_place as place
from migrate.cli.meter import SCHEMA, Meter
from migrate.cli.options import Files, Output, opens_one_cluster
from migrate.model.errors import MigrateError, UsageError
from migrate.model.exports import Source
from migrate.model.objects import uid_of
from migrate.model.quantity import human

if TYPE_CHECKING:
    from migrate.transfer.download import Got
    from migrate.transfer.folder import Tree
    from migrate.transfer.packed import Once
    from migrate.transfer.stream import Stream
    from migrate.workflow.exports import Exports, Open

OutputFileOption = Annotated[str, typer.Option("--output", metavar="FILE|-", help="Where to; - is standard output.", show_default=False)]


class Format(StrEnum):
    """What can be downloaded of a volume."""

    GZIP = "gzip"
    RAW = "raw"
    DIR = "dir"
    TAR = "tar.gz"


@opens_one_cluster
def download(
    name: place.NameArgument,
    output: OutputFileOption = "",
    volume: place.VolumeOption = "",
    form: Annotated[Format | None, typer.Option("--format", help="What to take.", show_default="gzip of a disk, tar.gz of files")] = None,
    vm: place.VmOption = "",
    snapshot: place.SnapshotOption = "",
    pvc: place.PvcOption = "",
    ttl: place.TtlOption = "",
    token_secret: place.TokenOption = "",
    labels: place.LabelsOption = None,
    annotations: place.AnnotationsOption = None,
    keep_vme: Annotated[bool, typer.Option("--keep-vme", help="Keep an export that this made.")] = False,
    delete_vme: Annotated[bool, typer.Option("--delete-vme", help="Remove the export also where it was there before.")] = False,
    port_forward: place.ForwardOption = False,
    local_port: place.LocalPortOption = None,
    service_url: place.ServiceOption = "",
    insecure: place.InsecureOption = False,
    ca: place.CaOption = None,
    streams: Annotated[int, typer.Option("--streams", min=1, max=32, help="Ranges of a raw disk that are read at once.")] = 4,
    tight: Annotated[bool, typer.Option("--tight", help="Begin although the disk's full size does not fit: holes take no room.")] = False,
    retry: Annotated[int, typer.Option("--retry", min=0, help="Tries in a row that bring nothing, before it ends.")] = 6,
    readiness_timeout: place.ReadinessOption = "2m",
    context: place.ContextOption = "",
    namespace: place.NamespaceOption = "",
    events: Annotated[
        Output, typer.Option("-o", help="text, or json: figures as JSON lines on stderr, the result on stdout.")
    ] = Output.TEXT,
    *,
    files: Files,
) -> None:
    """Download one volume of an export; with --vm, --snapshot or --pvc the export is made first and goes when all is here.

    A raw disk can be gone on with after any end: run the same again. What is packed on the way is read anew.
    """
    from migrate.model.clock import SystemClock
    from migrate.transfer.landing import landing
    from migrate.workflow.exports import Exports

    if not output:
        raise UsageError("no file was named", where="migrate export download", now="give --output FILE, or --output - for standard output")
    if keep_vme and delete_vme:
        raise UsageError("the export can be kept or removed", where="--keep-vme, --delete-vme", now="give one of them")
    if form is Format.DIR and output == "-":
        raise UsageError("a directory cannot be written to standard output", where="--output -", now="take --format tar.gz")
    output = output if output == "-" else str(landing(Path(output), directory=form is Format.DIR))
    of = place.subject(vm, snapshot, pvc)
    reader = f"{socket.gethostname()}:{Path(output).absolute() if output != '-' else f'standard output of process {os.getpid()}'}"
    wish = place.wish_of(of, ttl, token_secret, labels, annotations, passing="" if keep_vme else reader) if of is not None else None
    approach = place.approach_of(port_forward, service_url, insecure, ca)
    patience = place.duration(readiness_timeout, "--readiness-timeout")
    meter = Meter(volume or name, events)
    if local_port is not None:
        meter.say("--local-port: no local port is opened; the bytes go through the API server straight into this process")
    with ExitStack() as stack:
        cluster, name = place.open_export(stack, name, context, namespace, files)
        exports = Exports(cluster, SystemClock())
        meter.what = volume or name
        if wish is not None:
            found, new = exports.create(name, wish, tell=meter.say)
            if not new and (unlike := exports.unlike(found, wish)):
                meter.say(f"export {name} was there already and is read as it is, not as asked: {'; '.join(unlike)}")
        taking = _Taking(exports, name, volume, form, output, streams=streams, tight=tight, meter=meter)
        try:
            with meter.ticking():
                got = exports.reading(
                    name,
                    approach,
                    taking.read,
                    again=wish,
                    reader=reader,
                    patience=patience,
                    retries=retry,
                    tell=meter.say,
                    moved=lambda: meter.done,
                )
        except (MigrateError, KeyboardInterrupt, BrokenPipeError):
            meter.end()
            if output == "-":
                with suppress(MigrateError):
                    exports.leave(name, taking.uid, reader, through=False)
            if wish is not None or taking.uid:
                place_of = f"{cluster.context}:{cluster.namespace}/{name}"
                meter.say(f"the export {name} stays, so that the same command goes on; remove it: migrate export delete {place_of}")
            if of is not None and of.source is Source.PVC:
                meter.say("a claim is read anew once its export's time is over (--ttl gives it more) or its server was replaced")
            raise
        meter.end()
        _tell(got, taking, events)
        if words := exports.leave(name, taking.uid, reader, remove=True if delete_vme else False if keep_vme else None):
            meter.say(words)


@opens_one_cluster
def files_(
    name: place.NameArgument,
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="A directory to list, or with --output a file to fetch.")] = "",
    output: OutputFileOption = "",
    volume: place.VolumeOption = "",
    port_forward: place.ForwardOption = False,
    service_url: place.ServiceOption = "",
    insecure: place.InsecureOption = False,
    ca: place.CaOption = None,
    readiness_timeout: place.ReadinessOption = "2m",
    context: place.ContextOption = "",
    namespace: place.NamespaceOption = "",
    *,
    files: Files,
) -> None:
    """List the files of a volume that holds files, or fetch one of them."""
    from migrate.model.clock import SystemClock
    from migrate.reading.exports import choose
    from migrate.transfer import folder
    from migrate.transfer.landing import landing
    from migrate.transfer.stream import Stream
    from migrate.workflow.exports import Exports

    if output and not path:
        raise UsageError("no file of the volume was named", where="migrate export files", now="give its PATH, or leave --output out")
    target = landing(Path(output)) if output not in ("", "-") else Path()
    approach = place.approach_of(port_forward, service_url, insecure, ca)
    patience = place.duration(readiness_timeout, "--readiness-timeout")
    with ExitStack() as stack:
        cluster, name = place.open_export(stack, name, context, namespace, files)
        exports = Exports(cluster, SystemClock())
        whole, meter = Stream(_pour), Meter(volume or name, Output.TEXT)

        def read(opened: Open) -> None:
            claim, _, root = choose(opened.links, export=name, volume=volume, formats=("dir",))
            state, same = exports.begin(opened, claim)
            meter.what = path or claim
            with folder.in_words(opened.client, root, path, file=bool(output)):
                if not output:
                    for entry in folder.entries(opened.client, root, path):
                        sys.stdout.buffer.write(os.fsencode(f"{entry.path}{'/' if entry.directory else ''}\n"))
                    sys.stdout.flush()
                elif output == "-":
                    whole.read(opened.client, folder.address(root, path.strip("/")), identity=state, same=same, moved=meter.see)
                else:
                    got = folder.fetch(
                        opened.client, root, path.strip("/"), target, identity=state, same=same, tell=meter.say, moved=meter.see
                    )
                    meter.say(f"{output}: {human(got.bytes)}, {got.digest}")

        with meter.ticking():
            exports.reading(name, approach, read, again=None, patience=patience, tell=meter.say, moved=lambda: meter.done)


@dataclass(slots=True)
class _Taking:
    """One volume, into one place."""

    exports: Exports
    name: str
    volume: str
    form: Format | None
    output: str
    streams: int
    tight: bool
    meter: Meter
    uid: str = ""
    """Of the export that is read."""
    claim: str = ""
    format: str = ""
    stream: Stream | None = None
    once: Once | None = None
    tree: Tree | None = None

    def read(self, opened: Open) -> Got:
        """Read what the export offers now; called again after it broke."""
        from migrate.reading.exports import FORMATS, choose
        from migrate.transfer import download, folder, packed
        from migrate.transfer.stream import Stream

        self.uid = uid_of(opened.export)
        wanted = (self.form.value,) if self.form is not None else FORMATS
        self.claim, self.format, url = choose(opened.links, export=self.name, volume=self.volume, formats=wanted)
        self.meter.what = self.claim
        state, same = self.exports.begin(opened, self.claim)
        if self.format == "raw" and self.output == "-":
            self.stream = self.stream or Stream(_pour)
            return self.stream.read(opened.client, url, identity=state, same=same, moved=self.meter.see)
        if self.format == "raw":
            return download.raw(
                opened.client,
                url,
                Path(self.output),
                identity=state,
                streams=self.streams,
                tight=self.tight,
                same=same,
                tell=self.meter.say,
                moved=self.meter.see,
            )
        if self.format == "dir":
            see = self.meter.see
            self.tree = tree = folder.fetch_all(
                opened.client, url, Path(self.output), identity=state, same=same, tell=self.meter.say, moved=see
            )
            return download.Got(tree.bytes, "", tree.bytes)
        raw = opened.links.volumes[self.claim].get("raw")
        disk = opened.client.size(raw) if self.format == "gzip" and raw else None
        if self.output == "-":
            self.once = self.once or packed.Once(_pour)
            return packed.to_sink(opened.client, url, self.once, disk_bytes=disk, same=same, moved=self.meter.see)
        see, tell = self.meter.see, self.meter.say
        return packed.to_file(opened.client, url, Path(self.output), disk_bytes=disk, same=same, tell=tell, moved=see)


def _pour(piece: bytes) -> None:
    """Write to standard output, nothing of it kept back: what it cannot take is said here. Raises Blocked."""
    from migrate.transfer.landing import storing

    with storing("standard output", now="see where it leads to, make room there, and run the same again"):
        while piece:
            piece = piece[os.write(sys.stdout.fileno(), piece) :]


def _tell(got: Got, taking: _Taking, events: Output) -> None:
    """Say what is here, where a digest is of the content, not of its packing; of many files there is none."""
    told: dict[str, object] = {"schema": SCHEMA, "volume": taking.claim, "format": taking.format, "output": taking.output}
    told |= {"bytes": got.bytes, "digest": got.digest or None}
    words = got.digest
    if (tree := taking.tree) is not None:
        told |= {"files": tree.files, "leftOut": tree.left_out}
        words = f"{tree.files} files{f', {tree.left_out} links left out' if tree.left_out else ''}"
    line = json.dumps(told) if events is Output.JSON else f"{taking.output}: {taking.claim} as {taking.format}, {human(got.bytes)}, {words}"
    print(line, file=sys.stderr if taking.output == "-" else sys.stdout, flush=True)
