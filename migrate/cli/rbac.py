"""`migrate rbac`: the least rights that the two sides must give, ready for kubectl apply."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class RbacSide(StrEnum):
    """Which cluster of a move."""

    SOURCE = "source"
    TARGET = "target"


class Purpose(StrEnum):
    """What the rights are for."""

    MOVE = "move"


def rbac(
    side: Annotated[RbacSide, typer.Argument(help="The cluster that VMs leave, or the one they go to.", show_default=False)],
    namespace: Annotated[str, typer.Option(help="The namespace of the VMs; the account lives there, too.")] = "default",
    purpose: Annotated[Purpose, typer.Option("--for", help="What the account is to do.")] = Purpose.MOVE,
    kubevirt_namespace: Annotated[str, typer.Option(help="Where KubeVirt is installed.")] = "kubevirt",
) -> None:
    """Print ServiceAccount, roles and bindings: migrate rbac source --namespace shop | kubectl --context east apply -f -"""
    from migrate.rendering.assets import find_data
    from migrate.rendering.render import Renderer
    from migrate.rendering.roles import roles

    del purpose  # there is only one so far
    print(roles(Renderer([find_data("templates")]), side.value, namespace=namespace, kubevirt_namespace=kubevirt_namespace), end="")
