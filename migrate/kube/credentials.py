"""Who we are towards one API server, kept fresh.

This closes what the official client leaves open (measured in the project's notes on its version 37): ten parallel requests start ten
credential commands; a failing command turns into an anonymous request; `tokenFile` is read once; `as`, `as-groups` are ignored, so that a
call runs with more rights than were asked for; client certificates of commands are never renewed.
"""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from migrate.kube.config import Stanza
from migrate.kube.errors import place
from migrate.kube.execplugin import run_plugin
from migrate.kube.tls import ClientCertificate, pem, text_of
from migrate.model.clock import Clock
from migrate.model.errors import MigrateError, UsageError

log = logging.getLogger("migrate.kube")

REREAD_S = 60.0
"""How long a token read from a file is used before the file is read again. Kubernetes rewrites projected tokens well ahead of expiry."""
MARGIN = timedelta(seconds=60)
"""Renew this long before a command's credentials expire, or at three quarters of their life, whichever is later."""

_PROVIDERS = {
    "gcp": "Install gke-gcloud-auth-plugin and run `gcloud container clusters get-credentials` again.",
    "azure": "Install kubelogin and run `kubelogin convert-kubeconfig`.",
    "oidc": "Use an exec plugin for OIDC, for example `kubectl oidc-login`.",
}


@dataclass(frozen=True, slots=True)
class Login:
    """One state of the credentials. Two logins with different `number` may differ in token or certificate."""

    number: int
    authorization: str = field(default="", repr=False)
    certificate: ClientCertificate | None = field(default=None, repr=False)
    renew_at: datetime | None = None
    """On the wall, since an expiry is a moment on the wall."""
    expires: datetime | None = None
    stale_at_s: float | None = None
    """On the monotonic clock: when a file is due to be read again."""


