"""The commands, and which file holds each."""

from __future__ import annotations

import typer

from migrate import __version__
from migrate.cli import afterwards, cleanup, export, export_download, rbac, status, vm
from migrate.cli.lab import lab_app

app = typer.Typer(
    name="migrate",
    help="Move KubeVirt virtual machines between clusters, with proof of every disk.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("vm")(vm.move)
app.command("undo")(vm.undo)
app.command("status")(status.status)
app.command("verify")(afterwards.verify)
app.command("retire")(afterwards.retire)
app.command("unfence")(afterwards.unfence)
app.command("cleanup")(cleanup.cleanup)
app.command("rbac")(rbac.rbac)
export_app = typer.Typer(help="Make and use VirtualMachineExports by hand.", no_args_is_help=True, rich_markup_mode=None)
export_app.command("create")(export.create)
export_app.command("list")(export.list_)
export_app.command("show")(export.show)
export_app.command("download")(export_download.download)
export_app.command("files")(export_download.files_)
export_app.command("manifest")(export.manifest)
export_app.command("delete")(export.delete)
app.add_typer(export_app, name="export")
app.add_typer(lab_app, name="lab")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"migrate {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: bool = typer.Option(False, "--version", "-V", callback=_version, is_eager=True, help="Print the version and leave."),
) -> None:
    """Move KubeVirt virtual machines between clusters, with proof of every disk."""
