"""GET: one object or a page of a list, as they are, as a table, or as metadata only."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from migrate.lab import tables
from migrate.lab.api_paths import Target
from migrate.lab.api_selectors import field_selector, label_selector
from migrate.lab.api_status import ApiError, bad_request, expired, not_found, too_large_version
from migrate.lab.httpd import Request
from migrate.lab.kinds import Resource
from migrate.lab.store import Ahead, Entry, Expired, Object, Store, dump, matching

OLD_TOKEN = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue "
    "parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token "
    "results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and "
    "now may show up in the list."
)


@dataclass(frozen=True, slots=True)
class Form:
    """How objects are shown: `whole`, `table`, or `partial` (metadata only)."""

    name: str
    version: str = "v1"
    include: tables.Include = "Metadata"


@dataclass(frozen=True, slots=True)
class Question:
    """What a list or watch asks of a resource."""

    resource: Resource
    version: str
    namespace: str
    accept: Callable[[Object], bool] | None
    form: Form

    @property
    def place(self) -> tuple[str, str]:
        return (self.resource.group, self.resource.plural)

    @property
    def prefix(self) -> str:
        return f"{self.namespace}/" if self.namespace else ""

    @property
    def api_version(self) -> str:
        return self.resource.api_version(self.version)


def form_of(request: Request) -> Form:
    """Choose the form from the Accept header; JSON is the only encoding. Raises a 406 ApiError."""
    accepted = request.header("accept", "*/*")
    for part in accepted.split(","):
        media, *params = (word.strip() for word in part.split(";"))
        words = dict(param.split("=", 1) for param in params if "=" in param)
        if media not in ("application/json", "application/*", "*/*", ""):
            continue
        match words.get("as"), words.get("g", "meta.k8s.io"), words.get("v", "v1"):
            case None, _, _:
                return Form("whole")
            case "Table", "meta.k8s.io", "v1" | "v1beta1" as version:
                return Form("table", version, _include(request))
            case "PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1" | "v1beta1" as version:
                return Form("partial", version)
    if "application/yaml" in accepted or "text/html" in accepted:
        return Form("whole")
    raise ApiError(406, "only the following media types are accepted: application/json", details={})


def _include(request: Request) -> tables.Include:
    match request.arg("includeObject", "Metadata"):
        case "Object":
            return "Object"
        case "None":
            return "None"
        case _:
            return "Metadata"


def question_of(request: Request, target: Target, resource: Resource) -> Question:
    """Read the selectors and the form of a list, watch or deletecollection."""
    tests = [
        test
        for test in (
            label_selector(request.arg("labelSelector")),
            field_selector(request.arg("fieldSelector"), resource, target.version),
            _named(target.name),
        )
        if test is not None
    ]
    accept = None
    if len(tests) == 1:
        accept = tests[0]
    elif tests:

        def accept(obj: Object) -> bool:
            return all(test(obj) for test in tests)

    return Question(resource, target.version, target.namespace if resource.namespaced else "", accept, form_of(request))


def _named(name: str) -> Callable[[Object], bool] | None:
    return (lambda obj: bool(obj["metadata"]["name"] == name)) if name else None


def get(store: Store, question: Question, name: str, *, now: datetime) -> bytes:
    """Return the JSON of one object. Raises a 404 ApiError."""
    entry = store.get(question.place, f"{question.prefix}{name}")
    if entry is None:
        raise not_found(question.resource, name)
    return shown(question, entry, now=now)


def shown(question: Question, entry: Entry, *, now: datetime) -> bytes:
    """Return the JSON of an object in the form asked for."""
    match question.form.name:
        case "table":
            return dump(_table(question, [entry], now))
        case "partial":
            return dump(_partial(question.form, entry.obj))
        case _:
            return entry.raw(question.api_version)


def listed(store: Store, question: Question, request: Request, *, now: datetime) -> bytes:
    """Return the JSON of a list or one page of it. Raises ApiError: 410 for an old token or version, 504 for a future one."""
    limit = _number(request.arg("limit"), "limit")
    after, wanted = _token(request.arg("continue"))
    if not after and request.arg("resourceVersionMatch") == "Exact":
        wanted = _number(request.arg("resourceVersion"), "resourceVersion")
    if _number(request.arg("resourceVersion"), "resourceVersion") > store.rv:
        raise too_large_version(_number(request.arg("resourceVersion"), "resourceVersion"), store.rv)
    try:
        entries, rv = store.snapshot(question.place, question.prefix, rv=wanted)
    except Expired:
        raise expired(OLD_TOKEN if after else "The resourceVersion for the provided list is too old.") from None
    except Ahead:
        raise too_large_version(wanted, store.rv) from None
    if after:
        entries = [entry for entry in entries if entry.key > after]
    found = matching(entries, question.accept)
    metadata: dict[str, Any] = {**({} if question.resource.builtin else {"continue": ""}), "resourceVersion": str(rv)}
    if limit and len(found) > limit:
        left = len(found) - limit
        found = found[:limit]
        metadata["continue"] = _continue(rv, found[-1].key)
        if question.accept is None:
            metadata["remainingItemCount"] = left
    return _list(question, found, metadata, now)


def _list(question: Question, found: Sequence[Entry], metadata: dict[str, Any], now: datetime) -> bytes:
    resource = question.resource
    match question.form.name:
        case "table":
            table = _table(question, found, now)
            return dump({**table, "metadata": metadata})
        case "partial":
            head: Object = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{question.form.version}", "metadata": metadata}
            return dump({**head, "items": [_partial(question.form, entry.obj) for entry in found]})
        case _:
            # lists of built-in kinds leave out apiVersion and kind of their items, lists of custom resources do not
            shape = "" if resource.builtin else question.api_version
            start = dump({"kind": resource.list_kind, "apiVersion": question.api_version, "metadata": metadata})[:-1]
            return b'%b,"items":[%b]}' % (start, b",".join([entry.raw(shape) for entry in found]))


def _table(question: Question, entries: Sequence[Entry], now: datetime) -> dict[str, Any]:
    objects = [entry.shown(question.api_version) for entry in entries]
    return tables.table(question.resource, question.version, objects, now, include=question.form.include)


def _partial(form: Form, obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{form.version}", "metadata": obj["metadata"]}


def _number(text: str, name: str) -> int:
    if not text:
        return 0
    if not text.isdecimal():
        raise bad_request(f'invalid value for {name}: "{text}"')
    return int(text)


def _continue(rv: int, key: str) -> str:
    token = {"v": "meta.k8s.io/v1", "rv": rv, "start": key}
    return base64.urlsafe_b64encode(json.dumps(token).encode()).decode().rstrip("=")


def _token(text: str) -> tuple[str, int]:
    """Return the last key and the resource version of a continue token. Raises a 400 ApiError."""
    if not text:
        return "", 0
    try:
        token = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return str(token["start"]), int(token["rv"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise bad_request("continue key is not valid: illegal base64 or content") from None
