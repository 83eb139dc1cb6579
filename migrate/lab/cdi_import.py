"""The import controller: gives every claim that asks for it an importer pod, and writes down on the claim what becomes of it.

It knows nothing of DataVolumes. Source: reference/cdi-import.md sections 2.5, 2.6 and 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from migrate.kube.kinds import CDICONFIG, POD, PVC, Kind
from migrate.lab import cdi_import_pod, cdi_worker
from migrate.lab import cdi_names as names
from migrate.lab.cdi_admission import controller_of
from migrate.lab.controller import Controller, Key, Object, Runtime, itself, owners
from migrate.model.errors import Refused, Taken

_ENDED: Final = frozenset({"Succeeded", "Failed"})
LOOK_AGAIN_S: Final = 2.0
QUOTA_RETRY_S: Final = 15.0


def annotations_of(obj: Object) -> dict[str, str]:
    """Return an object's annotations; empty when it has none."""
    found: dict[str, str] = obj["metadata"].get("annotations") or {}
    return found


def over_quota(error: Refused) -> bool:
    """Tell whether a refusal is about a quota."""
    return error.status == 403 and "exceeded quota" in error.why


class Workers(Controller):
    """What the import and the upload controller have in common: one worker pod per claim, watched to its end."""

    source = ""
    """Component of the events."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        for kind in (PVC, POD, CDICONFIG):
            runtime.cache(kind)

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [(PVC, itself), (POD, owners("PersistentVolumeClaim"))]

    def config(self) -> Object:
        """Return the CDIConfig."""
        return self.runtime.cache(CDICONFIG).get("", "config") or {"metadata": {"name": "config"}}

    def target_of(self, claim: Object) -> Object:
        """Return the claim that the user sees: the owner of a hidden one, else the claim itself."""
        owner = controller_of(claim)
        if owner is None or owner["kind"] != "PersistentVolumeClaim":
            return claim
        return self.runtime.cache(PVC).get(claim["metadata"]["namespace"], owner["name"]) or claim

    def annotate(self, claim: Object, changes: dict[str, str]) -> Object:
        """Set annotations, if any differs; return the claim as it is then."""
        before = annotations_of(claim)
        fresh = {key: value for key, value in changes.items() if before.get(key) != value}
        if not fresh:
            return claim
        meta = claim["metadata"]
        patch = {"metadata": {"uid": meta["uid"], "annotations": fresh}}
        return self.runtime.api.merge(PVC, meta["name"], patch, meta["namespace"])

    def may_run(self, claim: Object) -> bool:
        """Tell whether a claim may have its worker now: bound, or to be bound by it."""
        return (claim.get("status") or {}).get("phase") == "Bound" or names.IMMEDIATE in annotations_of(claim)

    def in_the_way(self, claim: Object, pod_name: str) -> str:
        """Return the name of another pod that uses the claim; empty when there is none."""
        wanted = claim["metadata"]["name"]
        for pod in self.runtime.cache(POD).all(claim["metadata"]["namespace"]):
            claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["spec"].get("volumes") or ()]
            if wanted in claims and pod["metadata"]["name"] != pod_name and (pod.get("status") or {}).get("phase") not in _ENDED:
                return str(pod["metadata"]["name"])
        return ""

    def create_pod(self, claim: Object, pod: Object) -> Object | None:
        """Create a worker pod; None when it could not be. A refusal is written on the claim."""
        try:
            return self.runtime.api.create(pod)[0]
        except Taken:
            return None
        except Refused as error:
            reason = "ErrExceededQuota" if over_quota(error) else "ErrStartingPod"
            name = pod["metadata"]["name"]
            message = f"Error starting pod '{name}': For more information, request access to cdi-deploy logs from your sysadmin"
            self.runtime.event(claim, "Warning", reason, message, self.source)
            self.annotate(claim, {names.RUNNING: "false", names.RUNNING_REASON: reason, names.RUNNING_MESSAGE: message})
            self.log.info("pod %s refused: %s", name, error.why)
            return None

    def scratch(self, claim: Object, pod: Object) -> bool:
        """See to the scratch claim of a worker; return whether it is bound."""
        meta = claim["metadata"]
        name = names.scratch(meta["name"])
        found = self.runtime.api.get(PVC, name, meta["namespace"])
        if found is None:
            self.runtime.api.create(cdi_import_pod.scratch_claim(claim, pod, self.config()))
            return False
        return (found.get("status") or {}).get("phase") == "Bound"

    def scratch_left_over(self, claim: Object) -> bool:
        """Tell whether the scratch claim of an earlier worker is still going away."""
        meta = claim["metadata"]
        return self.runtime.api.get(PVC, names.scratch(meta["name"]), meta["namespace"]) is not None

    def delete_pod(self, pod: Object) -> None:
        """Delete a worker pod, unless that was done already."""
        meta = pod["metadata"]
        if not meta.get("deletionTimestamp"):
            self.runtime.api.delete(POD, meta["name"], meta["namespace"], uid=meta["uid"])


class ImportController(Workers):
    """Runs importer pods for claims with an import annotation."""

    name = "import-controller"
    source = "import-controller"

    def reconcile(self, namespace: str, name: str) -> float | None:
        cached = self.runtime.cache(PVC).get(namespace, name)
        if cached is None or names.SOURCE not in annotations_of(cached):
            return None
        claim = self.runtime.api.get(PVC, name, namespace)
        if claim is None:
            return None
        pod = self.runtime.api.get(POD, names.importer_pod(name), namespace)
        if pod is not None and (controller_of(pod) or {}).get("uid") != claim["metadata"]["uid"]:
            return LOOK_AGAIN_S
        if claim["metadata"].get("deletionTimestamp"):
            if pod is not None:
                self.delete_pod(pod)
            return None
        said = annotations_of(claim)
        if said.get(names.POD_PHASE) == "Succeeded" or said.get(names.FATAL) == "true":
            if pod is not None and said.get(names.RETAIN) != "true":
                self.delete_pod(pod)
            return None
        if pod is None:
            return self._begin(claim) if self.may_run(claim) else None
        return self._follow(claim, pod)

    def _begin(self, claim: Object) -> float | None:
        pod_name = names.importer_pod(claim["metadata"]["name"])
        claim = self.annotate(claim, {names.IMPORT_POD: pod_name})
        if other := self.in_the_way(claim, pod_name):
            message = f"pod {claim['metadata']['namespace']}/{other} using PersistentVolumeClaim {claim['metadata']['name']}"
            self.runtime.event(claim, "Warning", "ImportTargetInUse", message, self.source)
            return LOOK_AGAIN_S
        if self.scratch_left_over(claim):
            return 0.5
        target = self.target_of(claim)
        owner = controller_of(claim)
        pod = cdi_import_pod.importer_pod(
            claim, target, self.config(), owner_uid=owner["uid"] if owner else claim["metadata"]["uid"], with_scratch=needs_scratch(claim)
        )
        made = self.create_pod(claim, pod)
        if made is None:
            return QUOTA_RETRY_S
        return self._follow(claim, made)

    def _follow(self, claim: Object, pod: Object) -> float | None:
        if pod["metadata"].get("deletionTimestamp"):
            return None
        said = annotations_of(claim)
        changes = cdi_worker.report(pod, said)
        again = None
        if needs_scratch(claim) and not changes.replace and (pod.get("status") or {}).get("phase") not in _ENDED:
            bound = self.scratch(claim, pod)
            held = {} if bound else {names.BOUND_REASON: "CreatingScratchSpace", names.BOUND_MESSAGE: "Creating scratch space"}
            changes.annotations.update({names.BOUND: str(bound).lower(), **held})
            again = None if bound else LOOK_AGAIN_S
        if changes.failure and cdi_worker.simplified(changes.failure) != said.get(names.RUNNING_MESSAGE):
            self.runtime.event(claim, "Warning", "ErrImportFailed", changes.failure, self.source)
        if changes.annotations.get(names.POD_PHASE) == "Succeeded":
            self.runtime.event(claim, "Normal", "ImportSucceeded", "Import Successful", self.source)
            changes.annotations[names.BOUND] = "true"
        claim = self.annotate(claim, {names.IMPORT_POD: pod["metadata"]["name"], **changes.annotations})
        if changes.replace or (annotations_of(claim).get(names.POD_PHASE) == "Succeeded" and said.get(names.RETAIN) != "true"):
            self.delete_pod(pod)
        return again


def needs_scratch(claim: Object) -> bool:
    """Tell whether a claim's importer gets scratch space: registry and archive imports from the start, http ones once they asked."""
    said = annotations_of(claim)
    return said.get(names.REQUIRES_SCRATCH) == "true" or said.get(names.SOURCE) == "registry" or said.get(names.CONTENT_TYPE) == "archive"
