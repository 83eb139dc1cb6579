"""The reviews: may I, may they, what may I, who am I, whose token is this; and tokens for service accounts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from migrate.lab.admission import User
from migrate.lab.api_objects import stamp
from migrate.lab.api_status import ApiError, bad_request, not_found
from migrate.lab.api_virtual import Answer, Call, Routes
from migrate.lab.auth import ISSUER
from migrate.lab.discovery import Virtual
from migrate.lab.store import Object

_AUTHZ = ("authorization.k8s.io", "v1")
_AUTHN = ("authentication.k8s.io", "v1")


def register(routes: Routes) -> None:
    """Answer all reviews and the token subresource."""
    for plural, kind, responder in (
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview", _may_i),
        ("subjectaccessreviews", "SubjectAccessReview", _may_they),
        ("selfsubjectrulesreviews", "SelfSubjectRulesReview", _rules),
    ):
        routes.add(Virtual(*_AUTHZ, plural, kind, ("create",), namespaced=False), "POST", responder)
    local = Virtual(*_AUTHZ, "localsubjectaccessreviews", "LocalSubjectAccessReview", ("create",))
    routes.add(local, "POST", _may_they)
    routes.add(Virtual(*_AUTHN, "tokenreviews", "TokenReview", ("create",), namespaced=False), "POST", _token_review)
    routes.add(Virtual(*_AUTHN, "selfsubjectreviews", "SelfSubjectReview", ("create",), namespaced=False), "POST", _who_am_i)
    token = Virtual("", "v1", "serviceaccounts", "TokenRequest", ("create",), subresource="token")
    routes.add(token, "POST", _token)


def _spec(call: Call) -> dict[str, Any]:
    if not isinstance(call.body, dict):
        raise bad_request("the body of a review must be an object")
    spec: dict[str, Any] = call.body.get("spec") or {}
    return spec


def _answer(call: Call, code: int, **fields: Any) -> Answer:
    body = {"metadata": {"creationTimestamp": None}, **{k: v for k, v in call.body.items() if k != "metadata"}, **fields}
    return code, body


def _may_i(call: Call) -> Answer:
    return _judged(call, call.user, _spec(call))


def _may_they(call: Call) -> Answer:
    spec = _spec(call)
    user = User(spec.get("user", ""), tuple(spec.get("groups") or ()), uid=spec.get("uid", ""))
    return _judged(call, user, spec)


def _judged(call: Call, user: User, spec: dict[str, Any]) -> Answer:
    asked = spec.get("resourceAttributes")
    if asked is not None:
        allowed = call.server.access.may(
            user,
            asked.get("verb", ""),
            group=asked.get("group", ""),
            resource=asked.get("resource", ""),
            subresource=asked.get("subresource", ""),
            namespace=asked.get("namespace", ""),
            name=asked.get("name", ""),
        )
    elif spec.get("nonResourceAttributes") is not None:
        path = spec["nonResourceAttributes"]
        allowed = call.server.access.may(user, path.get("verb", ""), path=path.get("path", ""))
    else:
        raise ApiError(
            422,
            f'{call.body.get("kind", "")}.authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: "null": '
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )
    return _answer(call, 201, status={"allowed": allowed})


def _rules(call: Call) -> Answer:
    namespace = _spec(call).get("namespace", "")
    if not namespace:
        raise bad_request("no namespace on request")
    resource_rules, path_rules = call.server.access.rules(call.user, namespace)
    return _answer(call, 201, status={"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": False})


def _info(user: User) -> dict[str, Any]:
    info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {name: list(values) for name, values in user.extra}
    return info


def _who_am_i(call: Call) -> Answer:
    return _answer(call, 201, status={"userInfo": _info(call.user)})


def _token_review(call: Call) -> Answer:
    try:
        user = call.server.authentication.user_of_token(_spec(call).get("token", ""))
    except ApiError:
        return _answer(call, 201, status={"user": {}, "error": "invalid bearer token"})
    return _answer(call, 201, status={"authenticated": True, "user": _info(user), "audiences": [ISSUER]})


def _token(call: Call) -> Answer:
    account: Object | None = call.server.objects.lookup("", "serviceaccounts", call.namespace, call.name)
    if account is None:
        resource = call.server.registry.resource("", "serviceaccounts")
        assert resource is not None
        raise not_found(resource, call.name)
    spec = _spec(call)
    seconds = int(spec.get("expirationSeconds") or 3600)
    if seconds < 600:
        text = f"spec.expirationSeconds: Invalid value: {seconds}: may not specify a duration less than 10 minutes"
        raise ApiError(422, f'TokenRequest.authentication.k8s.io "" is invalid: {text}')
    audiences = tuple(spec.get("audiences") or (ISSUER,))
    if call.dry_run:
        token = ""
    else:
        token = call.server.authentication.mint(account, seconds=seconds, audiences=audiences, bound=spec.get("boundObjectRef"))
    expires = stamp(call.server.clock.now() + timedelta(seconds=seconds))
    metadata = {"name": call.name, "namespace": call.namespace, "creationTimestamp": stamp(call.server.clock.now())}
    body = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": metadata,
        "spec": {"audiences": list(audiences), "expirationSeconds": seconds, "boundObjectRef": spec.get("boundObjectRef")},
        "status": {"token": token, "expirationTimestamp": expires},
    }
    return 201, body
