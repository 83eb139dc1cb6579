"""OpenAPI documents of the server, as far as kubectl reads them: schemas with group, version and kind, and the paths that take patches."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from migrate.lab.kinds import Registry, Resource
from migrate.lab.notation import QUANTITY, Schema
from migrate.lab.schema import meta_schema

META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"

_PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_LIST_META: Schema = {
    "type": "object",
    "properties": {
        name: {"type": kind} for name, kind in (("continue", "string"), ("remainingItemCount", "integer"), ("resourceVersion", "string"))
    },
}


def index(registry: Registry) -> dict[str, Any]:
    """Answer `GET /openapi/v3`: the documents, each with a URL that changes when the document does."""
    paths = {}
    for group, version in _group_versions(registry):
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        text = json.dumps(document(registry, group, version), sort_keys=True)
        digest = hashlib.sha512(text.encode()).hexdigest().upper()
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": paths}


def _group_versions(registry: Registry) -> list[tuple[str, str]]:
    return list(dict.fromkeys((r.group, version) for r in registry.all() for version in r.served))


def document(registry: Registry, group: str, version: str) -> dict[str, Any] | None:
    """Answer `GET /openapi/v3/apis/GROUP/VERSION` (`api/v1` for the core group); None when that is not served."""
    resources = tuple(r for r in registry.all() if r.group == group and version in r.served)
    return _document(resources, version) if resources else None


@functools.lru_cache(maxsize=64)
def _document(resources: tuple[Resource, ...], version: str) -> dict[str, Any]:
    schemas: dict[str, Any] = {META: _plain(meta_schema()), LIST_META: _LIST_META, DELETE_OPTIONS: {"type": "object"}}
    paths: dict[str, Any] = {}
    for resource in resources:
        name = schema_name(resource, version)
        schemas[name] = _kind_schema(resource, version, "#/components/schemas/")
        schemas[f"{name}List"] = _list_schema(resource, version, f"#/components/schemas/{name}")
        paths |= _paths(resource, version, name)
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.32.4"}, "paths": paths, "components": {"schemas": schemas}}


def schema_name(resource: Resource, version: str) -> str:
    """Return the name of a kind among the schemas: builtin ones by their Go package, others by their reversed group."""
    if not resource.builtin:
        return ".".join([*reversed(resource.group.split(".")), version, resource.kind])
    short = resource.group.split(".")[0] or "core"
    package = {
        "apiextensions": "apiextensions-apiserver.pkg.apis.apiextensions",
        "apiregistration": "kube-aggregator.pkg.apis.apiregistration",
    }
    return f"io.k8s.{package.get(short, f'api.{short}')}.{version}.{resource.kind}"


def _gvk(resource: Resource, version: str, kind: str) -> dict[str, str]:
    return {"group": resource.group, "version": version, "kind": kind}


def _kind_schema(resource: Resource, version: str, references: str) -> Schema:
    schema = _plain(resource.schema_for(version))
    schema["properties"] = {**schema["properties"], "metadata": {"allOf": [{"$ref": f"{references}{META}"}], "default": {}}}
    schema["x-kubernetes-group-version-kind"] = [_gvk(resource, version, resource.kind)]
    return schema


def _list_schema(resource: Resource, version: str, reference: str) -> Schema:
    return {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": f"{reference.rpartition('/')[0]}/{LIST_META}"},
            "items": {"type": "array", "items": {"$ref": reference}},
        },
        "x-kubernetes-group-version-kind": [_gvk(resource, version, resource.list_kind)],
    }


def _plain(schema: Mapping[str, Any]) -> Schema:
    """Return a schema as documents have it: quantities and ports are strings with a note, the rest stays."""
    result: Schema = {}
    for key, value in schema.items():
        match key:
            case "properties":
                result[key] = {name: _plain(below) for name, below in value.items()}
            case "items" | "additionalProperties" if isinstance(value, Mapping):
                result[key] = _plain(value)
            case "anyOf":
                continue
            case "pattern" if value == QUANTITY:
                continue
            case _:
                result[key] = value
    if schema.get("x-kubernetes-int-or-string"):
        result |= {"type": "string", "format": "int-or-string"}
    return result


def _paths(resource: Resource, version: str, name: str) -> dict[str, Any]:
    root = f"/apis/{resource.group}/{version}" if resource.group else f"/api/{version}"
    place = f"{root}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{root}/{resource.plural}"
    found = {place: _collection(resource, version, name)}
    found[f"{place}/{{name}}"] = _item(resource, version, name)
    for subresource in sorted(resource.version(version).subresources):
        found[f"{place}/{{name}}/{subresource}"] = _item(resource, version, name)
    if resource.namespaced:
        found[f"{root}/{resource.plural}"] = {"get": _operation(resource, version, f"{name}List", action="list")}
    return found


def _operation(resource: Resource, version: str, name: str, *, action: str, writes: bool = False) -> dict[str, Any]:
    answer = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    operation: dict[str, Any] = {
        "operationId": f"{action}{resource.group.title().replace('.', '')}{version.title()}{resource.kind}",
        "responses": {"200": {"description": "OK", "content": answer}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(resource, version, resource.kind),
    }
    if writes:
        operation["parameters"] = _parameters("dryRun", "fieldManager", "fieldValidation")
    return operation


def _parameters(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in names]


def _body(media: Iterable[str], reference: str) -> dict[str, Any]:
    return {"required": True, "content": {kind: {"schema": {"$ref": reference}} for kind in media}}


def _collection(resource: Resource, version: str, name: str) -> dict[str, Any]:
    create = _operation(resource, version, name, action="post", writes=True)
    create["requestBody"] = _body(("application/json",), f"#/components/schemas/{name}")
    return {"get": _operation(resource, version, f"{name}List", action="list"), "post": create}


def _item(resource: Resource, version: str, name: str) -> dict[str, Any]:
    reference = f"#/components/schemas/{name}"
    patch = _operation(resource, version, name, action="patch", writes=True)
    patch["parameters"] += [{"name": "force", "in": "query", "schema": {"type": "boolean", "uniqueItems": True}}]
    patch["requestBody"] = _body(_PATCHES if resource.builtin else _PATCHES[:-1], reference)
    put = _operation(resource, version, name, action="put", writes=True)
    put["requestBody"] = _body(("application/json",), reference)
    delete = _operation(resource, version, name, action="delete")
    return {"get": _operation(resource, version, name, action="get"), "put": put, "patch": patch, "delete": delete}


def v2(registry: Registry) -> dict[str, Any]:
    """Answer `GET /openapi/v2` as JSON: the same schemas in one Swagger document."""
    definitions: dict[str, Any] = {META: _plain(meta_schema()), LIST_META: _LIST_META}
    paths: dict[str, Any] = {}
    for group, version in _group_versions(registry):
        for resource in registry.all():
            if resource.group != group or version not in resource.served:
                continue
            name = schema_name(resource, version)
            definitions[name] = _kind_schema(resource, version, "#/definitions/")
            definitions[f"{name}List"] = _list_schema(resource, version, f"#/definitions/{name}")
            paths |= {path: _swagger(item) for path, item in _paths(resource, version, name).items()}
    return {"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.32.4"}, "paths": paths, "definitions": definitions}


def _swagger(item: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for verb, operation in item.items():
        entry = {key: value for key, value in operation.items() if key not in ("requestBody", "responses", "parameters")}
        entry["responses"] = {"200": {"description": "OK"}}
        entry["parameters"] = [{"name": p["name"], "in": "query", "type": p["schema"]["type"]} for p in operation.get("parameters", ())]
        if "requestBody" in operation:
            entry["consumes"] = list(operation["requestBody"]["content"])
        found[verb] = entry
    return found
