"""Label and field selectors: which objects a list, a watch or a deletecollection means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from migrate.lab.api_status import ApiError, bad_request
from migrate.lab.kinds import Resource

Object = dict[str, Any]
Accept = Callable[[Object], bool]

_FIELDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "pods"): (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    ("", "events"): (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    ("", "namespaces"): ("status.phase",),
    ("", "nodes"): ("spec.unschedulable",),
    ("", "secrets"): ("type",),
    ("", "services"): ("spec.clusterIP", "spec.type"),
    ("batch", "jobs"): ("status.successful",),
}
_KEY = r"(?:[A-Za-z0-9.\-]+/)?[A-Za-z0-9](?:[A-Za-z0-9._\-]*[A-Za-z0-9])?"
_SET = re.compile(rf"^({_KEY})\s+(in|notin)\s*\(([^()]*)\)$")
_EQUAL = re.compile(rf"^({_KEY})\s*(==|!=|=)\s*([A-Za-z0-9._\-]*)$")
_HAS = re.compile(rf"^(!?)\s*({_KEY})$")


def label_selector(text: str) -> Accept | None:
    """Parse a label selector; None when it accepts everything. Raises a 400 ApiError for nonsense."""
    tests = [_label_test(part.strip(), text) for part in _split(text)]
    if not tests:
        return None

    def accept(obj: Object) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return accept


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for index, char in enumerate(text):
        if char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return [part for part in parts if part.strip()]


def _label_test(part: str, whole: str) -> Callable[[Mapping[str, str]], bool]:
    if match := _SET.match(part):
        key, word, values = match.groups()
        wanted = frozenset(value.strip() for value in values.split(","))
        if word == "in":
            return lambda labels: key in labels and labels[key] in wanted
        return lambda labels: key not in labels or labels[key] not in wanted
    if match := _EQUAL.match(part):
        key, word, value = match.groups()
        if word == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match := _HAS.match(part):
        absent, key = match.groups()
        if absent:
            return lambda labels: key not in labels
        return lambda labels: key in labels
    raise bad_request(f"unable to parse requirement: {part!r} in label selector {whole!r}")


def field_selector(text: str, resource: Resource, version: str) -> Accept | None:
    """Parse a field selector for a resource; None when it accepts everything. Raises a 400 ApiError for fields it does not know."""
    known = {"metadata.name", *(("metadata.namespace",) if resource.namespaced else ())}
    known |= set(_FIELDS.get((resource.group, resource.plural), ()))
    entry = next((v for v in resource.versions if v.name == version), None)
    known |= set(getattr(entry, "selectable", ()))
    tests: list[tuple[tuple[str, ...], bool, str]] = []
    for part in _split(text):
        match = re.match(r"^\s*([^=!]+?)\s*(==|!=|=)\s*(.*?)\s*$", part)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        path, word, value = match.groups()
        if path not in known:
            raise _unknown_field(path, text, resource, version)
        tests.append((tuple(path.split(".")), word != "!=", re.sub(r"\\(.)", r"\1", value)))
    if not tests:
        return None
    return lambda obj: all((_field(obj, path) == value) is wanted for path, wanted, value in tests)


def name_wanted(text: str) -> str:
    """Return the name in a field selector that pins one (`metadata.name=x`), else an empty string; authorization looks at it."""
    match = re.fullmatch(r"\s*metadata\.name\s*==?\s*([^,!=]+)", text)
    return match.group(1) if match else ""


def _unknown_field(path: str, text: str, resource: Resource, version: str) -> ApiError:
    if resource.builtin:
        what = f'"{resource.group}/{version}, Resource={resource.plural}"'
        selector = f'that match label selector "", field selector "{text}"'
        return bad_request(f"Unable to find {what} {selector}: field label not supported: {path}")
    return bad_request(f"field label not supported: {path}")


def _field(obj: Object, path: tuple[str, ...]) -> str:
    value: Any = obj
    if path == ("source",):
        path = ("source", "component")
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    match value:
        case None:
            return "false" if path[-1] in ("hostNetwork", "unschedulable") else ""
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
