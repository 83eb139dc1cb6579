"""Rules of `metadata`, the same for every kind: names, labels, annotations, finalizers, owners."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from migrate.lab.kinds import Resource
from migrate.lab.schema_walk import FORBIDDEN, INVALID, REQUIRED, TOO_LONG, Cause, shown

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
ANNOTATIONS_LIMIT = 256 * 1024

SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
LABEL1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an "
    "alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def causes(resource: Resource, obj: Mapping[str, Any]) -> Iterator[Cause]:
    """Yield what is wrong with an object's metadata."""
    metadata = obj["metadata"]
    name, prefix = metadata.get("name", ""), metadata.get("generateName", "")
    if prefix:
        yield from _named(resource, "metadata.generateName", prefix.rstrip("-") or prefix)
    if name:
        yield from _named(resource, "metadata.name", name)
    elif not prefix:
        yield Cause("metadata.name", REQUIRED, "Required value: name or generateName is required")
    for key, value in (metadata.get("labels") or {}).items():
        yield from _qualified("metadata.labels", key)
        if len(value) > 63:
            yield Cause("metadata.labels", INVALID, f"Invalid value: {shown(value)}: must be no more than 63 bytes")
        elif not re.fullmatch(_VALUE, value):
            yield Cause("metadata.labels", INVALID, f"Invalid value: {shown(value)}: {VALUE_TEXT}")
    yield from _annotations(metadata.get("annotations") or {})
    for number, finalizer in enumerate(metadata.get("finalizers") or ()):
        yield from _qualified(f"metadata.finalizers[{number}]", finalizer)
    yield from _owners(metadata.get("ownerReferences") or ())


def _named(resource: Resource, path: str, name: str) -> Iterator[Cause]:
    match resource.names:
        case "label":
            fine, limit, text = re.fullmatch(_LABEL, name), 63, LABEL_TEXT
        case "label1035":
            fine, limit, text = re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name), 63, LABEL1035_TEXT
        case "path":
            bad = next((part for part in ("/", "%") if part in name), None)
            if name in (".", ".."):
                yield Cause(path, INVALID, f"Invalid value: {shown(name)}: may not be '{name}'")
            elif bad:
                yield Cause(path, INVALID, f"Invalid value: {shown(name)}: may not contain '{bad}'")
            return
        case _:
            fine, limit, text = re.fullmatch(_SUBDOMAIN, name), 253, SUBDOMAIN_TEXT
    if len(name) > limit:
        yield Cause(path, INVALID, f"Invalid value: {shown(name)}: must be no more than {limit} bytes")
    if not fine:
        yield Cause(path, INVALID, f"Invalid value: {shown(name)}: {text}")


def _qualified(path: str, key: str) -> Iterator[Cause]:
    prefix, slash, name = key.rpartition("/")
    if slash and not prefix:
        yield Cause(path, INVALID, f"Invalid value: {shown(key)}: prefix part must be non-empty")
    elif slash and not re.fullmatch(_SUBDOMAIN, prefix):
        yield Cause(path, INVALID, f"Invalid value: {shown(key)}: prefix part {SUBDOMAIN_TEXT}")
    if not name:
        yield Cause(path, INVALID, f"Invalid value: {shown(key)}: name part must be non-empty")
    elif len(name) > 63:
        yield Cause(path, INVALID, f"Invalid value: {shown(key)}: name part must be no more than 63 bytes")
    elif not re.fullmatch(_QUALIFIED, name):
        yield Cause(path, INVALID, f"Invalid value: {shown(key)}: {QUALIFIED_TEXT}")


def _annotations(annotations: Mapping[str, str]) -> Iterator[Cause]:
    for key in annotations:
        yield from _qualified("metadata.annotations", key.lower())
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > ANNOTATIONS_LIMIT:
        yield Cause("metadata.annotations", TOO_LONG, f"Too long: may not be more than {ANNOTATIONS_LIMIT} bytes")


def _owners(owners: Any) -> Iterator[Cause]:
    controllers = 0
    for number, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{number}]"
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                message = "version must not be empty" if field == "apiVersion" else f"{field} must not be empty"
                yield Cause(f"{path}.{field}", INVALID, f'Invalid value: "": {message}')
        controllers += bool(owner.get("controller"))
    if controllers > 1:
        yield Cause(
            "metadata.ownerReferences", INVALID, f"Invalid value: {shown(owners)}: Only one reference can have Controller set to true"
        )


def update_causes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Cause]:
    """Yield what an update may not do to metadata (the server itself restores creationTimestamp, uid and the like before it looks)."""
    before, after = old["metadata"], new["metadata"]
    for field in ("name", "namespace", "uid"):
        if before.get(field, "") != after.get(field, ""):
            yield Cause(f"metadata.{field}", INVALID, f"Invalid value: {shown(after.get(field, ''))}: field is immutable")
    if before.get("deletionTimestamp"):
        fresh = [name for name in after.get("finalizers") or () if name not in (before.get("finalizers") or ())]
        if fresh:
            yield Cause(
                "metadata.finalizers",
                FORBIDDEN,
                f"Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {shown(fresh)}",
            )
