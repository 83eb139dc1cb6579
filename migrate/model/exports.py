"""What can be exported, and how an export that a person made is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Source(StrEnum):
    """Kinds that can be exported, by the words of virtctl's flags."""

    VM = "vm"
    SNAPSHOT = "snapshot"
    PVC = "pvc"

    @property
    def kind(self) -> str:
        """Kind as the API spells it."""
        return {"vm": "VirtualMachine", "snapshot": "VirtualMachineSnapshot", "pvc": "PersistentVolumeClaim"}[self.value]

    @property
    def group(self) -> str:
        """API group that the export names for it (kubevirt-export section 1)."""
        return {"vm": "kubevirt.io", "snapshot": "snapshot.kubevirt.io", "pvc": ""}[self.value]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is exported."""

    source: Source
    name: str

    def __str__(self) -> str:
        return f"{self.source.kind} {self.name}"

    @property
    def ref(self) -> dict[str, str]:
        """spec.source of the export."""
        return {"apiGroup": self.source.group, "kind": self.source.kind, "name": self.name}


@dataclass(frozen=True, slots=True)
class Seen:
    """An export as `list` and `show` tell of it."""

    name: str
    namespace: str
    source: str
    phase: str
    words: str
    """Where it stands, in plain words: why it is not ready, or how it can be reached."""
    expires: datetime | None
    token_secret: str
    volumes: Mapping[str, Mapping[str, str]]
    """Claim name → format → link: from outside if there are such links, else those that hold within the cluster."""
    outside: bool
    sizes: Mapping[str, int]
    """Claim name → bytes of the claim."""
