"""Where the import of a disk stands. CDI rarely says "failed", so this table decides (cdi-import section 3.9)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from migrate.model import labels
from migrate.model.migration import Disk, SourceVersion
from migrate.model.objects import Condition, Object, annotations_of, condition, created_at, dig, labels_of, leaving
from migrate.model.observation import DiskProgress, State
from migrate.reading.common import words_of

RECREATE = frozenset({"LinkChanged", "LeftoverDisk", "BegunAnew", "QuotaMayFit"})
"""Reasons of NEEDED that are cured by deleting the DataVolume (wait until it and its PVC are gone) and creating it again."""
CURABLE = frozenset(
    {
        "TransferBroken",
        "TokenRefused",
        "LinkGone",
        "CertificateRefused",
        "DiskTooSmall",
        "ImportFailed",
        "QuotaExceeded",
        "ClaimNotValid",
        "NoConsumer",
        "ImporterOutOfMemory",
        "ImporterImage",
    }
)
"""Reasons of FAILED and BLOCKED that a person may have cured before the same command is run again; CDI itself may never look again."""
BLIND = "ImportingBlind"
"""Reason of WAITING in which nothing can be seen to move; the importer's own watchdog ends a dead transfer after ten minutes."""
MOST_KILLS = 3
"""How often an importer may be killed for memory: once as it is, once with direct I/O, once more on a disk made anew."""
EVICTED = "ImporterEvicted"
"""Reason of NEEDED that is cured by deleting the importer pod: nothing in CDI does."""

_CDI = "cdi.kubevirt.io"
_BIND_NOW = f"{_CDI}/storage.bind.immediate.requested"
_SETTLE = timedelta(seconds=60)
"""How long CDI may take to render a PVC before its complaint counts."""
_UNBOUND = "unbound immediate PersistentVolumeClaims"
"""How the scheduler says that the hidden claim or the scratch claim has no volume."""
_TOO_SMALL = re.compile(r"too small to contain image|is larger than the reported available|no space left on device|disk quota exceeded")


