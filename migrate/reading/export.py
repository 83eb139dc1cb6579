"""Where an export stands and which link belongs to which disk: joined by PVC name, never by place in a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from migrate.model.errors import Problem
from migrate.model.inventory import no_external_link
from migrate.model.migration import Disk, Format
from migrate.model.objects import Object, condition, created_at, dig, leaving, moment, name_of
from migrate.model.observation import Observation, blocked, done, needed, waiting
from migrate.model.quantity import human_duration
from migrate.reading.common import generic

_SILENT = timedelta(minutes=1)
"""A status that stays empty longer than this has a cause that KubeVirt does not write down."""
_LINKS = timedelta(seconds=30)
"""How long a ready export may be without external links before a person is asked."""
_NEAR = timedelta(minutes=10)
"""How long before its end an export is said to end soon."""

_ARCHIVE = "tar.gz"

WORDS = {
    "Initializing": "KubeVirt has taken it up",
    "PodPending": "its server pod is being started",
    "PodCompleted": "its server pod ended and is being replaced",
    "Unknown": "its server pod is not ready, or failed and is being replaced",
    "PVCPending": "a disk is not bound yet",
    "VolumesNotPopulated": "a disk is not filled yet",
    "NotAllPVCsCreated": "not all of its disks are made yet",
    "VMNotFound": "KubeVirt does not see the VM",
    "VMNoVolumes": "KubeVirt sees no disk of the VM",
}
"""Reasons of the Ready condition in plain words (reference section 1)."""


@dataclass(frozen=True, slots=True)
class Links:
    """status.links.external or .internal: `volumes` = PVC name → format → URL, verbatim; `cert` = PEM text, may be empty or foreign."""

    volumes: Mapping[str, Mapping[str, str]]
    cert: str = ""

    def url(self, disk: Disk, fmt: Format) -> str | None:
        """Return the link of one disk; of a claim with files that of its archive, whatever the format of the disks is."""
        return self.volumes.get(disk.pvc, {}).get(_ARCHIVE if disk.archive else fmt.value)


def links_of(export: Object | None, *, inside: bool = False) -> Links | None:
    """Return the external links, or None while there are none; with `inside` those that hold within the cluster."""
    side = dig(export, "status", "links", "internal" if inside else "external")
    if not isinstance(side, Mapping):
        return None
    volumes = {
        str(volume["name"]): {str(link["format"]): str(link["url"]) for link in volume.get("formats") or () if link.get("url")}
        for volume in side.get("volumes") or ()
    }
    return Links(volumes, str(side.get("cert") or ""))


def ended(export: Object | None, *, now: datetime) -> bool:
    """Tell whether an export is there but past its time to live, so that it must be removed before it can be made again."""
    end = moment(dig(export, "status", "ttlExpirationTime"))
    return end is not None and now >= end and not leaving(export)


def read_export(
    export: Object | None,
    *,
    disks: Sequence[Disk],
    fmt: Format,
    migration_id: str,
    now: datetime,
    stopped: bool = False,
    inside: bool = False,
) -> Observation:
    """Say how far an export is; DONE ExportReady means: a link of the format for every disk, each its own.

    For the proof's export of the target VM pass disks whose `pvc` is the target's claim. `stopped`: a fresh look showed the VM stopped,
    so "in use" is only lag.
    `inside`: judge the links that hold within the cluster. NEEDED ExportMissing, ExportExpired (act: delete it first, see `ended`).
    """
    if export is None:
        return needed("ExportMissing", "the disks are not offered yet")
    common = generic(export, migration_id)
    if common is not None:
        return common
    if ended(export, now=now):
        return needed("ExportExpired", f"export {name_of(export)} is past its time to live")
    phase = str(dig(export, "status", "phase", default=""))
    if phase == "Ready":
        return _read_links(export, disks, fmt, now, inside=inside)
    if not phase:
        return _read_silence(export, now)
    return _read_pending(export, phase, stopped)


def _read_pending(export: Object, phase: str, stopped: bool) -> Observation:
    ready = condition(export, "Ready")
    reason, message = (ready.reason, ready.message) if ready else ("", "")
    name = name_of(export)
    if reason == "InUse" and not stopped:
        return blocked(
            "SourceStartedAgain",
            Problem(
                f"the disks of export {name} are in use: somebody started the VM",
                where="source",
                why=message or "KubeVirt paused the export (InUse)",
                now="every copy made so far is stale: take this migration back with `migrate undo`, then move the VM anew",
            ),
        )
    if reason == "InUse":
        return waiting("ExportInUse", "KubeVirt has not noted yet that the VM is stopped")
    words = WORDS.get(reason, message or reason or "KubeVirt is at work")
    if phase == "Terminated":
        return waiting("ExportRestarting", f"export {name}: its server pod ended and is being replaced")
    if phase == "Skipped":
        return waiting("ExportSkipped", f"export {name} is skipped for now: {words}")
    return waiting("ExportPending", f"export {name}: {words}")


def _read_silence(export: Object, now: datetime) -> Observation:
    began = created_at(export)
    if began is None or now - began < _SILENT:
        return waiting("ExportPending", f"export {name_of(export)}: KubeVirt has not taken it up yet")
    return waiting(
        "ExportSilent",
        f"export {name_of(export)}: KubeVirt writes no status; two volumes with one claim, a quota or a LimitRange that refuses its pod, "
        "or a KubeVirt without the VMExport gate would look like this",
    )


def _read_links(export: Object, disks: Sequence[Disk], fmt: Format, now: datetime, *, inside: bool) -> Observation:
    name, links = name_of(export), links_of(export, inside=inside)
    if links is None and _just_ready(export, now):
        return waiting("ExportPending", f"export {name} is ready, its external links are not there yet")
    if links is None:
        return blocked("NoExternalLink", no_external_link(f"export {name} is ready, but has no external links"))
    problems = [problem for disk in disks if (problem := _link_problem(disk, links, fmt, name))]
    if problems:
        return blocked("DiskNotOffered", *problems)
    urls = Counter(links.url(disk, fmt) for disk in disks)
    doubles = sorted(disk.pvc for disk in disks if urls[links.url(disk, fmt)] > 1)
    if doubles:
        why = f"export {name} names one URL for several disks: {', '.join(doubles)}"
        now_what = "this is a defect of the source's KubeVirt: report it; nothing was copied"
        return blocked("LinksClash", Problem("two disks have the same link", where="source", why=why, now=now_what))
    end = moment(dig(export, "status", "ttlExpirationTime"))
    soon = f", ends in {human_duration(round((end - now).total_seconds()))}" if end is not None and end - now < _NEAR else ""
    return done("ExportReady", f"{len(disks)} disk{'s' if len(disks) != 1 else ''} offered as {fmt.value}{soon}")


def _just_ready(export: Object, now: datetime) -> bool:
    """Tell whether an export became ready a moment ago: a Route may be admitted, an Ingress seen, a little later."""
    ready = condition(export, "Ready")
    since = ready.since if ready is not None else None
    return since is not None and now - since < _LINKS


def _link_problem(disk: Disk, links: Links, fmt: Format, name: str) -> Problem | None:
    if links.url(disk, fmt):
        return None
    if disk.archive and disk.pvc in links.volumes:
        why = f"it is offered as {', '.join(sorted(links.volumes[disk.pvc])) or 'nothing'}"
        return Problem(
            f"the files of {disk.pvc} are not offered as {_ARCHIVE}", where="source", why=why, now="see what else holds that claim"
        )
    offered = sorted(links.volumes.get(disk.pvc, {}))
    if disk.pvc not in links.volumes:
        known = ", ".join(sorted(links.volumes)) or "none"
        why, remedy = f"the links of export {name} are for: {known}", "see whether its PVC exists, is bound, and is a volume of the VM"
    elif {"tar.gz", "dir"} & set(offered) and not {"raw", "gzip"} & set(offered):
        why = f"it is offered as {', '.join(offered)} only: KubeVirt does not know that this Filesystem PVC holds a disk"
        remedy = f"annotate PVC {disk.pvc} with cdi.kubevirt.io/storage.contentType: kubevirt, delete export {name}, run again"
    else:
        why, remedy = f"it is offered as {', '.join(offered) or 'nothing'}, asked is {fmt.value}", "choose another --format"
    return Problem(f"disk {disk.pvc} is not offered as {fmt.value}", where="source", why=why, now=remedy)
