"""The roles that `migrate rbac` prints and the permissions that check-both asks for are two lists of the same rights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml

from migrate.rendering.assets import find_data
from migrate.rendering.render import Renderer
from migrate.rendering.roles import Purpose, Side, roles
from migrate.steps.permissions import FORWARD, Need, of_host, of_retirement, of_source, of_target
from tests.rendering.asked import disk, migration

Right = tuple[str, str, str, str]
"""Namespace ("" = the whole cluster), API group, resource, verb."""


def granted(side: Side, purpose: Purpose) -> set[Right]:
    """Return what the printed roles grant without limiting it to names."""
    renderer = Renderer([find_data("templates")])
    text = roles(renderer, side, purposes=[purpose], namespace="shop", kubevirt_namespace="kubevirt")
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


MOVE = migration(disk("a"), disk("persistent-state-for-db-x1", archive=True))
COPY = replace(MOVE, playbook="snapshot-copy")
SOURCE = [*of_source(MOVE, subresources=("stop",), onwards=True), of_host("kubevirt")]
TARGET = [*of_target(MOVE), of_host("kubevirt"), FORWARD]
NEEDS: dict[tuple[Side, Purpose], list[Need]] = {
    ("source", Purpose.MOVE): SOURCE,
    ("source", Purpose.COPY): [*of_source(COPY, onwards=True), of_host("kubevirt")],
    ("target", Purpose.COPY): TARGET,
    ("source", Purpose.RETIRE): [*SOURCE, *of_retirement(MOVE, onwards=True)],
    ("target", Purpose.MOVE): TARGET,
    ("target", Purpose.RETIRE): TARGET,
}


@pytest.mark.parametrize(("side", "purpose"), NEEDS)
def test_what_is_asked_for_is_granted(side: Side, purpose: Purpose) -> None:
    """With the printed roles, no command finds anything denied."""
    missing = {right for need in NEEDS[side, purpose] for right in wanted(need)} - granted(side, purpose)
    assert missing == set()


@pytest.mark.parametrize(("side", "purpose"), NEEDS)
def test_what_may_change_something_is_asked_for(side: Side, purpose: Purpose) -> None:
    """No right to change anything is granted that is not asked for before it is used."""
    asked = {right for need in NEEDS[side, purpose] for right in wanted(need)}
    changing = {right for right in granted(side, purpose) if right[3] not in {"get", "list", "watch"}}
    assert changing <= asked


def test_only_retiring_deletes_what_is_the_users() -> None:
    """An account for moves cannot delete a VM or a disk of the source."""
    users = ("virtualmachines", "persistentvolumeclaims", "datavolumes")
    assert {right for right in granted("source", Purpose.MOVE) if right[3] == "delete" and right[2] in users} == set()
    assert {right[2] for right in granted("source", Purpose.RETIRE) - granted("source", Purpose.MOVE)} == set(users)
    assert granted("target", Purpose.RETIRE) == granted("target", Purpose.MOVE) == granted("target", Purpose.COPY)


def test_who_copies_can_neither_halt_nor_delete_the_source() -> None:
    """What an account for copies may change of the source is its snapshots, exports and tokens, and marks on the VM."""
    changing = {right[2:] for right in granted("source", Purpose.COPY) if right[3] not in {"get", "list", "watch"}}
    assert {verb for resource, verb in changing if resource == "virtualmachines"} == {"patch"}
    assert {resource for resource, _ in changing} == {
        "virtualmachines",
        "virtualmachinesnapshots",
        "virtualmachineexports",
        "secrets",
        "leases",
    }


@pytest.mark.parametrize(("side", "purpose"), NEEDS)
def test_nobody_may_list_secrets(side: Side, purpose: Purpose) -> None:
    """Secrets are read by name only."""
    assert not {right for right in granted(side, purpose) if right[2] == "secrets" and right[3] in {"list", "watch"}}
