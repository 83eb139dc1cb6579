"""Checks of what is on the target already: names that are taken, references that are missing, addresses in use."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.facts import Facts
from migrate.model.inventory import Reference
from migrate.model.labels import ID, is_ours
from migrate.model.migration import Migration, Start
from migrate.model.objects import labels_of
from migrate.rendering.findings import Finding, at, block, warn

ASKED_AT_CREATION = frozenset(
    {"VirtualMachineInstancetype", "VirtualMachineClusterInstancetype", "VirtualMachinePreference", "VirtualMachineClusterPreference"}
)
"""Kinds that KubeVirt's webhook wants to see before it takes even a halted VM; the others are asked for by the instance."""


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
    for reference in facts.missing:
        yield _missing(reference, facts, m)
    for mac, owner in sorted(facts.macs_in_use.items()):
        if mac.lower() in {known.lower() for known in facts.was.macs.values()}:
            why = f"VM {owner} of that namespace has it"
            yield warn(f"the MAC address {mac} is in use on the target", where=where, why=why, now="do not let both run in one network")


def _remedy(kind: str, m: Migration) -> str:
    if kind == "VirtualMachine":
        return f"choose another name: {m.target.context}:{m.target.namespace}/OTHER-NAME, or remove it"
    return "remove it if it is not needed, or move to another namespace; a disk under this name would be taken as it is"


def _missing(reference: Reference, facts: Facts, m: Migration) -> Finding:
    target = facts.target
    namespace = m.target.namespace if reference.namespace in {None, m.source.namespace} else reference.namespace
    place = "in the cluster" if reference.namespace == "" else f"in namespace {namespace}"
    what = f"{reference.kind} {reference.name} is missing on the target"
    why = f"the VM names it: {reference.path}"
    if reference.needed and m.options.start is Start.NEVER and reference.kind not in ASKED_AT_CREATION:
        now = f"create it {place} of {target.context} before you start the VM; this version does not carry it"
        return warn(what, where=at(target), why=f"{why}; it cannot start without, and is not started (--start never)", now=now)
    if reference.needed:
        now = f"create it {place} of {target.context} first; this version does not carry it"
        return block(what, where=at(target), why=f"{why}; it cannot start without", now=now)
    return warn(what, where=at(target), why=f"{why}, as optional", now=f"create it {place} if the guest is to have it")
