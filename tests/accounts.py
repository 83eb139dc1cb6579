"""The accounts that `migrate rbac` describes, made on a lab; and what its request logs say they did."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import yaml
from typer.testing import CliRunner

from migrate.cli.app import app
from migrate.kube.kinds import NAMESPACE, SERVICEACCOUNT
from migrate.lab.kube_audit import facts_of
from migrate.lab.kube_cluster import KubeCluster
from migrate.lab.kube_plane import ControlPlane
from migrate.lab.up import Lab

SIDES = {"east": "source", "west": "target"}
OWN = "the account's own namespace"
Right = tuple[str, str, str, str]
"""Namespace ("" = the whole cluster), API group, resource with subresource, verb."""
_USER = re.compile(r"system:serviceaccount:(?P<namespace>[^:]+):kubevirt-migrate-(?P<purpose>retire-|copy-|export-)?(?:source|target)")


@dataclass(frozen=True, slots=True)
class Use:
    """What an account asked for, and whether it was refused for want of the right to it."""

    side: str
    purpose: str
    right: Right
    forbidden: bool


def manifests(side: str, namespace: str, purpose: str) -> list[dict[str, Any]]:
    """Return what the command prints."""
    printed = CliRunner().invoke(app, ["rbac", side, "--namespace", namespace, "--for", purpose])
    assert printed.exit_code == 0, printed.output
    return [document for document in yaml.safe_load_all(printed.stdout) if document]


class Accounts:
    """The accounts of one lab: each is made when it is first needed."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._tokens: dict[tuple[str, str, str], str] = {}

    def kubeconfig(self, source: str, target: str, purpose: str = "move") -> Path:
        """Write a kubeconfig whose contexts are the two accounts, of these namespaces on east and west. Exports are read on east alone.

        Where a namespace is still to be made there is no account yet; an administrator stays in its place.
        """
        config = json.loads(self._lab.kubeconfig.read_text())
        for cluster, namespace in (("east", source), ("west", target)):
            token = self._token(cluster, namespace, purpose) if (cluster, purpose) != ("west", "export") else ""
            if token:
                user = next(entry for entry in config["users"] if entry["name"] == f"{cluster}-admin")
                user["user"] = {"token": token}
        path = self._lab.kubeconfig.parent / f"{purpose}-{source}-{target}.kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def _token(self, cluster: str, namespace: str, purpose: str) -> str:
        place = (cluster, namespace, purpose)
        if place not in self._tokens:
            admin = self._lab.clusters[cluster].client("lab/admin").at(namespace)
            if admin.get(NAMESPACE, namespace) is None:
                admin.close()
                return ""
            self._lab.until(lambda: admin.get(SERVICEACCOUNT, "default"), what="the namespace's account")
            made = manifests(SIDES[cluster], namespace, purpose)
            admin.create(*made)
            name = made[0]["metadata"]["name"]
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 36_000}}
            answer = admin.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", body)
            assert isinstance(answer, dict)
            self._tokens[place] = answer["status"]["token"]
            admin.close()
        return self._tokens[place]


_of_labs: WeakKeyDictionary[Lab, Accounts] = WeakKeyDictionary()
AUDITED: list[tuple[str, ControlPlane]] = []
"""Name and programs of every cluster on the real API server whose accounts were asked for."""


def accounts_of(lab: Lab) -> Accounts | None:
    """Return the accounts under which flows run on the real API server; None on the embedded one."""
    if not isinstance(lab.east, KubeCluster):
        return None
    if lab not in _of_labs:
        _of_labs[lab] = Accounts(lab)
        AUDITED.extend((name, cluster.server.plane) for name, cluster in lab.clusters.items() if isinstance(cluster, KubeCluster))
    return _of_labs[lab]


def granted(side: str, purpose: str) -> set[Right]:
    """Return every right that the printed roles grant."""
    return {
        (OWN if document["metadata"].get("namespace") == "here" else document["metadata"].get("namespace", ""), group, resource, verb)
        for document in manifests(side, "here", purpose)
        for rule in document.get("rules") or ()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def logged(lab: Lab) -> Iterator[Use]:
    """Yield what the accounts did on an embedded lab."""
    for name, cluster in lab.clusters.items():
        for asked in cluster.requests.since():
            yield from _use(name, {field: getattr(asked, field) for field in _FIELDS}, forbidden=asked.status == 403)


def audited() -> Iterator[Use]:
    """Yield what the accounts did on all labs of this session that ran on the real API server; its authorizer says what it forbade.

    What it forbade before it had read its roles, while it was started anew, says nothing about them.
    """
    for name, plane in AUDITED:
        for line in plane.audit_log.read_text().splitlines():
            event = json.loads(line)
            decision = (event.get("annotations") or {}).get("authorization.k8s.io/decision")
            asked = datetime.fromisoformat(event["requestReceivedTimestamp"])
            if decision == "forbid" and any(began <= asked <= ready for began, ready in plane.restarts):
                continue
            yield from _use(name, facts_of(event), forbidden=decision == "forbid")


def keep_uses(folder: Path, name: str) -> None:
    """Write down what the accounts did in this session, for a later one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps([astuple(use) for use in set(audited())]))


def kept_uses(folder: Path) -> Iterator[Use]:
    """Yield what earlier sessions wrote down."""
    for file in folder.glob("*.json"):
        for side, purpose, right, forbidden in json.loads(file.read_text()):
            yield Use(side, purpose, tuple(right), forbidden)


_FIELDS = ("user", "group", "resource", "subresource", "namespace", "verb")


def _use(cluster: str, asked: dict[str, Any], *, forbidden: bool) -> Iterator[Use]:
    user = _USER.fullmatch(asked["user"])
    if user is None or not asked["resource"] or asked["group"] == "authorization.k8s.io":
        return
    resource = asked["resource"] + (f"/{asked['subresource']}" if asked["subresource"] else "")
    place = "" if asked["resource"] == "namespaces" else OWN if asked["namespace"] == user["namespace"] else asked["namespace"]
    purpose = (user["purpose"] or "move-").removesuffix("-")
    yield Use(SIDES[cluster], purpose, (place, asked["group"], resource, asked["verb"]), forbidden)
