"""What a look at the source VM and its surroundings brings home: disks, references, managers, the host of its exports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from migrate.model.errors import Problem
from migrate.model.migration import Disk


@dataclass(frozen=True, slots=True)
class Inventory:
    """The disks to move, what stands in the way, and what is left behind on purpose."""

    disks: tuple[Disk, ...]
    problems: tuple[Problem, ...] = ()
    """Each of them makes the move impossible or lossy."""
    left_behind: tuple[str, ...] = ()
    """Sentences about volumes that need no copy or are dropped."""


class Rule(StrEnum):
    """What becomes of something that a VM names; docs/what-travels.md says which of them holds for what."""

    COPIED = "copied"
    """Made on the target as it is on the source."""
    MAPPED = "mapped"
    """Named on the target by another name, under which it must exist there."""
    EXPANDED = "expanded"
    """Written into the VM, where the target has no equal one."""
    DROPPED = "dropped"
    """Left out of the target VM."""
    MUST_EXIST = "must exist"
    """The target has to have it: it belongs to the cluster, or is a right in it."""
    REFUSED = "refused"
    """The VM cannot be moved as long as it names it."""
    KEPT = "kept"
    """Stands in the target VM as it is; what it means there, nobody can tell beforehand."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Something outside the VM that the VM names and an export does not carry."""

    kind: str
    """As Kubernetes spells it; a word of ours where it is no object (Device, Scheduler, Image, HostDisk)."""
    name: str
    namespace: str | None
    """None = the VM's own namespace; "" = cluster-scoped."""
    path: str
    """Where in the VM it is named."""
    needed: bool
    """The VM cannot start without it."""
    rule: Rule = Rule.MUST_EXIST


class Standing(StrEnum):
    """How a reference that is copied stands on the target."""

    ABSENT = "absent"
    EQUAL = "equal"
    DIFFERS = "differs"
    LOST = "lost"
    """On neither side."""
    BOUND = "bound"
    """Missing on the target, and not to be copied: it belongs to its cluster."""


@dataclass(frozen=True, slots=True)
class Carry:
    """One reference that is copied, and how it stands."""

    reference: Reference
    standing: Standing
    differences: tuple[str, ...] = ()
    """In words; of Secrets never a value."""
    fixed: str = ""
    """Why the target's cannot be made equal in place."""
    managed_by: str = ""
    """Who makes it on the source: a copy does not follow."""
    used_by: str = ""
    """Who else on the target uses what is to be replaced there."""


@dataclass(frozen=True, slots=True)
class ManagedBy:
    """One manager, what shows it, and what to do so that it leaves the VM halted."""

    name: str
    evidence: tuple[str, ...]
    remedy: str


class Trust(StrEnum):
    """What the certificates that a cluster will name for its export host are worth."""

    GOOD = "good"
    EMPTY = "empty"
    MALFORMED = "malformed"
    LEAF_ONLY = "leaf only"
    """The host's own certificate without its CA: holds until it is renewed."""
    FOREIGN = "foreign"
    """No certificate of it is for this host."""
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class ExportHost:
    """The host that external links will carry, foretold as KubeVirt finds it (reference section 2, Links)."""

    host: str
    via: str
    """`Ingress NAME` or `Route NAME`."""
    trust: Trust


STATE = "persistent-state-for"
"""Label of KubeVirt on the claim with the TPM and EFI state of a VM (value: its name), and what the names of such claims begin with."""


@dataclass(frozen=True, slots=True)
class UploadDoor:
    """Where CDI takes files, and by which CA it is to be believed."""

    url: str
    ca_pem: str = ""


def no_external_link(what: str, *, where: str = "source") -> Problem:
    """Say what to do where exports have no external links: KubeVirt looks for an Ingress or a Route and for nothing else."""
    return Problem(
        what,
        where=where,
        why="KubeVirt gives them only when an Ingress or an OpenShift Route in its namespace leads to the service virt-exportproxy",
        now="create such an Ingress (TLS re-encrypted or passed through to virt-exportproxy:443), then run again",
    )
