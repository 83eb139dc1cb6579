"""What a request path and method mean: verb, group, version, resource, namespace, name, subresource."""

from __future__ import annotations

from dataclasses import dataclass

from migrate.lab.httpd import Request

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}
_METHOD_VERBS = {**_VERBS, "POST": "post", "PUT": "put"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. `plural` is empty for paths that name no resource (discovery, health), whose `verb` is the method."""

    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    plural: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    """What follows the subresource, for the ones that proxy."""

    @property
    def resource_path(self) -> bool:
        return bool(self.plural)


def target_of(request: Request) -> Target:
    """Parse a request as the real server's RequestInfo does."""
    path = request.path
    parts = path.strip("/").split("/")
    verb = _VERBS.get(request.method, request.method.lower())
    match parts:
        case ["api", version, *rest] if rest and rest[0]:
            group = ""
        case ["apis", group, version, *rest] if rest and rest[0]:
            pass
        case _:
            return Target(_METHOD_VERBS.get(request.method, request.method.lower()), path)
    namespace, plural, name, subresource = "", "", "", ""
    match rest:
        case ["namespaces", space, "status" | "finalize" as subresource]:
            namespace, plural, name, rest = space, "namespaces", space, []
        case ["namespaces", space, *rest] if rest:
            namespace = space
        case ["namespaces", space]:
            namespace, plural, name, rest = space, "namespaces", space, []
        case _:
            pass
    if not plural:
        plural = rest[0]
        name = rest[1] if len(rest) > 1 else ""
        subresource = rest[2] if len(rest) > 2 else ""
    verb = _collection_verb(verb, request) if not name else _single_verb(verb, request)
    return Target(verb, path, group, version, namespace, plural, name, subresource, "/".join(rest[3:]))


def _collection_verb(verb: str, request: Request) -> str:
    if verb == "get":
        return "watch" if _watching(request) else "list"
    return "deletecollection" if verb == "delete" else verb


def _single_verb(verb: str, request: Request) -> str:
    return "watch" if verb == "get" and _watching(request) else verb


def _watching(request: Request) -> bool:
    return "watch" in request.query and request.arg("watch") in ("1", "true", "True", "")
