"""Names that CDI gives to things: annotations, labels, objects. One table, since controllers and programs speak through them.

Source: reference/cdi-import.md sections 3.2, 3.7 and 3.8.
"""

from __future__ import annotations

import hashlib

NAMESPACE = "cdi"
GROUP = "cdi.kubevirt.io"
P = "cdi.kubevirt.io/"

IMMEDIATE = P + "storage.bind.immediate.requested"
USE_POPULATOR = P + "storage.usePopulator"
RETAIN = P + "storage.pod.retainAfterCompletion"
ADOPT = P + "allowClaimAdoption"
PREPOPULATED = P + "storage.prePopulated"
POPULATED_FOR = P + "storage.populatedFor"
CREATED_FOR = P + "createdForDataVolume"

SOURCE = P + "storage.import.source"
ENDPOINT = P + "storage.import.endpoint"
BASIC_AUTH = P + "storage.import.secretName"
CERT_CONFIG_MAP = P + "storage.import.certConfigMap"
EXTRA_HEADERS = P + "storage.import.extraHeaders."
SECRET_HEADERS = P + "storage.import.secretExtraHeaders."
CHECKSUM = P + "storage.import.checksum"
INSECURE = P + "storage.import.insecureSkipVerify"
IMPORT_POD = P + "storage.import.importPodName"
REQUIRES_SCRATCH = P + "storage.import.requiresScratch"
REQUIRES_DIRECT_IO = P + "storage.import.requiresDirectIo"
FATAL = P + "storage.import.fatalError"
IMPORT_PREFIX = P + "storage.import."

POD_PHASE = P + "storage.pod.phase"
POD_READY = P + "storage.pod.ready"
POD_RESTARTS = P + "storage.pod.restarts"
POD_SCHEDULABLE = P + "storage.pod.schedulable"
PRIORITY_CLASS = P + "storage.pod.priorityclassname"
SERVICE_ACCOUNT = P + "storage.pod.serviceAccountName"

RUNNING = P + "storage.condition.running"
RUNNING_REASON = RUNNING + ".reason"
RUNNING_MESSAGE = RUNNING + ".message"
BOUND = P + "storage.condition.bound"
BOUND_REASON = BOUND + ".reason"
BOUND_MESSAGE = BOUND + ".message"

CONTENT_TYPE = P + "storage.contentType"
PREALLOCATION = P + "storage.preallocation.requested"
PREALLOCATED = P + "storage.preallocation"
UPLOAD_TARGET = P + "storage.upload.target"
UPLOAD_POD = P + "storage.uploadPodName"
POPULATOR_KIND = P + "storage.populator.kind"
PVC_PRIME = P + "storage.populator.pvcPrime"
PROGRESS = P + "storage.populator.progress"
MINIMUM_SIZE = P + "minimumSupportedPvcSize"

SELECTED_NODE = "volume.kubernetes.io/selected-node"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
DEFAULT_VIRT_CLASS = "storageclass.kubevirt.io/is-default-virt-class"
DEFAULT_SNAPSHOT_CLASS = "snapshot.storage.kubernetes.io/is-default-class"

MIRRORED = (
    POD_PHASE,
    POD_READY,
    POD_RESTARTS,
    POD_SCHEDULABLE,
    PREALLOCATED,
    PREALLOCATION,
    RUNNING,
    RUNNING_MESSAGE,
    RUNNING_REASON,
    FATAL,
)
"""Annotations that a populator copies from its hidden claim to the target claim."""

APP = {"app": "containerized-data-importer"}
WORKER = "cdi.kubevirt.io"
"""Label key that tells the kind of worker: `importer` or `cdi-upload-server`."""

IMPORTER_IMAGE = "lab/cdi-importer"
UPLOAD_IMAGE = "lab/cdi-uploadserver"

LONGEST = 253
LONGEST_SERVICE = 63


def prime(target_uid: str) -> str:
    """Return the name of the hidden claim (PVC′) that stands in for a target claim while it is filled."""
    return f"prime-{target_uid}"


def scratch(claim: str) -> str:
    """Return the name of the scratch claim of an importer's claim."""
    return _fit(f"{claim}-scratch", LONGEST)


def importer_pod(claim: str) -> str:
    """Return the name of the importer pod of a claim."""
    return _fit(f"importer-{claim}", LONGEST)


def upload_pod(claim: str) -> str:
    """Return the name of the upload server's pod of a claim."""
    return _fit(f"cdi-upload-{claim}", LONGEST)


def upload_service(claim: str) -> str:
    """Return the name of the upload server's Service, which may be no longer than 63 characters."""
    return _fit(f"cdi-upload-{claim}", LONGEST_SERVICE)


def import_source(dv_uid: str) -> str:
    """Return the name of the VolumeImportSource of a DataVolume."""
    return f"volume-import-source-{dv_uid}"


def upload_source(dv_uid: str) -> str:
    """Return the name of the VolumeUploadSource of a DataVolume."""
    return f"volume-upload-source-{dv_uid}"


def _fit(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: longest - 9]}-{digest}"
