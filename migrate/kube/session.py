"""One open door to one API server: the official client's HTTPS pool, our credentials, and the errors of the border.

Everything is raw: dicts in, dicts out. The official client's models, dynamic client and watches are slow or defective, so only its
loading of a stanza, its proxy rules and its pool are used.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from migrate import __version__
from migrate.kube.answer import Answer, clean
from migrate.kube.config import Stanza, known_contexts, read_kubeconfig
from migrate.kube.credentials import Credentials, Login
from migrate.kube.discovery import Discovery
from migrate.kube.errors import is_missing_right, refused, unauthorized
from migrate.kube.failures import Failure, judge
from migrate.kube.pool import check_server, open_pool
from migrate.kube.retry import PassingError, Policy, with_retries
from migrate.kube.tls import ClientCertificate
from migrate.model.clock import Clock, SystemClock
from migrate.model.errors import Refused, Unreachable
from migrate.model.labels import OWNER

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

    from migrate.kube.bell import Bell
    from migrate.kube.cluster import Cluster

__all__ = ["USER_AGENT", "Session", "known_contexts", "open_cluster"]

log = logging.getLogger("migrate.kube")

USER_AGENT = f"{OWNER}/{__version__}"
CONNECT_S = 10.0
READ_S = 30.0
STARTING_S = 10.0
"""How long after a connection broke a missing right may be that of an API server that has just started and has not read its roles yet."""
_PASSING = frozenset({429, 500, 502, 503, 504})


def open_cluster(
    context: str | None,
    *,
    kubeconfig: str | None = None,
    namespace: str | None = None,
    clock: Clock | None = None,
    user_agent: str = USER_AGENT,
) -> Cluster:
    """Return a handle on the cluster of a kubeconfig context (None: the current one). No request is sent yet.

    `kubeconfig` is a path, or several joined by `:`; without it $KUBECONFIG counts, then ~/.kube/config. `namespace` replaces the
    context's.
    Raise UsageError for a missing or malformed kubeconfig, an unknown context or credentials that are not supported.
    """
    from migrate.kube.cluster import Cluster

    stanza = read_kubeconfig(kubeconfig).stanza(context)
    return Cluster(Session(stanza, clock=clock or SystemClock(), user_agent=user_agent), namespace or stanza.namespace)


class Session:
    """What all handles on one context share. Safe for many threads."""

    def __init__(self, stanza: Stanza, *, clock: Clock, user_agent: str) -> None:
        self.context = stanza.context
        self.server = stanza.server
        self.clock = clock
        self.user_agent = user_agent
        product, _, rest = user_agent.partition("/")
        self.field_manager = OWNER if product == OWNER else rest or product
        """Name of the writer in managedFields: our own; for a lab component (`lab/NAME`) its own."""
        self.uid = ""
        """UID of the kube-system namespace, once somebody asked."""
        self.credentials = Credentials(stanza, clock=clock)
        self.stanza = stanza
        self._lock = threading.Lock()
        self._pool: tuple[ClientCertificate | None, PoolManager] | None = None
        self._bells: tuple[Bell, ...] = ()
        self._closed = False
        self._reached = False
        """A connection was made: from then on an outage is worth more patience."""
        self._broke_at = -STARTING_S
        """When a connection broke last, by the clock's monotonic seconds."""
        self.discovery = Discovery(self)
        check_server(stanza)

    def call(
        self,
        method: str,
        path: str,
        *,
        action: str,
        policy: Policy,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        passed: frozenset[int] = frozenset(),
        on_lost: Callable[[], None] | None = None,
    ) -> Answer:
        """Send a request, with the retries of `policy`, and return a successful answer, or one whose status is in `passed`.

        `action` names what is done, for errors and the log: `get Pod shop/a`. `on_lost` is told of every attempt that may have been carried
        out although it failed. Raise the errors of this room (`errors.py`, `failures.py`).
        """
        payload = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {"Accept": accept} | ({} if payload is None else {"Content-Type": content_type})

        def attempt() -> Answer:
            try:
                return once()
            except PassingError as passing:
                if passing.sent and on_lost is not None:
                    on_lost()
                raise

        def once() -> Answer:
            answer = self._once(method, path, action=action, query=query, headers=headers, body=payload)
            if warning := answer.headers.get("warning"):
                log.info("context %s: %s: the API server warns: %s", self.context, action, clean(warning))
            if answer.ok or answer.status in passed:
                return answer
            raise self._refused(answer, action)

        return with_retries(policy, attempt, clock=self.clock, action=action, context=self.context, reached=lambda: self._reached)

    def stream(self, path: str, *, action: str, query: Mapping[str, str], silence_s: float) -> BaseHTTPResponse:
        """Open a stream (a watch) and return it unread; its reads fail after `silence_s` without a byte. Never tried twice.

        The caller closes it. Raise the errors of this room for an answer that is not a success, `PassingError` if it is worth another try.
        """
        return self._send("GET", path, action=action, query=query, headers={"Accept": "application/json"}, body=None, read_s=silence_s)

    def headers(self, login: Login) -> list[tuple[str, str]]:
        """Return the headers that say who we are. They hold the token: never log them."""
        named = [("User-Agent", self.user_agent), *self.credentials.impersonation]
        return [*named, ("Authorization", login.authorization)] if login.authorization else named

    @property
    def bells(self) -> tuple[Bell, ...]:
        """Return the bells that run on this session."""
        return self._bells

    def hang(self, bell: Bell) -> None:
        """Take in a bell: it may answer for `Cluster.cached`, and ends with this session."""
        with self._lock:
            self._bells = (*self._bells, bell)

    def unhang(self, bell: Bell) -> None:
        """Let go of a bell that was closed by itself."""
        with self._lock:
            self._bells = tuple(kept for kept in self._bells if kept is not bell)

    def close(self) -> None:
        """End the bells, and drop the connections. Closing twice is fine."""
        with self._lock:
            bells, self._bells, self._closed = self._bells, (), True
            pool, self._pool = self._pool, None
        for bell in bells:
            bell.close()
        if pool is not None:
            pool[1].clear()

    def _once(
        self, method: str, path: str, *, action: str, query: Mapping[str, str] | None, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        """Send once and read the whole answer."""
        response = self._send(method, path, action=action, query=query, headers=headers, body=body, read_s=READ_S, checked=False)
        try:
            content = response.read(decode_content=True)
        except Exception as problem:
            response.close()
            raise self._failed(problem, action) from problem
        response.release_conn()
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, content)

    def _send(
        self,
        method: str,
        path: str,
        *,
        action: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str],
        body: bytes | None,
        read_s: float,
        checked: bool = True,
    ) -> BaseHTTPResponse:
        """Send once, twice if the first login was refused and there is another. With `checked`, only a success is returned."""
        from urllib3 import HTTPHeaderDict, Timeout
        from urllib3.exceptions import HTTPError

        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        for last in (False, True):
            login = self.credentials.login()
            everything = HTTPHeaderDict(headers)
            for name, value in self.headers(login):
                everything.add(name, value)
            try:
                response = self._connections(login).urlopen(
                    method,
                    url,
                    body=body,
                    headers=everything,
                    timeout=Timeout(connect=CONNECT_S, read=read_s),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
            except (HTTPError, OSError) as problem:
                raise self._failed(problem, action) from problem
            self._reached = True
            log.debug("context %s: %s %s: %d", self.context, method, path, response.status)
            if response.status == 401:
                expired = self.credentials.expired_certificate(login)
                response.drain_conn()
                if not last and self.credentials.rejected(login):
                    continue
                if expired is not None:
                    raise unauthorized(
                        f"our client certificate expired on {expired:%Y-%m-%d %H:%M} UTC",
                        context=self.context,
                        now="Fetch a fresh kubeconfig for this context (its client certificate must be renewed).",
                    )
                raise self._unauthorized()
            break
        if checked and response.status != 200:
            answer = Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, response.read())
            response.release_conn()
            raise self._refused(answer, action)
        return response

    def broke(self, problem: Exception, action: str) -> Failure:
        """Judge what broke a connection to the server, and remember when it did."""
        self._broke_at = self.clock.monotonic()
        return judge(problem, action=action, context=self.context, server=self.server)

    def _refused(self, answer: Answer, action: str) -> Exception:
        error = refused(answer, action=action, context=self.context)
        if is_missing_right(answer) and self.clock.monotonic() - self._broke_at < STARTING_S:
            return PassingError(error, cause="no right to it, just after a connection broke: the server may not have read its roles yet")
        if answer.status not in _PASSING or not isinstance(error, Unreachable):
            return error
        # 429 and 503 are said before anything is done; after 500, 502 and 504 nobody knows.
        before = answer.status in {429, 503}
        after_s = answer.retry_after_s() if before else None
        return PassingError(error, cause=f"HTTP {answer.status}", after_s=after_s, sent=not before)

    def _unauthorized(self) -> Refused:
        who = "These credentials" if self.stanza.user else "The kubeconfig holds no credentials for this context, and anonymous requests"
        return unauthorized(f"{who} got 401 Unauthorized", context=self.context)

    def _failed(self, problem: Exception, action: str) -> Exception:
        failure = self.broke(problem, action)
        self._reached = self._reached or failure.sent
        return PassingError(failure.error, cause=failure.cause, sent=failure.sent) if failure.again else failure.error

    def _connections(self, login: Login) -> PoolManager:
        """Return the pool for a login; another certificate means another pool, since connections are tied to it."""
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the session of context {self.context} is closed")
            if self._pool is not None and self._pool[0] == login.certificate:
                return self._pool[1]
        pool = open_pool(self.stanza, login.certificate)
        with self._lock:
            old, self._pool = self._pool, (login.certificate, pool)
        if old is not None:
            old[1].clear()
        return pool
