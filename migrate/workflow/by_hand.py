"""The way back when the target is lost: what the source was stands on the source itself, so one command of kubectl gives it back."""

from __future__ import annotations

import json
import shlex
from typing import Any

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import VM
from migrate.model import labels
from migrate.model.errors import MigrateError
from migrate.model.objects import annotations_of, dig
from migrate.model.refs import VMRef
from migrate.reading.machine import halted_by, written_was
from migrate.steps.fence import fenced
from migrate.steps.strategies import on_source


def way_back(source: Cluster | None, ref: VMRef) -> str:
    """Return the line that tells how to give back a source that a migration holds halted; "" where none does, or nobody can look."""
    try:
        vm = source.get(VM, ref.name) if source is not None else None
    except MigrateError:
        return ""
    was = written_was(vm) if vm is not None else None
    if vm is None or was is None or not halted_by(vm) or labels.MOVED_TO in annotations_of(vm):
        return ""
    going = on_source(was)
    same = going.run_strategy == was.strategy
    spec: dict[str, Any] = {"runStrategy": was.run_strategy if same else going.run_strategy, "running": was.running if same else None}
    if fenced(vm):
        alone = was.node_selector is None and len(dig(vm, "spec", "template", "spec", "nodeSelector")) == 1
        spec["template"] = {"spec": {"nodeSelector": None if alone else {labels.FENCED: None}}}
    notes = dict.fromkeys(sorted(key for key in annotations_of(vm) if key.startswith(labels.PREFIX)))
    patch = json.dumps({"metadata": {"annotations": notes}, "spec": spec}, separators=(",", ":"))
    start = f"; then start it: virtctl start {ref.name}" if going.request else ""
    kubectl = f"kubectl --context {shlex.quote(ref.context)} -n {ref.namespace} patch vm {ref.name} --type merge -p {shlex.quote(patch)}"
    return f"only if the target is lost for good and nothing of it can ever start, take the source back by hand: {kubectl}{start}"
