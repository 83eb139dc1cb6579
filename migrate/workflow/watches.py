"""Which objects a migration keeps an eye on while it waits. Secrets are never among them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import DATAVOLUME, EXPORT, POD, PVC, SNAPSHOT, VM, VMI, Kind
from migrate.steps.base import Crossing
from migrate.steps.looks import OURS, VIRT_PODS

SOURCE: tuple[tuple[Kind, Mapping[str, str | None] | None], ...] = ((VM, None), (VMI, None), (EXPORT, OURS), (POD, VIRT_PODS))
TARGET: tuple[tuple[Kind, Mapping[str, str | None] | None], ...] = (
    (VM, OURS),
    (VMI, None),
    (EXPORT, OURS),
    (DATAVOLUME, OURS),
    (PVC, OURS),
    (POD, OURS),
)
"""What CDI makes of a DataVolume inherits its labels, but says itself who manages it (reference cdi-import 1.4, 3.8)."""


@contextmanager
def watch(x: Crossing, event: threading.Event) -> Iterator[None]:
    """Keep the watches of one migration open; each change rings the event."""
    with ExitStack() as open_bells:
        source = (*SOURCE, (SNAPSHOT, OURS)) if x.migration.copies else SOURCE
        for cluster, kinds in ((x.source, source), (x.target, TARGET)):
            for kind, selector in kinds:
                _open(cluster, kind, selector, event, open_bells)
        yield


def _open(cluster: Cluster, kind: Kind, selector: Mapping[str, str | None] | None, event: threading.Event, open_bells: ExitStack) -> None:
    if cluster.serves(kind) is not None:
        open_bells.callback(cluster.bell(kind, labels=selector, event=event).close)
