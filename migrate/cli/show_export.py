"""Exports on the screen and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from migrate.model.exports import Seen
from migrate.model.quantity import human

SCHEMA = "kubevirt-migrate.io/export/v1"
LIST_SCHEMA = "kubevirt-migrate.io/exports/v1"


def to_json(seen: Seen) -> dict[str, Any]:
    """Return one export for machines. Sizes are bytes of the claims."""
    return {
        "schema": SCHEMA,
        "name": seen.name,
        "namespace": seen.namespace,
        "source": seen.source,
        "phase": seen.phase,
        "words": seen.words,
        "expires": _stamp(seen.expires),
        "tokenSecret": seen.token_secret,
        "links": "external" if seen.outside else "internal" if seen.volumes else None,
        "volumes": [{"name": name, "bytes": seen.sizes.get(name), "formats": dict(found)} for name, found in seen.volumes.items()],
    }


def table(found: Sequence[Seen]) -> str:
    """Write a list: one line each, and where it stands."""
    heads = ("NAME", "SOURCE", "PHASE", "VOLUMES", "WHERE IT STANDS")
    rows = [heads, *((one.name, one.source, one.phase or "-", str(len(one.volumes)), one.words) for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads) - 1)]
    return "\n".join("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows)


def text(seen: Seen) -> str:
    """Write all that there is to know of one export."""
    lines = [
        f"export     {seen.namespace}/{seen.name}",
        f"of         {seen.source}",
        f"phase      {seen.phase or '-'}: {seen.words}",
        f"token      Secret {seen.token_secret or '(none)'}",
    ]
    if seen.expires is not None:
        lines.append(f"ends       {_stamp(seen.expires)}")
    for name, formats in seen.volumes.items():
        size = f", {human(seen.sizes[name])}" if name in seen.sizes else ""
        lines.append(f"volume     {name}{size}")
        lines += [f"  {fmt:<8} {url}" for fmt, url in formats.items()]
    return "\n".join(lines)


def _stamp(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if at is not None else None
