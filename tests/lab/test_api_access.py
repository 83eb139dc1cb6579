"""Who may do what: certificates, tokens, roles, impersonation, reviews."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from migrate.lab.clock import SimClock
from tests.lab.api_client import CONFIGS, Api, config, serving

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as running:
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
        assert running.admin.post(f"{RBAC}/namespaces/shop/roles", {"metadata": {"name": "reader"}, "rules": rules}).code == 201
        subjects = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "rita"}]
        subjects.append({"kind": "ServiceAccount", "name": "default", "namespace": "shop"})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
        body = {"metadata": {"name": "readers"}, "subjects": subjects, "roleRef": reference}
        assert running.admin.post(f"{RBAC}/namespaces/shop/rolebindings", body).code == 201
        yield running


def test_without_credentials_only_health_is_open(api: Api) -> None:
    """Anonymous requests are 403, but for health and version; unknown tokens are 401."""
    nobody = api.bearer("")
    assert nobody.get("/readyz").body == "ok"
    assert nobody.get("/api/v1/namespaces").code == 403
    refused = api.bearer("wrong").get("/readyz")
    assert (refused.code, refused.body["message"]) == (401, "Unauthorized")


def test_a_role_allows_just_what_it_says(api: Api) -> None:
    """What the role names passes; anything else is 403 in the real words."""
    rita = api.user("rita")
    assert rita.get(CONFIGS).code == 200
    refused = rita.post(CONFIGS, config("no"))
    assert (refused.code, refused.body["reason"]) == (403, "Forbidden")
    assert refused.body["message"] == (
        'configmaps is forbidden: User "rita" cannot create resource "configmaps" in API group "" in the namespace "shop"'
    )
    named = rita.get("/apis/kubevirt.io/v1/virtualmachines/x")
    assert named.body["message"] == (
        'virtualmachines.kubevirt.io "x" is forbidden: User "rita" cannot get resource "virtualmachines" '
        'in API group "kubevirt.io" at the cluster scope'
    )
    log = rita.get("/api/v1/namespaces/shop/pods/p/log").body["message"]
    assert log == 'pods "p" is forbidden: User "rita" cannot get resource "pods/log" in API group "" in the namespace "shop"'
    assert rita.get("/metrics").body["message"] == 'forbidden: User "rita" cannot get path "/metrics"'


def test_everybody_may_discover(api: Api) -> None:
    """Authenticated users may read discovery and ask about themselves, as the default roles say."""
    rita = api.user("rita")
    assert rita.get("/apis").code == 200
    assert rita.post(f"{REVIEWS}/selfsubjectaccessreviews", {"spec": {"resourceAttributes": {"verb": "get"}}}).code == 201


def test_static_tokens_stand_for_users(api: Api) -> None:
    """A token given to the server is a user with groups, until it is revoked."""
    api.server.authentication.allow_token("s3cret", "tom", "system:masters")
    assert api.bearer("s3cret").get("/api/v1/namespaces").code == 200
    api.server.authentication.revoke_token("s3cret")
    assert api.bearer("s3cret").get("/api/v1/namespaces").code == 401


def test_tokens_of_service_accounts_expire() -> None:
    """A minted token acts as its account with its groups until its lab time is over."""
    clock = SimClock()
    with serving(clock=clock) as api, clock.busy():
        path = "/api/v1/namespaces/default/serviceaccounts/default/token"
        made = api.admin.post(path, {"spec": {"expirationSeconds": 600}})
        assert made.code == 201
        robot = api.bearer(made.body["status"]["token"])
        info = robot.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {}).body["status"]["userInfo"]
        assert info["username"] == "system:serviceaccount:default:default"
        assert "system:serviceaccounts:default" in info["groups"]
        assert robot.get(CONFIGS).code == 403
        clock.sleep(601)
        assert robot.get(CONFIGS).code == 401


def test_a_forged_token_is_refused(api: Api) -> None:
    """Changing the claims of a token breaks its signature."""
    token = api.admin.post("/api/v1/namespaces/shop/serviceaccounts/default/token", {}).body["status"]["token"]
    head, claims, signature = token.split(".")
    assert api.bearer(f"{head}.{claims}.{signature}").get(CONFIGS).code == 200
    assert api.bearer(f"{head}.{claims[:-2]}AA.{signature}").get(CONFIGS).code == 401


def test_impersonation_needs_the_right_to_it(api: Api) -> None:
    """An administrator acts as somebody else and gets no more than they may; others may not impersonate."""
    as_rita = {"Impersonate_User": "rita"}
    assert api.admin.get(CONFIGS, **as_rita).code == 200
    assert api.admin.get("/api/v1/namespaces/shop/secrets", **as_rita).code == 403
    refused = api.user("rita").get(CONFIGS, Impersonate_User="admin", Impersonate_Group="system:masters")
    assert refused.code == 403
    assert refused.body["message"] == (
        'users "admin" is forbidden: User "rita" cannot impersonate resource "users" in API group "" at the cluster scope'
    )


def attributes(verb: str, resource: str, namespace: str = "shop") -> dict[str, Any]:
    return {"spec": {"resourceAttributes": {"verb": verb, "resource": resource, "namespace": namespace}}}


def test_access_reviews_say_what_a_request_would_meet(api: Api) -> None:
    """Self and other reviews agree with the roles; the list of rules names them."""
    rita = api.user("rita")
    for verb, resource, allowed in (("list", "configmaps", True), ("create", "configmaps", False), ("get", "secrets", False)):
        mine = rita.post(f"{REVIEWS}/selfsubjectaccessreviews", attributes(verb, resource))
        assert mine.body["status"]["allowed"] is allowed
        body = attributes(verb, resource)
        body["spec"]["user"] = "rita"
        assert api.admin.post(f"{REVIEWS}/subjectaccessreviews", body).body["status"]["allowed"] is allowed
    rules = rita.post(f"{REVIEWS}/selfsubjectrulesreviews", {"spec": {"namespace": "shop"}}).body["status"]["resourceRules"]
    assert {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]} in rules


def test_token_reviews_name_the_user(api: Api) -> None:
    """A TokenReview tells whose token it is, and that a wrong one is nobody's."""
    token = api.admin.post("/api/v1/namespaces/shop/serviceaccounts/default/token", {}).body["status"]["token"]
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    status = api.admin.post(path, {"spec": {"token": token}}).body["status"]
    assert (status["authenticated"], status["user"]["username"]) == (True, "system:serviceaccount:shop:default")
    assert "authenticated" not in api.admin.post(path, {"spec": {"token": "x"}}).body["status"]


def test_reviews_count_as_reads(api: Api) -> None:
    """The request log counts reviews as reads and dry runs apart from writes."""
    client = api.user("admin", "system:masters")
    client.agent = "counter/1.0"
    client.post(f"{REVIEWS}/selfsubjectaccessreviews", attributes("get", "pods"))
    client.post(f"{CONFIGS}?dryRun=All", config("x"))
    client.post(CONFIGS, config("counted"))
    assert api.server.requests.totals()["counter"] == {"read": 1, "dry-run": 1, "write": 1}
    last = api.server.requests.since(0, user_agent="counter", sort="write")[-1]
    assert (last.verb, last.resource, last.namespace, last.status, last.user) == ("create", "configmaps", "shop", 201, "admin")
