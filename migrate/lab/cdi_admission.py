"""What CDI's webhook says about DataVolumes, word for word: users and tools match on these sentences.

Source: reference/cdi-import.md section 1.3. Checks run in its order; most stop at the first hit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from migrate.lab import cdi_names as names
from migrate.lab import quantity
from migrate.lab.admission import Admission, Cause, Denied, Review
from migrate.lab.cdi_sizes import MIB, quantity_bytes

Object = dict[str, Any]
WEBHOOK: Final = "datavolume-validate.cdi.kubevirt.io"
SOURCES: Final = ("http", "s3", "gcs", "registry", "pvc", "upload", "blank", "imageio", "vddk", "snapshot")
_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_HEX_LENGTH: Final = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One cause: the sentence, and where in the object."""

    message: str
    field: str = "spec"


def admissions() -> list[Admission]:
    """Return the webhook as the API server calls it."""
    return [review]


def review(asked: Review) -> Object | None:
    """Judge one write of a DataVolume; nothing is changed. Raises Denied (422) with all causes in one sentence."""
    if (asked.resource.group, asked.resource.plural) != (names.GROUP, "datavolumes") or asked.subresource:
        return None
    if asked.operation not in {"CREATE", "UPDATE"} or asked.new is None:
        return None
    if asked.operation == "UPDATE":
        found = update_refusals(asked.old or {}, asked.new)
    else:
        pvc = asked.get("", "persistentvolumeclaims", asked.namespace, asked.new["metadata"].get("name", ""))
        found = create_refusals(asked.new, pvc)
    if found:
        words = "".join(f" {refusal.message}" for refusal in found)
        causes = [Cause(refusal.field, "FieldValueInvalid", refusal.message) for refusal in found]
        raise Denied(422, f'admission webhook "{WEBHOOK}" denied the request: {words}', causes, reason="Invalid")
    return None


def update_refusals(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Refusal]:
    """Return the refusal of a changed spec. Checkpoints of multi-stage sources may move on."""
    before, after = _meaning(old.get("spec")), _meaning(new.get("spec"))
    if before == after:
        return []
    source = (new.get("spec") or {}).get("source") or {}
    if isinstance(before, dict) and isinstance(after, dict) and ("vddk" in source or "imageio" in source):
        stages = {"checkpoints", "finalCheckpoint"}
        rest = [{key: value for key, value in spec.items() if key not in stages} for spec in (before, after)]
        if rest[0] == rest[1]:
            return []
    return [Refusal("Cannot update DataVolume Spec", "DataVolume.Spec")]


def _meaning(value: Any, key: str = "") -> Any:
    """Return a value in which equal meanings are equal: quantities as numbers, nothing for empty."""
    if isinstance(value, dict):
        made = {name: _meaning(item, name) for name, item in value.items()}
        return {name: item for name, item in made.items() if item not in (None, [])}
    if isinstance(value, list):
        return [_meaning(item) for item in value]
    if key == "storage" and isinstance(value, str | int):
        try:
            return quantity.value(value)
        except ValueError:
            return value
    return value


def create_refusals(dv: Mapping[str, Any], pvc: Mapping[str, Any] | None) -> list[Refusal]:
    """Return everything that is wrong with a new DataVolume. `pvc` is the claim that already has its name, if there is one."""
    name = dv["metadata"].get("name", "")
    if len(name) > names.LONGEST:
        return [Refusal("Name cannot be longer than 253 characters", "metadata.name")]
    if pvc is not None and not adoptable(dv, pvc) and not _owned_by_datavolume(pvc):
        return [
            Refusal(f"Destination PVC {pvc['metadata'].get('namespace', '')}/{pvc['metadata']['name']} already exists", "DataVolume.Name")
        ]
    spec = dv.get("spec") or {}
    return _target(spec) or _source(spec)


def adoptable(dv: Mapping[str, Any], pvc: Mapping[str, Any]) -> bool:
    """Tell whether a DataVolume may take an existing claim as its own (reference section 8)."""
    created_for = (pvc["metadata"].get("annotations") or {}).get(names.CREATED_FOR)
    if created_for and created_for == dv["metadata"].get("uid"):
        return False
    return str((dv["metadata"].get("annotations") or {}).get(names.ADOPT, "")).lower() in {"true", "1", "t"}


def _owned_by_datavolume(pvc: Mapping[str, Any]) -> bool:
    owner = controller_of(pvc)
    return owner is not None and owner.get("kind") == "DataVolume"


