"""The comparison of one disk as a Work, and what is written on the disk when it is through."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from migrate.kube.kinds import DATAVOLUME, PVC, VM, VMI
from migrate.model import labels
from migrate.model.errors import Blocked, Problem
from migrate.model.inventory import STATE
from migrate.model.migration import Disk, Format, SourceVersion, Verify
from migrate.model.objects import Object, annotations_of, labels_of, moment, name_of
from migrate.model.observation import DiskProgress, State
from migrate.reading.machine import instance_alive, set_by
from migrate.reading.proof import Proof, claim_there, proof_of
from migrate.steps import exporting, looks, patches, stamps
from migrate.steps.base import Crossing
from migrate.steps.exporting import Export
from migrate.steps.work import Key, Work
from migrate.transfer.archive import compare_files, contents
from migrate.transfer.proof import Outcome, Side, compare, plan

STREAMS = 4
"""Reads at once from one cluster: proxies up to 1.9.0 leak a connection per request (kubevirt-export 4), and one server has one CPU."""
_DEPTH = {Verify.OFF: 0, Verify.SIZE: 1, Verify.SAMPLE: 2, Verify.FULL: 3}


@dataclass(frozen=True, slots=True)
class Copies:
    """What is on the target of the disks, as one look found it, by name."""

    volumes: Mapping[str, Object]
    claims: Mapping[str, Object]

    def claim(self, disk: Disk) -> str:
        """Return the uid of a disk's claim, if its bytes are there."""
        return claim_there(self.claims.get(disk.target))


@dataclass(frozen=True, slots=True)
class Compared:
    """The result of a work: what was found, and the claim that was there when it began."""

    outcome: Outcome
    claim: str


def copies(x: Crossing) -> Copies:
    """Look at the target's disks: what CDI was asked for, and the claims that it made of that."""
    return Copies({name_of(found): found for found in looks.disks_there(x)}, looks.made_by_cdi(x, PVC))


def key_of(x: Crossing, disk: Disk) -> Key:
    """Return the key of the work that compares a disk."""
    return (x.migration.id, "verify-disks", disk.target)


def at_once(x: Crossing) -> int:
    """Return how many disks are compared at once."""
    return max(1, min(STREAMS, x.migration.options.parallel_disks))


def unproven(x: Crossing, found: Copies, *, since: datetime | None = None) -> list[Disk]:
    """List the disks without a proof as deep as was asked, of the bytes that are there and the state of the source that we copy.

    That is the generation that our halt left it at, or our snapshot.

    `since`: older proofs do not count, but a comparison since then does that left a deeper proof standing.
    """
    asked = x.migration.options.verify
    if asked is Verify.OFF:
        return []
    generation = looks.noted_version(x)

    def proven(disk: Disk) -> bool:
        proofs = (proof_of(found.volumes.get(disk.target), key) for key in (labels.PROOF, labels.COMPARED))
        return any(holds(proof, asked, generation, found.claim(disk)) and not _older(proof, since) for proof in proofs)

    return [disk for disk in x.migration.disks if not proven(disk)]


