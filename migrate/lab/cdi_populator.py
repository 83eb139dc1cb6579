"""Populators: a hidden claim (PVC′) is filled in place of the target claim, then its volume is handed over.

Source: reference/cdi-import.md sections 3.2 to 3.4 and 3.6. The hand-over is one write, the volume's claimRef; Kubernetes' own binder does
the rest: the target becomes Bound, the hidden claim Lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from migrate.kube.kinds import CDICONFIG, EVENT, PV, PVC, STORAGECLASS, VOLUMEIMPORTSOURCE, VOLUMEUPLOADSOURCE, Kind
from migrate.lab import cdi_names as names
from migrate.lab import cdi_render
from migrate.lab.cdi_import import annotations_of, over_quota
from migrate.lab.cdi_progress import PROGRESS, shown
from migrate.lab.controller import Controller, Key, Object, Runtime, itself
from migrate.model.errors import Refused, Taken

SCRAPE_S: Final = 2.0
RETRY_S: Final = 15.0
_KINDS: Final = {"VolumeImportSource": VOLUMEIMPORTSOURCE, "VolumeUploadSource": VOLUMEUPLOADSOURCE}
_CARRIED: Final = (names.CONTENT_TYPE, names.PREALLOCATION, names.RETAIN, names.PRIORITY_CLASS, names.SERVICE_ACCOUNT)


class Populator(Controller):
    """Fills claims that refer to a VolumeImportSource or VolumeUploadSource."""

    name = "populator"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        for kind in (CDICONFIG, STORAGECLASS, PV):
            runtime.cache(kind)

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [(PVC, self._target), (EVENT, self._of_event), (VOLUMEIMPORTSOURCE, self._users), (VOLUMEUPLOADSOURCE, self._users)]

    def _target(self, claim: Object) -> Iterable[Key]:
        """Map a claim to itself, a hidden one to its target."""
        owner = next((ref for ref in claim["metadata"].get("ownerReferences") or () if ref["kind"] == "PersistentVolumeClaim"), None)
        return itself(claim) if owner is None else ((claim["metadata"]["namespace"], owner["name"]),)

    def _of_event(self, event: Object) -> Iterable[Key]:
        involved = event.get("involvedObject") or {}
        if involved.get("kind") != "PersistentVolumeClaim" or not str(involved.get("name", "")).startswith("prime-"):
            return ()
        hidden = self.runtime.cache(PVC).get(involved.get("namespace", ""), involved["name"])
        return self._target(hidden) if hidden is not None else ()

    def _users(self, source: Object) -> Iterable[Key]:
        meta = source["metadata"]
        claims = self.runtime.cache(PVC).all(meta["namespace"])
        return [key for claim in claims if (claim["spec"].get("dataSourceRef") or {}).get("name") == meta["name"] for key in itself(claim)]

    def reconcile(self, namespace: str, name: str) -> float | None:
        cached = self.runtime.cache(PVC).get(namespace, name)
        if cached is None or not _populated(cached):
            return None
        target = self.runtime.api.get(PVC, name, namespace)
        if target is None or target["metadata"].get("deletionTimestamp"):
            return None
        hidden = self.runtime.api.get(PVC, names.prime(target["metadata"]["uid"]), namespace)
        if (target.get("status") or {}).get("phase") == "Bound":
            self._tidy(target, hidden)
            return None
        if hidden is None:
            return self._begin(target)
        return self._follow(target, hidden)

    def _begin(self, target: Object) -> float | None:
        meta, spec = target["metadata"], target["spec"]
        ref = spec["dataSourceRef"]
        source = self.runtime.api.get(_KINDS[ref["kind"]], ref["name"], meta["namespace"])
        if source is None:
            return None
        cls = self.runtime.cache(STORAGECLASS).get("", spec.get("storageClassName") or "")
        if cls is None:
            return RETRY_S
        if cls["provisioner"].startswith("kubernetes.io/"):
            self._tell(target, "Warning", "ErrCreatingPVCPrime", f"provisioner {cls['provisioner']} is in-tree: populators cannot be used")
            return None
        said = annotations_of(target)
        waits = cls.get("volumeBindingMode") == "WaitForFirstConsumer"
        if waits and names.SELECTED_NODE not in said and names.IMMEDIATE not in said:
            return None
        try:
            self.runtime.api.create(prime(target, source))
        except Taken:
            return 0.1
        except Refused as error:
            if not over_quota(error):
                raise
            self._tell(target, "Warning", "ErrCreatingPVCPrime", f"failed to create PVC Prime: {error.why}")
            return RETRY_S
        self._annotate(target, {names.PVC_PRIME: names.prime(meta["uid"])})
        self._tell(target, "Normal", "CreatedPVCPrimeSuccessfully", "PVC Prime created successfully")
        return None

    def _follow(self, target: Object, hidden: Object) -> float | None:
        """Mirror the hidden claim's news; hand the volume over when it is filled."""
        news = annotations_of(hidden)
        changes: dict[str, str] = {key: news[key] for key in names.MIRRORED if key in news}
        changes[names.PVC_PRIME] = hidden["metadata"]["name"]
        phase = news.get(names.POD_PHASE, "")
        if phase == "Succeeded":
            changes[names.PROGRESS] = "100.0%"
        elif phase == "Running" and (text := self._scraped(target)):
            changes[names.PROGRESS] = text
        changes |= self._echo(target, hidden)
        if phase == "Failed" and annotations_of(target).get(names.POD_PHASE) != "Failed":
            self._tell(target, "Warning", "importFailed", f"import failed into PVC {target['metadata']['name']}")
        self._annotate(target, changes)
        if phase == "Succeeded":
            return self._hand_over(target, hidden)
        return SCRAPE_S if phase == "Running" else None

    def _scraped(self, target: Object) -> str:
        """Return the progress as text; what begins with 100 is withheld until the import is done."""
        percent = PROGRESS.scrape(target["metadata"]["uid"])
        text = "" if percent is None else shown(percent)
        return "" if text.startswith("100") else text

    def _echo(self, target: Object, hidden: Object) -> dict[str, str]:
        """Copy the hidden claim's events to the target; return the annotations that show the latest in the Bound condition."""
        prefix = f"[{hidden['metadata']['name']}] : "
        about = [event for event in self.runtime.cache(EVENT).all(target["metadata"]["namespace"]) if _about(event, hidden)]
        about.sort(key=lambda event: (str(event.get("lastTimestamp") or ""), int(event["metadata"].get("resourceVersion") or 0)))
        told = {event["message"] for event in self.runtime.cache(EVENT).all(target["metadata"]["namespace"]) if _about(event, target)}
        for event in about:
            if prefix + event["message"] not in told:
                self._tell(target, event["type"], event["reason"], prefix + event["message"])
        if not about:
            return {}
        return {names.BOUND: "false", names.BOUND_REASON: "Pending", names.BOUND_MESSAGE: prefix + about[-1]["message"]}

    def _hand_over(self, target: Object, hidden: Object) -> float | None:
        volume = hidden["spec"].get("volumeName")
        pv = self.runtime.api.get(PV, volume) if volume else None
        if pv is None:
            return 0.5
        ref = pv["spec"].get("claimRef") or {}
        meta = target["metadata"]
        if ref.get("uid") == meta["uid"]:
            return None
        if ref.get("uid") != hidden["metadata"]["uid"]:
            self._tell(target, "Warning", "ErrRebinding", f"PV {volume} bound to unexpected claim {ref.get('name')}")
            return RETRY_S
        fresh = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        }
        patch = {"metadata": {"resourceVersion": pv["metadata"]["resourceVersion"]}, "spec": {"claimRef": fresh}}
        self.runtime.api.merge(PV, pv["metadata"]["name"], patch)
        return None

    def _tidy(self, target: Object, hidden: Object | None) -> None:
        """Remove the hidden claim once it has lost its volume to the target."""
        said = annotations_of(target)
        upload = target["spec"]["dataSourceRef"]["kind"] == "VolumeUploadSource"
        gone: dict[str, None] = {key: None for key in (names.BOUND, names.BOUND_REASON, names.BOUND_MESSAGE) if key in said}
        if upload and names.PVC_PRIME in said:
            gone[names.PVC_PRIME] = None
        if gone:
            meta = target["metadata"]
            self.runtime.api.merge(PVC, meta["name"], {"metadata": {"annotations": gone}}, meta["namespace"])
        if hidden is None or (hidden.get("status") or {}).get("phase") != "Lost" or hidden["metadata"].get("deletionTimestamp"):
            return
        PROGRESS.forget(target["metadata"]["uid"])
        word = "upload" if upload else "import"
        self._tell(target, "Normal", f"{word}Succeeded", f"{word} Successful")
        if said.get(names.RETAIN) != "true":
            meta = hidden["metadata"]
            self.runtime.api.delete(PVC, meta["name"], meta["namespace"], uid=meta["uid"])

    def _annotate(self, target: Object, changes: dict[str, str]) -> None:
        before = annotations_of(target)
        fresh = {key: value for key, value in changes.items() if before.get(key) != value}
        if fresh:
            meta = target["metadata"]
            patch = {"metadata": {"uid": meta["uid"], "annotations": fresh}}
            self.runtime.api.merge(PVC, meta["name"], patch, meta["namespace"])

    def _tell(self, target: Object, type_: str, reason: str, message: str) -> None:
        word = "upload" if target["spec"]["dataSourceRef"]["kind"] == "VolumeUploadSource" else "import"
        self.runtime.event(target, type_, reason, message, f"{word}-populator")


