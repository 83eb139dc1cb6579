"""The rights that a move needs, as manifests for a person to read and apply; check-both asks for the same (steps/permissions.py)."""

from __future__ import annotations

from typing import Literal

from migrate.rendering.render import Renderer

Side = Literal["source", "target"]


def roles(renderer: Renderer, side: Side, *, namespace: str, kubevirt_namespace: str) -> str:
    """Return YAML: an account in the namespace, its roles and their bindings.

    What is not in the namespace itself carries its name, so that several namespaces of one cluster do not meet.
    """
    name = f"kubevirt-migrate-{side}"
    names = {"name": name, "cluster_name": f"{name}-{namespace}"}
    return renderer.text(f"rbac/{side}.yaml.j2", namespace=namespace, kubevirt_namespace=kubevirt_namespace, **names)
