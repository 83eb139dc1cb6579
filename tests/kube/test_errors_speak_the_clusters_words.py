"""Every refusal has its class, the cluster's own words, the context, and no secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.kube.answer import LONGEST_TEXT, Answer, Status, clean
from migrate.kube.cluster import Cluster
from migrate.kube.errors import refused
from migrate.kube.kinds import NAMESPACE, POD, VM
from migrate.model.errors import Conflict, Gone, MigrateError, OwnedByAnother, Refused, Taken, Unreachable
from tests.kube.small_server import Reply, SmallServer, refusal

POD_A = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}


@pytest.mark.parametrize(
    ("reply", "family", "why", "now"),
    [
        (refusal(400, "BadRequest", "strict decoding error: unknown field spec.foo"), Refused, "strict decoding error", ""),
        (refusal(403, "Forbidden", 'pods is forbidden: User "jane" cannot create resource "pods"'), Refused, 'User "jane"', "this right"),
        (
            refusal(403, "Forbidden", "pods a is forbidden: exceeded quota: small, requested: pods=1"),
            Refused,
            "exceeded quota",
            "Raise the quota",
        ),
        (refusal(403, "Forbidden", "... because it is being terminated"), Refused, "terminated", "Wait until it is gone"),
        (
            refusal(404, "NotFound", 'namespaces "shop" not found', name="shop", kind="namespaces"),
            Refused,
            'namespaces "shop" not found',
            "",
        ),
        (refusal(405, "MethodNotAllowed", "the server does not allow this method"), Refused, "does not allow", ""),
        (refusal(409, "AlreadyExists", 'pods "a" already exists'), Taken, "already exists", "Choose another name"),
        (refusal(409, "Conflict", "the object has been modified"), Conflict, "has been modified", "Run the same command again"),
        (refusal(410, "Expired", "too old resource version"), Gone, "too old", ""),
        (
            refusal(
                422, "Invalid", "Pod is invalid", causes=[{"field": "spec.x", "message": "Required value", "reason": "FieldValueRequired"}]
            ),
            Refused,
            "Pod is invalid; spec.x: Required value",
            "",
        ),
        (refusal(422, "Invalid", 'admission webhook "v.example" denied the request: no'), Refused, "denied the request: no", "policy"),
        (refusal(429, "TooManyRequests", "slow down"), Unreachable, "slow down", "overloaded"),
        (refusal(500, "InternalError", 'failed calling webhook "vm.kubevirt.io": EOF'), Unreachable, "vm.kubevirt.io", "webhook"),
        (refusal(503, "ServiceUnavailable", "service unavailable"), Unreachable, "unavailable", "kubectl get apiservices"),
        (refusal(504, "Timeout", "request did not complete"), Unreachable, "did not complete", "goes on where it stopped"),
        (Reply(502, b"<html>token=abcdefghijk Bad gateway</html>"), Unreachable, "HTTP 502, without a Kubernetes Status", "between us"),
        (Reply(403, b"<html>go away</html>"), Refused, "HTTP 403, without a Kubernetes Status", "point at a Kubernetes API server"),
        (Reply(302, b"", {"Location": "https://login.example.org"}), Refused, "login page", "point at a Kubernetes API server"),
        (Reply(200, b"<html>welcome</html>"), Unreachable, "something else than JSON", "point at a Kubernetes API server"),
    ],
)
def test_a_refusal_has_its_class_and_its_words(
    server: SmallServer, east: Cluster, reply: Reply, family: type[MigrateError], why: str, now: str
) -> None:
    """Class, `why` and `now` of each answer of an API server, and of what stands between."""
    server.script = lambda _request: reply
    with pytest.raises(MigrateError) as caught:
        east.create(POD_A)
    error = caught.value
    assert type(error) is family
    assert error.where == "context east"
    assert why in error.why
    assert now in error.now
    assert "html" not in f"{error} {error.now}"
    assert "sesame" not in f"{error} {error.now}"
    if isinstance(error, Refused):
        assert error.status == reply.status


def test_an_ownership_conflict_names_owner_and_field(server: SmallServer, east: Cluster) -> None:
    """Every field that somebody else manages is one problem, with the manager's name."""
    causes = [
        {"reason": "FieldManagerConflict", "message": 'conflict with "argocd-controller" using v1', "field": ".spec.a"},
        {"reason": "FieldManagerConflict", "message": 'conflict with "helm" with subresource "status" using v1', "field": ".spec.b"},
    ]
    server.script = lambda _request: refusal(409, "Conflict", "Apply failed with 2 conflicts", causes=causes)
    with pytest.raises(OwnedByAnother) as caught:
        east.apply(POD_A)
    assert [problem.what for problem in caught.value.problems] == [
        "cannot apply Pod shop/a: field .spec.a belongs to argocd-controller",
        "cannot apply Pod shop/a: field .spec.b belongs to helm",
    ]


