"""Where a snapshot of a VM stands, what it holds, and what its disks are worth (kubevirt-export section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from migrate.model.errors import Problem
from migrate.model.migration import Disk
from migrate.model.objects import Object, condition, dig, moment, name_of, uid_of
from migrate.model.observation import Observation, blocked, done, failed, needed, waiting
from migrate.model.snapshot import Consistency, Taken
from migrate.reading.common import generic
from migrate.reading.inventory import claims_of
from migrate.reading.machine import instance_alive, launcher_pods
from migrate.reading.users import pods_on

UPLOAD = timedelta(hours=1)
"""How long we wait until storage has made a snapshot usable: some drivers carry all of it elsewhere first, and tell nothing."""
_QUIESCE = frozenset({"QuiesceTimeout", "QuiesceFailed"})


def usable(snapshot: Object | None) -> bool:
    """Tell whether a snapshot can be exported. Succeeded comes earlier and is not enough."""
    return bool(dig(snapshot, "status", "readyToUse", default=False))


def uploading(snapshot: Object | None) -> bool:
    """Tell whether a snapshot is taken and only waits until storage has made it usable."""
    return not usable(snapshot) and bool(dig(snapshot, "status", "phase") == "Succeeded")


def is_frozen(vmi: Object | None) -> bool:
    """Tell whether an instance says that the file systems of its guest are frozen."""
    return bool(dig(vmi, "status", "fsFreezeStatus") == "frozen")


def read_snapshot(
    snapshot: Object | None, content: Object | None, *, disks: Sequence[Disk], source_uid: str, migration_id: str
) -> Observation:
    """Say how far the snapshot is; DONE SnapshotTaken means: usable, of this very VM, and every disk is in it.

    `content`: the VirtualMachineSnapshotContent that it names, None while there is none.
    """
    if snapshot is None:
        return needed("SnapshotMissing", "the VM is to be snapshotted; it goes on meanwhile")
    common = generic(snapshot, migration_id)
    if common is not None:
        return common
    phase = str(dig(snapshot, "status", "phase", default=""))
    if phase == "Failed":
        return failed("SnapshotFailed", _gave_up(snapshot))
    if phase != "Succeeded" and not usable(snapshot):
        return _on_its_way(snapshot)
    left_out = [*_another(snapshot, source_uid), *_not_in(snapshot, content, disks)] if content is not None else []
    if left_out:
        return blocked("VolumeExcluded", *left_out)
    if not usable(snapshot) or content is None:
        return _uploading(snapshot)
    taken = taken_of(snapshot)
    return done("SnapshotTaken", f"{len(disks)} disk{'' if len(disks) == 1 else 's'} as of {_at(snapshot)}, {taken.words}").but(
        problems=tuple(_worse_than_hoped(snapshot))
    )


def foresee(vm: Object, vmi: Object | None, pods: Iterable[Object], *, disks: Sequence[Disk], own: str) -> Observation | None:
    """Say what would keep KubeVirt from taking the snapshot: a lock of somebody else, or pods on the disks of a VM that is off.

    `own`: the name of our snapshot.
    """
    for key, word in (("snapshotInProgress", "snapshot"), ("restoreInProgress", "restore")):
        other = dig(vm, "status", key)
        if other and other != own:
            return waiting("SnapshotInProgress", f"the VM is locked while {word} {other} is in progress")
    pods = list(pods)
    own_pods = {name_of(pod) for pod in launcher_pods(pods, name_of(vm))}
    others = [pod for pod in pods if name_of(pod) not in own_pods]
    users = [] if instance_alive(vmi) else list(pods_on({disk.pvc for disk in disks}, others))
    if not users:
        return None
    return blocked(
        "DiskInUse",
        Problem(
            what=f"a disk of {name_of(vm)} is in use although the VM is off, so KubeVirt takes no snapshot of it",
            where="source",
            why=f"it is used by {', '.join(users)}",
            now="let it end, or remove it (the server pod of an export goes with its VirtualMachineExport); then run the same again",
        ),
    )


def taken_of(snapshot: Object) -> Taken:
    """Return what is known of a snapshot, but when its guest was frozen: that is seen while it happens or never.

    KubeVirt has one volume snapshotted after the other, so several disks are of one moment only if their guest was held still.
    """
    said = _indications(snapshot)
    consistency, because = _consistency(set(said))
    disks = len(dig(snapshot, "status", "snapshotVolumes", "includedVolumes", default=()))
    if consistency is Consistency.CRASH and disks > 1:
        because += f", each of its {disks} disks in a moment of its own"
    return Taken(name_of(snapshot), uid_of(snapshot), moment(dig(snapshot, "status", "creationTime")), consistency, because)


def machine_in(content: Object | None) -> dict[str, Any] | None:
    """Return the VM as the snapshot holds it: for one that ran, the spec that its instance had, with the volumes of the VM."""
    machine = dig(content, "spec", "source", "virtualMachine")
    return dict(machine) if isinstance(machine, Mapping) else None


def claims_in(content: Object | None) -> tuple[str, ...]:
    """Name the claims that the snapshot holds, those of memory dumps included: an export restores them all."""
    backups = dig(content, "spec", "volumeBackups", default=())
    names = (str(dig(backup, "persistentVolumeClaim", "metadata", "name", default="")) for backup in backups)
    return tuple(name for name in names if name)


def _consistency(said: set[str]) -> tuple[Consistency, str]:
    """Judge by the indications (section 6): none is offline; an agent that could not hold the guest still is as good as none."""
    if "Online" not in said:
        return Consistency.OFFLINE, "the VM did not run"
    if said & _QUIESCE:
        return Consistency.CRASH, "the guest agent could not hold the guest still long enough"
    if "Paused" in said:
        return Consistency.CRASH, "the guest was paused: what was in its memory is not on the disks"
    if "GuestAgent" in said:
        return Consistency.APPLICATION, "the guest agent froze the file systems"
    return Consistency.CRASH, "no guest agent"


def _indications(snapshot: Object) -> dict[str, str]:
    """Return indication → message, from the field of 1.7 and newer, else from the older one."""
    newer = {str(one.get("indication")): str(one.get("message") or "") for one in dig(snapshot, "status", "sourceIndications", default=())}
    return newer or {str(one): "" for one in dig(snapshot, "status", "indications", default=())}


def _worse_than_hoped(snapshot: Object) -> Iterator[Problem]:
    for word, message in _indications(snapshot).items():
        if word in _QUIESCE:
            yield Problem(
                "the copy is only crash-consistent although a guest agent answers",
                where="source",
                why=message or f"KubeVirt says {word}: the guest's file systems could not be kept frozen",
                now="the guest will find its disks as after a power cut; for better, undo and copy it anew when it has less to do",
            )


def _on_its_way(snapshot: Object) -> Observation:
    name, error = name_of(snapshot), str(dig(snapshot, "status", "error", "message", default=""))
    if error:
        problem = Problem(
            f"snapshot {name} meets an error",
            where="source",
            why=error,
            now="KubeVirt tries again until its deadline; see the guest agent and the storage meanwhile",
        )
        return waiting("SnapshotTroubled", f"{problem.what}: {error}").but(problems=(problem,))
    progressing = condition(snapshot, "Progressing")
    words = (progressing.message or progressing.reason) if progressing is not None else "KubeVirt has not taken it up yet"
    problem = Problem(
        f"snapshot {name} does not begin",
        where="source",
        why=words or "KubeVirt writes nothing about it",
        now="see its conditions and events, and whether virt-controller runs; then run the same command again",
    )
    return waiting("SnapshotPending", f"snapshot {name}: {words or 'KubeVirt is at work'}").but(problems=(problem,))


def _uploading(snapshot: Object) -> Observation:
    problem = Problem(
        f"snapshot {name_of(snapshot)} is taken, but not usable",
        where="source",
        why=f"the storage has not made it ready in {UPLOAD // timedelta(minutes=1)} minutes (readyToUse is false)",
        now="see the VolumeSnapshots and the log of the storage's snapshotter; the same command goes on with this snapshot",
    )
    words = f"taken at {_at(snapshot)}; waiting until the storage has made it usable"
    return waiting("SnapshotNotReady", words).but(problems=(problem,), patience_s=UPLOAD.total_seconds())


def _gave_up(snapshot: Object) -> Problem:
    failure, error = condition(snapshot, "Failure"), str(dig(snapshot, "status", "error", "message", default=""))
    said = [failure.message or failure.reason] if failure is not None and failure.true else []
    why = "; ".join(dict.fromkeys(part for part in (*said, error) if part)) or "its phase is Failed"
    return Problem(
        f"KubeVirt gave up the snapshot {name_of(snapshot)}",
        where="source",
        why=why,
        now="cure what it says (guest agent, snapshot class, a pod on the disks of a VM that is off); then run the same command again",
    )


def _another(snapshot: Object, source_uid: str) -> Iterator[Problem]:
    found = str(dig(snapshot, "status", "sourceUID", default=source_uid))
    if found != source_uid:
        yield Problem(
            f"snapshot {name_of(snapshot)} is of another VM than the one that was asked for",
            where="source",
            why=f"it is of the VM with uid {found}, asked was {source_uid}: the VM was made anew under its name",
            now="take this migration back with `migrate undo`, then copy the new VM",
        )


def _not_in(snapshot: Object, content: Object | None, disks: Sequence[Disk]) -> Iterator[Problem]:
    """Name the disks that the snapshot lacks, and disks in it that nobody asked for: the VM was changed in between."""
    excluded = set(dig(snapshot, "status", "snapshotVolumes", "excludedVolumes", default=()))
    kept = {
        (str(backup.get("volumeName")), str(dig(backup, "persistentVolumeClaim", "metadata", "name", default="")))
        for backup in dig(content, "spec", "volumeBackups", default=())
        if backup.get("volumeSnapshotName")
    }
    for disk in disks:
        if (disk.volume, disk.pvc) not in kept:
            yield Problem(
                f"disk {disk.pvc} is not in the snapshot",
                where="source",
                why=f"KubeVirt left volume {disk.volume} out: its storage cannot be snapshotted, or it was not bound"
                if disk.volume in excluded or disk.pvc not in {pvc for _, pvc in kept}
                else f"the snapshot holds it as another volume than {disk.volume}",
                now="see VM.status.volumeSnapshotStatuses; give its class a VolumeSnapshotClass, or move the VM instead (--method cold)",
            )
    machine = machine_in(content)
    strangers = sorted(set(claims_of(machine)) - {disk.pvc for disk in disks}) if machine is not None else []
    if strangers:
        yield Problem(
            f"the VM got other disks since it was asked for: {', '.join(strangers)}",
            where="source",
            why="they are in the snapshot, and not in what was asked",
            now="run the same command again: it takes another snapshot, of the disks that the VM has then",
        )


def _at(snapshot: Object) -> str:
    return str(dig(snapshot, "status", "creationTime", default="an unknown time"))
