"""Bring along the Secrets and ConfigMaps that the VM names and no export carries (docs/what-travels.md), while the source still runs.

What a copy names is what its snapshot holds: of a guest that runs with an older spec than its VM has, that is more than the check saw.

Copies belong to the VM from then on: they stay after the move. An undo removes those that we made and nobody else has come to use, and
brings back what was there before we replaced it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from migrate.kube.kinds import CONFIGMAP, SECRET, VM
from migrate.model import labels
from migrate.model.errors import Problem
from migrate.model.inventory import Standing
from migrate.model.migration import References
from migrate.model.objects import Object, dig, leaving, name_of
from migrate.model.observation import Observation, blocked, done, needed, waiting
from migrate.reading.carrying import CONTENT, content_of
from migrate.reading.references import references_of
from migrate.rendering import frames
from migrate.rendering.checks import blocking, warnings
from migrate.rendering.checks_references import judge_named, remedy
from migrate.rendering.findings import Finding
from migrate.steps import carrying, looks, patches, stamps
from migrate.steps.base import Crossing, Limits
from migrate.steps.carrying import COPIED, Load
from migrate.steps.expanding import matcher_kinds
from migrate.steps.referring import collect_named

_TEMPLATES = {SECRET: "target/secret.yaml.j2", CONFIGMAP: "target/configmap.yaml.j2"}


class CarryReferences:
    """Copy what is missing on the target, use what is equal, and make equal what differs only if that was asked for."""

    name = "carry-references"
    limits = Limits(quiet=timedelta(minutes=5), acts=3)
    until: str | None = None

    def observe(self, x: Crossing) -> Observation:
        skipped = x.migration.options.references is References.SKIP
        vm = looks.original(x) if x.migration.copies or not skipped else None
        found = _unchecked(x, vm) if x.migration.copies and vm is not None else []
        if lacking := blocking(found):
            return blocked("ReferencesLacking", *lacking)
        if skipped:
            return done("ReferencesSkipped", "what the VM names is left to those who manage it (--references skip)").but(
                problems=warnings(found)
            )
        if vm is None or looks.released(x, vm):
            return done("ReferencesThere", "there is nothing left to carry")
        loads = carrying.loads(x, references_of(vm))
        other = tuple(differs(x, load) for load in loads if load.carry.standing is Standing.DIFFERS and not _may_replace(x, load))
        if other:
            return blocked("ReferenceDiffers", *other)
        going = [load.words for load in loads if leaving(load.target)]
        if going:
            return waiting("BeingDeleted", f"waiting until {', '.join(going)} on the target {'is' if len(going) == 1 else 'are'} gone")
        left = [load.words for load in loads if load.carry.standing in (Standing.ABSENT, Standing.DIFFERS)]
        if left:
            return needed("ReferencesMissing", f"to be carried: {', '.join(left)}")
        there = [load.words for load in loads if load.carry.standing is Standing.EQUAL]
        words = f"the target has what the VM names: {', '.join(there)}" if there else "the VM names nothing to carry"
        return done("ReferencesThere", words).but(problems=warnings(found))

    def act(self, x: Crossing) -> None:
        vm = looks.original(x)
        if vm is None:
            return
        if x.migration.copies:
            carrying.note(x, vm)
        for load in carrying.loads(x, references_of(vm)):
            if load.source is not None and load.carry.standing is Standing.ABSENT:
                content = content_of(load.source)
                frame = frames.reference(x.migration, load.source, content=content, stamp=stamps.written(x))
                x.target.create(*x.render(_TEMPLATES[load.kind], **frame), there_ok=True)
            elif load.carry.standing is Standing.DIFFERS and _may_replace(x, load):
                _replace(x, load)

    def undo(self, x: Crossing) -> Observation:
        made = list(carrying.made(x))
        users = carrying.users_to_spare(x) if made else {}
        kept, left = list[str](), list[str]()
        for cluster, kind, obj in made:
            words, user = f"{kind} {name_of(obj)}", users.get((kind.kind, name_of(obj)))
            replaced = not labels.is_ours(dict(obj), x.migration.id)
            if user is not None:
                kept += [f"{words} (used by {user})"] if not replaced else []  # of what was replaced, stays_replaced tells
            elif replaced:
                if _restore(x, kind.kind, obj):
                    left.append(words)
            else:
                left.append(words)
                if not leaving(obj):
                    stamps.delete(x, cluster, kind, obj)
        if left:
            return waiting("BeingDeleted", f"waiting until {', '.join(left)} on the target {'is' if len(left) == 1 else 'are'} as before")
        needed_yet = {(kind, name_of(obj)) for kind, obj, _ in carrying.still_replaced(x)}
        befores = [(kind, name) for kind, name in carrying.known(x) if (kind, name) not in needed_yet]
        seen = looks.remove_all(x, *((x.target, COPIED[kind], x.migration.names.before_of(kind, name)) for kind, name in befores))
        told = [*([f"left in place: {', '.join(kept)}"] if kept else ()), *filter(None, [carrying.stays_replaced(x)])]
        return done("Removed", "; ".join(told)) if told and seen.reason == "Removed" else seen


def differs(x: Crossing, load: Load) -> Problem:
    """Say in what the target's differs, and what can be done about it."""
    carry, fixed = load.carry, _fixed(x, load)
    return Problem(
        f"{load.words} of the target differs from the source's",
        where=_target(x),
        why="; ".join((*carry.differences, *([f"it cannot be replaced: {fixed}"] if fixed else []))),
        now=remedy(replace(carry, fixed=fixed)),
    )