def comparison(x: Crossing, disk: Disk, source: Export, target: Export, *, claim: str) -> Callable[[Work], Compared]:
    """Return the body of the work: sizes by HEAD, then both sides by ranges. The links are joined by claim name, the token is a header.

    `claim`: uid of the target's claim now. The server pod of the ready export holds it until the work is through.
    """
    ours, theirs = _link(source, disk), _link(target, replace(disk, pvc=disk.target))
    verify = x.migration.options.verify
    streams = max(1, STREAMS // min(len(x.migration.disks), at_once(x)))

    def run(work: Work) -> Compared:
        left, right = exporting.client_of(x, source), exporting.client_of(x, target)
        try:
            if disk.archive:
                files = [
                    contents(client, url, cancelled=work.cancelled, moved=work.moved) for client, url in ((left, ours), (right, theirs))
                ]
                return Compared(compare_files(*files), claim)
            one = Side(left, ours, left.size(ours, work.cancelled))
            two = Side(right, theirs, right.size(theirs, work.cancelled))
            reading = plan(one.bytes, two.bytes, verify=verify, seed=f"{x.migration.id}/{disk.pvc}")
            work.bytes_total = reading.bytes
            found = compare(one, two, reading, verify=verify, streams=streams, moved=work.moved, cancelled=work.cancelled)
            return Compared(found, claim)
        finally:
            left.close()
            right.close()

    return run


def write(x: Crossing, disk: Disk, volume: Object, compared: Compared) -> None:
    """Write on the disk what its comparison found: its proof, or that it differs.

    Nothing while the source does not stand as we left it, once the target may have run, or if the claim is not the one that was read: what
    was read is no copy then, and the next look says so.
    """
    generation, target = looks.noted_version(x), x.target.get(VM, x.migration.target.name)
    if generation is None or looks.unmoved(x, even_released=True) is not None:
        return
    if target is None or not set_by(target, labels.OWNER) or instance_alive(x.target.get(VMI, x.migration.target.name)):
        return
    if looks.started_at(x):
        return
    claim, outcome = claim_there(x.target.get(PVC, disk.target)), compared.outcome
    if claim != compared.claim:
        return
    at = x.clock.now().astimezone(UTC).isoformat(timespec="seconds")
    note: dict[str, str | None]
    if outcome.differences:
        told = {"places": list(outcome.differences), "sourceGeneration": generation, "at": at, "claim": claim}
        note = {labels.DIFFERS: json.dumps(told)}
    else:
        proof, standing = Proof(outcome.digest, outcome.coverage.value, outcome.bytes, generation, at, claim), proof_of(volume)
        deeper = (
            standing is not None and standing.coverage != proof.coverage and holds(standing, outcome.coverage, generation, compared.claim)
        )
        note = {labels.COMPARED if deeper else labels.PROOF: proof.to_json(), labels.DIFFERS: None}
    change = [*patches.annotate(volume, note), *_unlabelling(volume)]
    x.target.patch(DATAVOLUME, disk.target, stamps.claimed(x, volume, change))


def labelled(found: Copies) -> list[Object]:
    """List the DataVolumes that say that they hold TPM and EFI state, as they are made so that CDI gives the label on to their claims.

    Only the claims may say so once a guest runs: after a live migration KubeVirt may put another claim in place of such a one and delete
    it. CDI then makes it anew, empty, with the labels of the DataVolume, and KubeVirt must not take it for the state.
    """
    return [volume for volume in found.volumes.values() if STATE in labels_of(volume)]


def unlabel(x: Crossing, volume: Object) -> None:
    """Take that label off a DataVolume that is filled and compared no more; its claim keeps it."""
    x.target.patch(DATAVOLUME, name_of(volume), stamps.guarded(x, volume, _unlabelling(volume)))


def _unlabelling(volume: Object) -> patches.Operations:
    return [{"op": "remove", "path": f"/metadata/labels/{STATE}"}] if STATE in labels_of(volume) else []


def differs(disk: Disk, found: Copies) -> Problem | None:
    """Say where a disk differs from its source, if its comparison found that. What was found of a claim that is no more does not count."""
    text = annotations_of(found.volumes.get(disk.target)).get(labels.DIFFERS)
    if text is None:
        return None
    try:
        told = json.loads(text)
        places, of = [str(place) for place in told["places"]], told.get("claim")
    except (ValueError, KeyError, TypeError, AttributeError):
        places, of = [f"its annotation {labels.DIFFERS} says: {text}"], None
    if of and of != found.claim(disk):
        return None
    return Problem(
        what=f"disk {disk.target} is not a copy of {disk.pvc}",
        where="target",
        why="; ".join(places),
        now="the source is whole, and the target was not started by this tool: take this migration back with `migrate undo` (with "
        "--even-if-started once the move was finished), then move the VM anew",
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


def holds(proof: Proof | None, asked: Verify, version: SourceVersion | None, claim: str) -> bool:
    """Tell whether a proof is as deep as asked, of this state of the source, and of the bytes of this claim ("" = none is there)."""
    if proof is None or proof.source_generation != version or not proof.claim == claim != "" or proof.coverage not in set(Verify):
        return False
    return _DEPTH[Verify(proof.coverage)] >= _DEPTH[asked]


def _older(proof: Proof | None, since: datetime | None) -> bool:
    at = moment(proof.at) if proof is not None else None
    return since is not None and (at is None or at < since)


def _link(export: Export, disk: Disk) -> str:
    url = export.links.url(disk, Format.RAW) if export.links is not None else None
    if url is None:
        word = "as an archive" if disk.archive else "raw"
        raise Blocked(
            f"disk {disk.pvc} is not offered {word}, so it cannot be compared",
            where=f"export {export.name}",
            why=f"its export names no link of format {word.removeprefix('as an ')}",
            now="choose --verify off, or see why KubeVirt takes it for something else than a disk",
        )
    return url
