"""Who asks: client certificates, static tokens, service-account tokens, impersonation."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import unquote

from migrate.lab.admission import User
from migrate.lab.api_status import ApiError
from migrate.lab.httpd import Exchange, Request
from migrate.lab.store import Object, dump

ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
AUTHENTICATED = "system:authenticated"
ISSUER = "https://kubernetes.default.svc.cluster.local"
_PREFIX = "system:serviceaccount:"


class Ticking(Protocol):
    """The part of a clock that token expiry needs."""

    def now(self) -> datetime: ...


class Authentication:
    """Find out who sent a request. `find` looks up an object (group, plural, namespace, name) for service accounts."""

    def __init__(self, clock: Ticking, find: Callable[[str, str, str, str], Object | None]) -> None:
        self._clock = clock
        self._find = find
        self._tokens: dict[str, User] = {}
        self._key = secrets.token_bytes(32)

    def allow_token(self, token: str, user: str, *groups: str) -> None:
        """Accept a static bearer token for a user."""
        self._tokens[token] = User(user, (*groups, AUTHENTICATED))

    def revoke_token(self, token: str) -> None:
        """Accept a static bearer token no longer."""
        self._tokens.pop(token, None)

    def user_of(self, exchange: Exchange) -> User:
        """Return the user; ANONYMOUS without credentials. Raises a 401 ApiError for wrong ones."""
        word, _, token = exchange.request.header("authorization").partition(" ")
        if word.lower() == "bearer" and token.strip():
            return self.user_of_token(token.strip())
        if word:
            raise unauthorized()
        return _certified(exchange.peer) if exchange.peer else ANONYMOUS

    def user_of_token(self, token: str) -> User:
        """Return whom a token stands for. Raises a 401 ApiError."""
        found = self._tokens.get(token)
        return found or self._service_account(token)

    def mint(self, account: Object, *, seconds: int, audiences: tuple[str, ...], bound: dict[str, Any] | None) -> str:
        """Return a token of a service account, valid for so many seconds of lab time."""
        now = int(self._clock.now().timestamp())
        metadata = account["metadata"]
        inner: dict[str, Any] = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        }
        if bound:
            inner[bound["kind"].lower()] = {"name": bound["name"], "uid": bound.get("uid", "")}
        claims = {
            "aud": list(audiences),
            "exp": now + seconds,
            "iat": now,
            "iss": ISSUER,
            "jti": secrets.token_hex(16),
            "kubernetes.io": inner,
            "nbf": now,
            "sub": f"{_PREFIX}{metadata['namespace']}:{metadata['name']}",
        }
        signed = f"{_encode(dump({'alg': 'HS256', 'typ': 'JWT'}))}.{_encode(dump(claims))}"
        return f"{signed}.{_encode(self._signature(signed))}"

    def _signature(self, signed: str) -> bytes:
        return hmac.new(self._key, signed.encode(), hashlib.sha256).digest()

    def _service_account(self, token: str) -> User:
        try:
            signed, _, signature = token.rpartition(".")
            if not hmac.compare_digest(_decode(signature), self._signature(signed)):
                raise unauthorized()
            claims = json.loads(_decode(signed.split(".")[1]))
        except (ValueError, IndexError, binascii.Error):
            raise unauthorized() from None
        namespace, account = claims["kubernetes.io"]["namespace"], claims["kubernetes.io"]["serviceaccount"]
        present = self._find("", "serviceaccounts", namespace, account["name"])
        expired = claims["exp"] <= self._clock.now().timestamp()
        if expired or present is None or present["metadata"]["uid"] != account["uid"]:
            raise unauthorized()
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
        return User(f"{_PREFIX}{namespace}:{account['name']}", groups, uid=account["uid"])


def impersonated(request: Request) -> User | None:
    """Return whom a request wants to act as; None when it does not. Raises a 400 or 500 ApiError for incomplete wishes."""
    name = request.header("impersonate-user")
    groups = tuple(request.headers.get("impersonate-group", ()))
    extra = tuple(
        (unquote(header.removeprefix("impersonate-extra-")), tuple(values))
        for header, values in request.headers.items()
        if header.startswith("impersonate-extra-")
    )
    uid = request.header("impersonate-uid")
    if not name:
        if groups or extra or uid:
            raise ApiError(500, "requested [] without impersonating a user", reason="InternalError")
        return None
    if not groups and name.startswith(_PREFIX):
        namespace = name.removeprefix(_PREFIX).split(":")[0]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    if name == ANONYMOUS.name:
        groups = (*groups, "system:unauthenticated")
    elif AUTHENTICATED not in groups:
        groups = (*groups, AUTHENTICATED)
    return User(name, groups, uid=uid, extra=extra)


def unauthorized() -> ApiError:
    """Say that these credentials are not known."""
    return ApiError(401, "Unauthorized")


def _certified(peer: dict[str, Any]) -> User:
    names = [pair for part in peer.get("subject", ()) for pair in part]
    user = next((value for field, value in names if field == "commonName"), "")
    groups = tuple(value for field, value in names if field == "organizationName")
    return User(user, (*groups, AUTHENTICATED)) if user else ANONYMOUS


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
