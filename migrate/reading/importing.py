"""Several disks on their way at once, folded into one answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from migrate.model.observation import DiskProgress, Observation, State, blocked, done, failed, needed, waiting
from migrate.model.quantity import human
from migrate.reading.datavolume import BLIND
from migrate.reading.disk_problems import failing, problem_of

BLIND_S = 6 * 3600.0
"""How long an import may work without a figure that moves: a conversion of several TB on slow storage."""
STILL_S = 20 * 60.0
"""How long the figure of a running import may stand still; its own watchdog ends a dead transfer after ten minutes."""


def to_create(disks: Sequence[DiskProgress], *, parallel: int) -> tuple[str, ...]:
    """Name the disks (target names) that may be created now, in order, so that at most `parallel` are on their way."""
    on_way = sum(disk.state in {State.WAITING, State.UNKNOWN, State.BLOCKED} or _mending(disk) for disk in disks)
    free = max(0, parallel - on_way)
    return tuple([disk.name for disk in disks if disk.reason == "DiskMissing"][:free])


def read_import(disks: Sequence[DiskProgress], *, parallel: int) -> Observation:
    """Fold the disks into one answer: FAILED > NEEDED (something can be done now) > WAITING (something moves) > BLOCKED > DONE.

    A blocked disk does not stop the others: a quota may fit again when they are through.
    """
    shown = tuple(disks)
    if problems := failing(disks, State.FAILED):
        return failed(_common(disks, State.FAILED, "ImportFailed"), *problems).but(disks=shown, progress=_progress(disks))
    startable = to_create(disks, parallel=parallel)
    mending = [disk for disk in disks if _mending(disk)]
    if startable or mending:
        words = [f"{disk.name}: {disk.message}" for disk in mending] + ([f"to begin: {', '.join(startable)}"] if startable else [])
        reason = mending[0].reason if mending else "DiskMissing"
        return needed(reason, "; ".join(words)).but(disks=shown, progress=_progress(disks))
    if any(disk.state in {State.WAITING, State.UNKNOWN} for disk in disks):
        seen = waiting("Importing", _summary(disks), progress=_progress(disks), disks=shown)
        held = tuple(problem_of(disk) for disk in disks if disk.state is State.WAITING and disk.reason in _TROUBLE)
        return seen.but(patience_s=max(map(_patience_s, disks)), problems=held)
    if problems := failing(disks, State.BLOCKED):
        return blocked(_common(disks, State.BLOCKED, "ImportBlocked"), *problems).but(disks=shown, progress=_progress(disks))
    size = sum(disk.bytes_total or 0 for disk in disks)
    return done("Imported", f"{len(disks)} disk{'' if len(disks) == 1 else 's'} imported{f', {human(size)}' if size else ''}", disks=shown)


def _patience_s(disk: DiskProgress) -> float:
    """Return how long a disk may stand still without a sign; 0 = as long as the step says."""
    return {BLIND: BLIND_S, "Importing": STILL_S}.get(disk.reason, 0.0)


def _common(disks: Sequence[DiskProgress], state: State, several: str) -> str:
    """Return the reason of the disks in one state, or the word for several reasons."""
    reasons = {disk.reason for disk in disks if disk.state is state}
    return reasons.pop() if len(reasons) == 1 else several


def _mending(disk: DiskProgress) -> bool:
    return disk.state is State.NEEDED and disk.reason != "DiskMissing"


def _progress(disks: Sequence[DiskProgress]) -> float | None:
    """Return the fraction by bytes, as far as sizes are known; by disks otherwise."""
    if not disks:
        return None
    total = sum(disk.bytes_total or 0 for disk in disks)
    if total and all(disk.bytes_total is not None for disk in disks):
        return sum(disk.bytes_done or 0 for disk in disks) / total
    return sum(disk.state is State.DONE for disk in disks) / len(disks)


def _summary(disks: Sequence[DiskProgress]) -> str:
    counts = Counter(disk.state for disk in disks)
    words = [f"{counts[State.DONE]} of {len(disks)} imported"]
    if counts[State.BLOCKED]:
        words.append(f"{counts[State.BLOCKED]} blocked")
    troubled = [f"{disk.name}: {disk.message}" for disk in disks if disk.state is State.WAITING and disk.reason in _TROUBLE]
    return ", ".join(words) + (f"; {'; '.join(troubled)}" if troubled else "")


_TROUBLE = frozenset(
    {
        "TokenRefused",
        "LinkGone",
        "CertificateRefused",
        "TransferBroken",
        "ImporterOutOfMemory",
        "ImporterUnschedulable",
        "ClaimUnbound",
        "ImporterNotStarted",
        "ScratchSpace",
        "DiskPending",
    }
)
"""Reasons of WAITING that are worth a word in the line of the step."""
