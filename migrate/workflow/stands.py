"""How both sides stand now, in words a person can act on: the answer to "is my VM running, and where?"."""

from __future__ import annotations

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import VM, VMI
from migrate.model import labels
from migrate.model.errors import MigrateError
from migrate.model.objects import annotations_of, generation_of
from migrate.model.refs import VMRef
from migrate.model.report import Stand
from migrate.reading.machine import halted_generation, instance_alive, strategy_of
from migrate.steps.fence import fenced


def stand(cluster: Cluster | None, ref: VMRef) -> Stand:
    """Look at one side. Never raises an error of the family: what cannot be seen is said to be unknown."""
    place = str(ref)
    if cluster is None:
        return Stand(place, message="we know no context of that name here")
    try:
        vm = cluster.get(VM, ref.name)
        vmi = cluster.get(VMI, ref.name)
    except MigrateError as error:
        return Stand(place, message=f"we could not look: {error}")
    alive = instance_alive(vmi)
    if vm is None:
        return Stand(place, exists=False, running=alive, message="an instance without a VM is running" if alive else "not there")
    strategy = strategy_of(vm)
    if not alive or vmi is None:
        fence = " and fenced" if fenced(vm) else ""
        at = annotations_of(vm).get(labels.HALTED_AT) if halted_generation(vm) == generation_of(vm) else None
        word = f"halted{f' since {at}' if at else ''}{fence}" if strategy == "Halted" else f"not running (run strategy {strategy}){fence}"
        return Stand(place, exists=True, run_strategy=strategy, running=False, message=word)
    phase = vmi.get("status", {}).get("phase", "Pending")
    node = vmi.get("status", {}).get("nodeName", "")
    since = vmi["metadata"]["creationTimestamp"]
    word = "running" if phase == "Running" else f"starting ({phase})"
    return Stand(place, exists=True, run_strategy=strategy, running=True, message=f"{word} since {since}{f' on {node}' if node else ''}")
