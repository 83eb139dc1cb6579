"""Who may do what: rules, roles and bindings judged as the RBAC authorizer judges them. Denies unless something allows."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Obj = Mapping[str, Any]
MASTERS = "system:masters"
GROUP = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked for: a resource in a namespace (empty = cluster-wide), or a URL path that is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles and bindings of a cluster, as their objects."""

    cluster_roles: Sequence[Obj] = ()
    cluster_bindings: Sequence[Obj] = ()
    roles: Sequence[Obj] = ()
    bindings: Sequence[Obj] = ()


def allowed(user: str, groups: Iterable[str], attributes: Attributes, roles: Roles) -> bool:
    """Tell whether the user may."""
    names = frozenset(groups)
    if MASTERS in names:
        return True
    return any(_permits(rule, attributes) for rule in _rules(user, names, attributes.namespace, roles))


def rules_for(user: str, groups: Iterable[str], namespace: str, roles: Roles) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the resource rules and the URL rules that the user has in a namespace, as SelfSubjectRulesReview lists them."""
    names = frozenset(groups)
    resources: list[dict[str, Any]] = []
    paths: list[dict[str, Any]] = []
    if MASTERS in names:
        return [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}], [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
    for rule in _rules(user, names, namespace, roles):
        kept = {key: list(rule[key]) for key in ("verbs", "apiGroups", "resources", "resourceNames") if rule.get(key)}
        if rule.get("resources"):
            resources.append(kept)
        if rule.get("nonResourceURLs"):
            paths.append({"verbs": list(rule["verbs"]), "nonResourceURLs": list(rule["nonResourceURLs"])})
    return resources, paths


def _rules(user: str, groups: frozenset[str], namespace: str, roles: Roles) -> Iterator[Obj]:
    everywhere = {role["metadata"]["name"]: role for role in roles.cluster_roles}
    for binding in roles.cluster_bindings:
        if _bound(binding, user, groups):
            yield from everywhere.get(binding["roleRef"]["name"], {}).get("rules") or ()
    if not namespace:
        return
    here = {role["metadata"]["name"]: role for role in roles.roles if role["metadata"].get("namespace") == namespace}
    for binding in roles.bindings:
        if binding["metadata"].get("namespace") == namespace and _bound(binding, user, groups):
            found = everywhere if binding["roleRef"]["kind"] == "ClusterRole" else here
            yield from found.get(binding["roleRef"]["name"], {}).get("rules") or ()


def _bound(binding: Obj, user: str, groups: frozenset[str]) -> bool:
    for subject in binding.get("subjects") or ():
        match subject["kind"]:
            case "User" if subject["name"] in (user, "*"):
                return True
            case "Group" if subject["name"] in groups:
                return True
            case "ServiceAccount":
                namespace = subject.get("namespace") or binding["metadata"].get("namespace", "")
                if user == f"system:serviceaccount:{namespace}:{subject['name']}":
                    return True
    return False


def _permits(rule: Obj, asked: Attributes) -> bool:
    verbs = rule.get("verbs") or ()
    if "*" not in verbs and asked.verb not in verbs:
        return False
    if asked.path:
        urls = rule.get("nonResourceURLs") or ()
        return any(url in ("*", asked.path) or (url.endswith("*") and asked.path.startswith(url[:-1])) for url in urls)
    groups = rule.get("apiGroups") or ()
    if "*" not in groups and asked.group not in groups:
        return False
    names = rule.get("resourceNames") or ()
    return _covers(rule.get("resources") or (), asked) and (not names or asked.name in names)


def _covers(resources: Sequence[str], asked: Attributes) -> bool:
    if not asked.subresource:
        return "*" in resources or asked.resource in resources
    wanted = (f"{asked.resource}/{asked.subresource}", f"*/{asked.subresource}", f"{asked.resource}/*", "*")
    return any(name in resources for name in wanted)


def selects(selector: Obj, labels: Mapping[str, str]) -> bool:
    """Tell whether a LabelSelector object (matchLabels and matchExpressions) means these labels. An empty one means all."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_matches(part, labels) for part in selector.get("matchExpressions") or ())


def _matches(part: Obj, labels: Mapping[str, str]) -> bool:
    key, values = part["key"], part.get("values") or ()
    match part["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def aggregated(cluster_roles: Iterable[Obj]) -> list[dict[str, Any]]:
    """Return the cluster roles with the rules of aggregating ones filled in (roles that aggregate each other settle, too)."""
    roles = {role["metadata"]["name"]: dict(role) for role in cluster_roles}
    for _ in range(len(roles) + 1):
        changed = False
        for role in roles.values():
            selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors")
            if selectors is None:
                continue
            others = [roles[name] for name in sorted(roles) if roles[name] is not role]
            chosen = [o for o in others if any(selects(s, o["metadata"].get("labels") or {}) for s in selectors)]
            rules: list[Any] = []
            for other in chosen:
                rules += [rule for rule in other.get("rules") or () if rule not in rules]
            if rules != (role.get("rules") or []):
                role["rules"] = rules
                changed = True
        if not changed:
            break
    return list(roles.values())


def shipped(part: str) -> list[dict[str, Any]]:
    """Return fresh ClusterRoles and ClusterRoleBindings that `core` (the API server), `kubevirt` or `cdi` install."""
    found: list[dict[str, Any]] = []
    for name, facts in _rights()[part].items():
        found.append(_role(name, facts))
        if facts.get("bound"):
            found.append(_binding(name, facts["bound"]))
    return found


@functools.cache
def _rights() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "rights.yaml").read_text(encoding="utf-8"))
    return content


def _role(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    labels = {f"{GROUP}/aggregate-to-{target}": "true" for target in facts.get("into", ())}
    if labels:
        metadata["labels"] = labels
    rules = [_rule(*words) for words in (*facts.get("rules", ()), *facts.get("more", ()))]
    if facts.get("paths"):
        rules.append({"nonResourceURLs": list(facts["paths"]), "verbs": list(facts.get("verbs", ["get"]))})
    role: dict[str, Any] = {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules}
    if "collects" in facts:
        label = {f"{GROUP}/aggregate-to-{facts['collects']}": "true"}
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": label}]}
    return role


def _rule(groups: str, resources: str, verbs: str) -> dict[str, Any]:
    return {
        "apiGroups": ["" if word == "core" else word for word in groups.split()],
        "resources": resources.split(),
        "verbs": verbs.split(),
    }


def _binding(name: str, groups: Sequence[str]) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": group} for group in groups],
    }
