"""The API server of a lab cluster: HTTPS on loopback, good enough for kubectl, client libraries and controllers."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from migrate.lab import api_about, api_reviews, api_serve, api_subresources
from migrate.lab.admission import Admission, Denied, User
from migrate.lab.api_access import Access
from migrate.lab.api_builtin import CRDS
from migrate.lab.api_create import create
from migrate.lab.api_log import RequestLog
from migrate.lab.api_objects import Objects
from migrate.lab.api_paths import Target, target_of
from migrate.lab.api_quota import Quotas
from migrate.lab.api_status import ApiError, NoSuchPath, from_denied
from migrate.lab.api_update import retouch, system_write
from migrate.lab.api_virtual import Responder, Routes
from migrate.lab.auth import ANONYMOUS, Authentication
from migrate.lab.discovery import Virtual
from migrate.lab.doom import is_lost
from migrate.lab.gc import Collector
from migrate.lab.hangups import Hangups
from migrate.lab.httpd import Dropped, Exchange, HttpServer
from migrate.lab.namespaces import Housekeeper, lifecycle
from migrate.lab.store import Object, Place, Store, Subscription
from migrate.lab.trouble import Order, Trouble

if TYPE_CHECKING:
    from migrate.kube.kinds import Kind
    from migrate.lab.certs import Authority
    from migrate.lab.clock import LabClock
    from migrate.lab.kinds import Registry
    from migrate.lab.pods import Node

FIRST_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
HOSTS = ("localhost", "127.0.0.1", "kubernetes.default.svc")


class ApiServer:
    """One API server with its store and the controllers that belong to it (garbage collection, namespaces, quota).

    `admission` may be extended before and while it runs; `node` serves logs and port-forwards; `requests` remembers what was asked.
    `history` = how many changes of each resource a watch can be resumed over. Users: client certificates of `authority` (CN = user,
    O = groups) and tokens given to `authentication.allow_token`.
    """

    def __init__(
        self,
        name: str,
        *,
        registry: Registry,
        clock: LabClock,
        authority: Authority,
        trouble: Trouble | None = None,
        node: Node | None = None,
        port: int = 0,
        history: int = 10_000,
        kubernetes: str = "1.32.4",
    ) -> None:
        self.name = name
        self.registry = registry
        self.clock = clock
        self.node = node
        self.trouble = trouble or Trouble()
        self.kubernetes = kubernetes
        self.ca_pem: str = authority.ca_pem
        self.store = Store(history=history)
        self.objects = Objects(self.store, registry, clock, admissions=[lifecycle])
        self.objects.committed.append(self._follow_definitions)
        self.quotas = Quotas(self.objects)
        self.authentication = Authentication(clock, self.objects.lookup)
        self.access = Access(self.objects)
        self.requests = RequestLog()
        self.routes = Routes()
        self.hangups = Hangups()
        self.watches: set[Subscription] = set()
        api_reviews.register(self.routes)
        api_subresources.register(self.routes)
        self.trouble.listen(self._troubled)
        context = authority.server_context(*HOSTS, ask_client=True)
        self._httpd = HttpServer(self._handle, clock=clock, tls=lambda: context, port=port, name=f"api-{name}")
        self.port = self._httpd.port
        self.url = f"https://127.0.0.1:{self.port}"
        self._collector = Collector(self.objects, clock)
        self._housekeeper = Housekeeper(self.objects, clock, ca_pem=self.ca_pem)
        self._seed()

    @property
    def admission(self) -> list[Admission]:
        """The admissions, asked in order."""
        return self.objects.admissions

    def start(self) -> None:
        """Serve."""
        self._collector.start()
        self._housekeeper.start()
        self._httpd.start()

    def stop(self) -> None:
        """Stop serving and close every connection."""
        self._httpd.stop()
        self._collector.stop()
        self._housekeeper.stop()
        self.hangups.stop()
        for subscription in list(self.watches):
            subscription.close()

    def disconnect(self) -> None:
        """Close every open connection, as a restart behind a load balancer does."""
        self._httpd.disconnect()

    def route(  # noqa: PLR0917  the parts of a path, in its order
        self,
        method: str,
        group: str,
        version: str,
        plural: str,
        subresource: str,
        responder: Responder,
        *,
        kind: str = "",
        namespaced: bool = True,
    ) -> None:
        """Answer a method of a virtual resource; `kind` is what discovery says about it (that of the body)."""
        known = self.registry.resource(group, plural)
        shown = kind or (known.kind if known else plural.removesuffix("s").capitalize())
        virtual = Virtual(group, version, plural, shown, (), subresource=subresource, namespaced=namespaced)
        self.routes.add(virtual, method, responder)

    def look_up(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return an object as components of the cluster see it, without a request."""
        return self.objects.lookup(kind.group, kind.plural, namespace, name)

    def rewrite(self, kind: Kind, namespace: str, name: str, alter: Callable[[Object], Object]) -> None:
        """Change an object from inside, past every admission, as components of the cluster may that the lab does not play."""
        resource = self.registry.resource(kind.group, kind.plural)
        assert resource is not None
        retouch(self.objects, system_write(resource, namespace, name, manager="virt-api"), alter)

    def _seed(self) -> None:
        for namespace in FIRST_NAMESPACES:
            self._put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
            self._housekeeper.furnish(namespace)
        for obj in self.access.first_objects():
            self._put(obj)

    def _put(self, obj: Object) -> None:
        group, _, version = obj["apiVersion"].rpartition("/")
        resource = self.registry.by_kind(group, version, obj["kind"])
        if resource is not None:
            create(self.objects, system_write(resource, "", "", manager="kube-apiserver"), obj)

    def _follow_definitions(self, place: Place, before: Object | None, after: Object | None) -> None:
        if place != CRDS:
            return
        if after is None and before is not None:
            self.registry.remove(before["metadata"]["name"])
        elif after is not None and (before is None or before.get("spec") != after.get("spec")):
            self.registry.install(after)

    def _troubled(self, order: Order) -> None:
        """Wake the running watches when an order is meant for them."""
        if order.where == "api" and order.match.get("verb") == "watch":
            for subscription in list(self.watches):
                subscription.event.set()

    def _handle(self, exchange: Exchange) -> Callable[[], None] | None:
        request = exchange.request
        target = target_of(request)
        call = api_serve.Handling(self, exchange, target, ANONYMOUS)
        exchange.mute = is_lost(self.trouble.doom, self.name, exchange.request, target)
        exchange.on_answer = lambda: self._note(call)
        try:
            call.user = self._authenticated(exchange, target)
            call.user = self.access.acting(call.user, request)
            self.access.require(call.user, target, request)
            return self._serve(call)
        except (ApiError, Denied) as error:
            self._refuse(exchange, error)
        except (OSError, Dropped):
            exchange.close = True
            raise
        except Exception as error:  # whatever went wrong in the lab is an answer 500, and is shown
            traceback.print_exc()
            self._refuse(exchange, ApiError(500, f"Internal error occurred: {error}"))
        finally:
            if not exchange.answered:
                self._note(call)
        return None

    def _authenticated(self, exchange: Exchange, target: Target) -> User:
        """Return who asks, after the trouble that was ordered, which comes before anything else."""
        try:
            user = self.authentication.user_of(exchange)
        except ApiError:
            self._obey(exchange, target, ANONYMOUS)
            raise
        self._obey(exchange, target, user)
        return user

    def _serve(self, call: api_serve.Handling) -> Callable[[], None] | None:
        if not call.target.resource_path:
            api_about.serve(self, call.exchange)
            return None
        return api_serve.serve(call)

    def _refuse(self, exchange: Exchange, error: ApiError | Denied) -> None:
        if isinstance(error, Denied):
            error = from_denied(error)
        if exchange.answered:
            exchange.close = True
            return
        headers = (("Retry-After", str(error.retry_after)),) if error.retry_after is not None else ()
        if error.code == 401:
            headers = (*headers, ("WWW-Authenticate", 'Bearer realm="kubernetes-master"'))
        exchange.reply(error.code, error.TEXT if isinstance(error, NoSuchPath) else error.status(), headers=headers)

    def _obey(self, exchange: Exchange, target: Target, user: User) -> None:
        """Make the trouble that somebody ordered for requests like this one."""
        request = exchange.request
        facts = facts_of(exchange, target, user)
        order = self.trouble.find("api", "delay", **facts)
        if order is not None:
            self.clock.stall(order.number("seconds", 1.0))
        wanted = ("refuse", "drop", "truncate", "hang", *(("expire",) if target.verb == "list" and request.arg("continue") else ()))
        order = self.trouble.find("api", *wanted, **facts)
        match order.action if order is not None else "":
            case "refuse":
                assert order is not None
                code = order.count("status", 503)
                after = order.args.get("retry_after")
                message = order.text("message", "the server is currently unable to handle the request")
                raise ApiError(code, message, retry_after=int(after) if after else None)
            case "expire":
                raise ApiError(410, api_serve.OLD_TOKEN)
            case "drop":
                assert order is not None
                if not order.count("after"):
                    raise Dropped
                exchange.mute = True
            case "truncate":
                exchange.cut_short = True
            case "hang":
                gone = threading.Event()
                with self.hangups.watching(exchange.sock, gone.set):
                    self.clock.wait(gone, None)
                raise Dropped

    def _note(self, call: api_serve.Handling) -> None:
        target, request = call.target, call.exchange.request
        self.requests.add(
            at=self.clock.monotonic(),
            method=request.method,
            path=request.target,
            verb=target.verb,
            group=target.group,
            resource=target.plural,
            namespace=target.namespace,
            name=target.name,
            subresource=target.subresource,
            user=call.user.name,
            user_agent=request.header("user-agent"),
            status=call.exchange.status,
            dry_run=call.dry_run,
        )


def facts_of(exchange: Exchange, target: Target, user: User) -> dict[str, str]:
    """Return what orders of trouble can match on."""
    return {
        "method": exchange.request.method,
        "path": exchange.request.target,
        "verb": target.verb,
        "group": target.group,
        "resource": target.plural,
        "subresource": target.subresource,
        "namespace": target.namespace,
        "name": target.name,
        "user_agent": exchange.request.header("user-agent"),
        "user": user.name,
    }
