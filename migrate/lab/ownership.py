"""Who owns which field: server-side apply, and the tracking of every other write, in `metadata.managedFields`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from migrate.lab import typed_merge
from migrate.lab.fieldset import NOTHING, STRIPPED, Fields, decode, encode, fields_of, remove, shown, with_named
from migrate.lab.notation import Schema
from migrate.lab.schema import with_metadata
from migrate.lab.store import clone

BEFORE_FIRST_APPLY = "before-first-apply"
"""Manager that gets the fields of an object that nobody tracked before its first apply."""


@dataclass(frozen=True, slots=True)
class Manager:
    """Who wrote: the identity of an entry in managedFields. An applier is the same in every version."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    @property
    def identity(self) -> Manager:
        """Return what tells two entries apart."""
        return replace(self, api_version="") if self.operation == "Apply" else self

    def __str__(self) -> str:
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of managedFields."""

    manager: Manager
    fields: Fields
    time: str


class ApplyRefused(Exception):
    """The configuration cannot be applied at all. `code` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ApplyConflict(Exception):
    """Other managers own fields that this apply would change (409). `conflicts` = (manager as messages name it, path)."""

    def __init__(self, conflicts: Sequence[tuple[str, str]]) -> None:
        self.conflicts = tuple(conflicts)
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """Return the message of the Status."""
        if len(self.conflicts) == 1:
            manager, path = self.conflicts[0]
            return f"Apply failed with 1 conflict: conflict with {manager}: {path}"
        lines: list[str] = []
        for manager in sorted({manager for manager, _ in self.conflicts}):
            lines.append(f"conflicts with {manager}:")
            lines += [f"- {path}" for owner, path in self.conflicts if owner == manager]
        return f"Apply failed with {len(self.conflicts)} conflicts: " + "\n".join(lines)

    @property
    def causes(self) -> list[dict[str, str]]:
        """Return `details.causes` of the Status."""
        return [
            {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": path} for manager, path in self.conflicts
        ]


def read(managed: Any) -> list[Entry]:
    """Read managedFields; entries of a kind that nobody understands are dropped."""
    found = []
    for entry in managed or ():
        if isinstance(entry, Mapping) and entry.get("fieldsType") == "FieldsV1" and entry.get("manager") is not None:
            who = Manager(entry["manager"], entry.get("operation", "Update"), entry.get("apiVersion", ""), entry.get("subresource", ""))
            found.append(Entry(who, decode(entry.get("fieldsV1") or {}), entry.get("time", "")))
    return found


def written(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Write managedFields: appliers first, then by time and name; managers without fields are gone."""
    kept = [entry for entry in entries if entry.fields]
    kept.sort(key=lambda e: (e.manager.operation, e.time, e.manager.name, e.manager.api_version, e.manager.subresource))
    return [_written(entry) for entry in kept]


def _written(entry: Entry) -> dict[str, Any]:
    who = entry.manager
    result: dict[str, Any] = {
        "manager": who.name,
        "operation": who.operation,
        "apiVersion": who.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": encode(entry.fields),
    }
    if who.subresource:
        result["subresource"] = who.subresource
    return result


def _bare(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without managedFields, which own themselves."""
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def track(
    live: Mapping[str, Any] | None,
    new: Mapping[str, Any],
    *,
    manager: str,
    operation: str = "Update",
    subresource: str = "",
    api_version: str,
    now: str,
    schema: Schema,
) -> dict[str, Any]:
    """Return `new` with managedFields that credit this write with what it changed since `live` (None when it creates).

    managedFields sent with the object count when they are readable; `[{}]` forgets all of them.
    """
    result: dict[str, Any] = clone(dict(new))
    metadata = result.setdefault("metadata", {})
    sent = metadata.get("managedFields")
    entries = read(sent) or read(((live or {}).get("metadata") or {}).get("managedFields"))
    if sent == [{}]:
        entries = []
    if live is not None and not entries:
        metadata.pop("managedFields", None)
        return result
    who = Manager(manager, operation, api_version, subresource)
    metadata["managedFields"] = written(_tracked(entries, who, live or {}, result, now=now, schema=with_metadata(schema)))
    if not metadata["managedFields"]:
        del metadata["managedFields"]
    return result


def _tracked(
    entries: Sequence[Entry], who: Manager, old: Mapping[str, Any], new: Mapping[str, Any], *, now: str, schema: Schema
) -> list[Entry]:
    difference = typed_merge.compare(schema, _bare(old), _bare(new))
    taken = difference.added | difference.changed
    result = [replace(entry, fields=entry.fields - taken - difference.removed) for entry in entries]
    own = taken - STRIPPED
    if not own:
        return result
    mine = next((entry for entry in result if entry.manager.identity == who.identity), None)
    before = mine.fields if mine is not None else NOTHING
    return [*(entry for entry in result if entry is not mine), Entry(who, before | own, now)]


def apply(
    live: Mapping[str, Any] | None,
    config: Mapping[str, Any],
    *,
    manager: str,
    force: bool = False,
    schema: Schema,
    api_version: str,
    now: str,
    subresource: str = "",
    ignored: Iterable[str] = (),
) -> dict[str, Any]:
    """Return the object that server-side apply makes of `live` (None when absent) and a configuration, managedFields included.

    `ignored` names the top-level fields that this endpoint does not write. Raise ApplyConflict when other managers own what would change
    and `force` is off, ApplyRefused when the configuration does not fit the schema.
    """
    full = with_metadata(schema)
    _readable(config, full)
    who = Manager(manager, "Apply", api_version, subresource)
    old = _bare(live or {})
    wanted = _bare({key: value for key, value in config.items() if key not in ignored})
    entries = _before(live, now=now, schema=full)
    mine = next((entry for entry in entries if entry.manager.identity == who.identity), None)
    others = [entry for entry in entries if entry is not mine]
    own = frozenset(fields_of(full, wanted)) - STRIPPED
    merged = typed_merge.merge(full, old, wanted)
    if mine is not None:
        merged = _pruned(merged, mine.fields, frozenset().union(own, *(entry.fields for entry in others)), full)
    difference = typed_merge.compare(full, old, merged)
    taken = difference.added | difference.changed
    conflicts = [(str(entry.manager), shown(path)) for entry in others for path in sorted(entry.fields & taken)]
    if conflicts and not force:
        raise ApplyConflict(conflicts)
    others = [replace(entry, fields=entry.fields - taken - difference.removed) for entry in others]
    noop = live is not None and old == merged
    time = mine.time if noop and mine is not None else now
    merged["metadata"]["managedFields"] = written([*others, Entry(who, own, time)])
    result: dict[str, Any] = merged
    return result


def _before(live: Mapping[str, Any] | None, *, now: str, schema: Schema) -> list[Entry]:
    """Return the entries of the live object; one that nobody tracked belongs to a manager of its own."""
    if live is None:
        return []
    entries = read((live.get("metadata") or {}).get("managedFields"))
    if entries:
        return entries
    who = Manager(BEFORE_FIRST_APPLY, "Update", str(live.get("apiVersion", "")))
    return _tracked([], who, {}, live, now=now, schema=schema)


def _readable(config: Mapping[str, Any], schema: Schema) -> None:
    metadata = config.get("metadata") or {}
    if metadata.get("managedFields"):
        raise ApplyRefused(400, "metadata.managedFields must be nil")
    found = list(typed_merge.problems(schema, dict(config)))
    if found:
        group, _, version = str(config.get("apiVersion", "")).rpartition("/")
        kind = f"{group}/{version}, Kind={config.get('kind', '')}"
        text = found[0] if len(found) == 1 else "errors:\n" + "\n".join(f"  {line}" for line in found)
        name = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
        raise ApplyRefused(500, f"failed to create typed patch object ({name}; {kind}): {text}")


def _pruned(merged: dict[str, Any], last: Fields, owned: Fields, schema: Schema) -> dict[str, Any]:
    """Return the merged object without what this manager applied last time and nobody owns any more."""
    gone = with_named(last, schema) - with_named(owned, schema) - STRIPPED
    result: dict[str, Any] = remove(schema, merged, gone)
    return result