def controller_of(obj: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the owner reference of an object's controller."""
    return next((ref for ref in obj["metadata"].get("ownerReferences") or () if ref.get("controller")), None)


def _target(spec: Mapping[str, Any]) -> list[Refusal]:
    pvc, storage = spec.get("pvc"), spec.get("storage")
    if pvc is None and storage is None:
        return [Refusal("Missing Data volume PVC", "spec.PVC")]
    if pvc is not None and storage is not None:
        return [Refusal("Duplicate storage definition, both target storage and target pvc defined", "spec.Storage")]
    word, part = ("PVC", pvc) if pvc is not None else ("Storage", storage)
    found = _size(word, part or {}, spec)
    if found:
        return found
    modes = (part or {}).get("accessModes") or []
    if word == "PVC" and not modes:
        return [Refusal("Required value: at least 1 access mode is required", "spec.PVC.accessModes")]
    if word == "PVC" and len(modes) > 1:
        return [Refusal("PVC multiple accessModes", "spec.PVC.accessModes")]
    listed = ", ".join(f'"{mode}"' for mode in _MODES)
    field = f"spec.{word}.accessModes"
    return [Refusal(f'Unsupported value: "{mode}": supported values: {listed}', field) for mode in modes if mode not in _MODES][:1]


def _size(word: str, part: Mapping[str, Any], spec: Mapping[str, Any]) -> list[Refusal]:
    asked = ((part.get("resources") or {}).get("requests") or {}).get("storage")
    field = f"spec.{word}.resources.requests.size"
    if asked is None:
        source = spec.get("source") or {}
        clone = "pvc" in source or "snapshot" in source or spec.get("sourceRef") is not None
        return [] if word == "Storage" and clone else [Refusal(f"{word} size is missing", field)]
    size = quantity_bytes(asked)
    if size <= 0:
        return [Refusal(f"{word} size can't be equal or less than zero", field)]
    return [Refusal(f"{word} size should be at least 1MiB", field)] if size < MIB else []


def _source(spec: Mapping[str, Any]) -> list[Refusal]:
    source, reference = spec.get("source"), spec.get("sourceRef")
    part = spec.get("pvc") or spec.get("storage") or {}
    external = bool(part.get("dataSource") or part.get("dataSourceRef"))
    if external:
        both = source is not None or reference is not None
        return [Refusal("External population is incompatible with Source and SourceRef")] if both else []
    if (source is None) == (reference is None):
        return [Refusal("Data volume should have either Source or SourceRef, or be externally populated")]
    if source is None:
        return []
    kinds = [kind for kind in SOURCES if source.get(kind) is not None]
    if not kinds:
        return [Refusal("Missing Data volume source", "spec.source")]
    if len(kinds) > 1:
        return [Refusal("Multiple Data volume sources", "spec.source")]
    content = spec.get("contentType") or "kubevirt"
    if content not in {"kubevirt", "archive"}:
        return [Refusal("ContentType not one of: kubevirt, archive", "spec.contentType")]
    if kinds[0] == "blank" and content == "archive":
        return [Refusal("SourceType cannot be blank and the contentType be archive", "spec.contentType")]
    check = _CHECKS.get(kinds[0])
    return check(source[kinds[0]]) if check else []


def _http(source: Mapping[str, Any]) -> list[Refusal]:
    url = source.get("url") or ""
    field = "spec.source"
    if not url:
        return [Refusal("spec.source source URL is empty", field)]
    try:
        parts = urlsplit(url)
    except ValueError:
        return [Refusal(f"spec.source Invalid source URL: {url}", field)]
    if not parts.scheme or any(char <= " " for char in url):
        return [Refusal(f"spec.source Invalid source URL: {url}", field)]
    if parts.scheme not in {"http", "https", "gs"}:
        return [Refusal(f"spec.source Invalid source URL scheme: {url}", field)]
    return _checksum(source.get("checksum") or "")


def _checksum(text: str) -> list[Refusal]:
    if not text:
        return []
    algorithm, colon, digest = text.partition(":")
    field = "spec.source.http.checksum"
    if not colon:
        return [Refusal("Invalid checksum format: expected 'algorithm:hash'", field)]
    length = _HEX_LENGTH.get(algorithm.lower())
    if length is None:
        return [Refusal(f"Invalid checksum format: unsupported algorithm {algorithm}", field)]
    if len(digest) != length:
        return [Refusal(f"Invalid checksum format: invalid hash length for {algorithm}: expected {length}, got {len(digest)}", field)]
    if any(char not in "0123456789abcdefABCDEF" for char in digest):
        return [Refusal("Invalid checksum format: hash is not hexadecimal", field)]
    return []


def _clone(words: str) -> Callable[[Mapping[str, Any]], list[Refusal]]:
    def check(source: Mapping[str, Any]) -> list[Refusal]:
        return [] if source.get("name") and source.get("namespace") else [Refusal(words, "spec.source")]

    return check


_CHECKS: Final[Mapping[str, Callable[[Mapping[str, Any]], list[Refusal]]]] = {
    "http": _http,
    "pvc": _clone("spec.source.PVC source PVC is not valid"),
    "snapshot": _clone("spec.source.Snapshot source snapshot is not valid"),
}
