"""Whatever cannot work is said before anything is changed: exit code, what, where, why, what now; both clusters counted no write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import yaml

from migrate.kube.kinds import INGRESS, KUBEVIRT, NAMESPACE, PVC, RESOURCEQUOTA, SECRET, VM
from migrate.lab import export_certs
from tests.cli.conftest import Plant
from tests.cli.shell import Shell
from tests.flows.flow import Flow
from tests.machines import disk, machine

Arrange = Callable[[Flow, Shell], AbstractContextManager[list[str]]]
Case = tuple[Arrange, int, Sequence[str], bool]
CASES: dict[str, Case] = {}


def case(name: str, code: int, *patterns: str, slow: bool = False) -> Callable[[Callable[[Flow, Shell], Iterator[list[str]]]], None]:
    """Enter a case into the table: exit code, and patterns that must be found in what is said. Slow: a variant of another case."""

    def enter(arrange: Callable[[Flow, Shell], Iterator[list[str]]]) -> None:
        CASES[name] = (contextmanager(arrange), code, patterns, slow)

    return enter


def pair(flow: Flow) -> list[str]:
    return [str(flow.source), str(flow.target)]


def asked_for(vm: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what people and tools wrote into a VM: its status is KubeVirt's own."""
    if vm is None:
        return None
    meta = vm["metadata"]
    return {"spec": vm["spec"], **{key: meta.get(key) for key in ("uid", "generation", "annotations", "labels")}}


def another_kubeconfig(shell: Shell, change: Callable[[dict[str, Any]], None]) -> list[str]:
    """Write a changed copy of the lab's kubeconfig, and return the option that names it."""
    kubeconfig = yaml.safe_load(shell.lab.kubeconfig.read_text())
    change(kubeconfig)
    path = shell.directory / "kubeconfig"
    path.write_text(json.dumps(kubeconfig))
    return ["--kubeconfig", str(path)]


@contextmanager
def changed(flow: Flow, kind: Any, name: str, patch: dict[str, Any], back: dict[str, Any], *, side: str = "east") -> Iterator[None]:
    """Change an object of the KubeVirt namespace for a while."""
    cluster = flow.east if side == "east" else flow.west
    cluster.merge(kind, name, patch, "kubevirt")
    yield
    cluster.merge(kind, name, back, "kubevirt")


@case("unknown context", 2, r'no context "norht"', r"east, west", r"now .*--kubeconfig")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    yield [f"norht:shop/{flow.name}", "west:shop"]


@case("two unknown contexts at once", 2, r"2 problems", r'"norht"', r'"suoth"', slow=True)
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    yield [f"norht:shop/{flow.name}", "suoth:shop"]


@case("malformed reference", 2, r"is not a reference|is no namespace", r"CONTEXT:NAMESPACE/NAME")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    yield ["east:shop/a/b", "west:shop"]


@case("a namespace instead of a VM", 2, r"names no VM", r"write east:shop/NAME", slow=True)
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    yield ["east:shop", "west:shop"]


@case("a storage map that is none", 2, r"fast", slow=True)
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    yield [*pair(flow), "--map-storage", "fast"]


@case("an option that is none", 2, r"[Nn]o such option.*--strat")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    yield [*pair(flow), "--strat"]


@case("a fence for a copy", 2, r"--fence means nothing with --method snapshot", r"leaves the source as it is")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    yield [*pair(flow), "--method", "snapshot", "--fence"]


@case("a snapshot of a move", 2, r"--keep-snapshot means nothing with --method cold", slow=True)
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    yield [*pair(flow), "--keep-snapshot"]


@case("no kubeconfig", 2, r"no kubeconfig file", r"KUBECONFIG", slow=True)
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    yield [*pair(flow), "--kubeconfig", "/nowhere/config"]


@case("unreachable cluster", 7, r"unreachable", r"127\.0\.0\.1:1\b", r"west", r"attempt 1 of 4 failed", r"changed nothing")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    def cut(kubeconfig: dict[str, Any]) -> None:
        next(one for one in kubeconfig["clusters"] if one["name"] == "west")["cluster"]["server"] = "https://127.0.0.1:1"

    yield [*pair(flow), *another_kubeconfig(shell, cut)]


