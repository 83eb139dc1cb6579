"""TPM and EFI state on its way: read from the source's archive, packed anew, and sent to its claim on the target, by a Work.

CDI cannot pull KubeVirt's own archives (transfer/archive.py says why), so these few megabytes go through us. Nothing of a broken upload is
remembered: it is sent again, whole, over what is there, and the proof compares both claims in the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace

from migrate.kube.kinds import CDICONFIG, UPLOADTOKENREQUEST
from migrate.model.errors import Blocked, MigrateError, Problem, UsageError
from migrate.model.inventory import UploadDoor
from migrate.model.migration import Disk
from migrate.model.objects import Object, dig
from migrate.model.observation import DiskProgress, State
from migrate.reading.state import upload_door
from migrate.steps import exporting
from migrate.steps.base import Crossing
from migrate.steps.exporting import Export
from migrate.steps.work import Key, Work
from migrate.transfer.archive import pack
from migrate.transfer.export_client import NotTrusted
from migrate.transfer.upload import UploadClient

READY = "StateToCarry"
"""Reason of NEEDED: the claim's upload server waits for the files."""
MOST_ATTEMPTS = 3
_HEALTH = "/healthz"


def key_of(x: Crossing, disk: Disk) -> Key:
    """Return the key of the work that carries a state."""
    return (x.migration.id, "import-disks", disk.target)


def judged(x: Crossing, disk: Disk, seen: DiskProgress) -> DiskProgress:
    """Say how far the files are, where their claim waits for them."""
    work = x.works.get(key_of(x, disk))
    if seen.reason != READY or work is None:
        return seen
    if work.running:
        return replace(seen, state=State.WAITING, reason="Carrying", message="its files are being sent")
    if work.error is None:
        return replace(seen, state=State.WAITING, reason="DiskBinding", message="its files are there, CDI is finishing it")
    words = str(work.error)
    if isinstance(work.error, NotTrusted):
        return replace(seen, state=State.BLOCKED, reason="UploadNotTrusted", message=words)
    if work.attempt >= MOST_ATTEMPTS:
        return replace(seen, state=State.FAILED, reason="StateNotCarried", message=words)
    return replace(seen, message=f"sending its files broke off and is begun again: {words}")


def carry(x: Crossing, export: Export, disk: Disk) -> None:
    """Start the work, with a token that is good for five minutes."""
    door = upload_door(x.target.get(CDICONFIG, "config"))
    link = export.links.url(disk, export.format) if export.links is not None else None
    if door is None or link is None:
        raise Blocked.of([no_door(x)])
    asked = {
        "apiVersion": UPLOADTOKENREQUEST.api_version(),
        "kind": UPLOADTOKENREQUEST.kind,
        "metadata": {"name": x.migration.names.export, "namespace": x.target.namespace},
        "spec": {"pvcName": disk.target},
    }
    path = f"/apis/{UPLOADTOKENREQUEST.api_version()}/namespaces/{x.target.namespace}/{UPLOADTOKENREQUEST.plural}"
    answer = x.target.call("POST", path, asked)
    token = str(dig(answer, "status", "token", default="")) if isinstance(answer, dict) else ""
    x.works.start(key_of(x, disk), _sending(x, export, link, door=door, token=token))


def _sending(x: Crossing, export: Export, link: str, *, door: UploadDoor, token: str) -> Callable[[Work], object]:
    def run(work: Work) -> object:
        source, target = exporting.client_of(x, export), _client(x, door)
        try:
            with tempfile.TemporaryFile() as file:
                found = pack(source, link, file, cancelled=work.cancelled)
                target.send(door.url, file, length=file.seek(0, 2), bearer=token, cancelled=work.cancelled)
            return len(found)
        finally:
            source.close()
            target.close()

    return run


def _client(x: Crossing, door: UploadDoor) -> UploadClient:
    return UploadClient(ca_pem=x.migration.options.target_ca + door.ca_pem, token="", clock=x.clock)


def no_door(x: Crossing) -> Problem:
    """Say that the target's CDI takes no files from outside."""
    return Problem(
        "the target's CDI takes no uploads from outside, and TPM and EFI state are sent that way",
        where=f"context {x.target.context}",
        why="its CDIConfig names no upload proxy: no Ingress or Route leads to the service cdi-uploadproxy",
        now="create one (or set spec.config.uploadProxyURLOverride of the CDI object), then run again",
    )


def knock(x: Crossing, cdi_config: Object | None) -> Problem | None:
    """Try the door of uploads before anything is changed. None = it opens."""
    door = upload_door(cdi_config)
    if door is None:
        return no_door(x)
    where, option = f"target, {door.url}", "give its CA with --target-ca FILE"
    try:
        client = _client(x, door)
        client.probe(door.url + _HEALTH)
    except NotTrusted as error:
        return Problem("the upload proxy shows a certificate that is not to be trusted", where=where, why=error.why, now=option)
    except UsageError as error:
        return Problem(error.what, where=where, why=error.why, now=option)
    except MigrateError as error:
        return Problem("the upload proxy of the target's CDI does not answer", where=where, why=error.why, now=error.now)
    return None
