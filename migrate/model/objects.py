"""Reading in Kubernetes objects as they come from the API: plain nested mappings, any part of which may be absent or null."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """One entry of status.conditions; `status` is "True", "False" or "Unknown"."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    since: datetime | None = None

    @property
    def true(self) -> bool:
        return self.status == "True"

    @property
    def false(self) -> bool:
        return self.status == "False"


def dig(obj: Object | None, *path: str, default: Any = None) -> Any:
    """Return the value at a path of keys, or the default where the way breaks off or ends in null."""
    here: Any = obj
    for key in path:
        if not isinstance(here, Mapping):
            return default
        here = here.get(key)
    return default if here is None else here


def name_of(obj: Object) -> str:
    """Return metadata.name."""
    return str(dig(obj, "metadata", "name", default=""))


def uid_of(obj: Object) -> str:
    """Return metadata.uid."""
    return str(dig(obj, "metadata", "uid", default=""))


def generation_of(obj: Object) -> int:
    """Return metadata.generation; 0 where the server keeps none."""
    return int(dig(obj, "metadata", "generation", default=0))


def annotations_of(obj: Object | None) -> Mapping[str, str]:
    """Return metadata.annotations."""
    return dig(obj, "metadata", "annotations", default={})  # type: ignore[no-any-return]


def labels_of(obj: Object | None) -> Mapping[str, str]:
    """Return metadata.labels."""
    return dig(obj, "metadata", "labels", default={})  # type: ignore[no-any-return]


def leaving(obj: Object | None) -> bool:
    """Tell whether an object is being deleted."""
    return dig(obj, "metadata", "deletionTimestamp") is not None


def created_at(obj: Object) -> datetime | None:
    """Return metadata.creationTimestamp."""
    return moment(dig(obj, "metadata", "creationTimestamp"))


def moment(text: object) -> datetime | None:
    """Read an RFC 3339 time as Kubernetes writes it; None for anything else."""
    if isinstance(text, datetime):
        return text
    if not isinstance(text, str) or not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def condition(obj: Object | None, kind: str) -> Condition | None:
    """Return the condition of one type, or None while nobody has reported it."""
    for entry in dig(obj, "status", "conditions", default=()):
        if entry.get("type") == kind:
            return Condition(
                kind,
                str(entry.get("status", "Unknown")),
                str(entry.get("reason") or ""),
                str(entry.get("message") or ""),
                moment(entry.get("lastTransitionTime")),
            )
    return None


def owned_by(obj: Object, uid: str) -> bool:
    """Tell whether an object names this one as an owner: it would be collected as garbage with it."""
    return any(owner.get("uid") == uid for owner in dig(obj, "metadata", "ownerReferences", default=()))


def controller_of(obj: Object) -> tuple[str, str] | None:
    """Return (kind, name) of the controlling owner, if there is one."""
    for owner in dig(obj, "metadata", "ownerReferences", default=()):
        if owner.get("controller"):
            return str(owner.get("kind", "")), str(owner.get("name", ""))
    return None