@case("unknown VM", 3, r'no VM "\w+x"', r"did you mean .*")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    yield [f"east:shop/{flow.name}x", "west:shop"]


@case("the same VM", 2, r"source and target are the same VM")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    yield [str(flow.source), "east:shop"]


@case("the same VM by two contexts", 2, r"source and target are the same VM", r"both contexts lead to the cluster")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    def alias(kubeconfig: dict[str, Any]) -> None:
        east = next(one for one in kubeconfig["contexts"] if one["name"] == "east")
        kubeconfig["contexts"].append({**east, "name": "orient"})

    yield [str(flow.source), "orient:shop", *another_kubeconfig(shell, alias)]


@case("missing namespace", 3, r"no namespace nowhere|namespace nowhere", r"--create-namespace")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    yield [str(flow.source), "west:nowhere"]


@case("taken VM name", 3, r"VirtualMachine \w+ is taken", r"OTHER-NAME", slow=True)
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    shell.lab.plant([machine(flow.name, cluster="west")])
    yield pair(flow)


@case("taken disk name", 3, r"-root is taken")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"{flow.name}-root", "namespace": "shop"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    flow.west.create(claim)
    yield pair(flow)
    flow.west.delete(PVC, f"{flow.name}-root")


@case("no external link", 3, r"Ingress|Route")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    ingress = flow.east.get(INGRESS, "virt-exportproxy", "kubevirt")
    assert ingress is not None
    elsewhere = {"spec": {"rules": None, "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}}
    with changed(flow, INGRESS, "virt-exportproxy", elsewhere, {"spec": {"defaultBackend": None, "rules": ingress["spec"]["rules"]}}):
        yield pair(flow)


@case("foreign CA of the source", 3, r"certificate", r"--source-ca")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    secret = flow.east.get(SECRET, "virt-exportproxy-tls", "kubevirt")
    assert secret is not None
    stranger = export_certs.issue(export_certs.new_authority("stranger"), ("localhost",), whole_chain=True)
    other = export_certs.tls_secret("virt-exportproxy-tls", "kubevirt", stranger)
    data = {"data": other["data"]} if "data" in other else {"stringData": other["stringData"]}
    with changed(flow, SECRET, "virt-exportproxy-tls", data, {"data": secret["data"]}):
        yield pair(flow)


@case("wrong CA given", 3, r"certificate", r"--source-ca", slow=True)
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    (shell.directory / "ca.pem").write_text(export_certs.new_authority("stranger").chain_pem)
    yield [*pair(flow), "--source-ca", str(shell.directory / "ca.pem")]


@case("a CA file without a certificate", 2, r"holds no certificate", r"BEGIN CERTIFICATE", slow=True)
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    (shell.directory / "ca.pem").write_text("none")
    yield [*pair(flow), "--source-ca", str(shell.directory / "ca.pem")]


@case("quota too small", 3, r"quota", r"small")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    flow.west.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tight"}})
    limit = {"hard": {"requests.storage": "1Mi"}}
    flow.west.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small", "namespace": "tight"}, "spec": limit})
    flow.until(lambda: (flow.west.get(RESOURCEQUOTA, "small", "tight") or {}).get("status"))
    yield [str(flow.source), "west:tight"]


@case("unknown storage class", 3, r"gold", r"fast|ceph")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    yield [*pair(flow), "--map-storage", "fast=gold"]


def managed(flow: Flow, **metadata: Any) -> None:
    flow.east.merge(VM, flow.name, {"metadata": metadata})


@case("managed by Argo CD", 3, r"Argo CD", r"--allow-managed", r"auto-sync")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    managed(flow, annotations={"argocd.argoproj.io/tracking-id": f"shop:kubevirt.io/VirtualMachine:shop/{flow.name}"})
    yield pair(flow)


@case("managed by Flux", 3, r"Flux", r"--allow-managed", r"suspend", slow=True)
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    managed(flow, labels={"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"})
    yield pair(flow)


@case("managed by Helm", 3, r"Helm", r"--allow-managed", slow=True)
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    managed(flow, labels={"app.kubernetes.io/managed-by": "Helm"}, annotations={"meta.helm.sh/release-name": "shop"})
    yield pair(flow)


@case("no rights at all", 6, r"nobody", r"cannot get|forbidden")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    yield [*pair(flow), *another_kubeconfig(shell, lambda kubeconfig: acting(kubeconfig, "nobody"))]


def acting(kubeconfig: dict[str, Any], user: str) -> None:
    """Let every context act as another user."""
    for one in kubeconfig["users"]:
        one["user"]["as"] = user


@case("rights to look, not to move", 3, r"reader|may not|not allowed", r"virtualmachines|VirtualMachine", r"datavolumes|DataVolume")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    read = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}
    for cluster in (flow.east, flow.west):
        cluster.create(
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "looks"}, "rules": [read]},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "looks"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "looks"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
            },
        )
    yield [*pair(flow), *another_kubeconfig(shell, lambda kubeconfig: acting(kubeconfig, "reader"))]


