"""Everything that check-both looks at, collected once, so that the judging of it is pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from migrate.model.errors import Problem
from migrate.model.inventory import Carry, ExportHost, Inventory, ManagedBy, Reference, Trust
from migrate.model.migration import Disk
from migrate.model.objects import Object
from migrate.model.was import Was


@dataclass(frozen=True, slots=True)
class Side:
    """One side: a namespace of a cluster and what the cluster offers. Objects are as the API returns them."""

    context: str
    uid: str
    """UID of kube-system."""
    namespace: str
    namespace_exists: bool = True
    served: Mapping[str, str] = field(default_factory=dict)
    """Kind → version that is served (`Cluster.serves`), of those kinds that a move or a copy needs; absent = not served."""
    kubevirt: Object | None = None
    """The KubeVirt object: version and gates."""
    denied: tuple[str, ...] = ()
    """Permissions we need and were refused, as words: `create datavolumes.cdi.kubevirt.io in shop`."""
    host: ExportHost | None = None
    """Where external links will point (reading/exporthost.py); None = no Ingress or Route leads to the export proxy."""
    forwards: bool = False
    """Ports of pods may be forwarded (asked only where there is no host): the proof then needs no external link."""
    given: Trust | None = None
    """What the CA file that the user gave for this side is worth for that host (exporthost.judge); None = none given."""
    quotas: tuple[Object, ...] = ()
    """ResourceQuotas of the namespace."""
    classes: tuple[Object, ...] = ()
    profiles: Mapping[str, Object] = field(default_factory=dict)
    cdi_config: Object | None = None
    drivers: frozenset[str] = frozenset()
    """Names of the CSIDrivers."""


@dataclass(frozen=True, slots=True)
class Named:
    """What the source VM names outside itself, and how that stands on the target (docs/what-travels.md)."""

    references: tuple[Reference, ...] = ()
    """All of them."""
    missing: tuple[Reference, ...] = ()
    """Those that the target must have by itself, and lacks; named as the target would name them."""
    unseen: tuple[Reference, ...] = ()
    """Those that the target must have by itself, and we may not look for."""
    carries: tuple[Carry, ...] = ()
    """Those that are copied, and how they stand."""
    vm: Object | None = None
    """The source VM as it is rendered for the target, where that is another one (steps/expanding.py)."""
    expanded: tuple[str, ...] = ()
    """What was written into it, in sentences."""
    unknown: tuple[Problem, ...] = ()
    """Instance types and preferences that nothing tells any more."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Both sides, the VM, and what was asked of the target."""

    source: Side
    target: Side
    now: datetime
    vm: Object | None = None
    vmi: Object | None = None
    was: Was = field(default_factory=Was)
    """What a halt would write down now (reading/machine.py, was_of)."""
    pvcs: Mapping[str, Object] = field(default_factory=dict)
    """Source PVCs by name, those included that were restored from our snapshot."""
    there: Mapping[tuple[str, str], Object] = field(default_factory=dict)
    """What is on the target under names we want: (kind, name) → object; VirtualMachine, DataVolume, PersistentVolumeClaim."""
    dumps: tuple[Disk, ...] = ()
    """Claims of memory dumps: no disks, and yet snapshotted and restored with them."""
    inventory: Inventory = field(default_factory=lambda: Inventory(()))
    """Of the source VM (reading/inventory.py)."""
    not_arrived: str = ""
    """Of a source VM that another migration made: why that one is not through."""
    managers: tuple[ManagedBy, ...] = ()
    """Who else looks after the VM (reading/managers.py)."""
    named: Named = field(default_factory=Named)
    """What the VM names outside itself."""
    refused: tuple[tuple[str, str], ...] = ()
    """Server-side dry runs that were refused: (`DataVolume db-1-data`, the cluster's sentence)."""
    macs_in_use: Mapping[str, str] = field(default_factory=dict)
    """MAC → VM of the target's namespace that has it, the source VM itself left out."""
    states_there: tuple[str, ...] = ()
    """Claims of the target that KubeVirt would take for the target VM's TPM and EFI state, ours left out."""
    snapshotted: bool = False
    """A copy has its snapshot: what can be snapshotted of the source, which went on, does not matter any more."""
    users: tuple[str, ...] = ()
    """Who else uses a disk of the source, in words (reading/users.py)."""
