"""The aggregated APIs of KubeVirt and CDI behind a real API server: the lab's routes, reached through APIServices."""

from __future__ import annotations

import base64
import json
import ssl
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from migrate.lab import discovery
from migrate.lab.admission import Denied, User
from migrate.lab.api_paths import target_of
from migrate.lab.api_status import ApiError, from_denied, no_such_path
from migrate.lab.api_virtual import Call, Routes
from migrate.lab.certs import server_context
from migrate.lab.httpd import Exchange, HttpServer
from migrate.lab.kinds import Registry
from migrate.model.errors import Taken

if TYPE_CHECKING:
    from migrate.kube.cluster import Cluster
    from migrate.lab.api import ApiServer
    from migrate.lab.certs import Authority
    from migrate.lab.clock import LabClock

Object = dict[str, Any]

SERVICE = "migrate-lab-api"
NAMESPACE = "kubevirt"
_NONE = Registry()


class AggregatedApi:
    """Serves the routes to the API server alone: its front-proxy certificate is required, and says who really asks."""

    def __init__(self, routes: Routes, *, server: object, clock: LabClock, authority: Authority, front_proxy: Authority) -> None:
        self._routes = routes
        self._server = cast("ApiServer", server)
        self._ca_pem = authority.ca_pem
        context = server_context(authority.server(f"{SERVICE}.{NAMESPACE}.svc", "localhost"))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=front_proxy.ca_pem)
        self._httpd = HttpServer(self._handle, clock=clock, tls=lambda: context, name="aggregated")

    def start(self, client: Cluster) -> list[str]:
        """Serve, and register with the API server; return the names of the APIServices."""
        self._httpd.start()
        groups = discovery.group_versions(_NONE, self._routes.virtuals())
        wanted = [self._api_service(group, version, rank) for group, all_ in groups.items() for rank, version in enumerate(all_)]
        for manifest in (self._service(), *wanted):
            try:
                client.create(manifest)
            except Taken:
                continue
        return [manifest["metadata"]["name"] for manifest in wanted]

    def stop(self) -> None:
        """Stop serving."""
        self._httpd.stop()

    def _service(self) -> Object:
        spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": self._httpd.port}]}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE, "namespace": NAMESPACE}, "spec": spec}

    def _api_service(self, group: str, version: str, rank: int) -> Object:
        return {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{version}.{group}"},
            "spec": {
                "group": group,
                "version": version,
                "groupPriorityMinimum": 1000,
                "versionPriority": 15 - rank,
                "service": {"name": SERVICE, "namespace": NAMESPACE, "port": self._httpd.port},
                "caBundle": base64.b64encode(self._ca_pem.encode()).decode(),
            },
        }

    def _handle(self, exchange: Exchange) -> Callable[[], None] | None:
        try:
            target = target_of(exchange.request)
            if not target.resource_path:
                self._describe(exchange)
                return None
            return self._call(exchange)
        except (ApiError, Denied) as error:
            refusal = from_denied(error) if isinstance(error, Denied) else error
            exchange.reply(refusal.code, refusal.status())
        except Exception as error:  # whatever went wrong in the lab is an answer 500, and is shown
            traceback.print_exc()
            exchange.reply(500, ApiError(500, f"Internal error occurred: {error}").status())
        return None

    def _call(self, exchange: Exchange) -> Callable[[], None] | None:
        request = exchange.request
        target = target_of(request)
        place = (target.group, target.version, target.plural, target.subresource)
        responder = self._routes.find(request.method, *place)
        if responder is None:
            if self._routes.known(*place):
                raise ApiError(405, "the server does not allow this method on the requested resource", details={})
            raise no_such_path()
        text = exchange.body() if request.method != "GET" else b""
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
                body=json.loads(text) if text.strip() else None,
                user=_user(exchange),
                dry_run="All" in request.query.get("dryRun", ()),
                server=self._server,
                exchange=exchange,
            )
        )
        if callable(answer):
            return answer
        exchange.reply(*answer)
        return None

    def _describe(self, exchange: Exchange) -> None:
        virtuals = self._routes.virtuals()
        found: Object | None
        match exchange.request.path.strip("/").split("/"):
            case ["apis"] if "as=APIGroupDiscoveryList" in exchange.request.header("accept"):
                found = discovery.aggregated(_NONE, virtuals, core=False)
                exchange.reply(200, found, content_type=discovery.AGGREGATED_TYPE)
                return
            case ["apis"]:
                found = discovery.groups(_NONE, virtuals)
            case ["apis", group]:
                found = discovery.group(_NONE, group, virtuals)
            case ["apis", group, version]:
                found = discovery.resources(_NONE, group, version, virtuals)
            case ["healthz" | "livez" | "readyz", *_]:
                exchange.reply(200, "ok")
                return
            case _:
                found = None
        if found is None:
            raise no_such_path()
        exchange.reply(200, found)


def _user(exchange: Exchange) -> User:
    headers = exchange.request.headers
    return User(exchange.request.header("x-remote-user"), tuple(headers.get("x-remote-group", ())), exchange.request.header("x-remote-uid"))
