"""What the record ConfigMap holds: only what can no longer be observed (design, sentence 2)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from migrate.model.migration import Disk, Format, Identity, Migration, OnFailure, Options, References, SourceVersion, Start, Verify
from migrate.model.refs import VMRef
from migrate.model.report import Outcome, stamp
from migrate.model.snapshot import Taken

RECORD_SCHEMA = "kubevirt-migrate.io/record/v1"
KEY = "record.json"
"""Key of the ConfigMap's data."""


@dataclass(frozen=True, slots=True)
class StepTally:
    """What one step took so far, over all runs."""

    step: str
    seconds: float = 0.0
    acts: int = 0
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class DiskProof:
    """The proof of one disk, copied from its annotation so that it outlives the disk."""

    disk: str
    """Target name."""
    digest: str
    coverage: str
    bytes: int
    source_generation: SourceVersion = 0
    at: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One migration's record."""

    migration: Migration
    tool: str
    """Version of kubevirt-migrate that began it."""
    who: str
    """USER@HOST of the first run."""
    started: datetime
    finished: datetime | None = None
    outcome: Outcome | None = None
    halted: datetime | None = None
    ready: datetime | None = None
    """When the target's instance was ready."""
    snapshot: Taken | None = None
    """Of a copy: the snapshot that it was made from."""
    steps: tuple[StepTally, ...] = ()
    disks: tuple[DiskProof, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Top-level fields of a newer version, kept as they are."""

    @property
    def downtime_s(self) -> float | None:
        """Seconds from halt to ready; None as long as either has not happened."""
        if self.halted is None or self.ready is None:
            return None
        return (self.ready - self.halted).total_seconds()

    def tally(self, step: str, *, seconds: float, acts: int, bytes: int | None = None) -> Record:
        """Return the record with a run's share added to a step."""
        old = next((entry for entry in self.steps if entry.step == step), StepTally(step))
        moved = None if bytes is None and old.bytes is None else (bytes or 0) + (old.bytes or 0)
        new = StepTally(step, old.seconds + seconds, old.acts + acts, moved)
        if any(entry.step == step for entry in self.steps):
            return replace(self, steps=tuple(new if entry.step == step else entry for entry in self.steps))
        return replace(self, steps=(*self.steps, new))

    def to_data(self) -> dict[str, str]:
        """Return the data of the ConfigMap: readable JSON under one key."""
        return {KEY: json.dumps({**self.extra, **_to_json(self)}, indent=2) + "\n"}

    @classmethod
    def of_data(cls, data: Mapping[str, str]) -> Record:
        """Read the data of a record ConfigMap, tolerant of newer fields. Raises ValueError."""
        text = data.get(KEY)
        if text is None:
            raise ValueError(f"it has no key {KEY}")
        try:
            return _of_json(json.loads(text))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is not a record: {error!r}") from error


def differences(asked: Migration, recorded: Migration) -> tuple[str, ...]:
    """Say in which fixed options a repeated command differs from what was begun: `format: raw was begun, gzip is asked`."""
    said = []
    for option in fields(Options):
        old, new = getattr(recorded.options, option.name), getattr(asked.options, option.name)
        if option.name not in Options.LOOSE and old != new:
            said.append(f"{option.name.replace('_', '-')}: {_word(old)} was begun, {_word(new)} is asked")
    return tuple(said)


def _word(value: object) -> str:
    match value:
        case StrEnum():
            return value.value
        case bool():
            return "yes" if value else "no"
        case tuple():
            return ",".join(f"{old}={new}" for old, new in value) or "none"
        case _:
            return str(value) or "none"


def _to_json(record: Record) -> dict[str, Any]:
    m = record.migration
    return {
        "schema": RECORD_SCHEMA,
        "tool": record.tool,
        "who": record.who,
        "started": stamp(record.started),
        "finished": stamp(record.finished),
        "outcome": record.outcome.value if record.outcome else None,
        "halted": stamp(record.halted),
        "ready": stamp(record.ready),
        "snapshot": record.snapshot.to_json() if record.snapshot is not None else None,
        "migration": {
            "id": m.id,
            "attempt": m.attempt,
            "playbook": m.playbook,
            "source": _ref(m.source) | {"uid": m.source_uid, "clusterUid": m.source_cluster_uid},
            "target": _ref(m.target) | {"clusterUid": m.target_cluster_uid},
            "options": _options(m.options),
            "disks": [{key: getattr(disk, name) for key, name in _DISK.items()} for disk in m.disks],
            "references": [f"{kind}/{name}" for kind, name in m.references],
        },
        "steps": [{"step": s.step, "seconds": round(s.seconds, 3), "acts": s.acts, "bytes": s.bytes} for s in record.steps],
        "disks": [{key: getattr(proof, name) for key, name in _PROOF.items()} for proof in record.disks],
    }


_DISK = {
    "volume": "volume",
    "pvc": "pvc",
    "target": "target",
    "capacityBytes": "capacity_bytes",
    "storageClass": "storage_class",
    "volumeMode": "volume_mode",
    "archive": "archive",
    "uid": "uid",
}
"""JSON key → field of Disk."""
_PROOF = {"disk": "disk", "digest": "digest", "coverage": "coverage", "bytes": "bytes", "sourceGeneration": "source_generation", "at": "at"}
"""JSON key → field of DiskProof."""


def _ref(ref: VMRef) -> dict[str, Any]:
    return {"context": ref.context, "namespace": ref.namespace, "name": ref.name}


def _options(options: Options) -> dict[str, Any]:
    return {
        "start": options.start.value,
        "verify": options.verify.value,
        "format": options.format.value,
        "storageMap": dict(options.storage_map),
        "parallelDisks": options.parallel_disks,
        "createNamespace": options.create_namespace,
        "allowManaged": options.allow_managed,
        "sourceCa": options.source_ca,
        "targetCa": options.target_ca,
        "onFailure": options.on_failure.value,
        "fence": options.fence,
        "identity": options.identity.value,
        "references": options.references.value,
        "networkMap": dict(options.network_map),
        "keepSnapshot": options.keep_snapshot,
    }


def _of_json(whole: Mapping[str, Any]) -> Record:
    m, source, target = whole["migration"], whole["migration"]["source"], whole["migration"]["target"]
    known = {"schema", "tool", "who", "started", "finished", "outcome", "halted", "ready", "snapshot", "migration", "steps", "disks"}
    started = _time(whole["started"])
    if started is None:
        raise ValueError("started is empty")
    return Record(
        migration=Migration(
            id=str(m["id"]),
            attempt=int(m["attempt"]),
            playbook=str(m["playbook"]),
            source=VMRef(source["context"], source["namespace"], source["name"]),
            target=VMRef(target["context"], target["namespace"], target["name"]),
            source_uid=str(source["uid"]),
            source_cluster_uid=str(source["clusterUid"]),
            target_cluster_uid=str(target["clusterUid"]),
            options=_options_of(m.get("options") or {}),
            disks=tuple(Disk(**{name: disk[key] for key, name in _DISK.items() if key in disk}) for disk in m.get("disks") or ()),
            references=tuple((kind, name) for kind, _, name in (str(word).partition("/") for word in m.get("references") or ())),
        ),
        tool=str(whole.get("tool") or ""),
        who=str(whole.get("who") or ""),
        started=started,
        finished=_time(whole.get("finished")),
        outcome=Outcome(whole["outcome"]) if whole.get("outcome") else None,
        halted=_time(whole.get("halted")),
        ready=_time(whole.get("ready")),
        snapshot=Taken.of_json(whole["snapshot"]) if whole.get("snapshot") else None,
        steps=tuple(
            StepTally(s["step"], float(s.get("seconds") or 0), int(s.get("acts") or 0), s.get("bytes")) for s in whole.get("steps") or ()
        ),
        disks=tuple(DiskProof(**{name: proof[key] for key, name in _PROOF.items() if key in proof}) for proof in whole.get("disks") or ()),
        extra={key: value for key, value in whole.items() if key not in known},
    )


def _options_of(said: Mapping[str, Any]) -> Options:
    plain = Options()
    return Options(
        start=Start(said.get("start", plain.start)),
        verify=Verify(said.get("verify", plain.verify)),
        format=Format(said.get("format", plain.format)),
        storage_map=tuple((said.get("storageMap") or {}).items()),
        parallel_disks=int(said.get("parallelDisks", plain.parallel_disks)),
        create_namespace=bool(said.get("createNamespace", plain.create_namespace)),
        allow_managed=bool(said.get("allowManaged", plain.allow_managed)),
        source_ca=str(said.get("sourceCa") or ""),
        target_ca=str(said.get("targetCa") or ""),
        on_failure=OnFailure(said.get("onFailure", plain.on_failure)),
        fence=bool(said.get("fence", plain.fence)),
        identity=Identity(said.get("identity", plain.identity)),
        references=References(said.get("references", plain.references)),
        network_map=tuple((said.get("networkMap") or {}).items()),
        keep_snapshot=bool(said.get("keepSnapshot", plain.keep_snapshot)),
    )


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None
