"""The refusals of an API server: Status bodies with the words of the real one, since people and programs read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from migrate.lab.admission import Cause, Denied
from migrate.lab.kinds import Resource

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class ApiError(Exception):
    """An answer other than success. `details` goes into the Status as it is; `retry_after` (seconds) also becomes a header."""

    def __init__(
        self, code: int, message: str, *, reason: str | None = None, details: dict[str, Any] | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = REASONS.get(code, "") if reason is None else reason
        self.details = details
        self.retry_after = retry_after

    def status(self) -> dict[str, Any]:
        """Return the Status object."""
        status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message}
        if self.reason:
            status["reason"] = self.reason
        details = dict(self.details) if self.details is not None else None
        if self.retry_after is not None:
            details = {**(details or {}), "retryAfterSeconds": self.retry_after}
        if details is not None:
            status["details"] = details
        status["code"] = self.code
        return status


def success(resource: Resource, name: str, uid: str) -> dict[str, Any]:
    """Return the Status of an object that was removed at once."""
    details = {"name": name, **({"group": resource.group} if resource.group else {}), "kind": resource.plural, "uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def details_of(resource: Resource, name: str = "", causes: Sequence[Cause] = (), *, kind: str = "") -> dict[str, Any]:
    """Return Status details; `kind` is the plural unless given, as the server has it for everything but Invalid."""
    found: dict[str, Any] = {"name": name} if name else {}
    if resource.group:
        found["group"] = resource.group
    found["kind"] = kind or resource.plural
    if causes:
        found["causes"] = [
            {"reason": cause.reason, "message": cause.message, **({"field": cause.field} if cause.field else {})} for cause in causes
        ]
    return found


def not_found(resource: Resource, name: str) -> ApiError:
    """Say that there is no such object."""
    return ApiError(404, f'{resource.group_resource} "{name}" not found', details=details_of(resource, name))


class NoSuchPath(ApiError):
    """Nothing is served at this path: plain text, where everything else is a Status."""

    TEXT = "404 page not found\n"


def no_such_path() -> ApiError:
    """Say that nothing is served at this path."""
    return NoSuchPath(404, "the server could not find the requested resource")


def already_exists(resource: Resource, name: str) -> ApiError:
    """Say that the name is in use."""
    text = f'{resource.group_resource} "{name}" already exists'
    return ApiError(409, text, reason="AlreadyExists", details=details_of(resource, name))


STALE = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(resource: Resource, name: str, why: str = STALE) -> ApiError:
    """Say that an optimistic lock or a precondition did not hold."""
    text = f'Operation cannot be fulfilled on {resource.group_resource} "{name}": {why}'
    return ApiError(409, text, details=details_of(resource, name))


def replaced(resource: Resource, namespace: str, name: str, *, wanted: str, found: str) -> ApiError:
    """Say that an update means an earlier object of that name: its uid is not the one found."""
    key = "/".join(part for part in ("/registry", resource.group, resource.plural, namespace, name) if part)
    uids = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    return conflict(resource, name, f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: {uids}")


def not_the_one(resource: Resource, name: str, *, what: str, wanted: str, found: str) -> ApiError:
    """Say that a precondition of a delete did not hold; `what` is UID or ResourceVersion. The real words name the kind here."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    since = "deleted and then recreated" if what == "UID" else "modified"
    text = f"the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {since}"
    details = details_of(resource, name, kind=resource.kind)
    return ApiError(409, f'Operation cannot be fulfilled on {kind} "{name}": {text}', details=details)


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
    """Say what is wrong with an object, all at once."""
    lines = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
    text = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    return ApiError(422, f'{kind} "{name}" is invalid: {text}', details=details_of(resource, name, causes, kind=resource.kind))


def bad_request(message: str) -> ApiError:
    """Say that the request cannot mean anything."""
    return ApiError(400, message)


def forbidden(resource: Resource, name: str, why: str, causes: Sequence[Cause] = ()) -> ApiError:
    """Say that an admission rule refuses this."""
    text = f'{resource.group_resource} "{name}" is forbidden: {why}' if name else f"{resource.group_resource} is forbidden: {why}"
    return ApiError(403, text, details=details_of(resource, name, causes))


def expired(message: str) -> ApiError:
    """Say that a resource version or continue token is too old."""
    return ApiError(410, message)


def too_large_version(wanted: int, present: int) -> ApiError:
    """Say that a resource version lies in the future."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    details = {"causes": [cause], "retryAfterSeconds": 1}
    return ApiError(504, f"Timeout: Too large resource version: {wanted}, current: {present}", details=details)


def from_denied(denied: Denied) -> ApiError:
    """Turn the refusal of an admission into its Status; like a webhook's, its details hold causes only."""
    causes = [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in denied.causes]
    reason = denied.reason or REASONS.get(denied.code, "")
    return ApiError(denied.code, denied.message, reason=reason, details={"causes": causes} if causes else None)
