"""Checks of the source VM: can it be stopped cleanly, stay stopped, and be taken along whole."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model import labels
from migrate.model.facts import Facts
from migrate.model.migration import Identity, Migration, Start
from migrate.model.objects import Object, annotations_of, condition, dig, generation_of, labels_of, leaving
from migrate.rendering.findings import Finding, at, block, warn
from migrate.rendering.translate import translate

_NEWER = "the target starts with the newer one"


def check_machine(facts: Facts, m: Migration) -> Iterator[Finding]:
    """Yield what is found about the source VM."""
    where = at(facts.source)
    if facts.vm is None:
        yield block(f"there is no VM {m.source.name}", where=where, why="it was there a moment ago", now="find out who removed it")
        return
    yield from _state(facts, facts.vm, m, where)
    yield from _history(facts.vm, m, where)
    if facts.not_arrived:
        by, label = labels_of(facts.vm).get(labels.ID), f"kubectl label vm {m.source.name} {labels.ID}-"
        now = f"go on with that one, or undo it first; if neither is possible and you trust this VM, take our label off it: {label}"
        yield block(f"the VM is the target of the migration {by}, which is not through", where=where, why=facts.not_arrived, now=now)
    for manager in facts.managers if not m.copies else ():
        say = warn if m.options.allow_managed else block
        yield say(
            f"{manager.name} manages the VM and would undo a halt",
            where=where,
            why="; ".join(manager.evidence),
            now=manager.remedy if m.options.allow_managed else f"{manager.remedy}; then say --allow-managed",
        )
    for problem in facts.inventory.problems:
        yield block(problem.what, where=where, why=problem.why, now=problem.now)
    for sentence in facts.inventory.left_behind:
        yield warn(sentence, where=where)
    yield from _travel(facts, facts.named.vm or facts.vm, m, where)


def _state(facts: Facts, vm: Object, m: Migration, where: str) -> Iterator[Finding]:
    if leaving(vm):
        yield block(f"{m.source.name} is being deleted", where=where, why="somebody deleted it", now="nothing can be moved any more")
    for key, word in (("snapshotInProgress", "snapshot"), ("restoreInProgress", "restore")):
        name = dig(vm, "status", key)
        if name and not (m.copies and name == m.names.snapshot):
            yield block(f"a {word} of the VM is in progress", where=where, why=f"{word} {name} locks it", now="wait until it is done")
    if dig(vm, "spec", "runStrategy") == "WaitAsReceiver":
        yield block(
            "the VM waits for a live migration to arrive", where=where, why="its run strategy is WaitAsReceiver", now="let that end"
        )
    paused = condition(facts.vmi, "Paused")
    if paused is not None and paused.true and not m.copies:
        why = "a paused guest cannot shut down; after its grace period it would be killed with dirty disks"
        yield block("the guest is paused", where=where, why=why, now=f"virtctl unpause vm {m.source.name}, or stop it yourself")
    state = dig(facts.vmi, "status", "migrationState", default={})
    if state and not state.get("completed") and not state.get("endTimestamp"):
        yield block(
            "the guest is being live-migrated", where=where, why="its migrationState is not completed", now="wait until that is done"
        )
    restart = condition(vm, "RestartRequired")
    if restart is not None and restart.true:
        why = restart.message or "KubeVirt says RestartRequired"
        now = "the copy is made of the older one; restart the VM first if it is to have the newer" if m.copies else _NEWER
        yield warn("the guest runs with an older spec than the VM has now", where=where, why=why, now=now)


def _history(vm: Object, m: Migration, where: str) -> Iterator[Finding]:
    said = annotations_of(vm)
    by, moved = said.get(labels.HALTED_BY), said.get(labels.MOVED_TO)
    if by and by != m.id and not moved:
        why = f"the migration {by} halted it and is neither finished nor undone"
        yield block("another migration holds the VM", where=where, why=why, now=f"finish it, or undo it first (migrate status names {by})")
    if moved and by != m.id and said.get(labels.HALTED_GENERATION) == str(generation_of(vm)) and m.start is not Start.NEVER:
        why = f"the migration {by} moved it, and nobody has touched it since; starting another copy would run old disks beside it"
        yield block(
            f"the VM lives at {moved} now",
            where=where,
            why=why,
            now="move it from there; if it is not there any more and given up, take that move back first: migrate undo with its source and "
            "target; or copy the old disks with --start never",
        )
    elif moved and by != m.id:
        yield warn(
            f"the VM was moved before, to {moved}", where=where, why=f"the migration {by} says so", now="mind that two of it may run"
        )


def _travel(facts: Facts, vm: Object, m: Migration, where: str) -> Iterator[Finding]:
    """Say what the guest will find changed on the other side."""
    made = translate(vm, migration=m, was=facts.was)
    for note in made.notes:
        yield warn(note, where=where)
    spec = dig(made.spec, "template", "spec", default={})
    if not dig(spec, "domain", "firmware", "serial"):
        why = "it has none, and KubeVirt gives every new VM a random one since 1.7"
        yield warn("the guest may get a hardware serial number", where=where, why=why, now="write one into its spec if that would hurt")
    keeps = m.identity is Identity.KEEP
    nameless = [str(card.get("name")) for card in dig(spec, "domain", "devices", "interfaces", default=()) if not card.get("macAddress")]
    if nameless and keeps:
        why = "its spec names no MAC, and no instance runs that would tell it"
        yield warn(f"new MAC address on {', '.join(nameless)}", where=where, why=why, now="start it once on the source to keep it")
    pinned = sorted(f"{key}={value}" for key, value in (spec.get("nodeSelector") or {}).items())
    if pinned or spec.get("affinity"):
        words = ", ".join(pinned) or "affinity"
        yield warn(
            f"the VM asks for certain nodes ({words})", where=where, now="see that the target has such nodes, or it will not be scheduled"
        )
    renamed = m.source.name != m.target.name
    if renamed and any("cloudInitNoCloud" in volume or "cloudInitConfigDrive" in volume for volume in spec.get("volumes") or ()):
        why = "KubeVirt derives its instance-id from the VM's name"
        yield warn("cloud-init may take the renamed VM for a new one", where=where, why=why, now="keep the name if that would hurt")