@case("export gate off", 3, r"VMExport", r"featureGates")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    def gates(names: list[str]) -> dict[str, Any]:
        return {"spec": {"configuration": {"developerConfiguration": {"featureGates": names}}}}

    with changed(flow, KUBEVIRT, "kubevirt", gates([]), gates(["VMExport"])):
        yield pair(flow)


@case("missing Secret", 3, r"Secret cli-init is missing", r"create it on the source or the target")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    vm = flow.vm()
    assert vm is not None
    spec = vm["spec"]["template"]["spec"]
    volumes = [*spec["volumes"], {"name": "init", "cloudInitNoCloud": {"secretRef": {"name": "cli-init"}}}]
    devices = [*spec["domain"]["devices"]["disks"], {"name": "init", "disk": {"bus": "virtio"}}]
    flow.east.merge(VM, flow.name, {"spec": {"template": {"spec": {"volumes": volumes, "domain": {"devices": {"disks": devices}}}}}})
    yield pair(flow)


@case("everything at once", 3, r"Argo CD", r"gold", r"taken", r"\d problems")
def _(flow: Flow, shell: Shell) -> Iterator[list[str]]:
    managed(flow, annotations={"argocd.argoproj.io/tracking-id": "x"})
    shell.lab.plant([disk(f"{flow.name}-root", cluster="west")])
    yield [*pair(flow), "--map-storage", "fast=gold"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if slow else ()) for name, (*_, slow) in CASES.items()])
def test_bad_input(shell: Shell, plant: Plant, name: str) -> None:
    """The exit code is that of the table, the words are said, the source is as it was, and nothing was written on either side."""
    arrange, code, patterns, _ = CASES[name]
    flow = plant()
    with arrange(flow, shell) as words:
        before = (asked_for(flow.vm()), flow.ours(), asked_for(flow.vm("west")))
        said = []
        assert shell.writes(lambda: said.append(shell("vm", *words, code=code))) == []
        assert (asked_for(flow.vm()), flow.ours(), asked_for(flow.vm("west"))) == before
    text = re.sub(r"\s+", " ", said[0].stdout + said[0].stderr)
    for pattern in patterns:
        assert re.search(pattern, text), text
    if name != "an option that is none":
        assert re.search(r" where | now ", text), text
    assert "Traceback" not in text


def test_namespaces_are_not_made_by_a_refused_move(shell: Shell, plant: Plant) -> None:
    """--create-namespace makes nothing as long as something else is in the way."""
    flow = plant()
    words = ["vm", str(flow.source), "west:later", "--create-namespace", "--map-storage", "fast=gold"]
    assert shell.writes(lambda: shell(*words, code=3)) == []
    assert flow.west.get(NAMESPACE, "later") is None
