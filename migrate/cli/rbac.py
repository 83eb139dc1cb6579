"""`migrate rbac`: the least rights that the two sides must give, ready for kubectl apply."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.model.errors import UsageError

if TYPE_CHECKING:
    from migrate.rendering.roles import Purpose


class RbacSide(StrEnum):
    """Which cluster of a move."""

    SOURCE = "source"
    TARGET = "target"


def rbac(
    side: Annotated[RbacSide, typer.Argument(help="The cluster that VMs leave, or the one they go to.", show_default=False)],
    namespace: Annotated[str, typer.Option(help="The namespace of the VMs; the account lives there, too.")] = "default",
    purposes: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            metavar="PURPOSE[,PURPOSE]",
            help="What the account is to do. move: vm, undo, status, verify, cleanup; retire: these, and deleting moved sources; "
            "copy: vm --method snapshot, undo, status, verify, cleanup; export: migrate export, alone and of a source.",
            show_default="move",
        ),
    ] = None,
    kubevirt_namespace: Annotated[str, typer.Option(help="Where KubeVirt is installed.")] = "kubevirt",
) -> None:
    """Print ServiceAccount, roles and bindings: migrate rbac source --namespace shop | kubectl --context east apply -f -"""
    from migrate.rendering.assets import find_data
    from migrate.rendering.render import Renderer
    from migrate.rendering.roles import Purpose, roles

    renderer, wanted = Renderer([find_data("templates")]), _purposes(purposes or ["move"])
    if Purpose.EXPORT in wanted and (wanted != {Purpose.EXPORT} or side is not RbacSide.SOURCE):
        raise UsageError(
            "the account for exports by hand stands alone, on the cluster that disks are read from",
            where="--for export",
            now="print it by itself: migrate rbac source --for export",
        )
    print(roles(renderer, side.value, purposes=wanted, namespace=namespace, kubevirt_namespace=kubevirt_namespace), end="")


def _purposes(given: list[str]) -> set[Purpose]:
    """Read what was said after --for, once or several times, with commas or without. Raises UsageError."""
    from migrate.rendering.roles import Purpose

    words = [word.strip() for text in given for word in text.split(",")]
    strangers = [word for word in words if word not in set(Purpose)]
    if strangers:
        raise UsageError(f'"{strangers[0]}" is nothing that an account can be for', where="--for", now=f"say {' or '.join(Purpose)}")
    return {Purpose(word) for word in words}
