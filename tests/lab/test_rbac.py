"""Rights are judged as the RBAC authorizer judges them: nobody may anything unless a binding says so."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.lab.rbac import Attributes, Roles, aggregated, allowed, rules_for, selects, shipped

SHIPPED = [*shipped("core"), *shipped("kubevirt"), *shipped("cdi")]
CLUSTER_ROLES = aggregated(role for role in SHIPPED if role["kind"] == "ClusterRole")
CLUSTER_BINDINGS = [binding for binding in SHIPPED if binding["kind"] == "ClusterRoleBinding"]
EVERYBODY = ("system:authenticated",)


def binding(role: str, *subjects: dict[str, str], kind: str = "ClusterRole", namespace: str = "shop") -> dict[str, Any]:
    return {"metadata": {"name": "b", "namespace": namespace}, "roleRef": {"kind": kind, "name": role}, "subjects": list(subjects)}


def roles(*bindings: dict[str, Any], own: tuple[dict[str, Any], ...] = ()) -> Roles:
    return Roles(CLUSTER_ROLES, CLUSTER_BINDINGS, own, bindings)


def own_role(**rule: Any) -> dict[str, Any]:
    return {"metadata": {"name": "own", "namespace": "shop"}, "rules": [rule]}


BOB = {"kind": "User", "name": "bob"}


def may(role: str, attributes: Attributes) -> bool:
    """Tell whether bob may, holding a default role in namespace shop."""
    return allowed("bob", EVERYBODY, attributes, roles(binding(role, BOB)))


@pytest.mark.parametrize(
    ("role", "verb", "group", "resource", "expected"),
    [
        ("view", "get", "kubevirt.io", "virtualmachines", True),
        ("view", "patch", "kubevirt.io", "virtualmachines", False),
        ("view", "list", "export.kubevirt.io", "virtualmachineexports", True),
        ("view", "create", "export.kubevirt.io", "virtualmachineexports", False),
        ("view", "get", "", "secrets", False),
        ("view", "get", "", "pods/log", True),
        ("view", "get", "", "pods/portforward", False),
        ("view", "update", "subresources.kubevirt.io", "virtualmachines/stop", False),
        ("edit", "create", "export.kubevirt.io", "virtualmachineexports", True),
        ("edit", "deletecollection", "export.kubevirt.io", "virtualmachineexports", False),
        ("edit", "get", "", "secrets", True),
        ("edit", "create", "", "pods/portforward", True),
        ("edit", "update", "subresources.kubevirt.io", "virtualmachines/stop", True),
        ("edit", "get", "subresources.kubevirt.io", "virtualmachines/expand-spec", True),
        ("edit", "create", "cdi.kubevirt.io", "datavolumes", True),
        ("edit", "create", "upload.cdi.kubevirt.io", "uploadtokenrequests", True),
        ("edit", "get", "kubevirt.io", "virtualmachineinstancemigrations", True),
        ("edit", "create", "rbac.authorization.k8s.io", "rolebindings", False),
        ("edit", "create", "", "namespaces", False),
        ("admin", "deletecollection", "export.kubevirt.io", "virtualmachineexports", True),
        ("admin", "create", "rbac.authorization.k8s.io", "rolebindings", True),
        ("admin", "create", "", "resourcequotas", False),
    ],
)
def test_default_roles_have_the_rights_of_the_references(role: str, verb: str, group: str, resource: str, expected: bool) -> None:
    """view, edit and admin aggregate what Kubernetes, KubeVirt and CDI give them."""
    plural, _, subresource = resource.partition("/")
    asked = Attributes(verb, group, plural, subresource, namespace="shop")
    assert may(role, asked) is expected
    assert not may(role, Attributes(verb, group, plural, subresource, namespace="other"))


def test_everybody_may_look_around() -> None:
    """Discovery, own reviews, and the settings that CDI and KubeVirt publish are open to every user."""
    nobody = roles()
    assert allowed("x", EVERYBODY, Attributes("get", path="/apis/kubevirt.io/v1"), nobody)
    assert allowed("x", EVERYBODY, Attributes("create", "authorization.k8s.io", "selfsubjectaccessreviews"), nobody)
    assert allowed("x", EVERYBODY, Attributes("list", "cdi.kubevirt.io", "storageprofiles"), nobody)
    assert allowed("x", EVERYBODY, Attributes("list", "kubevirt.io", "kubevirts", namespace="kubevirt"), nobody)
    assert not allowed("x", EVERYBODY, Attributes("get", path="/metrics"), nobody)
    assert not allowed("x", EVERYBODY, Attributes("list", "", "nodes"), nobody)
    assert not allowed("x", (), Attributes("get", path="/apis"), nobody)


def test_masters_may_everything() -> None:
    """The group system:masters needs no roles."""
    assert allowed("root", ("system:masters",), Attributes("delete", "", "nodes"), Roles())
    assert rules_for("root", ("system:masters",), "shop", Roles())[0][0]["verbs"] == ["*"]


def test_service_accounts_and_groups_are_subjects() -> None:
    """A service account without a namespace is that of the binding."""
    asked = Attributes("get", "", "secrets", namespace="shop")
    account = binding("edit", {"kind": "ServiceAccount", "name": "robot"})
    assert allowed("system:serviceaccount:shop:robot", (), asked, roles(account))
    assert not allowed("system:serviceaccount:other:robot", (), asked, roles(account))
    group = binding("edit", {"kind": "Group", "name": "system:serviceaccounts:ops"})
    assert allowed("system:serviceaccount:ops:x", ("system:serviceaccounts:ops",), asked, roles(group))


def test_role_of_the_namespace_is_not_taken_from_another_one() -> None:
    """A Role counts in its own namespace only."""
    rule = own_role(apiGroups=[""], resources=["secrets"], verbs=["get"])
    held = roles(binding("own", BOB, kind="Role"), binding("own", BOB, kind="Role", namespace="other"), own=(rule,))
    assert allowed("bob", (), Attributes("get", "", "secrets", namespace="shop"), held)
    assert not allowed("bob", (), Attributes("get", "", "secrets", namespace="other"), held)


@pytest.mark.parametrize(
    ("rule", "asked", "expected"),
    [
        ({"resources": ["secrets"], "resourceNames": ["a"]}, Attributes("get", "", "secrets", name="a"), True),
        ({"resources": ["secrets"], "resourceNames": ["a"]}, Attributes("get", "", "secrets", name="b"), False),
        ({"resources": ["secrets"], "resourceNames": ["a"]}, Attributes("get", "", "secrets"), False),
        ({"resources": ["pods"]}, Attributes("get", "", "pods", "log"), False),
        ({"resources": ["pods/*"]}, Attributes("get", "", "pods", "log"), True),
        ({"resources": ["*/log"]}, Attributes("get", "", "pods", "log"), True),
        ({"resources": ["pods/*"]}, Attributes("get", "", "pods"), False),
        ({"resources": ["*"]}, Attributes("get", "", "pods", "log"), True),
        ({"resources": ["pods"], "apiGroups": ["apps"]}, Attributes("get", "", "pods"), False),
        ({"resources": ["pods"], "apiGroups": ["*"]}, Attributes("get", "x", "pods"), True),
        ({"resources": ["pods"], "verbs": ["*"]}, Attributes("shred", "", "pods"), True),
    ],
)
def test_rules_match_resources_subresources_and_names(rule: dict[str, Any], asked: Attributes, expected: bool) -> None:
    """Each part of a rule narrows it."""
    full = own_role(**{"apiGroups": [""], "verbs": ["get"], **rule})
    here = Attributes(asked.verb, asked.group, asked.resource, asked.subresource, "shop", asked.name)
    assert allowed("bob", (), here, roles(binding("own", BOB, kind="Role"), own=(full,))) is expected


def test_rules_of_a_user_are_listed_for_reviews() -> None:
    """SelfSubjectRulesReview shows resource rules and URLs apart."""
    resources, paths = rules_for("bob", EVERYBODY, "shop", roles(binding("view", BOB)))
    assert any("virtualmachines" in rule["resources"] and "get" in rule["verbs"] for rule in resources)
    assert any("/apis/*" in rule["nonResourceURLs"] for rule in paths)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_label_selectors_of_aggregation(selector: dict[str, Any], expected: bool) -> None:
    """matchLabels and matchExpressions both have to hold."""
    assert selects(selector, {"a": "1"}) is expected
