"""Checks of what a copy needs besides: can every disk be snapshotted, and what will the guest find on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from migrate.model.facts import Facts
from migrate.model.migration import Migration
from migrate.model.objects import Object, condition, dig
from migrate.rendering.findings import Finding, at, block, warn

_LONGEST = 63
"""Names of claims beyond this are mistreated by the export servers of older releases (kubevirt-export section 0)."""


def check_snapshot(facts: Facts, m: Migration) -> Iterator[Finding]:
    """Yield what stands in the way of a snapshot, and what it will be worth. Nothing for a move."""
    if not m.copies or facts.vm is None:
        return
    where = at(facts.source)
    said = {str(one.get("name")): one for one in dig(facts.vm, "status", "volumeSnapshotStatuses", default=())}
    for disk in m.disks:
        if disk.archive or facts.snapshotted:
            continue
        why = _cannot(said.get(disk.volume))
        if why:
            now = f"give storage class {disk.storage_class or 'of its claim'} a VolumeSnapshotClass, or move the VM instead (--method cold)"
            yield block(f"disk {disk.pvc} cannot be snapshotted", where=where, why=why, now=now)
        if len(f"{m.names.export}-{disk.pvc}") > _LONGEST:
            yield warn(
                f"the snapshot of disk {disk.pvc} may not be served: the claim restored from it gets more than {_LONGEST} letters",
                where=where,
                why=f"older releases of KubeVirt (before 1.6.6, 1.7.4, 1.8.4) mistreat {m.names.export}-{disk.pvc}",
                now="if the export never becomes ready, update KubeVirt, or move the VM instead (--method cold)",
            )
    yield from _worth(facts.vmi, len(m.disks), where)


def _cannot(status: Mapping[str, object] | None) -> str:
    """Say why KubeVirt holds that a volume cannot be snapshotted, "" if it can."""
    if status is None:
        return "KubeVirt has not said yet whether it can (VM.status.volumeSnapshotStatuses)"
    return "" if status.get("enabled") is True else str(status.get("reason") or "KubeVirt gives no reason")


def _worth(vmi: Object | None, disks: int, where: str) -> Iterator[Finding]:
    """Say where the guest will find its disks as after a power cut."""
    if dig(vmi, "status", "phase", default="") not in {"Scheduled", "Running"}:
        return
    paused, agent = condition(vmi, "Paused"), condition(vmi, "AgentConnected")
    if paused is not None and paused.true:
        why, now = "the guest is paused: what is in its memory is not on its disks", "unpause it, or take it as it is"
    elif agent is None or not agent.true:
        why, now = "no guest agent answers that would bring its file systems to rest", "install qemu-guest-agent, or take it as it is"
    else:
        return
    apart = f", each of its {disks} disks in a moment of its own" if disks > 1 else ""
    yield warn(f"the copy will be crash-consistent, as after a power cut{apart}", where=where, why=why, now=now)
