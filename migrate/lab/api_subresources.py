"""Subresources of built-in kinds that are acts rather than objects: logs, binding, eviction, finalize, port-forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from migrate.lab import portforward
from migrate.lab.api_delete import delete, options_of
from migrate.lab.api_objects import Write, stamp
from migrate.lab.api_status import ApiError, bad_request, conflict, not_found
from migrate.lab.api_update import retouch, store, system_write
from migrate.lab.api_virtual import Answer, Call, Routes
from migrate.lab.discovery import Virtual
from migrate.lab.kinds import Resource
from migrate.lab.store import Object


def register(routes: Routes) -> None:
    """Answer these subresources."""
    routes.add(Virtual("", "v1", "pods", "Pod", ("get",), subresource="log"), "GET", _log)
    routes.add(Virtual("", "v1", "pods", "Binding", ("create",), subresource="binding"), "POST", _bind)
    routes.add(Virtual("", "v1", "pods", "Eviction", ("create",), subresource="eviction"), "POST", _evict)
    for method in ("GET", "POST"):
        forward = Virtual("", "v1", "pods", "PodPortForwardOptions", (), subresource="portforward")
        routes.add(forward, method, _forward)
    finalize = Virtual("", "v1", "namespaces", "Namespace", ("update",), subresource="finalize", namespaced=False)
    routes.add(finalize, "PUT", _finalize)


def _resource(call: Call) -> Resource:
    resource = call.server.registry.resource("", call.plural)
    assert resource is not None
    return resource


def _object(call: Call) -> Object:
    namespace = call.namespace if call.plural != "namespaces" else ""
    found = call.server.objects.lookup("", call.plural, namespace, call.name)
    if found is None:
        raise not_found(_resource(call), call.name)
    return found


def _log(call: Call) -> Answer:
    pod = _object(call)
    container = _container(pod, call.query.get("container", ""))
    if call.server.node is None:
        raise ApiError(500, "the cluster has no node")
    since = call.query.get("sinceTime", "")
    if call.query.get("sinceSeconds", ""):
        since = stamp(call.server.clock.now() - timedelta(seconds=int(call.query["sinceSeconds"])))
    tail = call.query.get("tailLines", "")
    follow = call.query.get("follow") in ("true", "1")
    previous = call.query.get("previous") in ("true", "1")
    try:
        lines = call.server.node.logs(
            call.namespace, call.name, container, tail=int(tail) if tail else None, since=since, follow=follow, previous=previous
        )
    except LookupError:
        raise bad_request(_not_started(pod, container, previous=previous)) from None
    if follow:
        return lambda: _followed(call, lines)
    text = b"".join(lines)
    limit = call.query.get("limitBytes", "")
    return 200, (text[: int(limit)] if limit else text).decode(errors="replace")


def _followed(call: Call, lines: Iterator[bytes]) -> None:
    stream = call.exchange.stream(200, content_type="text/plain")
    for line in lines:
        stream.write(line)
    stream.end()


def _container(pod: Object, wanted: str) -> str:
    spec = pod.get("spec", {})
    names = [container["name"] for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))]
    name = pod["metadata"]["name"]
    if not wanted and len(names) > 1:
        raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]")
    if wanted and wanted not in names:
        raise bad_request(f"container {wanted} is not valid for pod {name}")
    return wanted or (names[0] if names else "")


def _not_started(pod: Object, container: str, *, previous: bool) -> str:
    name = pod["metadata"]["name"]
    if previous:
        return f'previous terminated container "{container}" in pod "{name}" not found'
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    state: dict[str, Any] = next((status.get("state", {}) for status in statuses if status.get("name") == container), {})
    reason = state.get("waiting", {}).get("reason", "ContainerCreating")
    return f'container "{container}" in pod "{name}" is waiting to start: {reason}'


def _bind(call: Call) -> Answer:
    _object(call)
    node = ((call.body or {}).get("target") or {}).get("name", "")
    resource = _resource(call)
    write = system_write(resource, call.namespace, call.name, manager="kube-scheduler")
    now = call.server.objects.now()

    def bound(pod: Object) -> Object:
        if pod["spec"].get("nodeName"):
            raise conflict(resource, call.name, f'pod {call.name} is already assigned to node "{pod["spec"]["nodeName"]}"')
        pod["spec"]["nodeName"] = node
        conditions = [c for c in pod.get("status", {}).get("conditions") or () if c.get("type") != "PodScheduled"]
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
        pod["status"] = {**pod.get("status", {}), "conditions": [*conditions, scheduled]}
        return pod

    if not call.dry_run:
        retouch(call.server.objects, write, bound)
    return 201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _evict(call: Call) -> Answer:
    _object(call)
    options = options_of((call.body or {}).get("deleteOptions") or {}, {})
    write = Write(_resource(call), "v1", call.namespace, call.name, user=call.user, dry_run=call.dry_run)
    delete(call.server.objects, write, options)
    return 201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _finalize(call: Call) -> Answer:
    _object(call)
    wanted = ((call.body or {}).get("spec") or {}).get("finalizers") or []
    write = system_write(_resource(call), "", call.name, manager="kube-apiserver")
    entry = call.server.objects.find(write)

    obj: Object = {**entry.obj, "spec": {"finalizers": wanted} if wanted else {}}
    outcome = store(call.server.objects, write, entry, obj)
    body: dict[str, Any] = outcome.entry.obj
    return 200, body


def _forward(call: Call) -> Callable[[], None]:
    pod = _object(call)
    if call.server.node is None:
        raise ApiError(500, "the cluster has no node")
    if pod.get("status", {}).get("phase") != "Running":
        phase = pod.get("status", {}).get("phase", "Unknown")
        raise bad_request(f"unable to forward port because pod is not running. Current status={phase}")
    node = call.server.node
    named = f"{call.name}_{call.namespace}({pod['metadata']['uid']})"
    return portforward.accept(call.exchange, lambda port: node.dial(call.namespace, call.name, port), pod=named)