def _unchecked(x: Crossing, vm: Object) -> list[Finding]:
    """Judge what the VM names that our snapshot holds, and the source does not name: the check of both sides looked at the source."""
    live = x.source.get(VM, x.migration.source.name)
    seen = references_of(live) if live is not None else ()
    if not matcher_kinds(vm) and all(one in seen for one in references_of(vm)):
        return []
    named = collect_named(x, vm, namespace_there=True, known=seen)
    return list(judge_named(named, x.migration, where=_target(x)))


def _target(x: Crossing) -> str:
    return f"{x.target.context}, namespace {x.target.namespace}"


def _may_replace(x: Crossing, load: Load) -> bool:
    return x.migration.options.references is References.REPLACE and not _fixed(x, load)


def _fixed(x: Crossing, load: Load) -> str:
    """Say why the target's cannot be overwritten, "" if it can: two moves that replace the same in turn would lose what was there."""
    by = carrying.replacers(load.target or {})
    return f"migration {by[0]} replaced it after this one" if x.migration.id in by[1:] else load.carry.fixed


def _replace(x: Crossing, load: Load) -> None:
    """Make the target's equal: note whose doing it is, keep what it was, then overwrite it under our claim.

    A run that dies in between is continued here: what was kept first stays kept.
    """
    assert load.source is not None
    assert load.target is not None
    kind, name = load.kind, name_of(load.target)
    found = load.target
    if not carrying.replaced_by_us(x, found) and not labels.is_ours(dict(found), x.migration.id):
        noted = {labels.REPLACED_BY: "/".join((x.migration.id, *carrying.replacers(found))), **stamps.written(x)}
        found = x.target.patch(kind, name, patches.guarded(found, patches.annotate(found, noted)))
    if carrying.replaced_by_us(x, found):
        content = {field: value for field, value in content_of(found).items() if field != "immutable"}
        frame = frames.before(x.migration, kind=kind.kind, name=name, content=content)
        x.target.create(*x.render(_TEMPLATES[kind], **frame), ours_ok=True)
    x.target.patch(kind, name, stamps.guarded(x, found, _content(found, load.source)))


def _restore(x: Crossing, kind: str, obj: Object) -> bool:
    """Give an object of the user back what it held before we replaced it, and take our notes off it; False = that is not kept any more.

    The notes stay then, so that whoever asks is told (carrying.stays_replaced). What an earlier migration made of it is that one's to give
    back, by what it keeps.
    """
    held = carrying.kept(x, kind, name_of(obj))
    if held is None and not carrying.only_noted(x, kind, obj):
        return False
    notes = patches.annotate(obj, {labels.REPLACED_BY: "/".join(carrying.replacers(obj)[1:]) or None, labels.CLAIM: None})
    x.target.patch(COPIED[kind], name_of(obj), stamps.guarded(x, obj, _content(obj, held or obj), notes))
    return True


def _content(obj: Object, wanted: Object) -> patches.Operations:
    """Return the operations that give an object the content of another one."""
    found: patches.Operations = []
    for field in CONTENT:
        value = dig(wanted, field, default={})
        if value:
            found.append({"op": "add", "path": f"/{field}", "value": dict(value)})
        elif field in obj:
            found.append({"op": "remove", "path": f"/{field}"})
    return found