@dataclass(frozen=True, slots=True)
class _Look:
    """Everything seen of one disk."""

    disk: Disk
    dv: Object
    pvc: Object | None
    pod: Object | None
    now: datetime
    total_bytes: int | None
    limit: int
    kills: int

    @property
    def phase(self) -> str:
        return str(dig(self.dv, "status", "phase", default=""))

    @property
    def tries(self) -> int:
        return int(dig(self.dv, "status", "restartCount", default=0))

    @property
    def blind(self) -> bool:
        """Tell whether the import works without a figure that moves: a whole gzip transfer, the conversion at the end (cdi-import 3.4)."""
        done = self.bytes_done()
        return done is None or self.total_bytes is None or done >= self.total_bytes * 0.99

    def bytes_done(self) -> int | None:
        """Bytes so far, from the percentage; None while CDI cannot know them (gzip) or has not said."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)%", str(dig(self.dv, "status", "progress", default="")))
        if found is None or self.total_bytes is None:
            return None
        return min(self.total_bytes, round(self.total_bytes * float(found[1]) / 100))

    def say(self, state: State, reason: str, message: str) -> DiskProgress:
        done = self.total_bytes if state is State.DONE else self.bytes_done()
        return DiskProgress(self.disk.target, state, reason, self.total_bytes, done, message)


def read_disk(
    disk: Disk,
    dv: Object | None,
    pvc: Object | None,
    pod: Object | None = None,
    *,
    migration_id: str,
    generation: SourceVersion | None = None,
    now: datetime,
    total_bytes: int | None = None,
    url: str | None = None,
    restarts: int = 5,
    kills: int = 0,
) -> DiskProgress:
    """Say where one disk stands.

    `generation`: what our halt left the source at, or the uid of our snapshot (None = unknown, not compared).
    `pod`: its importer pod, if known. `total_bytes`: virtual size. `url`: the link it must be pulled from now (None = unknown, not
    compared). `restarts`: how often CDI may try again before we call it failed; five take as many minutes, longer than a node needs to
    mount a refreshed token or CA. `kills`: how often its importer was seen killed for memory; no restart counts those, since CDI makes a
    new pod each time.
    NEEDED DiskMissing (create), LinkChanged or LeftoverDisk (recreate), ImporterEvicted (delete the pod). DONE DiskCopied: Succeeded and
    Bound, never one without the other.
    """
    if dv is None:
        return _without_dv(disk, pvc, migration_id, total_bytes)
    look = _Look(disk, dv, pvc, pod, now, total_bytes, restarts, kills)
    if not labels.is_ours(dict(dv), migration_id):
        return look.say(State.BLOCKED, "NameTaken", f"a DataVolume {disk.target} that is not this migration's is there")
    if leaving(dv):
        return look.say(State.WAITING, "BeingDeleted", "is being removed, to be made again")
    if (copy_of := annotations_of(dv).get(labels.DISK, disk.pvc)) != disk.pvc:
        return look.say(State.BLOCKED, "AnotherDisk", f"is a copy of {copy_of}, and this one is to be a copy of {disk.pvc}")
    noted = annotations_of(dv).get(labels.SOURCE_GENERATION, "none")
    if generation is not None and noted != str(generation):
        words = f"is a copy of the source at generation {noted}, and our halt left the source at {generation}"
        if isinstance(generation, str):
            words = f"is of the snapshot with uid {noted}, and the one that is there has {generation}"
        return look.say(State.BLOCKED, "StaleDisks", words)
    bound = dig(pvc, "status", "phase") == "Bound" and not leaving(pvc)
    match look.phase:
        case "Succeeded" if bound:
            return look.say(State.DONE, "DiskCopied", "imported and bound")
        case "Succeeded":
            return look.say(State.WAITING, "DiskBinding", "imported, its claim is being bound")
        case "UploadReady":
            return look.say(State.NEEDED, "StateToCarry", "its claim waits for its files")
        case "Failed":
            return look.say(State.FAILED, "ImportFailed", _last_words(look) or "CDI gave it up")
    wanted = dig(dv, "spec", "source", "http", "url")
    if url is not None and wanted is not None and wanted != url:
        return look.say(State.NEEDED, "LinkChanged", "its link has changed since, and a DataVolume cannot be changed")
    if kills >= MOST_KILLS:
        return look.say(State.BLOCKED, "ImporterOutOfMemory", f"its importer was killed for memory {kills} times")
    return _before_running(look) or _running(look)


def anew(seen: DiskProgress) -> DiskProgress:
    """Turn a disk that an earlier run gave up on into one that is to be made anew; nothing of it was ever proven."""
    if seen.state not in (State.FAILED, State.BLOCKED) or seen.reason not in CURABLE:
        return seen
    return replace(seen, state=State.NEEDED, reason="BegunAnew", message=f"an earlier run gave it up ({seen.reason}); it is begun anew")


def refitted(disks: Sequence[DiskProgress]) -> list[DiskProgress]:
    """Turn disks that a quota refused into ones to be made anew, once others are through and have given back their scratch space.

    CDI does not watch quotas; its own back-off may take a quarter of an hour (cdi-import 3.9).
    """
    moving = any(disk.state in (State.WAITING, State.UNKNOWN) for disk in disks)
    if moving or not any(disk.state is State.DONE for disk in disks):
        return list(disks)
    words = "a quota refused it, and other disks are through since; it is begun anew"
    return [
        replace(disk, state=State.NEEDED, reason="QuotaMayFit", message=words) if disk.reason == "QuotaExceeded" else disk for disk in disks
    ]


def _without_dv(disk: Disk, pvc: Object | None, migration_id: str, total_bytes: int | None) -> DiskProgress:
    if pvc is None:
        return DiskProgress(disk.target, State.NEEDED, "DiskMissing", total_bytes, 0, "not begun")
    if leaving(pvc) or labels_of(pvc).get(labels.ID) == migration_id:
        return DiskProgress(disk.target, State.WAITING, "BeingDeleted", total_bytes, 0, "an earlier copy of it is being removed")
    words = f"a PVC {disk.target} that is not this migration's is there"
    return DiskProgress(disk.target, State.BLOCKED, "NameTaken", total_bytes, 0, words)


def _before_running(look: _Look) -> DiskProgress | None:
    """Say what keeps the importer from being started at all."""
    bound, running = condition(look.dv, "Bound"), condition(look.dv, "Running")
    for said in (bound, running):
        if said is not None and said.false and said.reason == "ErrExceededQuota":
            return look.say(State.BLOCKED, "QuotaExceeded", said.message or "a quota of the namespace refuses its claim")
    if look.phase == "" and bound is not None and bound.reason == "ErrClaimNotValid":
        began = created_at(look.dv)
        settled = began is not None and look.now - began > _SETTLE
        return look.say(State.BLOCKED if settled else State.WAITING, "ClaimNotValid", bound.message or "CDI cannot make its claim")
    if look.phase in {"PendingPopulation", "WaitForFirstConsumer"}:
        if _BIND_NOW in annotations_of(look.dv):
            return look.say(State.WAITING, "DiskPending", "its claim is being provisioned")
        return look.say(State.BLOCKED, "NoConsumer", "it waits for a pod that uses it, and a halted VM has none")
    if dig(look.pod, "status", "phase") == "Failed" and not leaving(look.pod):
        why = dig(look.pod, "status", "reason") or dig(look.pod, "status", "message") or "its pod failed"
        return look.say(State.NEEDED, EVICTED, f"its importer pod is dead ({why}) and CDI does not replace it")
    return None


def _running(look: _Look) -> DiskProgress:
    said = condition(look.dv, "Running")
    if said is None or not said.false:
        if look.phase == "ImportInProgress" or (said is not None and said.true):
            if look.blind:
                return look.say(State.WAITING, BLIND, "importing; CDI tells no figures for this stretch")
            return look.say(State.WAITING, "Importing", "importing")
        return look.say(State.WAITING, "DiskPending", _pending(look))
    match said.reason:
        case "Error" | "ImagePullFailed" | "OOMKilled" | "ChecksumError":
            return _trouble(look, said)
        case "Unschedulable":
            words = words_of(look.pod) or said.message or "its importer pod finds no node"
            return look.say(State.WAITING, "ClaimUnbound" if _UNBOUND in words else "ImporterUnschedulable", words)
        case "Scratch space required":
            held = words_of(look.pod)
            return look.say(State.WAITING, "ScratchSpace", f"its scratch space is being made{f' ({held})' if held else ''}")
        case "Completed":
            return look.say(State.WAITING, "DiskBinding", "imported, CDI is finishing it")
        case "ErrStartingPod":
            return look.say(State.WAITING, "ImporterNotStarted", said.message or "CDI cannot start its importer pod")
        case _:
            return look.say(State.WAITING, "DiskPending", _pending(look))


def _pending(look: _Look) -> str:
    said = condition(look.dv, "Running")
    if words := words_of(look.pod):
        return f"its importer is being started ({words})"
    if said is not None and said.reason:
        return f"its importer is being started ({said.reason}{': ' + said.message if said.message else ''})"
    bound = condition(look.dv, "Bound")
    if bound is not None and bound.false and bound.message:
        return bound.message
    return f"phase {look.phase}" if look.phase else "CDI has not taken it up yet"


def _oom(look: _Look) -> bool:
    """Tell whether the importer of this disk was killed for memory before: CDI then turns to direct I/O, which leaves traces."""
    if annotations_of(look.pvc).get(f"{_CDI}/storage.import.requiresDirectIo") == "true":
        return True
    for container in dig(look.pod, "spec", "containers", default=()):
        if any(entry.get("name") == "CACHE_MODE" and entry.get("value") == "TRYNONE" for entry in container.get("env") or ()):
            return True
    states = dig(look.pod, "status", "containerStatuses", default=())
    return any(
        dig(status, turn, "terminated", "reason") == "OOMKilled" or dig(status, turn, "terminated", "exitCode") == 137
        for status in states
        for turn in ("state", "lastState")
    )


def _trouble(look: _Look, said: Condition) -> DiskProgress:
    """Judge what the importer said when it ended (cdi-import sections 2.5 and 3.9)."""
    words, tries = said.message, look.tries
    if _TOO_SMALL.search(words):
        if _oom(look):
            return look.say(State.NEEDED, "LeftoverDisk", "a killed attempt left its half disk behind, on which every retry fails")
        return look.say(State.FAILED, "DiskTooSmall", words)
    if said.reason == "ImagePullFailed" and re.fullmatch(r"failed to pull image: \S+", words):
        return look.say(State.BLOCKED, "ImporterImage", words)
    if said.reason == "OOMKilled":
        return look.say(State.WAITING, "ImporterOutOfMemory", "its importer was killed for memory; CDI tries again with direct I/O")
    reason = _transient(words)
    if tries > look.limit:
        return look.say(State.FAILED, reason, f"gave up after {tries} restarts of its importer: {words}")
    return look.say(State.WAITING, reason, f"CDI tries again (restart {tries} of {look.limit}): {words}")


def _transient(words: str) -> str:
    if re.search(r"got 40[13]\b", words):
        return "TokenRefused"
    if re.search(r"got (404|410)\b", words):
        return "LinkGone"
    if "x509" in words or "certificate" in words:
        return "CertificateRefused"
    return "TransferBroken"


def _last_words(look: _Look) -> str:
    running, bound = condition(look.dv, "Running"), condition(look.dv, "Bound")
    if bound is not None and bound.reason == "ClaimLost":
        return "its claim was lost"
    return running.message if running is not None else ""
