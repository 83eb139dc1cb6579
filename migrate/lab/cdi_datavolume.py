"""The DataVolume controller: makes the claim (and the volume source that fills it), adopts existing ones, and keeps the status.

Source: reference/cdi-import.md sections 1.4, 3 and 8. Not modelled: clones (pvc, snapshot, sourceRef) and multi-stage imports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from migrate.kube.kinds import (
    CDICONFIG,
    CSIDRIVER,
    DATAVOLUME,
    PV,
    PVC,
    STORAGECLASS,
    STORAGEPROFILE,
    VOLUMEIMPORTSOURCE,
    VOLUMEUPLOADSOURCE,
    Kind,
)
from migrate.lab import cdi_names as names
from migrate.lab import cdi_render
from migrate.lab.cdi_admission import adoptable, controller_of
from migrate.lab.cdi_import import QUOTA_RETRY_S, annotations_of, over_quota
from migrate.lab.cdi_profiles import pick_class
from migrate.lab.cdi_progress import PROGRESS, shown
from migrate.lab.cdi_render import NotRenderable, Surroundings
from migrate.lab.cdi_status import IN_PROGRESS, View, next_status
from migrate.lab.controller import Controller, Key, Object, Runtime, itself
from migrate.model.errors import Refused, Taken

KNOWN: Final = frozenset({"http", "registry", "blank", "upload"})
SCRAPE_S: Final = 2.0
RETRY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Claimed:
    """What came of the search for a claim: the claim, or why there is none."""

    claim: Object | None = None
    refusal: tuple[str, str] | None = None
    stop_s: float | None = None
    """Look again so much later, without touching the status."""


class DataVolumeController(Controller):
    """One for imports (http, registry, blank) and uploads; the real CDI has one each."""

    name = "datavolume-controller"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        for kind in (CDICONFIG, CSIDRIVER, PV):
            runtime.cache(kind)

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [
            (DATAVOLUME, itself),
            (PVC, itself),
            (STORAGEPROFILE, self._unclaimed),
            (STORAGECLASS, self._unclaimed),
            (PV, self._unclaimed),
        ]

    def _unclaimed(self, _: Object) -> Iterable[Key]:
        return [key for dv in self.runtime.cache(DATAVOLUME).all() if not (dv.get("status") or {}).get("phase") for key in itself(dv)]

    def reconcile(self, namespace: str, name: str) -> float | None:
        if self.runtime.cache(DATAVOLUME).get(namespace, name) is None:
            return None
        dv = self.runtime.api.get(DATAVOLUME, name, namespace)
        if dv is None or dv["metadata"].get("deletionTimestamp"):
            return None
        claim = self.runtime.api.get(PVC, name, namespace)
        found = self._claim(dv, claim)
        if found.stop_s is not None:
            return found.stop_s
        self._publish(dv, found)
        if found.refusal is not None and found.refusal[0] == "ErrExceededQuota":
            return QUOTA_RETRY_S
        if found.claim is not None and self._legacy(found.claim) and annotations_of(found.claim).get(names.POD_PHASE) == "Running":
            return SCRAPE_S
        return None

    def _claim(self, dv: Object, claim: Object | None) -> _Claimed:
        if claim is None:
            return self._make(dv)
        name = claim["metadata"]["name"]
        owner = controller_of(claim)
        if claim["metadata"].get("deletionTimestamp"):
            self._tell(dv, "Warning", "ErrResourceMarkedForDeletion", f'Resource "{name}" marked for deletion')
            return _Claimed(stop_s=1.0)
        if owner is not None and owner["uid"] == dv["metadata"]["uid"]:
            return _Claimed(claim)
        if owner is None and not _needs_work(dv, claim):
            patch = {"metadata": {"uid": claim["metadata"]["uid"], "ownerReferences": [cdi_render.owner(dv, "DataVolume")]}}
            return _Claimed(self.runtime.api.merge(PVC, name, patch, claim["metadata"]["namespace"]))
        self._tell(dv, "Warning", "ErrResourceExists", f'Resource "{name}" already exists and is not managed by DataVolume')
        return _Claimed(stop_s=RETRY_S)

    def _make(self, dv: Object) -> _Claimed:
        if names.PREPOPULATED in annotations_of(dv):
            return _Claimed()
        kind = cdi_render.source_kind(dv)
        if kind not in KNOWN:
            return _Claimed(refusal=("ErrClaimNotValid", f"this lab does not simulate DataVolumes with source {kind or 'sourceRef'}"))
        config = self.runtime.cache(CDICONFIG).get("", "config") or {}
        around = Surroundings(
            classes=self.runtime.cache(STORAGECLASS).all(),
            profiles=self.runtime.cache(STORAGEPROFILE).all(),
            volumes=self.runtime.cache(PV).all(),
            config=config,
        )
        try:
            spec = cdi_render.claim_spec(dv, around)
        except NotRenderable as error:
            return _Claimed(refusal=("ErrClaimNotValid", str(error)))
        populated = self._populated(dv, spec)
        dv["metadata"]["annotations"] = {**annotations_of(dv), names.USE_POPULATOR: str(populated).lower()}
        self._remember_way(dv)
        preallocate = dv["spec"].get("preallocation")
        if preallocate is None:
            preallocate = bool((config.get("status") or {}).get("preallocation"))
        claim = cdi_render.claim(dv, spec, populated=populated, preallocate=preallocate)
        try:
            if populated:
                self._make_source(dv, kind, preallocate=preallocate)
            return _Claimed(self.runtime.api.create(claim)[0])
        except Taken:
            return _Claimed(stop_s=0.1)
        except Refused as error:
            if not over_quota(error):
                raise
            return _Claimed(refusal=("ErrExceededQuota", error.why))

    def _populated(self, dv: Object, spec: Object) -> bool:
        """Decide between populators and the legacy path: as the DataVolume says, else by the provisioner's CSIDriver."""
        said = annotations_of(dv).get(names.USE_POPULATOR, "").lower()
        if said in {"true", "false", "1", "0", "t", "f"}:
            return said in {"true", "1", "t"}
        cls = pick_class(self.runtime.cache(STORAGECLASS).all(), spec.get("storageClassName"), virtual=False)
        return cls is not None and self.runtime.cache(CSIDRIVER).get("", cls["provisioner"]) is not None

    def _remember_way(self, dv: Object) -> None:
        meta = dv["metadata"]
        way = {names.USE_POPULATOR: meta["annotations"][names.USE_POPULATOR]}
        self.runtime.api.merge(DATAVOLUME, meta["name"], {"metadata": {"uid": meta["uid"], "annotations": way}}, meta["namespace"])

    def _make_source(self, dv: Object, kind: str, *, preallocate: bool) -> None:
        meta = dv["metadata"]
        upload = kind == "upload"
        spec: Object = {"contentType": cdi_render.content_type(dv), "preallocation": preallocate}
        if not upload:
            spec["source"] = {kind: dv["spec"]["source"][kind]}
        source = {
            "apiVersion": VOLUMEIMPORTSOURCE.api_version(),
            "kind": "VolumeUploadSource" if upload else "VolumeImportSource",
            "metadata": {
                "name": names.upload_source(meta["uid"]) if upload else names.import_source(meta["uid"]),
                "namespace": meta["namespace"],
                "ownerReferences": [cdi_render.owner(dv, "DataVolume")],
            },
            "spec": spec,
        }
        try:
            self.runtime.api.create(source)
        except Taken:
            self.log.debug("the volume source of %s is there already", meta["name"])

    def _publish(self, dv: Object, found: _Claimed) -> None:
        """Write the status if it differs, record the events of its changes, and remove what a finished import no longer needs."""
        upload = cdi_render.source_kind(dv) == "upload"
        claim = found.claim
        view = View(
            dv=dv,
            claim=claim,
            kind="upload" if upload else "import",
            waits=claim is not None and self._waits(claim),
            populated=claim is not None and not self._legacy(claim),
            needs_work=claim is None or _needs_work(dv, claim),
            refusal=found.refusal,
            scraped=self._scraped(dv, claim),
        )
        status, happened = next_status(view, self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"))
        meta = dv["metadata"]
        if status != dv.get("status"):
            self.runtime.api.merge(DATAVOLUME, meta["name"], {"status": status}, meta["namespace"], subresource="status")
        for event in happened:
            self._tell(dv, *event)
        if status["phase"] == "Succeeded" and claim is not None and (claim.get("status") or {}).get("phase") == "Bound":
            self._tidy(dv, claim, upload=upload)

    def _tidy(self, dv: Object, claim: Object, *, upload: bool) -> None:
        meta = dv["metadata"]
        PROGRESS.forget(meta["uid"])
        if not self._legacy(claim):
            kind = VOLUMEUPLOADSOURCE if upload else VOLUMEIMPORTSOURCE
            name = names.upload_source(meta["uid"]) if upload else names.import_source(meta["uid"])
            if self.runtime.api.get(kind, name, meta["namespace"]) is not None:
                self.runtime.api.delete(kind, name, meta["namespace"])

    def _legacy(self, claim: Object) -> bool:
        ref = claim["spec"].get("dataSourceRef") or {}
        return ref.get("apiGroup") != names.GROUP

    def _waits(self, claim: Object) -> bool:
        cls = self.runtime.cache(STORAGECLASS).get("", claim["spec"].get("storageClassName") or "")
        return cls is not None and cls.get("volumeBindingMode") == "WaitForFirstConsumer"

    def _scraped(self, dv: Object, claim: Object | None) -> str:
        """Return the progress of a legacy import, which may read 100 for minutes; empty when there is nothing new."""
        if claim is None or not self._legacy(claim) or (dv.get("status") or {}).get("phase") not in IN_PROGRESS:
            return ""
        percent = PROGRESS.scrape(dv["metadata"]["uid"])
        return "" if percent is None else shown(percent)

    def _tell(self, dv: Object, type_: str, reason: str, message: str) -> None:
        kind = "upload" if cdi_render.source_kind(dv) == "upload" else "import"
        self.runtime.event(dv, type_, reason, message, f"datavolume-{kind}-controller")


def _needs_work(dv: Object, claim: Object) -> bool:
    """Tell whether a claim still has to be filled for a DataVolume: not when it was filled for it, or may be adopted."""
    said = annotations_of(claim)
    if said.get(names.POPULATED_FOR) == dv["metadata"]["name"]:
        return False
    if said.get(names.CREATED_FOR) == dv["metadata"]["uid"]:
        return True
    return not adoptable(dv, claim)
