"""The border: every refusal of an API server becomes one of our errors here, once, in words that help.

`why` is the server's own message, `where` names the context. A body that is not a `Status` (an HTML page of a proxy, an ingress) is
dropped: it may hold anything, and says nothing about the cluster.
"""

from __future__ import annotations

import re

from migrate.kube.answer import Answer, Cause, Status, clean
from migrate.model.errors import Conflict, Gone, MigrateError, OwnedByAnother, Problem, Refused, Taken, Unreachable

_OWNER = re.compile(r'conflict(?:s)? with "([^"]+)"')
_UNTYPED = "failed to create typed patch object"
"""API servers answer an apply with an unknown field this way, with status 500, although nothing is wrong with the server."""
_STILL_TRYING = "Check the cluster and run the same command again: it goes on where it stopped."


def place(context: str) -> str:
    """Return the `where` of every error of this room."""
    return f"context {context}"


def refused(answer: Answer, *, action: str, context: str) -> MigrateError:
    """Translate an answer that is not a success. `action` is what we wanted, e.g. `get VirtualMachine shop/db`."""
    status = answer.refusal()
    where, what = place(context), f"cannot {action}"
    if status is None:
        return _foreign(answer, what=what, where=where)
    why, code = _words(status), answer.status
    match code, status.reason:
        case 401, _:
            return unauthorized(why, context=context)
        case 403, _:
            return Refused(what, where=where, why=why, now=_forbidden_remedy(status), status=code)
        case 409, "AlreadyExists":
            return Taken(
                what,
                where=where,
                why=why,
                now="The name is in use by something that is not ours. Choose another name, or remove it.",
                status=code,
            )
        case 409, _ if any(cause.reason == "FieldManagerConflict" for cause in status.causes):
            return _owned(status, what=what, where=where)
        case 409, _:
            return Conflict(what, where=where, why=why, now="It changed meanwhile. Run the same command again.", status=code)
        case 410, _:
            return Gone(what, where=where, why=why, now="Run the same command again.", status=code)
        case ((400 | 405 | 406 | 413 | 415 | 422), _):
            return Refused(what, where=where, why=why, now=_invalid_remedy(status), status=code)
        case 429, _:
            return Unreachable(what, where=where, why=why, now=f"The API server is overloaded and asks for patience. {_STILL_TRYING}")
        case 500, _ if _UNTYPED in status.message:
            now = "The cluster's version of this type does not know the field; a newer or older template may."
            return Refused(what, where=where, why=why, now=now, status=code)
        case _ if code >= 500:
            return Unreachable(what, where=where, why=why, now=_broken_remedy(status))
        case _:
            return Refused(what, where=where, why=why, now=_invalid_remedy(status), status=code)


def unauthorized(why: str, *, context: str, now: str = "") -> Refused:
    """Build the error of credentials that are not accepted or cannot be had."""
    return Refused(
        "the cluster does not accept our credentials",
        where=place(context),
        why=why,
        now=now or f"Log in again, or correct this context's user in the kubeconfig. `kubectl --context {context} get ns` shows the same.",
        status=401,
    )


def not_served(resource: str, *, context: str, versions: str = "") -> Refused:
    """Build the error of a resource type that this cluster does not have."""
    asked = f" in {versions}" if versions else ""
    return Refused(
        f'the cluster has no resource type "{resource}"{asked}',
        where=place(context),
        why="the server could not find the requested resource",
        now="Install the component that brings it (KubeVirt, CDI, ...), or name another cluster.",
        status=404,
    )


def not_an_api(*, context: str) -> Unreachable:
    """Build the error of a success that holds no JSON object: not an API server, or something between us and it."""
    return Unreachable(
        "the answer is not an object of the Kubernetes API",
        where=place(context),
        why="the server reported success, but sent something else than JSON",
        now="Does `server` of this context in the kubeconfig point at a Kubernetes API server?",
    )


def is_absence(answer: Answer) -> bool:
    """Tell a missing object from a missing resource type: only the former's Status carries the object's name."""
    status = answer.refusal()
    return answer.status == 404 and status is not None and bool(status.name)


def is_missing_right(answer: Answer) -> bool:
    """Tell a refusal of the authorizer from those of quotas and admission, which are 403 as well."""
    status = answer.refusal()
    return answer.status == 403 and status is not None and ' is forbidden: User "' in status.message


def _words(status: Status) -> str:
    """Return the message, and the causes that it does not already hold."""
    message = status.message or status.reason
    extra = [text for cause in status.causes if (text := _cause(cause)) and cause.message not in message]
    return clean("; ".join([message, *extra]))


def _cause(cause: Cause) -> str:
    return ": ".join(part for part in (cause.field, cause.message or cause.reason) if part)


def _foreign(answer: Answer, *, what: str, where: str) -> MigrateError:
    why = f"HTTP {answer.status}, without a Kubernetes Status"
    if answer.status == 401:
        return unauthorized(why, context=where.removeprefix("context "))
    if answer.status == 429 or answer.status >= 500:
        return Unreachable(what, where=where, why=why, now=f"Something between us and the API server answered. {_STILL_TRYING}")
    hint = "Does `server` of this context in the kubeconfig point at a Kubernetes API server?"
    if 300 <= answer.status < 400:
        why = f"HTTP {answer.status}: sent on to another place, as a login page does"
    return Refused(what, where=where, why=why, now=hint, status=answer.status)


def _owned(status: Status, *, what: str, where: str) -> OwnedByAnother:
    """Name owner and field of every conflict: `.spec.running` belongs to `argocd-controller`."""
    found = [cause for cause in status.causes if cause.reason == "FieldManagerConflict"]
    problems = []
    for cause in found:
        owner = _OWNER.search(cause.message)
        who = owner.group(1) if owner else "another field manager"
        problems.append(
            Problem(
                f"{what}: field {cause.field or '?'} belongs to {who}",
                where,
                clean(cause.message),
                f"Let {who} make the change, or have it give up the field; we do not take fields from others.",
            )
        )
    first, *rest = problems
    return OwnedByAnother(first.what, where=where, why=first.why, now=first.now, more=rest, status=409)


def _forbidden_remedy(status: Status) -> str:
    message = status.message
    if "exceeded quota" in message:
        return "Raise the quota, or free what it counts."
    if "is being terminated" in message or any(cause.reason == "NamespaceTerminating" for cause in status.causes):
        return "The namespace is being deleted. Wait until it is gone, or name another one."
    if "admission webhook" in message or "ValidatingAdmissionPolicy" in message:
        return "A policy of the cluster forbids it; its own words above say what it wants."
    return "Ask the administrator of the cluster for this right."


def _invalid_remedy(status: Status) -> str:
    if "admission webhook" in status.message:
        return "A policy of the cluster forbids it; its own words above say what it wants."
    return ""


def _broken_remedy(status: Status) -> str:
    if "webhook" in status.message:
        return f"A webhook of the cluster does not answer; look at the pods of the component that it names. {_STILL_TRYING}"
    if status.code == 503:
        return f"An API service is not available; `kubectl get apiservices` shows which. {_STILL_TRYING}"
    return _STILL_TRYING
