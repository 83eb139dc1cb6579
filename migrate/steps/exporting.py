"""An export and its token, for whoever needs its links: the source's disks for the pull, the halted target's for the proof.

The token is random, made once and read back ever after, and not owned by the export, so that an export that has expired is made again
under the same name with the same token and its links stay valid.
"""

from __future__ import annotations

import base64
import secrets
import string
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import EXPORT, POD, SECRET
from migrate.model import labels
from migrate.model.migration import Disk, Format
from migrate.model.objects import Object, dig, uid_of
from migrate.model.observation import Observation, blocked, needed, waiting
from migrate.reading.common import taken, words_of
from migrate.reading.export import Links, ended, links_of, read_export
from migrate.rendering import frames
from migrate.steps import claims, forwarding
from migrate.steps.base import Crossing
from migrate.steps.looks import SERVER_OF
from migrate.transfer.export_client import ExportClient

TOKEN_LENGTH = 40
LEAST_TTL = timedelta(hours=24)
SLOW_BYTES_S = 20 * 1024 * 1024
"""The pace that a time to live reckons with before anything was measured; then three times as long (kubevirt-export 10, pitfall 1)."""


@dataclass(frozen=True, slots=True)
class Export:
    """One of the two exports of a migration, as a look found it."""

    cluster: Cluster
    name: str
    token_name: str
    disks: tuple[Disk, ...]
    format: Format
    ca_given: str
    found: Object | None
    token: str
    """"" while there is none."""
    inside: bool = False
    """It has no links from outside, and we may forward a port of its server: it is read that way, by the links that hold within."""

    @property
    def links(self) -> Links | None:
        return links_of(self.found, inside=self.inside)

    @property
    def ca_pem(self) -> str:
        """The CA that its host is to be believed by: the user's, else what the links say. The user's is for the host outside."""
        return (self.ca_given if not self.inside else "") or (self.links.cert if self.links is not None else "")


def source_export(x: Crossing) -> Export:
    """Look at the export of the source's disks."""
    m = x.migration
    found, token = x.source.get(EXPORT, m.names.export), secret_text(x.source.get(SECRET, m.names.token))
    return Export(x.source, m.names.export, m.names.token, m.disks, m.options.format, m.options.source_ca, found, token)


def proof_export(x: Crossing) -> Export:
    """Look at the export of the halted target VM. Its disks go by the names of their claims there; proofs are read raw."""
    m = x.migration
    disks = tuple(replace(disk, pvc=disk.target) for disk in m.disks)
    found, token = x.target.get(EXPORT, m.names.proof), secret_text(x.target.get(SECRET, m.names.proof_token))
    outside, within = links_of(found), links_of(found, inside=True)
    inside = outside is None and within is not None and forwarding.may_forward(x.target)
    return Export(x.target, m.names.proof, m.names.proof_token, disks, Format.RAW, m.options.target_ca, found, token, inside)


def client_of(x: Crossing, export: Export) -> ExportClient:
    """Open a client of an export: straight, or through a port-forward where it is reached from within only."""
    if not export.inside:
        return x.connect(export.ca_pem, export.token)
    way = forwarding.way_to(
        export.cluster, lambda: exporter_pods(export.cluster, export.name), where=f"{export.cluster.context}, export {export.name}"
    )
    return ExportClient(ca_pem=export.ca_pem, token=export.token, clock=x.clock, forward=way)


def read(x: Crossing, export: Export, *, stopped: bool) -> Observation:
    """Say how far an export is. NEEDED: `make` has something to do."""
    if export.found is None and exporter_pods(export.cluster, export.name):
        return waiting("ExporterLeaving", f"the server pod of an earlier export {export.name} is not gone yet")
    seen = read_export(
        export.found,
        disks=export.disks,
        fmt=export.format,
        migration_id=x.migration.id,
        now=x.clock.now(),
        stopped=stopped,
        inside=export.inside,
    )
    if not export.token and seen.reason != "NameTaken":
        secret = export.cluster.get(SECRET, export.token_name)
        if secret is not None and not labels.is_ours(secret, x.migration.id):
            return blocked("NameTaken", taken("Secret", export.token_name, secret))
        return needed("TokenMissing", "the export has no token yet")
    if seen.reason == "ExportPending" and (held := "; ".join(filter(None, map(words_of, exporter_pods(export.cluster, export.name))))):
        return seen.but(message=f"{seen.message} ({held})")
    return seen


def make(x: Crossing, export: Export) -> None:
    """Make what is missing: token first, then the export; one past its time is deleted first, and the next look finds none."""
    if export.found is not None and ended(export.found, now=x.clock.now()):
        export.cluster.delete(EXPORT, export.name, uid=uid_of(export.found))
        return
    proof = export.name == x.migration.names.proof
    if not export.token:
        alphabet = string.ascii_letters + string.digits
        token = "".join(secrets.choice(alphabet) for _ in range(TOKEN_LENGTH))
        export.cluster.create(
            *x.render("source/export-token.yaml.j2", **frames.export_token(x.migration, token=token, proof=proof)), ours_ok=True
        )
    if export.found is None:
        claims.renew(x)
        version = export.cluster.serves(EXPORT) or EXPORT.versions[0]
        frame = frames.export(x.migration, version=version, ttl=time_to_live(export.disks), proof=proof)
        export.cluster.create(*x.render("source/export.yaml.j2", **frame), ours_ok=True)


def exporter_pods(cluster: Cluster, export_name: str) -> list[dict[str, Any]]:
    """List the server pods of an export; they outlive it by a moment and hold its disks until then."""
    return cluster.list(POD, labels={SERVER_OF: export_name})


def time_to_live(disks: tuple[Disk, ...]) -> timedelta:
    """Return how long an export of these disks shall live: three times what a slow copy takes, in whole hours, 24 at least.

    It cannot be made longer later (kubevirt-export section 1), and expiry cuts running copies.
    """
    slow = timedelta(seconds=3 * sum(disk.capacity_bytes for disk in disks) / SLOW_BYTES_S)
    return max(LEAST_TTL, timedelta(hours=-(-slow // timedelta(hours=1))))


def secret_text(secret: Object | None, key: str = "token") -> str:
    """Return one value of a Secret as text, "" if it is not there."""
    return base64.b64decode(dig(secret, "data", key, default="")).decode()
