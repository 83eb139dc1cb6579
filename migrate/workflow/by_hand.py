"""The way back when the target is lost: what the source was stands on the source itself, so one command of kubectl gives it back."""

from __future__ import annotations

import json
import shlex
from typing import Any

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import VM, VMI
from migrate.model import labels
from migrate.model.errors import MigrateError
from migrate.model.objects import annotations_of, dig
from migrate.model.refs import VMRef
from migrate.reading.halting import read_unmoved
from migrate.reading.machine import halted_by, written_was
from migrate.steps.fence import fenced
from migrate.steps.strategies import on_source

LOST = "only if the target is lost for good and nothing of it can ever start"


def way_back(source: Cluster | None, ref: VMRef, *, even_moved: bool = False) -> str:
    """Return the line that tells how to give back a source that a migration holds halted; "" where none does, or nobody can look.

    One that does not stand as the halt leaves it (somebody started or changed it, or the halt is announced only) is left as it runs: the
    line takes our notes, and a fence, off, no more.
    `even_moved`: also for one that was moved, where nobody can see what became of the target.
    """
    try:
        vm, vmi = (source.get(kind, ref.name) if source is not None else None for kind in (VM, VMI))
    except MigrateError:
        return ""
    was = written_was(vm) if vm is not None else None
    moved = labels.MOVED_TO in annotations_of(vm)
    if vm is None or was is None or not halted_by(vm) or (moved and not even_moved):
        return ""
    stands = read_unmoved(vm, vmi, migration_id=halted_by(vm)) is None
    going = on_source(was)
    same = going.run_strategy == was.strategy
    spec: dict[str, Any] = {}
    if stands:
        spec = {"runStrategy": was.run_strategy if same else going.run_strategy, "running": was.running if same else None}
    if fenced(vm):
        alone = was.node_selector is None and len(dig(vm, "spec", "template", "spec", "nodeSelector")) == 1
        spec["template"] = {"spec": {"nodeSelector": None if alone else {labels.FENCED: None}}}
    notes = dict.fromkeys(sorted(key for key in annotations_of(vm) if key.startswith(labels.PREFIX)))
    patch = json.dumps({"metadata": {"annotations": notes}} | ({"spec": spec} if spec else {}), separators=(",", ":"))
    kubectl = f"kubectl --context {shlex.quote(ref.context)} -n {ref.namespace} patch vm {ref.name} --type merge -p {shlex.quote(patch)}"
    if not stands:
        return f"{LOST}, take our notes off the source, which does not stand as our halt leaves it, by hand: {kubectl}"
    start = f"; then start it: {ref.virtctl('start')}" if going.request else ""
    given_up = " (what its guest wrote since the move is lost with it)" if moved else ""
    return f"{LOST}{given_up}, take the source back by hand: {kubectl}{start}"
