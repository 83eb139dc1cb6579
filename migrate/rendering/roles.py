"""The rights that our commands need, as manifests for a person to read and apply; steps/permissions.py asks for the same."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Literal

from migrate.rendering.render import Renderer

Side = Literal["source", "target"]


class Purpose(StrEnum):
    """What an account is to do."""

    MOVE = "move"
    """vm, undo, status, verify, cleanup."""
    RETIRE = "retire"
    """These, and deleting a source VM with its disks once its copies are proven."""
    COPY = "copy"
    """vm --method snapshot, undo, status, verify, cleanup: a source that goes on, and is neither halted nor deleted."""
    EXPORT = "export"
    """migrate export: it stands alone, since it needs none of what a move does, and nothing outside of its namespace."""


def account_name(side: Side, purposes: Collection[Purpose]) -> str:
    """Return the name of the account for these purposes: each sum of rights has one of its own. Retiring includes moving."""
    words = [purpose for purpose in (Purpose.RETIRE, Purpose.COPY, Purpose.EXPORT) if purpose in purposes]
    if Purpose.COPY in purposes and Purpose.RETIRE not in purposes and Purpose.MOVE in purposes:
        words.insert(0, Purpose.MOVE)
    return "-".join(("kubevirt-migrate", *words, side))


def roles(renderer: Renderer, side: Side, *, purposes: Collection[Purpose], namespace: str, kubevirt_namespace: str) -> str:
    """Return YAML: an account in the namespace, its roles and their bindings.

    What is not in the namespace itself carries its name, so that several namespaces of one cluster do not meet.
    """
    name = account_name(side, purposes)
    return renderer.text(
        "rbac/export.yaml.j2" if Purpose.EXPORT in purposes else f"rbac/{side}.yaml.j2",
        name=name,
        cluster_name=f"{name}-{namespace}",
        namespace=namespace,
        kubevirt_namespace=kubevirt_namespace,
        deletes=Purpose.RETIRE in purposes,
        copies=Purpose.COPY in purposes,
        halts=bool({Purpose.MOVE, Purpose.RETIRE} & set(purposes)),
    )
