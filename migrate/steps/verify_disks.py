"""Prove every disk before anything is called copied: both sides are read, through one export each, and compared.

The halted target VM is exported as the source was; the export and its token are gone again before this step is done, since the server pod
holds the disks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from migrate.kube.kinds import EXPORT, PVC, SECRET, VM, VMI
from migrate.model import labels
from migrate.model.errors import MigrateError, Problem
from migrate.model.migration import Disk, Verify
from migrate.model.objects import dig, leaving, name_of
from migrate.model.observation import DiskProgress, Observation, State, blocked, done, failed, needed, waiting
from migrate.reading.machine import instance_alive, set_by
from migrate.steps import exporting, going_back, looks, proving, same_claims
from migrate.steps.base import Crossing, Limits
from migrate.steps.proving import Compared, Copies
from migrate.steps.work import Work
from migrate.transfer.export_client import NotTrusted

MOST_ATTEMPTS = 3
"""How often a comparison that broke off is begun again; each has the patience of transfer/patience.py within it."""


class VerifyDisks:
    """Compare every disk of the target with its source, as deep as was asked, and write the proof on the disk.

    `since` is for a proof that is made again after the move: proofs from before do not count, and a source that is marked as moved must
    stand as the halt left it all the same.
    """

    name = "verify-disks"
    limits = Limits(quiet=timedelta(minutes=10), acts=4)
    until: str | None = None

    def __init__(self, since: datetime | None = None) -> None:
        self._since = since.replace(microsecond=0) if since is not None else None

    def observe(self, x: Crossing) -> Observation:
        found = proving.copies(x)
        left = proving.unproven(x, found, since=self._since)
        stale = looks.unmoved(x, even_released=bool(left) or self._since is not None)
        if stale is not None:
            return stale
        going = tuple(_going(x, found))
        if going:
            return blocked("DisksMissing", *going)
        lacking = _lacking(x, found)
        if lacking:
            return waiting("DisksMissing", f"not imported yet: {', '.join(lacking)}")
        bad = [problem for disk in x.migration.disks if (problem := proving.differs(disk, found)) is not None]
        if bad:
            return failed("DiskDiffers", *bad)
        if not x.migration.disks and x.target.get(VM, x.migration.target.name) is None:
            return waiting("TargetMissing", "the target VM is not made yet")
        if not left:
            return _after(x, found)
        return looks.in_use(x) or _not_provable(x) or _without_exports(x) or _comparing(x, found, left)

    def act(self, x: Crossing) -> None:
        found = proving.copies(x)
        left = proving.unproven(x, found, since=self._since)
        if not left:
            marked = proving.labelled(found)
            for volume in marked:
                proving.unlabel(x, volume)
            if not marked:
                _clear(x)
            return
        source, proof = exporting.source_export(x), exporting.proof_export(x)
        for export in (source, proof):
            state = exporting.read(x, export, stopped=True).state
            if state is State.NEEDED:
                return exporting.make(x, export)
            if state is not State.DONE:
                return  # it went away since the look, as that of a source does that somebody starts; the next look tells
        for disk in left:
            work = x.works.get(proving.key_of(x, disk))
            if work is None or not work.running:
                same_claims.insist(x, disk, x.source.get(PVC, disk.pvc), found.volumes.get(disk.target))
            if work is not None and isinstance(work.result, Compared):
                proving.write(x, disk, found.volumes[disk.target], work.result)
                x.works.drop(work.key)
            elif work is None or not work.running:
                running = sum(other.running for one in left if (other := x.works.get(proving.key_of(x, one))) is not None)
                if running < proving.at_once(x):
                    x.works.start(proving.key_of(x, disk), proving.comparison(x, disk, source, proof, claim=found.claim(disk)))

    def undo(self, x: Crossing) -> Observation:
        refusal = going_back.refuse_undo(x)
        return refusal if refusal is not None else _clear(x)


def _going(x: Crossing, found: Copies) -> Iterator[Problem]:
    """Say which disks are on their way out: our own export would hold them for ever."""
    for disk in x.migration.disks:
        if leaving(found.volumes.get(disk.target)) or leaving(found.claims.get(disk.target)):
            yield Problem(
                f"disk {disk.target} is being deleted",
                where="target",
                why="somebody deleted its DataVolume or its claim",
                now="find out who; then run the same again: it is made anew and proven",
            )


def _lacking(x: Crossing, found: Copies) -> list[str]:
    """Name the disks that CDI is not through with: Succeeded and bound, since one may come before the other (cdi-import 3.2)."""
    through = {name for name, volume in found.volumes.items() if dig(volume, "status", "phase") == "Succeeded"}
    return [disk.target for disk in x.migration.disks if disk.target not in through or not found.claim(disk)]


def _clear(x: Crossing) -> Observation:
    """Remove what the proof needed: works, export, token, and wait for the server pod."""
    for disk in x.migration.disks:
        x.works.drop(proving.key_of(x, disk))
    names = x.migration.names
    gone = looks.remove_all(x, (x.target, EXPORT, names.proof), (x.target, SECRET, names.proof_token))
    if gone.state is State.DONE and exporting.exporter_pods(x.target, names.proof):
        return waiting("ProofLeaving", "the proof's server pod is not gone yet")
    return gone


def _after(x: Crossing, found: Copies) -> Observation:
    """Everything is proven; what proved it must be gone, and no DataVolume may be taken for TPM and EFI state any more."""
    marked = proving.labelled(found)
    if marked:
        return needed("StateLabelled", f"the label of TPM and EFI state is taken off {', '.join(map(name_of, marked))}; its claim keeps it")
    proof = exporting.proof_export(x)
    if leaving(proof.found):
        return waiting("ProofLeaving", "every disk is proven; the proof's export is being removed")
    if proof.found is not None or proof.token:
        return needed("ProofLeft", "every disk is proven; the proof's export is removed now")
    if exporting.exporter_pods(x.target, proof.name):
        return waiting("ProofLeaving", "every disk is proven; the proof's server pod is not gone yet")
    verify = x.migration.options.verify
    if verify is Verify.OFF:
        return done("NotAsked", "the disks were not compared (--verify off)")
    shown = tuple(proving.progress_of(disk, found.volumes[disk.target], None) for disk in x.migration.disks)
    return done("Proven", f"{len(shown)} disk{'' if len(shown) == 1 else 's'} {verify.words}", disks=shown)


def _not_provable(x: Crossing) -> Observation | None:
    vm, vmi = x.target.get(VM, x.migration.target.name), x.target.get(VMI, x.migration.target.name)
    if vm is None:
        return waiting("TargetMissing", "the target VM is not made yet")
    why = "its instance writes to the disks" if instance_alive(vmi) else "" if set_by(vm, labels.OWNER) else looks.SET_BY_ANOTHER
    if not why and (at := looks.started_at(x)):
        why = f"it carries the note of a start at {at}"
    if not why:
        return None
    return blocked(
        "TargetStarted",
        Problem(
            what=f"{x.migration.target} was started before its disks were proven",
            where="target",
            why=f"{why}, so they cannot be compared any more",
            now="stop it and delete it; then undo this migration and move the VM anew",
        ),
    )


def _without_exports(x: Crossing) -> Observation | None:
    """Say which of the two exports is not ready, if one is not. What the target lacks is said of the target."""
    seen = exporting.read(x, exporting.source_export(x), stopped=True)
    if seen.state is not State.DONE:
        return seen
    seen = exporting.read(x, exporting.proof_export(x), stopped=True)
    if seen.state is not State.DONE:
        return seen.but(problems=tuple(replace(problem, where="target") for problem in seen.problems))
    return None


def _comparing(x: Crossing, found: Copies, left: Sequence[Disk]) -> Observation:
    works = {disk: x.works.get(proving.key_of(x, disk)) for disk in left}
    proven = {disk: found.volumes[disk.target] for disk in x.migration.disks if disk not in works}
    shown = tuple(proving.progress_of(disk, proven.get(disk), works.get(disk)) for disk in x.migration.disks)
    return _of_works(x, works, found).but(disks=shown, progress=_fraction(shown))


def _of_works(x: Crossing, works: Mapping[Disk, Work | None], found: Copies) -> Observation:
    ended = {disk: work for disk, work in works.items() if work is not None and not work.running}
    for disk, work in ended.items():
        if isinstance(work.error, NotTrusted):
            return blocked("HostNotTrusted", *work.error.problems)
        if work.error is not None and work.attempt >= MOST_ATTEMPTS:
            return failed("ProofBroken", _broken(disk, work.error))
        if work.error is not None:
            return needed("ProofBroke", f"the comparison of {disk.target} broke off and is begun again: {work.error}")
        if isinstance(work.result, Compared) and work.result.claim != found.claim(disk):
            return needed("ProofToBegin", f"{disk.target} was made anew while it was compared, so it is compared again")
    if ended:
        return needed("ProofToWrite", f"compared: {', '.join(disk.target for disk in ended)}")
    running = [disk.target for disk, work in works.items() if work is not None]
    if len(running) < min(len(works), proving.at_once(x)):
        return needed("ProofToBegin", f"{len(works)} disk{'' if len(works) == 1 else 's'} to be compared")
    return waiting("Comparing", f"comparing {', '.join(running)}")


def _broken(disk: Disk, error: Exception) -> Problem:
    """Say why a disk could not be compared; an error that is not of our family is a bug and is shown as it is."""
    first = error.problems[0] if isinstance(error, MigrateError) else Problem("", why=repr(error), now="report this: it is a bug")
    return replace(first, what=f"disk {disk.target} could not be compared{f': {first.what}' if first.what else ''}")


def _fraction(shown: Sequence[DiskProgress]) -> float:
    parts = [1.0 if one.state is State.DONE else (one.bytes_done or 0) / one.bytes_total if one.bytes_total else 0.0 for one in shown]
    return sum(parts) / len(parts)
