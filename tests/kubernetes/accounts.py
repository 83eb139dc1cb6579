"""The two accounts that `migrate rbac` describes, made on a lab; and what an audit log says they did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from migrate.cli.app import app
from migrate.lab.up import Lab
from tests.flows.flow import Flow

SIDES = {"east": "source", "west": "target"}
Right = tuple[str, str, str, str]
"""Namespace ("" = the whole cluster), API group, resource with subresource, verb."""


def manifests(side: str, namespace: str) -> list[dict[str, Any]]:
    """Return what the command prints."""
    printed = CliRunner().invoke(app, ["rbac", side, "--namespace", namespace])
    assert printed.exit_code == 0, printed.output
    return [document for document in yaml.safe_load_all(printed.stdout) if document]


def install(lab: Lab, namespace: str, path: Path) -> None:
    """Make both accounts and write a kubeconfig with their tokens."""
    config = json.loads(lab.kubeconfig.read_text())
    for cluster, side in SIDES.items():
        admin = lab.clusters[cluster].client("lab/admin").at(namespace)
        admin.create(*manifests(side, namespace))
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
        answer = admin.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/kubevirt-migrate-{side}/token", body)
        assert isinstance(answer, dict)
        user = next(entry for entry in config["users"] if entry["name"] == f"{cluster}-admin")
        user["user"] = {"token": answer["status"]["token"]}
        admin.close()
    path.write_text(json.dumps(config))


class AccountFlow(Flow):
    """A flow whose moves run with the rights of the two accounts alone."""

    def __init__(self, lab: Lab, name: str, *, kubeconfig: Path, **wishes: Any) -> None:
        super().__init__(lab, name, **wishes)
        self.kubeconfig = str(kubeconfig)


def granted(side: str, namespace: str) -> set[Right]:
    """Return every right that the printed roles grant."""
    return {
        (document["metadata"].get("namespace", ""), group, resource, verb)
        for document in manifests(side, namespace)
        for rule in document.get("rules") or ()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def audited(lab: Lab, cluster: str, namespace: str) -> Iterator[tuple[Right, int]]:
    """Yield what the account of a cluster asked of resources, and the code of the answer."""
    user = f"system:serviceaccount:{namespace}:kubevirt-migrate-{SIDES[cluster]}"
    for asked in lab.clusters[cluster].requests.since():
        if asked.user == user and asked.resource and asked.group not in ("authorization.k8s.io",):
            resource = asked.resource + (f"/{asked.subresource}" if asked.subresource else "")
            place = "" if asked.resource == "namespaces" else asked.namespace
            yield (place, asked.group, resource, asked.verb), asked.status
