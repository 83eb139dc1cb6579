"""Writes of controllers to objects that somebody may have removed meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migrate.model.errors import Refused

if TYPE_CHECKING:
    from migrate.kube.cluster import Cluster


def replace_if_there(api: Cluster, obj: dict[str, Any], *, subresource: str = "") -> None:
    """Put an object in place of the one read before; one that is gone needs nothing more. Raises Conflict if somebody was faster."""
    try:
        api.replace(obj, subresource=subresource)
    except Refused as refusal:
        if refusal.status != 404:
            raise
