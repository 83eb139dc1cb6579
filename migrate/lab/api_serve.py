"""Requests for resources: which rules answer which verb."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from migrate.lab import api_create, api_delete, api_patch, api_protobuf, api_read, api_update
from migrate.lab.admission import User
from migrate.lab.api_objects import Outcome, Write, wrong_place
from migrate.lab.api_paths import Target
from migrate.lab.api_read import OLD_TOKEN, question_of
from migrate.lab.api_status import ApiError, bad_request, no_such_path, success
from migrate.lab.api_virtual import Call
from migrate.lab.httpd import Exchange
from migrate.lab.kinds import Resource
from migrate.lab.schema_text import Malformed, parse_json, parse_yaml
from migrate.lab.store import matching
from migrate.lab.watch import Watch, wanted_of

if TYPE_CHECKING:
    from migrate.lab.api import ApiServer
    from migrate.lab.schema import Validation

__all__ = ["OLD_TOKEN", "Handling", "serve"]

BODY_LIMIT = 3 * 1024 * 1024
"""Bytes of a request body that the real server takes."""
_SHOWN_WHEN_REMOVED = frozenset({"Pod", "Service", "ServiceAccount", "PersistentVolumeClaim", "PersistentVolume", "ResourceQuota"})
"""Kinds whose deletion answers with the object even when it is gone at once; the others answer with a Status."""


@dataclass(slots=True)
class Handling:
    """One request on its way through the server."""

    server: ApiServer
    exchange: Exchange
    target: Target
    user: User
    dry_run: bool = False


def serve(call: Handling) -> Callable[[], None] | None:
    """Answer a request for a resource. Raises ApiError. What it returns is to be run when the clock need not wait for it."""
    target, server = call.target, call.server
    call.dry_run = _dry_run(call.exchange.request.query.get("dryRun"))
    if server.routes.known(target.group, target.version, target.plural, target.subresource):
        return _virtual(call)
    resource = server.registry.find(target.group, target.version, target.plural)
    if resource is None or (resource.namespaced and not target.namespace and (target.name or target.verb == "create")):
        raise no_such_path()
    if not resource.namespaced and target.namespace and target.plural != "namespaces":
        raise no_such_path()
    if target.subresource and target.subresource not in resource.version(target.version).subresources:
        raise no_such_path()
    match target.verb:
        case "get" | "list":
            _read(call, resource)
        case "watch":
            _watch(call, resource)
        case "create" if not target.name:
            _create(call, resource)
        case "update":
            _update(call, resource)
        case "patch":
            _patch(call, resource)
        case "delete" if not target.subresource:
            _delete(call, resource)
        case "deletecollection":
            _delete_collection(call, resource)
        case _:
            raise ApiError(405, "the server does not allow this method on the requested resource", details={})
    return None


def _read(call: Handling, resource: Resource) -> None:
    request, store, now = call.exchange.request, call.server.store, call.server.clock.now()
    question = question_of(request, call.target, resource) if call.target.verb == "list" else _single(call, resource)
    if call.target.verb == "list":
        body = api_read.listed(store, question, request, now=now)
    else:
        body = api_read.get(store, question, call.target.name, now=now)
    call.exchange.reply(200, body, headers=_warnings(call, resource, ()), content_type="application/json")


def _single(call: Handling, resource: Resource) -> api_read.Question:
    namespace = call.target.namespace if resource.namespaced else ""
    return api_read.Question(resource, call.target.version, namespace, None, api_read.form_of(call.exchange.request))


def _watch(call: Handling, resource: Resource) -> None:
    request, server = call.exchange.request, call.server
    from migrate.lab.api import facts_of

    facts = facts_of(call.exchange, call.target, call.user)
    running = Watch(question_of(request, call.target, resource), wanted_of(request), store=server.store, clock=server.clock)

    def trouble() -> str:
        order = server.trouble.find("api", "expire", "drop", "hang", **facts)
        return order.action if order is not None else ""

    running.trouble = trouble
    subscription = running.subscription
    if subscription is not None:
        server.watches.add(subscription)
    call.exchange.close = True
    try:
        running.run(call.exchange, server.hangups)
    finally:
        if subscription is not None:
            server.watches.discard(subscription)


def _create(call: Handling, resource: Resource) -> None:
    body, twice = _body(call)
    write = _write(call, resource, twice)
    wrong_place(write, body)
    _answer(call, resource, api_create.create(call.server.objects, write, body))


def _update(call: Handling, resource: Resource) -> None:
    body, twice = _body(call)
    write = _write(call, resource, twice)
    wrong_place(write, body)
    _answer(call, resource, api_update.update(call.server.objects, write, body))


def _patch(call: Handling, resource: Resource) -> None:
    request = call.exchange.request
    kind = request.header("content-type").partition(";")[0].strip()
    applying = kind == api_patch.APPLY
    if applying and not request.arg("fieldManager"):
        text = "fieldManager: Required value: is required for apply patch"
        raise ApiError(422, f'PatchOptions.meta.k8s.io "" is invalid: {text}', details={})
    force = request.arg("force") in ("true", "1")
    if force and not applying:
        text = "force: Forbidden: may not be specified for non-apply patch"
        raise ApiError(422, f'PatchOptions.meta.k8s.io "" is invalid: {text}', details={})
    write = _write(call, resource, ())
    _answer(call, resource, api_patch.patch(call.server.objects, write, kind, _text(call), force=force))


def _delete(call: Handling, resource: Resource) -> None:
    options = _delete_options(call)
    write = _write(call, resource, ())
    outcome = api_delete.delete(call.server.objects, write, options)
    if outcome.removed and resource.kind not in _SHOWN_WHEN_REMOVED:
        body = success(resource, write.name, outcome.entry.obj["metadata"]["uid"])
        call.exchange.reply(200, body, headers=_warnings(call, resource, ()))
        return
    _answer(call, resource, outcome, code=200)


def _delete_collection(call: Handling, resource: Resource) -> None:
    options = _delete_options(call)
    question = question_of(call.exchange.request, call.target, resource)
    if not question.namespace and resource.namespaced:
        raise ApiError(405, "the server does not allow this method on the requested resource", details={})
    gone = []
    for entry in matching(call.server.store.entries(question.place, question.prefix), question.accept):
        metadata = entry.obj["metadata"]
        write = _write(call, resource, (), name=metadata["name"])
        try:
            gone.append(api_delete.delete(call.server.objects, write, options).entry)
        except ApiError as error:
            if error.code != 404:
                raise
    metadata = {"resourceVersion": str(call.server.store.rv)}
    body = {"kind": resource.list_kind, "apiVersion": question.api_version, "metadata": metadata}
    call.exchange.reply(200, {**body, "items": [entry.shown(question.api_version) for entry in gone]})


def _delete_options(call: Handling) -> api_delete.Options:
    text = _text(call)
    body = _parsed(call, text)[0] if text.strip() else None
    if isinstance(body, dict) and body.get("dryRun"):
        call.dry_run = _dry_run(body["dryRun"])
    return api_delete.options_of(body, call.exchange.request.query)


def _answer(call: Handling, resource: Resource, outcome: Outcome, *, code: int = 0) -> None:
    body = api_read.shown(_single(call, resource), outcome.entry, now=call.server.clock.now())
    headers = _warnings(call, resource, outcome.warnings)
    call.exchange.reply(code or (201 if outcome.created else 200), body, headers=headers, content_type="application/json")


def _warnings(call: Handling, resource: Resource, warnings: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    deprecated = resource.version(call.target.version).warning
    texts = (*((deprecated,) if deprecated else ()), *warnings)
    return tuple(("Warning", "299 - " + json.dumps(text, ensure_ascii=False)) for text in texts)


def _write(call: Handling, resource: Resource, twice: tuple[str, ...], *, name: str = "") -> Write:
    request = call.exchange.request
    validation = request.arg("fieldValidation") or "Warn"
    if validation not in ("Strict", "Warn", "Ignore"):
        text = f'fieldValidation: Unsupported value: "{validation}": supported values: "", "Ignore", "Strict", "Warn"'
        raise ApiError(422, f'CreateOptions.meta.k8s.io "" is invalid: {text}', details={})
    return Write(
        resource=resource,
        version=call.target.version,
        namespace=call.target.namespace if resource.namespaced else "",
        name=name or call.target.name,
        user=call.user,
        subresource=call.target.subresource,
        dry_run=call.dry_run,
        manager=request.arg("fieldManager") or request.header("user-agent").partition("/")[0][:128] or "unknown",
        validation=cast("Validation", validation),
        twice=twice,
    )


def _text(call: Handling) -> bytes:
    if int(call.exchange.request.header("content-length", "0")) > BODY_LIMIT:
        raise ApiError(413, f"Request entity too large: limit is {BODY_LIMIT}", details={})
    return call.exchange.body()


def _body(call: Handling) -> tuple[Any, tuple[str, ...]]:
    text = _text(call)
    if not text.strip():
        raise bad_request("the request body is empty")
    return _parsed(call, text)


def _parsed(call: Handling, text: bytes) -> tuple[Any, tuple[str, ...]]:
    media = call.exchange.request.header("content-type").partition(";")[0].strip() or "application/json"
    if media == api_protobuf.MEDIA:
        try:
            return api_protobuf.decode(text), ()
        except api_protobuf.Undecodable as error:
            raise bad_request(str(error)) from None
    if media not in ("application/json", "application/yaml"):
        wanted = f"application/json, application/yaml, {api_protobuf.MEDIA}"
        raise ApiError(415, f"the body of the request was in an unknown format - accepted media types include: {wanted}", details={})
    try:
        return parse_yaml(text) if media == "application/yaml" else parse_json(text)
    except Malformed as error:
        raise bad_request(str(error)) from None


def _dry_run(values: Any) -> bool:
    if not values:
        return False
    given = values if isinstance(values, list) else [values]
    if given != ["All"]:
        text = f'dryRun: Unsupported value: {json.dumps(given)}: supported values: "All"'
        raise ApiError(422, f'CreateOptions.meta.k8s.io "" is invalid: {text}', details={})
    return True


def _virtual(call: Handling) -> Callable[[], None] | None:
    target, request = call.target, call.exchange.request
    responder = call.server.routes.find(request.method, target.group, target.version, target.plural, target.subresource)
    if responder is None:
        raise ApiError(405, "the server does not allow this method on the requested resource", details={})
    text = _text(call) if request.method != "GET" else b""
    answer = responder(
        Call(
            method=request.method,
            group=target.group,
            version=target.version,
            plural=target.plural,
            namespace=target.namespace,
            name=target.name,
            subresource=target.subresource,
            query={name: values[0] for name, values in request.query.items()},
            body=_parsed(call, text)[0] if text.strip() else None,
            user=call.user,
            dry_run=call.dry_run,
            server=call.server,
            exchange=call.exchange,
        )
    )
    if callable(answer):
        return answer
    code, body = answer
    call.exchange.reply(code, body)
    return None
