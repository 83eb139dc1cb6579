"""Tables as the server makes them for `kubectl get`: columns of CRDs by JSONPath, those of builtin kinds by `tables_builtin`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from migrate.lab import ages, jsonpath, tables_builtin, tables_cells
from migrate.lab.kinds import Column, Resource

Include = Literal["Metadata", "Object", "None"]

NAME = Column("Name", "string", format="name", description="Name of the object, unique in its namespace.")


def table(
    resource: Resource, version: str, objects: Iterable[Mapping[str, Any]], now: datetime, *, include: Include = "Metadata"
) -> dict[str, Any]:
    """Return a meta.k8s.io/v1 Table of objects (in that version). `metadata` is left to the caller, who knows the resourceVersion."""
    builtin = tables_builtin.COLUMNS.get(resource.kind, tables_builtin.PLAIN) if resource.builtin else ()
    declared = () if resource.builtin else resource.version(version).columns
    columns = [NAME, *(column for column, _ in builtin), *declared]
    rows = []
    for obj in objects:
        cells: list[Any] = [tables_cells.name(obj)]
        cells += [cell(obj, now) for _, cell in builtin]
        cells += [_cell(column, obj, now) for column in declared]
        rows.append(_row(cells, obj, include))
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": rows,
    }


def _definition(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


def _row(cells: list[Any], obj: Mapping[str, Any], include: Include) -> dict[str, Any]:
    match include:
        case "Object":
            return {"cells": cells, "object": dict(obj)}
        case "None":
            return {"cells": cells}
        case _:
            partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
            return {"cells": cells, "object": partial}


def _cell(column: Column, obj: Mapping[str, Any], now: datetime) -> Any:
    found = jsonpath.find(obj, column.path)
    if not found or found[0] is None:
        return None
    value = found[0]
    match column.type:
        case "date":
            return ages.since(value, now) if isinstance(value, str) else None
        case "integer" | "number":
            return value if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case _:
            return " ".join(_text(item) for item in found)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
