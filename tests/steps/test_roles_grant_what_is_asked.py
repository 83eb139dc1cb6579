"""The roles that `migrate rbac` prints and the permissions that check-both asks for are two lists of the same rights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from migrate.rendering.assets import find_data
from migrate.rendering.render import Renderer
from migrate.rendering.roles import Side, roles
from migrate.steps.permissions import Need, of_host, of_source, of_target
from tests.rendering.asked import disk, migration

Right = tuple[str, str, str, str]
"""Namespace ("" = the whole cluster), API group, resource, verb."""


def granted(side: Side) -> set[Right]:
    """Return what the printed roles grant without limiting it to names."""
    text = roles(Renderer([find_data("templates")]), side, namespace="shop", kubevirt_namespace="kubevirt")
    return {right for document in yaml.safe_load_all(text) if document for right in _rights(document)}


def _rights(document: dict[str, Any]) -> Iterator[Right]:
    for rule in document.get("rules") or ():
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield document["metadata"].get("namespace", ""), group, resource, verb


def wanted(need: Need) -> set[Right]:
    place = (need.namespace or "shop") if need.kind.namespaced else ""
    resource = need.kind.plural + (f"/{need.subresource}" if need.subresource else "")
    return {(place, need.kind.group, resource, verb) for verb in need.verbs}


MOVE = migration(disk("a"))
NEEDS: dict[Side, list[Need]] = {
    "source": [*of_source(MOVE, subresources=("stop", "start")), of_host("kubevirt")],
    "target": [*of_target(MOVE, subresources=("start",)), of_host("kubevirt")],
}


@pytest.mark.parametrize("side", NEEDS)
def test_what_is_asked_for_is_granted(side: Side) -> None:
    """With the printed roles, check-both finds nothing denied."""
    missing = {right for need in NEEDS[side] for right in wanted(need)} - granted(side)
    assert missing == set()


@pytest.mark.parametrize("side", NEEDS)
def test_what_may_change_something_is_asked_for(side: Side) -> None:
    """No right to change anything is granted that check-both does not ask for."""
    asked = {right for need in NEEDS[side] for right in wanted(need)}
    changing = {right for right in granted(side) if right[3] not in {"get", "list", "watch"}}
    assert changing <= asked


@pytest.mark.parametrize("side", NEEDS)
def test_nobody_may_list_secrets(side: Side) -> None:
    """Secrets are read by name only."""
    assert not {right for right in granted(side) if right[2] == "secrets" and right[3] in {"list", "watch"}}
