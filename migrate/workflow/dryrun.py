"""`--dry-run`: the same steps on handles that write nothing, and the list of what they would have written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from migrate.kube.kinds import SNAPSHOT
from migrate.kube.readonly import Noted, ReadOnly
from migrate.model.migration import Migration, Verify
from migrate.model.observation import State
from migrate.steps.base import Crossing, Step
from migrate.workflow.decide import Verdict
from migrate.workflow.engine import Engine, stop_error


def dry_run(x: Crossing, engine: Engine) -> tuple[str, ...]:
    """Look with every step, act where it would, and return one line for each write that was noted instead of sent.

    Raises the error with which the run would stop before its first write. Steps that need what an earlier one only noted have nothing to
    look at yet; what they will write is named from the migration itself.
    """
    source, target = ReadOnly(x.source), ReadOnly(x.target)
    dry = replace(x, source=source, target=target)
    for step in engine.steps:
        snapshot_to_come = any(noted.manifest.get("kind") == SNAPSHOT.kind for noted in source.noted)
        if (step.name == "publish-disks" and snapshot_to_come) or not _would(step, dry, engine):
            break
    noted = (*_lines(x.source.context, source.noted), *_lines(x.target.context, target.noted))
    return tuple(dict.fromkeys((*noted, *_later(x.migration))))


def _would(step: Step, dry: Crossing, engine: Engine) -> bool:
    """Look and act once. Return whether the next step can be looked at."""
    seen = step.observe(dry)
    engine.show(step, seen)
    match seen.state:
        case State.DONE:
            return True
        case State.NEEDED:
            step.act(dry)
            return step.name != "stop-source"
        case State.BLOCKED | State.FAILED:
            verdict = Verdict.STOP if seen.state is State.BLOCKED else Verdict.GIVE_UP
            raise stop_error(verdict, step, seen)
        case _:
            return False


def _lines(context: str, noted: Iterable[Noted]) -> Iterator[str]:
    for verb, manifest in noted:
        metadata = manifest.get("metadata", {})
        place = "/".join(filter(None, (metadata.get("namespace"), metadata.get("name"))))
        yield f"{context}: {verb} {manifest.get('kind', '')} {place}"


def _later(m: Migration) -> Iterator[str]:
    """Name what is written, and removed again, once the source stands still or is snapshotted."""
    n, here, there = m.names, m.source, m.target
    if m.copies and not m.options.keep_snapshot:
        yield f"{here.context}: delete VirtualMachineSnapshot {here.namespace}/{n.snapshot} (at the end)"
    if not m.disks:
        return
    yield f"{here.context}: create Secret {here.namespace}/{n.token} (removed at the end)"
    yield f"{here.context}: create VirtualMachineExport {here.namespace}/{n.export} (removed at the end)"
    yield f"{there.context}: apply ConfigMap {there.namespace}/{n.ca} (removed at the end)"
    yield f"{there.context}: apply Secret {there.namespace}/{n.header} (removed at the end)"
    for disk in m.disks:
        yield f"{there.context}: create DataVolume {there.namespace}/{disk.target}"
        if disk.archive:
            yield f"{there.context}: create UploadTokenRequest {there.namespace}/{n.export} (kept nowhere), send the files of {disk.pvc}"
    if m.options.verify is not Verify.OFF:
        yield f"{there.context}: create Secret {there.namespace}/{n.proof_token} (removed before the start)"
        yield f"{there.context}: create VirtualMachineExport {there.namespace}/{n.proof} (removed before the start)"
