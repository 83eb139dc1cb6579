"""The record of a migration: a ConfigMap in the target namespace, readable with kubectl.

It holds only what can no longer be observed (design, sentence 2): who asked for what and when, measured times, proofs of the past.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONFIGMAP
from migrate.model import labels
from migrate.model.errors import Blocked
from migrate.model.record import Record
from migrate.rendering import frames
from migrate.steps import stamps
from migrate.steps.base import Crossing

log = logging.getLogger("migrate.records")


def read(target: Cluster, name: str) -> Record | None:
    """Read one record of the target namespace; None when there is none.

    Raises Blocked when the name is taken by something that is not a record of ours, or when the record cannot be read.
    """
    found = target.get(CONFIGMAP, name)
    if found is None:
        return None
    if not labels.is_ours(found):
        raise Blocked(
            f'the name "{name}" that the record needs is taken by a ConfigMap that is not ours',
            where=f"{target.context}, namespace {target.namespace}",
            now="rename or remove that ConfigMap; we change nothing without our mark",
        )
    return _record(found, target)


def manifests(target: Cluster, *, everywhere: bool = False) -> list[dict[str, Any]]:
    """List the ConfigMaps that are records, by our id: who adopts an object writes his own name into managed-by."""
    return target.list(CONFIGMAP, labels={labels.ID: None, labels.ROLE: "record"}, everywhere=everywhere)


def every(target: Cluster, *, everywhere: bool = False) -> list[Record]:
    """List the records of the target namespace (or of all namespaces), the newest first. One that cannot be read is logged and left out."""
    return of_manifests(manifests(target, everywhere=everywhere), target)


def of_manifests(found: Iterable[dict[str, Any]], target: Cluster) -> list[Record]:
    """Read records, the newest first. One that cannot be read is logged and left out."""
    readable = []
    for one in found:
        try:
            readable.append(_record(one, target))
        except Blocked as error:
            log.warning("%s: %s", error.what, error.why)
    return sorted(readable, key=lambda record: record.started, reverse=True)


def write(x: Crossing, record: Record) -> None:
    """Write the record anew, under the claim that stands on it. Raises Conflict when another runner has claimed it since."""
    (whole,) = x.render("target/record.yaml.j2", **frames.record(x.migration, record, stamp=stamps.written(x)))
    anew = {"op": "add", "path": "/data", "value": whole["data"]}
    x.target.patch(CONFIGMAP, x.migration.names.record, [*stamps.record_test(x), anew])


def _record(found: dict[str, Any], target: Cluster) -> Record:
    try:
        return Record.of_data(found.get("data") or {})
    except ValueError as error:
        name = found["metadata"]["name"]
        raise Blocked(
            f'the record "{name}" cannot be read',
            where=f"{target.context}, namespace {found['metadata'].get('namespace', target.namespace)}",
            why=str(error),
            now=f"look at it (kubectl get configmap {name} -o yaml); a newer version of this tool may have written it",
        ) from error
