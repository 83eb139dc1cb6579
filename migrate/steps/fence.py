"""The fence of `--fence`: a node selector that no node fits, so that a start of the halted source by anybody brings up no guest.

Pure: from a VM to operations. It stands in the template, in the same patch that halts, and every instance made since carries it; KubeVirt
has no scheduling gates for its instances. What the selector was stands in the WAS annotation.
"""

from __future__ import annotations

from migrate.model import labels
from migrate.model.objects import Object, dig
from migrate.model.was import Was
from migrate.steps import patches

_SELECTOR = "/spec/template/spec/nodeSelector"
_KEY = f"{_SELECTOR}/{patches.escaped(labels.FENCED)}"


def fenced(obj: Object | None) -> bool:
    """Tell whether the fence stands in a VM's template, or in an instance that was made from it."""
    inner = dig(obj, "spec", "template", "spec") or dig(obj, "spec", default={})
    return labels.FENCED in (inner.get("nodeSelector") or {})


def put_up(vm: Object, migration_id: str) -> patches.Operations:
    """Return what fences a VM: nothing if it is fenced."""
    selector = dig(vm, "spec", "template", "spec", "nodeSelector")
    if selector is None:
        return [{"op": "add", "path": _SELECTOR, "value": {labels.FENCED: migration_id}}]
    return [] if labels.FENCED in selector else [{"op": "add", "path": _KEY, "value": migration_id}]


def taken_down(vm: Object, was: Was | None) -> patches.Operations:
    """Return what takes the fence away and leaves the selector as it was, or as somebody else has changed it since."""
    selector = dig(vm, "spec", "template", "spec", "nodeSelector", default={})
    if labels.FENCED not in selector:
        return []
    alone = len(selector) == 1 and (was is None or was.node_selector is None)
    return [{"op": "remove", "path": _SELECTOR if alone else _KEY}]
