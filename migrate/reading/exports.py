"""An export that a person made, in plain words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from migrate.model import labels
from migrate.model.errors import UsageError
from migrate.model.exports import Seen, Source, Subject
from migrate.model.objects import (
    Object,
    annotations_of,
    condition,
    controller_of,
    dig,
    generation_of,
    labels_of,
    leaving,
    moment,
    name_of,
    owned_by,
    uid_of,
)
from migrate.model.quantity import human_duration, to_bytes, to_duration
from migrate.reading.export import WORDS, Links, ended, links_of
from migrate.reading.inventory import claims_of, dumps_of
from migrate.reading.state import old_name
from migrate.reading.users import pods_on

_MORE_WORDS = {
    "InUse": "the disks are in use: an export of a VM waits until that is stopped, one of a claim until no pod uses it; "
    "a snapshot can be exported while the VM runs",
    "VMSnapshotNotFound": "KubeVirt does not see the snapshot",
    "VMSnapshotNoVolumes": "the snapshot holds no volume",
    "NotAllPVCsReady": "a disk that is restored from the snapshot is not bound yet",
    "PVCNotFound": "there is no such claim",
    "PodReady": "its server answers",
}
FORMATS = ("gzip", "tar.gz")
"""What is taken of a disk, or of files, where no format is asked for: what is packed, as virtctl does (kubevirt-export section 8)."""


def subject_of(export: Object) -> Subject | None:
    """Return what an export is of; None for a kind that we do not know."""
    ref = dig(export, "spec", "source", default={})
    source = next((one for one in Source if one.kind == ref.get("kind") and one.group == (ref.get("apiGroup") or "")), None)
    return Subject(source, str(ref.get("name"))) if source is not None else None


def see(export: Object, claims: Mapping[str, Object], *, now: datetime) -> Seen:
    """Say what there is to know of an export. `claims`: those of its namespace, by name."""
    outside, within = links_of(export), links_of(export, inside=True)
    links = outside or within
    volumes = links.volumes if links is not None else {}
    sizes = {name: to_bytes(size) for name in volumes if (size := dig(claims.get(name), "status", "capacity", "storage"))}
    ref = dig(export, "spec", "source", default={})
    return Seen(
        name=name_of(export),
        namespace=str(dig(export, "metadata", "namespace", default="")),
        source=f"{ref.get('kind', '?')} {ref.get('name', '?')}",
        phase=str(dig(export, "status", "phase", default="")),
        words=words_of(export, now=now),
        expires=moment(dig(export, "status", "ttlExpirationTime")),
        token_secret=token_of(export),
        volumes=volumes,
        outside=outside is not None,
        sizes=sizes,
    )


def words_of(export: Object, *, now: datetime) -> str:
    """Say where an export stands: why it is not ready, or how it can be reached and until when."""
    if leaving(export):
        return "it is being deleted"
    phase, end = str(dig(export, "status", "phase", default="")), moment(dig(export, "status", "ttlExpirationTime"))
    if ended(export, now=now):
        return "its time is over; KubeVirt removes it"
    if phase == "Ready":
        way = "can be reached from outside" if links_of(export) is not None else "has links within the cluster only"
        return f"{way}{f', ends in {human_duration(round((end - now).total_seconds()))}' if end is not None else ''}"
    told = [one for kind in ("Ready", "PVCReady", "VolumesCreated") if (one := condition(export, kind)) is not None and not one.true]
    reason, message = (told[0].reason, told[0].message) if told else ("", "")
    words = _MORE_WORDS.get(reason) or WORDS.get(reason) or message or reason or "KubeVirt has not taken it up"
    if reason in _MORE_WORDS and message:
        words = f"{words} ({message})"
    if phase == "Skipped":
        return f"there is nothing to export yet: {words}"
    return words


def token_of(export: Object) -> str:
    """Name the Secret with the token: the one that was asked for, or that KubeVirt made."""
    return str(dig(export, "spec", "tokenSecretRef") or dig(export, "status", "tokenSecretRef") or "")


def goes_with_another(secret: Object, export: Object) -> bool:
    """Tell whether a token is on its way out with an earlier export of the same name: it would be taken away from under this one."""
    owners = dig(secret, "metadata", "ownerReferences", default=())
    earlier = any((owner.get("kind"), owner.get("name")) == ("VirtualMachineExport", name_of(export)) for owner in owners)
    return leaving(secret) or (earlier and not owned_by(secret, uid_of(export)))


def differences(
    export: Object, *, ttl: timedelta | None, token_secret: str, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> tuple[str, ...]:
    """Say in what an export that was there differs from what is asked of a new one; what is not asked for (None, "") does not differ."""
    found = []
    there = str(dig(export, "spec", "ttlDuration") or "2h")
    if ttl is not None and to_duration(there) != ttl:
        found.append(f"its time to live is {there}")
    if token_secret and token_of(export) != token_secret:
        found.append(f"its token is in Secret {token_of(export) or '(none named)'}")
    for word, asked, known in (("label", labels, labels_of(export)), ("annotation", annotations, annotations_of(export))):
        found += [f"its {word} {key} is {known.get(key, 'not there')}" for key, value in asked.items() if known.get(key) != value]
    return tuple(found)


def readers_of(export: Object | None) -> tuple[str, ...] | None:
    """Name the downloads that an export was made for, or that joined in; None = it was not made for a download."""
    if labels.PASSING not in annotations_of(export):
        return None
    try:
        told = json.loads(annotations_of(export)[labels.PASSING])
    except ValueError:
        return ()
    return tuple(str(one) for one in told) if isinstance(told, list) else ()


def state_of(vm: Object) -> str:
    """Name the state that the disks of a stopped VM are in; another one after every start.

    The generation tells most starts apart. One of run strategy Manual or RerunOnFailure changes no spec; but then KubeVirt notes anew since
    when there is no instance (condition Ready, reason VMINotExists).
    """
    ready = condition(vm, "Ready")
    since = ready.since.isoformat() if ready is not None and ready.since is not None and not ready.true else "-"
    return f"{uid_of(vm)}/{generation_of(vm)}/{since}"


def served_since(export: Object) -> str:
    """Say since when an export is ready without a break; "-" = it is not."""
    ready = condition(export, "Ready")
    return ready.since.isoformat() if ready is not None and ready.since is not None and ready.true else "-"


def state_of_claim(claim: Object, vms: Iterable[Object]) -> str:
    """Name the state that a claim is in: itself, and that of the VMs that have it.

    KubeVirt does not look at other VMs when it exports one, nor at any when it exports a claim (its handleVMI goes by the VM).
    """
    name = name_of(claim)
    owners = sorted(state_of(vm) for vm in vms if name in (*claims_of(vm), *dumps_of(vm)) or name.startswith(old_name(name_of(vm))))
    return "/".join((uid_of(claim), *owners))


def users_of_claims(claims: Iterable[str], pods: Iterable[Object]) -> tuple[str, ...]:
    """Name the pods that may write to claims; the servers of exports only read."""
    others = (pod for pod in pods if (controller_of(pod) or ("", ""))[0] != "VirtualMachineExport")
    return tuple(pods_on(tuple(claims), others))


def choose(links: Links, *, export: str, volume: str, formats: Sequence[str]) -> tuple[str, str, str]:
    """Choose the volume and format to download: (claim, format, URL). Raises UsageError, naming what there is.

    `formats`: what will do, the best first. `volume` may be "" where there is only one.
    """
    there = {name: dict(found) for name, found in links.volumes.items()}
    if not there:
        raise UsageError(f"export {export} offers no volume", where=export)
    offered = "; ".join(f"{name} ({', '.join(sorted(found))})" for name, found in sorted(there.items()))
    if not volume and len(there) > 1:
        raise UsageError(
            f"export {export} has {len(there)} volumes", where="--volume", why=f"there are: {offered}", now="name one with --volume"
        )
    claim = volume or next(iter(there))
    if claim not in there:
        raise UsageError(f'export {export} has no volume "{claim}"', where="--volume", why=f"there are: {offered}", now="name one of them")
    fmt = next((one for one in formats if there[claim].get(one)), "")
    if not fmt:
        why, now = _why(sorted(there[claim]), formats)
        raise UsageError(f"volume {claim} is not offered as {' or '.join(formats)}", where="--format", why=why, now=now)
    return claim, fmt, there[claim][fmt]


def _why(offered: Sequence[str], wanted: Sequence[str]) -> tuple[str, str]:
    why = f"it is offered as {', '.join(offered) or 'nothing'}"
    if "raw" not in wanted or "tar.gz" not in offered:
        return why, "choose another --format"
    return (
        f"{why}: KubeVirt takes it for files, and its archive unpacked would be a tar, not a disk",
        "take --format tar.gz or dir; if it holds a disk.img, annotate the claim with cdi.kubevirt.io/storage.contentType: kubevirt "
        "and export it anew",
    )