def test_a_failed_test_of_a_patch_is_a_conflict_that_says_which(server: SmallServer, east: Cluster) -> None:
    """API servers answer 422 without a cause; a fresh look finds the test that did not hold."""

    def script(request: object) -> Reply:
        if getattr(request, "method", "") == "PATCH":
            return refusal(422, "Invalid", "the server rejected our request due to an error in our request")
        return Reply(200, {"metadata": {"uid": "u1", "resourceVersion": "8", "annotations": {"a/b": "x"}}})

    server.script = script
    tests: list[dict[str, object]] = [
        {"op": "test", "path": "/metadata/uid", "value": "u1"},
        {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "test", "path": "/metadata/annotations/a~1b", "value": "x"},
        {"op": "test", "path": "/metadata/labels", "value": {}},
    ]
    with pytest.raises(Conflict) as caught:
        east.patch(POD, "a", [*tests, {"op": "add", "path": "/x", "value": 1}])
    assert caught.value.why == "/metadata/resourceVersion is '8', expected '7'; /metadata/labels is absent"
    with pytest.raises(Refused) as invalid:
        east.patch(POD, "a", [*tests[:1], {"op": "add", "path": "/x", "value": 1}])
    assert type(invalid.value) is Refused


def test_a_uid_that_does_not_match_is_a_conflict(server: SmallServer, east: Cluster) -> None:
    """The precondition is sent, and its failure heals by a fresh look."""
    message = "Precondition failed: UID in precondition: u1, UID in object meta: u2"
    server.script = lambda _request: refusal(409, "Conflict", message, name="a")
    with pytest.raises(Conflict, match="Precondition failed"):
        east.delete(POD, "a", uid="u1")
    assert server.requests[0].body == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u1"},
    }


def test_a_subresource_of_an_absent_object_is_a_refusal(server: SmallServer, east: Cluster) -> None:
    """Calls and writes on something absent are refused with status 404; deleting it is fine."""
    server.script = lambda _request: refusal(404, "NotFound", 'namespaces "a" not found', name="a", kind="namespaces")
    with pytest.raises(Refused) as caught:
        east.call("PUT", "/apis/subresources.kubevirt.io/v1/namespaces/shop/virtualmachines/a/stop")
    assert caught.value.status == 404
    with pytest.raises(Refused):
        east.merge(NAMESPACE, "a", {})
    east.delete(NAMESPACE, "a")


def test_the_log_of_a_container_that_has_not_begun_is_empty(server: SmallServer, east: Cluster) -> None:
    """Logs are asked for to explain things; there being none yet is no error."""
    server.script = lambda _request: refusal(400, "BadRequest", 'container "c" in pod "a" is waiting to start: ContainerCreating')
    assert east.log_text("a", container="c", tail=5) == ""
    assert server.requests[0].query == {"tailLines": "5", "container": "c"}
    server.script = lambda _request: Reply(200, b"one\ntwo\xff\n", {"Content-Type": "text/plain"})
    assert east.log_text("a") == "one\ntwo\ufffd\n"


def test_rights_are_asked_for_as_the_cluster_decides_them(server: SmallServer, east: Cluster) -> None:
    """`can` sends the attributes of the very request that is meant."""
    server.script = lambda _request: Reply(201, {"status": {"allowed": True}})
    assert east.can("update", VM, subresource="stop", name="a")
    assert server.requests[0].body["spec"]["resourceAttributes"] == {
        "verb": "update",
        "group": "kubevirt.io",
        "resource": "virtualmachines",
        "namespace": "shop",
        "subresource": "stop",
        "name": "a",
    }
    east.can("list", NAMESPACE)
    assert "namespace" not in server.requests[1].body["spec"]["resourceAttributes"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abc.def-ghi123", "Authorization: Bearer [removed]"),
        ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln ends", "token [removed] ends"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- rest", "[removed] rest"),
        ('{"access_token":"abcdef123456","a":1}', '{"access_token":"[removed]","a":1}'),
        ('secrets "migrate-1-token" not found', 'secrets "migrate-1-token" not found'),
        ("cannot list secrets in the namespace", "cannot list secrets in the namespace"),
    ],
)
def test_what_looks_like_a_secret_is_removed(text: str, expected: str) -> None:
    """Error texts are pasted into tickets; names of Secrets stay readable."""
    assert clean(text) == expected


def test_long_texts_are_cut() -> None:
    """A page of foreign text does not bury the rest of the error."""
    assert len(clean("x" * 10_000)) < LONGEST_TEXT + 40
    assert clean("x" * 10_000).endswith("(8800 characters more)")


def _mapping(inner: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    keys = st.sampled_from(["kind", "code", "reason", "message", "details", "causes", "field", "name", "retryAfterSeconds"])
    return st.dictionaries(keys, inner, max_size=6)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | _mapping(inner),
    max_leaves=8,
)


@given(_mapping(_json), st.integers(100, 599))
def test_no_answer_however_odd_breaks_the_border(body: dict[str, object], status: int) -> None:
    """Anything may come back; it always becomes one of our errors."""
    import json

    Status.of(body | {"kind": "Status"}, status)
    error = refused(Answer(status, {}, json.dumps(body | {"kind": "Status"}).encode()), action="try", context="east")
    assert isinstance(error, MigrateError)
