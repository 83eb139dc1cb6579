"""Check of who else uses the source's disks: the copy is whole only while nobody but the VM writes to them."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.facts import Facts
from migrate.model.migration import Migration
from migrate.rendering.findings import Finding, at, block


def check_users(facts: Facts, m: Migration) -> Iterator[Finding]:
    """Yield who uses a disk of the VM beside the VM itself."""
    for words in facts.users:
        yield block(
            f"a disk of {m.source.name} is used by {words}",
            where=at(facts.source),
            why="it may write to the disk while that is copied",
            now="let it end, or give it a disk of its own",
        )
