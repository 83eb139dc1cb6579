"""What was asked: one migration, its options, its disks and every name that derives from its id."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from migrate.model.refs import VMRef

COPIES = frozenset({"snapshot-copy", "dr-copy"})
"""Playbooks that leave the source as it is, running if it runs, and make another VM of it."""
SourceVersion = int | str
"""The state of the source that a copied disk belongs to: the metadata.generation of the halted VM, or the uid of its snapshot."""


class Start(StrEnum):
    """Whether the target is started: as the source was (a copy: not at all), in any case, or not at all."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Verify(StrEnum):
    """How much of every disk is compared before anything is called copied."""

    OFF = "off"
    SIZE = "size"
    SAMPLE = "sample"
    FULL = "full"

    @property
    def words(self) -> str:
        """Say what a comparison of this depth may claim that found no difference: only what was read as a whole is equal."""
        return _CLAIMED[self.value]


_CLAIMED = {"off": "not compared", "size": "compared by size only, nothing read", "sample": "sampled, equal", "full": "proven equal"}


class Format(StrEnum):
    """The export format that the target pulls."""

    RAW = "raw"
    GZIP = "gzip"


class OnFailure(StrEnum):
    """What happens when a step fails before the target was started."""

    LEAVE = "leave"
    UNDO = "undo"


class Identity(StrEnum):
    """Whether the target's guest is the machine that the source was, or a new one: firmware uuid, serial, MACs."""

    AUTO = "auto"
    """Keep it in a move; a new one in a copy, whose source goes on."""
    KEEP = "keep"
    NEW = "new"


class References(StrEnum):
    """What is done about copied references: made where they are missing, also made equal where they differ, or left to somebody else."""

    COPY = "copy"
    REPLACE = "replace"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Options:
    """The choices of the user. All but those in LOOSE are fixed once a migration has begun."""

    start: Start = Start.AUTO
    verify: Verify = Verify.SAMPLE
    format: Format = Format.RAW
    storage_map: tuple[tuple[str, str], ...] = ()
    parallel_disks: int = 4
    create_namespace: bool = False
    allow_managed: bool = False
    source_ca: str = ""
    """PEM text given by the user for the source's export host; empty = what status.links says."""
    target_ca: str = ""
    """PEM text given by the user for the target's export host, used by the proof."""
    on_failure: OnFailure = OnFailure.LEAVE
    fence: bool = False
    """Make the halted source unschedulable, so that a start by anybody brings up no guest."""
    identity: Identity = Identity.AUTO
    references: References = References.COPY
    network_map: tuple[tuple[str, str], ...] = ()
    """Network of the source → network of the target, each `[NAMESPACE/]NAME` of a NetworkAttachmentDefinition."""
    keep_snapshot: bool = False
    """Leave the snapshot that a copy was made from on the source."""

    LOOSE = frozenset({"parallel_disks", "allow_managed", "source_ca", "target_ca", "on_failure", "references"})


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk of the VM: the PVC that holds it on the source and the DataVolume that will hold it on the target."""

    volume: str
    """Name of the volume in the VM's template."""
    pvc: str
    """Source PVC; the name under which status.links lists it."""
    target: str
    """DataVolume (and PVC) on the target."""
    capacity_bytes: int
    """Upper bound of its size: status.capacity of the source PVC."""
    storage_class: str = ""
    """Source storage class."""
    volume_mode: str = "Filesystem"
    archive: bool = False
    """No disk of the guest but files: the claim in which KubeVirt keeps TPM and EFI variables. `volume` is empty then."""
    uid: str = ""
    """Uid of the source PVC when the disks were chosen; "" in a record of before this was noted. One made anew is another."""


def _short(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Names:
    """Every object name of ours. Names of the user (VM, DataVolumes) are not here: they stay what they are."""

    export: str
    token: str
    ca: str
    header: str
    record: str
    claim: str
    proof: str
    """Export of the halted target VM, for the proof."""
    proof_token: str
    target_claim: str
    """Lease on the target's name: two sources never make one VM."""
    before: str
    """Prefix of the names under which objects are kept as they were before they were replaced."""
    snapshot: str
    """Snapshot of the source, where that is not halted."""

    @classmethod
    def of(cls, migration_id: str, source_uid: str, target: str = "") -> Names:
        """Derive all names. `source_uid` and `target` (name of the target VM) are needed only for those of the claims."""
        base = f"migrate-{migration_id}"
        return cls(
            export=base,
            token=f"{base}-token",
            ca=f"{base}-ca",
            header=f"{base}-header",
            record=base,
            claim=f"migrate-claim-{_short(source_uid)}",
            proof=f"{base}-proof",
            proof_token=f"{base}-proof-token",
            target_claim=f"migrate-claim-{_short('target', target)}",
            before=f"{base}-before",
            snapshot=base,
        )

    def before_of(self, kind: str, name: str) -> str:
        """Return the name under which an object is kept as it was before it was replaced."""
        return f"{self.before}-{_short(kind, name)}"


def migration_id(*, source_uid: str, target_cluster_uid: str, target: VMRef, playbook: str, attempt: int) -> str:
    """Return the id: the same question has the same id, from whatever machine it is asked.

    Clusters enter by the UID of their kube-system namespace, never by context name.
    """
    return _short(source_uid, target_cluster_uid, target.namespace, target.name, playbook, str(attempt))


@dataclass(frozen=True, slots=True)
class Migration:
    """One question: this VM, to that place, in this way."""

    id: str
    attempt: int
    playbook: str
    source: VMRef
    target: VMRef
    source_uid: str
    source_cluster_uid: str
    target_cluster_uid: str
    options: Options = field(default_factory=Options)
    disks: tuple[Disk, ...] = ()
    references: tuple[tuple[str, str], ...] = ()
    """(kind, name) of what the VM names and the target may get a copy of. Secrets are asked for by name alone, so an undo has to know."""

    @property
    def names(self) -> Names:
        return Names.of(self.id, self.source_uid, self.target.name)

    @property
    def identity(self) -> Identity:
        """KEEP or NEW: what was asked for, else what the playbook is for."""
        if self.options.identity is not Identity.AUTO:
            return self.options.identity
        return Identity.NEW if self.copies else Identity.KEEP

    @property
    def copies(self) -> bool:
        """Tell whether this makes a copy of a VM that goes on, instead of moving it."""
        return self.playbook in COPIES

    @property
    def moved_to(self) -> str:
        """Return the value of the MOVED_TO annotation."""
        return f"{self.target_cluster_uid}/{self.target.namespace}/{self.target.name}"

    @property
    def words(self) -> str:
        """Return how a command names this question: both VMs, and that it is a copy."""
        return f"{self.source} {self.target}{' --method snapshot' if self.copies else ''}"

    @property
    def start(self) -> Start:
        """Return when the target is started. A copy is never started unasked: what its guest does, the source does, too."""
        return Start.NEVER if self.copies and self.options.start is Start.AUTO else self.options.start
