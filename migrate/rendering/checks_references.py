"""Checks of what the VM names outside itself: what is missing, what differs, what nobody can look at or vouch for."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.facts import Facts, Named
from migrate.model.inventory import Carry, Reference, Rule, Standing
from migrate.model.migration import Migration, References, Start
from migrate.rendering.findings import Finding, at, block, warn

ASKED_AT_CREATION = frozenset(
    {"VirtualMachineInstancetype", "VirtualMachineClusterInstancetype", "VirtualMachinePreference", "VirtualMachineClusterPreference"}
)
"""Kinds that KubeVirt's webhook wants to see before it takes even a halted VM; the others are asked for by the instance."""
KEPT = "what it was is kept as long as the record of this migration, and an undo brings it back"


def check_references(facts: Facts, m: Migration) -> Iterator[Finding]:
    """Yield what is found about everything that the VM names."""
    yield from judge_named(facts.named, m, where=at(facts.target))


def judge_named(named: Named, m: Migration, *, where: str) -> Iterator[Finding]:
    """Yield what is found about what a VM names. `where`: the target, in words."""
    for problem in named.unknown:
        yield block(problem.what, where=problem.where, why=problem.why, now=problem.now)
    for carry in named.carries:
        yield from _carried(carry, m, where)
    for reference in named.missing:
        yield _missing(reference, m, where)
    for reference in named.unseen:
        why = f"the VM names it: {reference.path}; we may not look at it there"
        now = f"see that it is {_place(reference, m)}; without it the VM does not start"
        yield warn(f"nobody knows whether the target has {reference.kind} {reference.name}", where=where, why=why, now=now)
    for sentence in named.expanded:
        yield warn(sentence, where=where, why="the guest is to find the hardware that it had", now="nothing; or create an equal one there")
    for reference in named.references:
        if reference.rule is Rule.KEPT and reference.kind in ("Device", "Scheduler"):
            what = f"the VM asks for the {reference.kind.lower()} {reference.name}"
            now = "see that the target offers it, or the VM will not be scheduled"
            yield warn(what, where=where, why=f"it is named by {reference.path}", now=now)


def _carried(carry: Carry, m: Migration, where: str) -> Iterator[Finding]:
    words = f"{carry.reference.kind} {carry.reference.name}"
    match carry.standing:
        case Standing.ABSENT if carry.managed_by:
            why = f"{carry.managed_by} makes it on the source; what is copied stays as it is now"
            now = "let the same make it on the target first, or say --references skip, if it is to follow"
            yield warn(f"{words} is copied, and a copy does not follow", where=where, why=why, now=now)
        case Standing.DIFFERS if m.options.references is References.REPLACE and not carry.fixed:
            users = f"it is used by {carry.used_by}, too" if carry.used_by else ""
            now = f"{'see that they can do with the other one' if users else 'nothing'}; {KEPT}"
            why = "; ".join(filter(None, (*carry.differences, users)))
            yield warn(f"{words} of the target is replaced by the source's", where=where, why=why, now=now)
        case Standing.DIFFERS:
            fixed = f"it cannot be replaced: {carry.fixed}" if carry.fixed else ""
            why = "; ".join(filter(None, (*carry.differences, fixed)))
            yield block(f"{words} of the target differs from the source's", where=where, why=why, now=remedy(carry))
        case Standing.LOST:
            gone = f"{words} is missing on both sides"
            yield _absent(gone, carry.reference, m, where, then="create it on the source or the target")
        case Standing.BOUND:
            why = "; its cluster fills it, so a copy would be worth nothing"
            then = "let the target make its own"
            yield _absent(f"{words} is missing on the target", carry.reference, m, where, why=why, then=then)
        case _:
            return


def remedy(carry: Carry) -> str:
    """Say what can be done about a reference that differs."""
    if carry.fixed:
        return "make it equal or rename it there; or say --references skip to start the VM with the target's"
    return f"say --references replace to overwrite it ({KEPT}), or --references skip to use it"


def _missing(reference: Reference, m: Migration, where: str) -> Finding:
    what, then = f"{reference.kind} {reference.name} is missing on the target", f"create it {_place(reference, m)} of {m.target.context}"
    if reference.rule is Rule.MAPPED:
        then += ", or name another one with --map-network"
    return _absent(what, reference, m, where, then=then)


def _absent(what: str, reference: Reference, m: Migration, where: str, *, then: str, why: str = "") -> Finding:
    """Judge what the VM will not find: in the way of a start, unless the VM can do without, is not started, or others care for it."""
    named = f"the VM names it: {reference.path}"
    if not reference.needed:
        return warn(what, where=where, why=f"{named}, as optional{why}", now=f"{then}, if the guest is to have it")
    if m.options.references is References.SKIP:
        return warn(what, where=where, why=f"{named}; it cannot start without{why}", now="see that it is there before the start")
    if m.start is Start.NEVER and reference.kind not in ASKED_AT_CREATION:
        lives = f"{named}; it cannot start without, and is not started{why}"
        return warn(what, where=where, why=lives, now=f"{then} before you start the VM")
    return block(what, where=where, why=f"{named}; it cannot start without{why}", now=f"{then} first")


def _place(reference: Reference, m: Migration) -> str:
    if reference.namespace == "":
        return "in the cluster"
    namespace = m.target.namespace if reference.namespace in {None, m.source.namespace} else reference.namespace
    return f"in namespace {namespace}"
