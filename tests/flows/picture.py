"""What two clusters look like in one namespace, freed of what differs from run to run: to compare an end with another end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from migrate.kube.kinds import PV, PVC
from migrate.lab.disks import content
from migrate.lab.kubevirt_guest import WINDOW_END, WINDOW_START, read_guest_log
from migrate.lab.storage import disk_file
from migrate.lab.up import Lab
from migrate.model import labels

Picture = dict[str, Any]
"""Path of a field → its value. A list of lines would do as well, but fields can be compared by name."""

_VARIABLE = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)"), "<time>"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<uuid>"),
    (re.compile(r"<uuid>/\d+"), "<number of a claim>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<sha256>"),
    (re.compile(r"\b02(:[0-9a-f]{2}){5}\b"), "<mac>"),
    (re.compile(r"\blocalhost:\d+"), "localhost:<port>"),
    (re.compile(r"\bmigrate-claim-[0-9a-f]{12}\b"), "migrate-claim-<source>"),
)
_UNCOMPARED = frozenset({"events", "uid", "resourceVersion"})


def picture(lab: Lab, namespace: str) -> Picture:
    """Look at everything in a namespace of both clusters, and at the volumes of its claims. Nothing is left out but events."""
    found = dict(_objects(lab, namespace))
    names = _names(found, namespace)
    seen: Picture = {}
    for word, obj in found.items():
        seen |= {
            f"{_said(path, names)}": _said(value, names) if isinstance(value, str) else value for path, value in _fields(word, _freed(obj))
        }
    return seen | {_said(path, names): _said(value, names) if isinstance(value, str) else value for path, value in _bytes(lab, namespace)}


def differences(clean: Picture, now: Picture) -> list[str]:
    """Say in which fields two pictures differ."""
    paths = sorted(clean.keys() | now.keys())
    return [f"{path}: clean {_shown(clean, path)}, now {_shown(now, path)}" for path in paths if _shown(clean, path) != _shown(now, path)]


def _shown(seen: Picture, path: str) -> str:
    return repr(seen[path]) if path in seen else "absent"


def _objects(lab: Lab, namespace: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, cluster in lab.clusters.items():
        store = cluster.api.store
        for group, plural in store.places():
            if plural in _UNCOMPARED:
                continue
            for entry in store.entries((group, plural)):
                if _belongs(entry.obj, namespace):
                    yield f"{name} {plural}/{_name(entry.obj)}", entry.obj


def _belongs(obj: Mapping[str, Any], namespace: str) -> bool:
    space = obj["metadata"].get("namespace") or ((obj.get("spec") or {}).get("claimRef") or {}).get("namespace")
    return bool(space == namespace or (obj["kind"] == "Namespace" and obj["metadata"]["name"] == namespace))


def _name(obj: Mapping[str, Any]) -> str:
    prefix = obj["metadata"].get("generateName")
    claim = (obj.get("spec") or {}).get("claimRef")
    return f"{prefix}<random>" if prefix else f"of {claim['name']}" if claim else str(obj["metadata"]["name"])


def _names(found: Mapping[str, Mapping[str, Any]], namespace: str) -> dict[str, str]:
    """Return what to write for names that are new in each run: the namespace, the ids of migrations, names with a random end, uids."""
    ids = {str((obj["metadata"].get("labels") or {}).get(labels.ID, "")) for obj in found.values()}
    ids |= {str((obj["metadata"].get("annotations") or {}).get(labels.HALTED_BY, "")) for obj in found.values()}
    said = {one: f"<id {number}>" for number, one in enumerate(sorted(ids - {""}))}
    said[namespace] = "<namespace>"
    for word, obj in found.items():
        said[obj["metadata"]["uid"]] = f"<uid of {word}>"
        if obj["metadata"].get("generateName"):
            said[obj["metadata"]["name"]] = _name(obj)
    return said


def _said(text: str, names: Mapping[str, str]) -> str:
    for old in sorted(names, key=len, reverse=True):
        text = text.replace(old, names[old])
    for pattern, word in _VARIABLE:
        text = pattern.sub(word, text)
    return text


def _freed(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without its versions, texts that are JSON taken apart, and a record without what it measured of the steps."""
    freed = json.loads(json.dumps(obj))
    for key in ("uid", "resourceVersion", "name"):
        freed["metadata"].pop(key, None)
    freed["metadata"]["managedFields"] = _managers(freed["metadata"].get("managedFields") or [])
    notes = freed["metadata"].get("annotations") or {}
    notes.pop("lab.kubevirt-migrate.io/ports", None)
    if labels.CLAIM in notes:
        notes[labels.CLAIM] = "<number of the claim>"  # the claim of each run has one of its own
    freed["data"] = {key: _parsed(text) for key, text in (freed.get("data") or {}).items()}
    record = freed["data"].get("record.json")
    if isinstance(record, dict):
        record["steps"] = "<measured>"
    claim = (freed.get("spec") or {}).get("claimRef")
    if claim:
        claim.pop("resourceVersion", None)
    return freed


def _managers(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"{entry['manager']} {entry['operation']} {entry.get('subresource', '')}": entry.get("fieldsV1") for entry in entries}


def _parsed(found: Any) -> Any:
    try:
        return json.loads(found)
    except (ValueError, TypeError):
        return found


def _fields(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    match value:
        case dict() if value:
            for key, item in value.items():
                yield from _fields(f"{path} {key}", item)
        case list() if value:
            for number, item in enumerate(value):
                yield from _fields(f"{path} {number}", item)
        case _:
            yield path, value


def _bytes(lab: Lab, namespace: str) -> Iterator[tuple[str, Any]]:
    """Tell of every disk whose bytes it holds, by the first disk of the source with the same, and what guests left on it.

    Two runs have no bytes in common: what lies on a disk at first follows from its namespace, and guests write times.
    """
    hashes = {place: found for place, found in lab.disks().items() if place[1] == namespace}
    firsts: dict[str, str] = {}
    for (side, _, claim), found in sorted(hashes.items()):
        yield f"{side} bytes of {claim}, all", firsts.setdefault(found, f"those of {side} {claim}")
        cluster = lab.clusters[side]
        api = cluster.runtime.api
        volume = api.get(PV, (api.get(PVC, claim, namespace) or {})["spec"]["volumeName"])
        assert volume is not None
        path = disk_file(cluster.volumes.path(volume))
        if not path.exists():
            yield f"{side} files of {claim}", ", ".join(sorted(str(one.relative_to(path.parent)) for one in path.parent.rglob("*")))
            continue
        yield f"{side} size of {claim}", content(path)[0]
        data = path.read_bytes()
        quiet = (data[:WINDOW_START] + data[WINDOW_END:]).rstrip(b"\0").hex()
        yield f"{side} bytes of {claim}, beyond the guest's reach", firsts.setdefault(quiet, f"those of {side} {claim}")
        log = read_guest_log(data[:WINDOW_END])
        yield f"{side} guest of {claim}", f"{log.boots} boots, clean: {log.clean}, asks for its recovery key: {log.locked}"