def _populated(claim: Object) -> bool:
    ref = claim["spec"].get("dataSourceRef") or {}
    return ref.get("apiGroup") == names.GROUP and ref.get("kind") in _KINDS


def _about(event: Object, claim: Object) -> bool:
    involved = event.get("involvedObject") or {}
    return bool(involved.get("uid") == claim["metadata"]["uid"])


def prime(target: Object, source: Object) -> Object:
    """Return the hidden claim of a target: as large, of the same class and modes, bound at once, with the work written on it."""
    meta, spec = target["metadata"], target["spec"]
    said = annotations_of(target)
    annotations = {key: said[key] for key in (*_CARRIED, names.SELECTED_NODE) if key in said}
    annotations |= {names.IMMEDIATE: "", names.POPULATOR_KIND: source["kind"], names.POD_RESTARTS: "0"}
    if source["kind"] == "VolumeUploadSource":
        annotations[names.UPLOAD_TARGET] = ""
    else:
        annotations |= cdi_render.import_annotations(source["spec"]["source"])
    kept = ("accessModes", "resources", "storageClassName", "volumeMode")
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": names.prime(meta["uid"]),
            "namespace": meta["namespace"],
            "labels": {**names.APP, "velero.io/exclude-from-backup": "true"},
            "annotations": annotations,
            "ownerReferences": [cdi_render.owner(target, "PersistentVolumeClaim", api_version="v1")],
        },
        "spec": {key: spec[key] for key in kept if spec.get(key) is not None},
    }
