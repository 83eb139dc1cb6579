"""Server-side dry runs of what the target will be given, so that a refusal is known while the source still runs.

A refusal here is an answer, not a trouble: it is the one place in this room where an error of a cluster is caught.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from migrate.kube.kinds import DATAVOLUME, VM
from migrate.model.errors import Problem, Refused
from migrate.model.objects import Object, generation_of
from migrate.model.was import Was
from migrate.rendering import frames
from migrate.rendering.mapping import place
from migrate.steps.base import Crossing
from migrate.steps.expanding import travelling

Refusal = tuple[str, str]
"""(`DataVolume db-1-data`, the cluster's sentence)"""


def rehearse_namespace(x: Crossing) -> list[Refusal]:
    """Try to create the target's namespace."""
    return _try(f"Namespace {x.migration.target.namespace}", "target/namespace.yaml.j2", frames.namespace(x.migration), x)


def rehearse_contents(
    x: Crossing,
    vm: Mapping[str, Any],
    was: Was,
    *,
    classes: Sequence[Object],
    profiles: Mapping[str, Object],
    claims: Mapping[str, Object],
    host: str = "",
) -> list[Refusal]:
    """Try to create the DataVolumes and the VM that are not there yet, with strict field validation.

    The links are not known before the source is stopped, so the URLs only have the shape of theirs; sizes are upper bounds.
    """
    refusals: list[Refusal] = []
    for disk in x.migration.disks:
        placed = place(disk, x.migration.options.storage_map, classes=classes, profiles=profiles, source_pvc=claims.get(disk.pvc))
        if isinstance(placed, Problem) or x.target.get(DATAVOLUME, disk.target) is not None:
            continue
        if disk.archive:
            frame = frames.state(x.migration, disk, placement=placed, generation=generation_of(vm))
            refusals += _try(f"DataVolume {disk.target}", "target/state.yaml.j2", frame, x)
            continue
        url = f"https://{host or 'export.invalid'}/volumes/{disk.pvc}/disk.img"
        frame = frames.datavolume(
            x.migration, disk, url=url, size_bytes=disk.capacity_bytes, placement=placed, generation=generation_of(vm)
        )
        refusals += _try(f"DataVolume {disk.target}", "target/datavolume.yaml.j2", frame, x)
    if x.target.get(VM, x.migration.target.name) is None:
        frame = frames.vm(x.migration, travelling(x, vm).vm, was=was)
        refusals += _try(f"VirtualMachine {x.migration.target.name}", "target/vm.yaml.j2", frame, x)
    return refusals


def _try(what: str, template: str, frame: frames.Frame, x: Crossing) -> list[Refusal]:
    manifests = x.render(template, **frame)
    try:
        x.target.create(*manifests, dry_run=True)
    except Refused as error:
        return [(what, error.why or error.what)]
    return []
