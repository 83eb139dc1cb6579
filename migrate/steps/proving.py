"""The comparison of one disk as a Work, and what is written on the disk when it is through."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from migrate.kube.kinds import DATAVOLUME, VM, VMI
from migrate.model import labels
from migrate.model.errors import Blocked, Problem
from migrate.model.migration import Disk, Format, Verify
from migrate.model.objects import Object, annotations_of, moment
from migrate.model.observation import DiskProgress, State
from migrate.reading.machine import instance_alive, set_by
from migrate.reading.proof import Proof, proof_of
from migrate.steps import exporting, looks, patches, stamps
from migrate.steps.base import Crossing
from migrate.steps.exporting import Export
from migrate.steps.work import Key, Work
from migrate.transfer.proof import Outcome, Side, compare, plan

STREAMS = 4
"""Reads at once from one cluster: proxies up to 1.9.0 leak a connection per request (kubevirt-export 4), and one server has one CPU."""
_DEPTH = {Verify.OFF: 0, Verify.SIZE: 1, Verify.SAMPLE: 2, Verify.FULL: 3}


def key_of(x: Crossing, disk: Disk) -> Key:
    """Return the key of the work that compares a disk."""
    return (x.migration.id, "verify-disks", disk.target)


def at_once(x: Crossing) -> int:
    """Return how many disks are compared at once."""
    return max(1, min(STREAMS, x.migration.options.parallel_disks))


def unproven(x: Crossing, volumes: Mapping[str, Object], *, since: datetime | None = None) -> list[Disk]:
    """List the disks without a proof as deep as was asked, of the very generation that our halt left the source at.

    `since`: older proofs do not count, but a comparison since then does that left a deeper proof standing.
    """
    asked = x.migration.options.verify
    if asked is Verify.OFF:
        return []
    generation = looks.noted_generation(x)

    def proven(volume: Object | None) -> bool:
        found = (proof_of(volume, key) for key in (labels.PROOF, labels.COMPARED))
        return any(holds(proof, asked, generation) and not _older(proof, since) for proof in found)

    return [disk for disk in x.migration.disks if not proven(volumes.get(disk.target))]


def comparison(x: Crossing, disk: Disk, source: Export, target: Export) -> Callable[[Work], Outcome]:
    """Return the body of the work: sizes by HEAD, then both sides by ranges. The links are joined by claim name, the token is a header."""
    ours, theirs = _raw_link(source, disk.pvc), _raw_link(target, disk.target)
    verify = x.migration.options.verify
    streams = max(1, STREAMS // min(len(x.migration.disks), at_once(x)))

    def run(work: Work) -> Outcome:
        left, right = exporting.client_of(x, source), exporting.client_of(x, target)
        try:
            one = Side(left, ours, left.size(ours, work.cancelled))
            two = Side(right, theirs, right.size(theirs, work.cancelled))
            reading = plan(one.bytes, two.bytes, verify=verify, seed=f"{x.migration.id}/{disk.pvc}")
            work.bytes_total = reading.bytes
            return compare(one, two, reading, verify=verify, streams=streams, moved=work.moved, cancelled=work.cancelled)
        finally:
            left.close()
            right.close()

    return run


def write(x: Crossing, disk: Disk, volume: Object, outcome: Outcome) -> None:
    """Write on the disk what its comparison found: its proof, or that it differs.

    Nothing while the source does not stand as we left it, or once the target may have run: what was read is no copy then, and the next
    look says so.
    """
    generation, target = looks.noted_generation(x), x.target.get(VM, x.migration.target.name)
    if generation is None or looks.unmoved(x, even_released=True) is not None:
        return
    if target is None or not set_by(target, labels.OWNER) or instance_alive(x.target.get(VMI, x.migration.target.name)):
        return
    at = x.clock.now().astimezone(UTC).isoformat(timespec="seconds")
    if outcome.differences:
        note = {labels.DIFFERS: json.dumps({"places": list(outcome.differences), "sourceGeneration": generation, "at": at})}
    else:
        proof, standing = Proof(outcome.digest, outcome.coverage.value, outcome.bytes, generation, at), proof_of(volume)
        deeper = standing is not None and standing.coverage != proof.coverage and holds(standing, outcome.coverage, generation)
        note = {labels.COMPARED if deeper else labels.PROOF: proof.to_json()}
    x.target.patch(DATAVOLUME, disk.target, stamps.claimed(x, volume, patches.annotate(volume, note)))


def differs(disk: Disk, volume: Object) -> Problem | None:
    """Say where a disk differs from its source, if its comparison found that."""
    text = annotations_of(volume).get(labels.DIFFERS)
    if text is None:
        return None
    try:
        places = [str(place) for place in json.loads(text)["places"]]
    except (ValueError, KeyError, TypeError):
        places = [f"its annotation {labels.DIFFERS} says: {text}"]
    return Problem(
        what=f"disk {disk.target} is not a copy of {disk.pvc}",
        where="target",
        why="; ".join(places),
        now="the source is whole and the target was not started: take this migration back with `migrate undo`, then move the VM anew",
    )


def progress_of(disk: Disk, volume: Object | None, work: Work | None) -> DiskProgress:
    """Say how far one disk is with its proof."""
    if work is not None:
        state, reason = (State.WAITING, "Comparing") if work.running else (State.NEEDED, "ProofToWrite" if work.result else "ProofBroke")
        return DiskProgress(disk.target, state, reason, work.bytes_total, work.bytes_done, str(work.error or ""))
    proof = proof_of(volume)
    if proof is None:
        return DiskProgress(disk.target, State.NEEDED, "ProofToBegin")
    return DiskProgress(disk.target, State.DONE, "Proven", proof.bytes, proof.bytes, f"{proof.coverage} {proof.digest}".strip())


def holds(proof: Proof | None, asked: Verify, generation: int | None) -> bool:
    """Tell whether a proof is as deep as asked, and of this generation of the source."""
    if proof is None or proof.source_generation != generation or proof.coverage not in set(Verify):
        return False
    return _DEPTH[Verify(proof.coverage)] >= _DEPTH[asked]


def _older(proof: Proof | None, since: datetime | None) -> bool:
    at = moment(proof.at) if proof is not None else None
    return since is not None and (at is None or at < since)


def _raw_link(export: Export, claim: str) -> str:
    url = export.links.url(claim, Format.RAW) if export.links is not None else None
    if url is None:
        raise Blocked(
            f"disk {claim} is not offered raw, so it cannot be compared",
            where=f"export {export.name}",
            why="its export names no link of format raw",
            now="choose --verify off, or see why KubeVirt takes it for something else than a disk",
        )
    return url
