"""The other border: connections that never became an answer, told apart by what a person can do about them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from migrate.kube.answer import clean
from migrate.kube.errors import place, unauthorized
from migrate.model.errors import MigrateError, Unreachable

_X509 = {
    9: ("its certificate is not valid yet", "Check the clock of this machine."),
    10: ("its certificate has expired", "Renew the API server's certificate, or check the clock of this machine."),
    18: ("its certificate is signed by itself", "Put that certificate into certificate-authority-data of the cluster in the kubeconfig."),
    19: (
        "its certificate chain ends in an unknown root",
        "Put that root into certificate-authority-data of the cluster in the kubeconfig; a changed CA needs a fresh kubeconfig.",
    ),
    20: (
        "its certificate is signed by an authority that this kubeconfig does not know",
        "Correct certificate-authority-data of the cluster in the kubeconfig; a changed CA needs a fresh kubeconfig.",
    ),
    62: ("its certificate is for another host name", "Correct `server` in the kubeconfig, or set tls-server-name to a name it is for."),
    64: ("its certificate is for another address", "Correct `server` in the kubeconfig, or set tls-server-name to a name it is for."),
}
_REJECTED_CLIENT = (
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_UNKNOWN",
    "BAD_CERTIFICATE",
    "UNKNOWN_CA",
    "CERTIFICATE_REQUIRED",
    "CERTIFICATE_REVOKED",
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt, judged. `again`: trying again may help. `sent`: the request may have reached the server and been carried out."""

    error: MigrateError
    cause: str
    again: bool
    sent: bool


def judge(problem: BaseException, *, action: str, context: str, server: str) -> Failure:
    """Translate an exception of urllib3 (or of the socket below it) for a request to `server`."""
    import urllib3.exceptions as http

    chain = tuple(_chain(problem))
    what, where = f"cannot {action}: no answer from {server}", place(context)
    later = "Check the network and the cluster, then run the same command again: it goes on where it stopped."

    def failure(why: str, now: str = later, *, again: bool = False, sent: bool = False) -> Failure:
        return Failure(Unreachable(what, where=where, why=why, now=now), why, again, sent)

    for found in chain:
        if isinstance(found, ssl.SSLCertVerificationError):
            why, now = _X509.get(found.verify_code, (f"its certificate is not accepted: {found.verify_message}", ""))
            return failure(f"{why} ({clean(found.verify_message)})", now)
    for found in chain:
        if isinstance(found, ssl.SSLError) and (rejected := _client_rejected(found)):
            error = unauthorized(f"the server does not accept our client certificate ({rejected})", context=context)
            return Failure(error, "client certificate not accepted", again=False, sent=False)
    resolution = next((found for found in chain if isinstance(found, socket.gaierror)), None)
    if resolution is not None or isinstance(problem, http.NameResolutionError):
        passing = resolution is not None and resolution.errno == socket.EAI_AGAIN
        return failure("its host name cannot be resolved", "Check `server` in the kubeconfig, the DNS and the VPN.", again=passing)
    if isinstance(problem, http.ProxyError):
        return failure(
            f"the proxy did not let us through: {clean(str(problem.original_error))}", "Check proxy-url in the kubeconfig.", again=True
        )
    if any(isinstance(found, ConnectionRefusedError) for found in chain):
        return failure("the connection was refused", again=True)
    if isinstance(problem, http.ReadTimeoutError):
        return failure("it took the request and did not answer in time", again=True, sent=True)
    if isinstance(problem, http.ConnectTimeoutError) and not isinstance(problem, http.NewConnectionError):
        return failure("the connection could not be made in time", again=True)
    if isinstance(problem, http.NewConnectionError):
        return failure(f"the connection could not be made: {_root(chain)}", again=True)
    if any(isinstance(found, ssl.SSLError) for found in chain):
        if any("WRONG_VERSION_NUMBER" in str(found) or "record layer" in str(found) for found in chain):
            return failure("it does not speak TLS", "Is `server` in the kubeconfig meant to be http://, or is the port another service's?")
        return failure(f"TLS failed: {_root(chain)}", again=True, sent=True)
    return failure(f"the connection broke before the answer: {_root(chain)}", again=True, sent=True)


def _chain(problem: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while problem is not None and id(problem) not in seen:
        seen.add(id(problem))
        yield problem
        inner = next((arg for arg in problem.args if isinstance(arg, BaseException)), None)
        problem = inner or problem.__cause__ or problem.__context__


def _root(chain: tuple[BaseException, ...]) -> str:
    last = chain[-1]
    return clean(str(last) or type(last).__name__)


def _client_rejected(problem: ssl.SSLError) -> str:
    reason = str(problem.reason or "")
    if "ALERT" not in reason:
        return ""
    return next((name.lower().replace("_", " ") for name in _REJECTED_CLIENT if name in reason), "")
