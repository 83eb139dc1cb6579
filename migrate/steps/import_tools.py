"""What the importers need beside their DataVolumes: the CA of the export host and its token, both replaced in place when they change."""

from __future__ import annotations

from migrate.kube.kinds import CONFIGMAP, SECRET
from migrate.model import labels
from migrate.model.objects import Object, dig
from migrate.model.observation import Observation, blocked, needed
from migrate.reading.common import taken
from migrate.rendering import frames
from migrate.steps import claims, exporting
from migrate.steps.base import Crossing
from migrate.steps.exporting import Export


def lacking(x: Crossing, export: Export) -> Observation | None:
    """Say whether CA and header Secret are there and carry what the export wants now; they are rotated in place (cdi-import 0, fact 5)."""
    if export.links is None:
        return None
    names = x.migration.names
    ca, header = x.target.get(CONFIGMAP, names.ca), x.target.get(SECRET, names.header)
    for kind, name, found in (("ConfigMap", names.ca, ca), ("Secret", names.header, header)):
        if found is not None and not labels.is_ours(found, x.migration.id):
            return blocked("NameTaken", taken(kind, name, found))
    if not _same_ca(ca, export):
        return needed("CaMissing" if ca is None else "CaRotated", "the target is given the CA of the export host")
    if not _same_header(header, export):
        return needed("HeaderMissing" if header is None else "TokenRotated", "the target is given the token of the export")
    return None


def _same_ca(ca: Object | None, export: Export) -> bool:
    return ca is not None and str(dig(ca, "data", "ca.pem", default="")).strip() == export.ca_pem.strip()


def _same_header(header: Object | None, export: Export) -> bool:
    return header is not None and exporting.secret_text(header, "header").partition(":")[2].strip() == export.token


def ship(x: Crossing, export: Export) -> None:
    """Bring CA and header to what the export wants now. They are ours alone, so a field that somebody else changed is taken back."""
    names = x.migration.names
    if not _same_ca(x.target.get(CONFIGMAP, names.ca), export):
        x.target.apply(*x.render("target/ca.yaml.j2", **frames.ca(x.migration, pem=export.ca_pem)), force=True)
    claims.renew(x)
    if not _same_header(x.target.get(SECRET, names.header), export):
        x.target.apply(*x.render("target/header.yaml.j2", **frames.header(x.migration, token=export.token)), force=True)