class Credentials:
    """The current login of one context. Safe for many threads: only one renews, the others wait for it and share the result."""

    def __init__(self, stanza: Stanza, *, clock: Clock) -> None:
        """Check the user stanza. Raise UsageError for what is malformed or not supported; no command is run yet."""
        self._stanza = stanza
        self._clock = clock
        self._where = place(stanza.context)
        self._lock = threading.Lock()
        self._login: Login | None = None
        self._obtain = self._source()
        self.impersonation = tuple(_impersonation(stanza, self._where))
        self._client_certificate()

    def login(self) -> Login:
        """Return a login that is not due for renewal. Raise Refused if the credential command fails, UsageError for unreadable files."""
        login = self._login
        if login is not None and not self._due(login):
            return login
        with self._lock:
            login = self._login
            if login is None:
                login = self._login = self._obtain(1)
            elif self._due(login):
                login = self._login = self._renewed(login)
            return login

    def rejected(self, used: Login) -> bool:
        """Take note of a 401 for `used`. Return True if there is another login to try (renewed by us or by another thread meanwhile)."""
        with self._lock:
            current = self._login
            if current is None or current.number != used.number:
                return True
            fresh = self._obtain(used.number + 1)
            self._login = fresh
            return fresh.authorization != used.authorization or fresh.certificate != used.certificate

    def expired_certificate(self, used: Login) -> datetime | None:
        """Return when the client certificate of a login ended, if it did."""
        ends = used.certificate.expires() if used.certificate else None
        return ends if ends and ends <= self._clock.now() else None

    def _due(self, login: Login) -> bool:
        if login.stale_at_s is not None:
            return self._clock.monotonic() >= login.stale_at_s
        return login.renew_at is not None and self._clock.now() >= login.renew_at

    def _renewed(self, login: Login) -> Login:
        """Obtain anew; if that fails while the old login still works, keep the old one and say so."""
        try:
            return self._obtain(login.number + 1)
        except MigrateError as problem:
            if login.expires is None or self._clock.now() >= login.expires:
                raise
            log.warning("%s: credentials could not be renewed, the old ones work until %s: %s", self._where, login.expires, problem)
            return login

    def _source(self) -> Callable[[int], Login]:
        user = self._stanza.user
        if provider := user.get("auth-provider"):
            name = str(provider.get("name") or "") if isinstance(provider, dict) else ""
            raise UsageError(
                f'the user "{self._stanza.user_name}" logs in by auth-provider {name}'.rstrip(),
                where=self._where,
                why="auth-provider was removed from Kubernetes clients",
                now=_PROVIDERS.get(name, "Use an exec plugin instead."),
            )
        if user.get("tokenFile"):
            return self._from_file
        if user.get("token"):
            return lambda number: Login(number, self._bearer(str(user["token"])), self._client_certificate())
        if user.get("username"):
            pair = base64.b64encode(f"{user['username']}:{user.get('password') or ''}".encode()).decode()
            return lambda number: Login(number, f"Basic {pair}", self._client_certificate())
        if user.get("exec"):
            return self._from_plugin
        return lambda number: Login(number, "", self._client_certificate())

    def _from_file(self, number: int) -> Login:
        """Read the token file; an unreadable one after the first time leaves the last token in use, as in kubectl."""
        file = self._stanza.user_folder / Path(str(self._stanza.user["tokenFile"])).expanduser()
        stale_at_s = self._clock.monotonic() + REREAD_S
        try:
            token = text_of(file, "tokenFile", where=self._where).strip()
        except UsageError as problem:
            if self._login is None:
                raise
            log.warning("%s: the last token stays in use: %s", self._where, problem)
            return Login(number, self._login.authorization, self._client_certificate(), stale_at_s=stale_at_s)
        if not token:
            raise UsageError("the tokenFile of the kubeconfig is empty", where=f"{self._where}, {file}", now="Fetch a fresh token.")
        return Login(number, self._bearer(token), self._client_certificate(), stale_at_s=stale_at_s)

    def _from_plugin(self, number: int) -> Login:
        now = self._clock.now()
        credential = run_plugin(self._stanza)
        authorization = self._bearer(credential.token) if credential.token else ""
        renew_at = None
        if credential.expires is not None:
            renew_at = credential.expires - min(MARGIN, max(credential.expires - now, timedelta()) / 4)
        return Login(number, authorization, credential.certificate or self._client_certificate(), renew_at, credential.expires)

    def _bearer(self, token: str) -> str:
        """Return the header value. A token with a line break would end in an exception that quotes it."""
        token = token.strip()
        if not token.isascii() or not token.isprintable():
            raise UsageError("the token holds characters that no token has", where=self._where, now="Fetch a fresh one.")
        return f"Bearer {token}"

    def _client_certificate(self) -> ClientCertificate | None:
        user, folder = self._stanza.user, self._stanza.user_folder
        certificate = pem(user, "client-certificate", folder, where=self._where)
        key = pem(user, "client-key", folder, where=self._where)
        if bool(certificate) != bool(key):
            missing = "client-key" if certificate else "client-certificate"
            raise UsageError(f'the user "{self._stanza.user_name}" has no {missing}', where=self._where, now="Correct the kubeconfig.")
        return ClientCertificate(certificate, key) if certificate else None


def _impersonation(stanza: Stanza, where: str) -> list[tuple[str, str]]:
    """Return the Impersonate-* headers of `as`, `as-uid`, `as-groups` and `as-user-extra`."""
    user = stanza.user
    name, groups, extra = user.get("as"), user.get("as-groups") or [], user.get("as-user-extra") or {}
    if not isinstance(groups, list) or not isinstance(extra, dict):
        raise UsageError("as-groups must be a list, as-user-extra a mapping", where=where, now="Correct the kubeconfig.")
    if not name:
        if groups or extra or user.get("as-uid"):
            raise UsageError("as-uid, as-groups and as-user-extra need `as`", where=where, now="Name the user in `as`, or remove them.")
        return []
    headers = [("Impersonate-User", str(name))]
    if user.get("as-uid"):
        headers.append(("Impersonate-Uid", str(user["as-uid"])))
    headers += [("Impersonate-Group", str(group)) for group in groups]
    for key, values in extra.items():
        header = f"Impersonate-Extra-{quote(str(key).lower(), safe='')}"
        headers += [(header, str(value)) for value in (values if isinstance(values, list) else [values])]
    return headers
