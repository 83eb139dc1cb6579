"""The report as text: how it ended, where the VM is, what was proven, what to do now. Pure."""

from __future__ import annotations

from migrate.cli.failure import problems
from migrate.model.migration import COPIES, Verify
from migrate.model.quantity import human, human_duration
from migrate.model.report import Outcome, Report, Stand, stamp

COPY = {
    Outcome.NOTHING_LEFT: "nothing left to do: this copy was finished before",
    Outcome.UNDONE: "undone: the copy and all that was made for it is removed; the source was never halted",
}
"""What is said otherwise of a copy."""
GOOD = {
    Outcome.MOVED: "moved",
    Outcome.COPIED: "copied; the source goes on as it was",
    Outcome.NOTHING_LEFT: "nothing left to do: this move was finished before",
    Outcome.UNDONE: "undone: what the move had made is removed, the source is given back",
    Outcome.UNFINISHED: "unfinished: it runs now, or its runner died",
    Outcome.PROVEN: "compared once more",
    Outcome.RETIRED: "the source VM and its disks are deleted",
    Outcome.UNFENCED: "the source is not fenced (any more); it stays halted until somebody starts it",
    Outcome.PLANNED: "a dry run: nothing was written",
}

ENDS = (Outcome.MOVED, Outcome.COPIED, Outcome.NOTHING_LEFT, Outcome.PROVEN)
"""What ends with disks that were moved or copied: one without a proof is named then, too."""
TOLD_BY = {Outcome.PROVEN: "verify-disks", Outcome.RETIRED: "retire-source"}
"""Outcomes of which the last words of a step tell more than one word can: how deep, and what is left."""

DIGEST_SHOWN = len("sha256:") + 24
MESSAGE_SHOWN = 46
"""Characters of a message beside a step, so that a line has 80."""


def report_text(report: Report) -> str:
    """Write the report for a person."""
    blocks = [_head(report), _stands(report)]
    if report.disks and (report.outcome in ENDS or any(disk.coverage or disk.differs for disk in report.disks)):
        blocks.append(_disks(report))
    if report.writes:
        blocks.append("would be written:\n" + "\n".join(f"  {line}" for line in report.writes))
    if any(step.acts for step in report.steps) and report.outcome is not Outcome.PLANNED:
        blocks.append(_steps(report))
    if report.problems:
        blocks.append(problems(report.problems, report.outcome.value))
    if report.now:
        blocks.append("\n".join(f"→ {line}" for line in report.now))
    return "\n\n".join(blocks)


def _head(report: Report) -> str:
    copies = report.playbook in COPIES
    # after a finished one only this command came to nothing
    bad = "stopped" if report.finished else "not copied" if copies else "not moved"
    ended = GOOD.get(report.outcome, f"{bad} ({report.outcome.value})")
    ended = COPY.get(report.outcome, ended) if copies else ended
    told = next((step.message for step in report.steps if step.step == TOLD_BY.get(report.outcome)), "")
    if told:
        ended = f"{ended}: {told}" if report.outcome is Outcome.PROVEN else told
    return f"migration {report.migration}, {report.playbook}: {ended}" if report.migration else ended


def _stands(report: Report) -> str:
    lines = [_stand("source", report.source), _stand("target", report.target)]
    if report.snapshot is not None:
        lines.append(f"  snapshot  of {stamp(report.snapshot.at) or 'an unknown time'}: {report.snapshot.words}")
    if report.downtime_s is not None:
        lines.append(f"  downtime  {human_duration(report.downtime_s)}, from the halt of the source until the target was ready")
    return "\n".join(lines)


def _stand(side: str, stand: Stand) -> str:
    return f"  {side:<8}  {stand.place}  {stand.message}"


def _disks(report: Report) -> str:
    total = sum(disk.bytes or 0 for disk in report.disks if disk.coverage)
    counts = {depth: sum(disk.coverage == depth for disk in report.disks) for depth in reversed(Verify)}
    told = [f"{count} of {len(report.disks)} {depth.words}" for depth, count in counts.items() if count and depth is not Verify.OFF]
    different = sum(bool(disk.differs) for disk in report.disks)
    told = [*([f"{different} of {len(report.disks)} DIFFERENT from the source"] if different else []), *told]
    head = f"  disks     {', '.join([*told, human(total)]) if told else f'0 of {len(report.disks)} compared with the source'}"
    width = max((len(disk.target) for disk in report.disks), default=0)
    rows = []
    for disk in report.disks:
        name = disk.target if disk.source in ("", disk.target) else f"{disk.target} (from {disk.source})"
        size = human(disk.bytes) if disk.bytes is not None else "size unknown"
        rows.append(f"    {name:<{width}}  {size:>10}  {disk.differs or disk.coverage or 'no proof':<7} {_short(disk.digest)}".rstrip())
    return "\n".join([head, *rows])


def _cut(message: str) -> str:
    return message if len(message) <= MESSAGE_SHOWN else message[: MESSAGE_SHOWN - 1] + "…"


def _short(digest: str) -> str:
    """Shorten a digest for the screen; the whole of it is in `-o json` and on the disk."""
    return digest[:DIGEST_SHOWN] + ("…" if len(digest) > DIGEST_SHOWN else "")


def _steps(report: Report) -> str:
    rows = [f"    {step.step:<16}  {human_duration(step.seconds):>10}  {_cut(step.message)}" for step in report.steps if step.acts]
    ended = f"  took      from {stamp(report.started)} to {stamp(report.finished)}" if report.started and report.finished else "  took"
    return "\n".join([ended, *rows])
