"""Checks of what is on the target already: names that are taken, addresses in use."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.facts import Facts
from migrate.model.labels import ID, is_ours
from migrate.model.migration import Migration
from migrate.model.objects import labels_of
from migrate.rendering.findings import Finding, at, block, warn


def check_target(facts: Facts, m: Migration) -> Iterator[Finding]:
    """Yield what is found about the target's namespace."""
    where = at(facts.target)
    for (kind, name), found in sorted(facts.there.items()):
        if not is_ours(dict(found), m.id):
            other = labels_of(found).get(ID) if is_ours(dict(found)) else None
            yield block(
                f"the name of {kind} {name} is taken on the target",
                where=where,
                why=f"it belongs to the migration {other}" if other else "an object of that name is there and is not ours",
                now=f"finish or undo the migration {other} first" if other else _remedy(kind, m),
            )
    for mac, owner in sorted(facts.macs_in_use.items()):
        if mac.lower() in {known.lower() for known in facts.was.macs.values()}:
            why = f"VM {owner} of that namespace has it"
            yield warn(f"the MAC address {mac} is in use on the target", where=where, why=why, now="do not let both run in one network")


def _remedy(kind: str, m: Migration) -> str:
    if kind == "VirtualMachine":
        return f"choose another name: {m.target.context}:{m.target.namespace}/OTHER-NAME, or remove it"
    return "remove it if it is not needed, or move to another namespace; a disk under this name would be taken as it is"
