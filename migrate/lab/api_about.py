"""What a server says about itself: health, version, discovery, OpenAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migrate.lab import discovery, openapi
from migrate.lab.api_status import ApiError, no_such_path
from migrate.lab.httpd import Exchange

if TYPE_CHECKING:
    from migrate.lab.api import ApiServer

HEALTH = frozenset({"/healthz", "/livez", "/readyz"})


def serve(server: ApiServer, exchange: Exchange) -> None:
    """Answer a request for a path that is no resource. Raises a 404 or 405 ApiError."""
    request = exchange.request
    path = request.path.rstrip("/") or "/"
    if request.method not in ("GET", "HEAD"):
        raise ApiError(405, "the server does not allow this method on the requested resource", details={})
    if path in HEALTH or path.rpartition("/")[0] in HEALTH:
        exchange.reply(200, "ok")
        return
    body, media = _document(server, exchange, path)
    exchange.reply(200, body, content_type=media or "application/json")


def _document(server: ApiServer, exchange: Exchange, path: str) -> tuple[dict[str, Any], str]:
    virtuals = server.routes.virtuals()
    registry = server.registry
    match path.strip("/").split("/"):
        case ["version"]:
            return discovery.version_info(server.kubernetes), ""
        case [""]:
            return {"paths": ["/api", "/api/v1", "/apis", *sorted(HEALTH), "/openapi/v2", "/openapi/v3", "/version"]}, ""
        case ["api" | "apis" as root] if (beta := _aggregated(exchange)) is not None:
            media = discovery.AGGREGATED_BETA_TYPE if beta else discovery.AGGREGATED_TYPE
            return discovery.aggregated(registry, virtuals, core=root == "api", beta=beta), media
        case ["api"]:
            return discovery.api_versions(f"127.0.0.1:{server.port}"), ""
        case ["apis"]:
            return discovery.groups(registry, virtuals), ""
        case ["apis", group]:
            found = discovery.group(registry, group, virtuals)
        case ["api", version]:
            found = discovery.resources(registry, "", version, virtuals)
        case ["apis", group, version]:
            found = discovery.resources(registry, group, version, virtuals)
        case ["openapi", *_]:
            found = _openapi(server, path)
        case _:
            found = None
    if found is None:
        raise no_such_path()
    return found, ""


def _aggregated(exchange: Exchange) -> bool | None:
    """Return whether the beta form is wanted; None when the client does not ask for aggregated discovery."""
    for part in exchange.request.header("accept").split(","):
        words = {word.strip() for word in part.split(";")}
        if "as=APIGroupDiscoveryList" in words:
            if "v=v2" in words:
                return False
            if "v=v2beta1" in words:
                return True
        elif "application/json" in words:
            return None
    return None


def _openapi(server: ApiServer, path: str) -> dict[str, Any] | None:
    match path.strip("/").split("/"):
        case ["openapi", "v2"]:
            return openapi.v2(server.registry)
        case ["openapi", "v3"]:
            return openapi.index(server.registry)
        case ["openapi", "v3", "api", version]:
            return openapi.document(server.registry, "", version)
        case ["openapi", "v3", "apis", group, version]:
            return openapi.document(server.registry, group, version)
        case _:
            return None
