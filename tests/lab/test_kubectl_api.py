"""kubectl on the embedded API server: what people type must work as on a real cluster."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from migrate.lab.places import kubeconfig_text
from tests.lab.api_client import AUTHORITY, Api, config, serving, widget

pytestmark = pytest.mark.kubectl


class Node:
    """A node with one pod that has written two lines and answers HTTP on every port."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with sock:
                    sock.recv(65536)
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")

    def dial(self, namespace: str, pod: str, port: int) -> socket.socket:
        return socket.create_connection(self._listener.getsockname())

    def logs(self, namespace: str, pod: str, container: str, *, tail: int | None = None, **options: Any) -> Iterator[bytes]:
        lines = [b"first\n", b"second\n"]
        return iter(lines if tail is None or tail < 0 else lines[len(lines) - tail :])

    def container(self, namespace: str, pod: str) -> None:
        return None


@dataclass(slots=True)
class Kubectl:
    """kubectl with a kubeconfig for this server."""

    api: Api
    home: Path

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(self.home / "config")}

    def __call__(self, *words: str, stdin: str = "", fails: bool = False) -> str:
        done = subprocess.run(
            ["kubectl", *words], input=stdin, capture_output=True, text=True, timeout=60, env=self.environment(), check=False
        )
        text = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, text
        return text

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["kubectl", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment() | environment
        )


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    assert shutil.which("kubectl"), "these tests need kubectl in PATH"
    home = tmp_path_factory.mktemp("home")
    with serving() as api:
        api.server.node = Node()
        admin = AUTHORITY.client("admin", "system:masters")
        texts = {"ca": api.server.ca_pem, "certificate": admin.chain_pem, "key": admin.key_pem}
        access = {"server": api.server.url} | {word: base64.b64encode(text.encode()).decode() for word, text in texts.items()}
        (home / "config").write_text(kubeconfig_text({"east": access}, current="east"))
        api.admin.post("/api/v1/namespaces/shop/pods", {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
        api.admin.patch("/api/v1/namespaces/shop/pods/web/status", {"status": {"phase": "Running"}})
        yield Kubectl(api, home)


MANIFESTS = """
apiVersion: v1
kind: Namespace
metadata: {name: applied, labels: {step: "%(step)s"}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {step: "%(step)s", %(extra)s}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden, namespace: shop}
stringData: {step: "%(step)s"}
---
apiVersion: example.org/v1
kind: Widget
metadata: {name: gear, namespace: shop}
spec: {size: %(step)s, tags: {%(extra)s}}
"""


def test_get_in_all_its_forms(kubectl: Kubectl) -> None:
    """Tables, all namespaces, selectors, YAML, wide, name."""
    kubectl.api.admin.post("/apis/example.org/v1/namespaces/shop/widgets", widget("shown", 7, labels={"side": "left"}))
    assert re.search(r"^shop +Active", kubectl("get", "ns"), re.MULTILINE)
    assert re.search(r"^NAMESPACE +NAME +READY +STATUS", kubectl("get", "pods", "-A"), re.MULTILINE)
    assert kubectl("get", "wd", "-n", "shop", "-l", "side=left").split() == ["NAME", "SIZE", "shown", "7"]
    assert "No resources found" in kubectl("get", "widgets", "-n", "shop", "-l", "side=right")
    assert "size: 7" in kubectl("get", "widget", "shown", "-n", "shop", "-o", "yaml")
    assert (
        kubectl("get", "widget", "-n", "shop", "-o", "name", "--field-selector", "metadata.name=shown").strip()
        == "widget.example.org/shown"
    )
    assert 'widgets.example.org "absent" not found' in kubectl("get", "widget", "absent", "-n", "shop", fails=True)
    assert "doesn't have a resource type" in kubectl("get", "gadgets", fails=True)


def test_get_follows(kubectl: Kubectl) -> None:
    """get -w prints what is there, then a row for every change."""
    path = "/apis/example.org/v1/namespaces/shop/widgets"
    kubectl.api.admin.post(path, widget("followed", 3, labels={"follow": "yes"}))
    following = kubectl.start("get", "widgets", "-n", "shop", "-w", "-l", "follow=yes")
    try:
        assert following.stdout is not None
        lines = [following.stdout.readline().split() for _ in range(2)]
        kubectl.api.admin.patch(f"{path}/followed", {"spec": {"size": 4}})
        lines.append(following.stdout.readline().split())
    finally:
        following.kill()
        following.wait()
    assert lines == [["NAME", "SIZE"], ["followed", "3"], ["followed", "4"]]


def test_apply_on_the_client_side(kubectl: Kubectl) -> None:
    """Namespace, ConfigMap, Secret and a custom resource: created, changed (also a removed key), unchanged."""
    first = kubectl("apply", "-f", "-", stdin=MANIFESTS % {"step": "1", "extra": 'gone: "x"'})
    assert first.count(" created") == 4
    second = kubectl("apply", "-f", "-", stdin=MANIFESTS % {"step": "2", "extra": 'new: "y"'})
    assert second.count(" configured") == 4
    third = kubectl("apply", "-f", "-", stdin=MANIFESTS % {"step": "2", "extra": 'new: "y"'})
    assert third.count(" unchanged") == 3, third
    assert json.loads(kubectl("get", "cm", "settings", "-n", "shop", "-o", "json"))["data"] == {"step": "2", "new": "y"}
    gear = json.loads(kubectl("get", "wd", "gear", "-n", "shop", "-o", "json"))
    assert (gear["spec"]["size"], gear["spec"]["tags"]) == (2, {"new": "y"})


def test_apply_on_the_server_side(kubectl: Kubectl) -> None:
    """A conflict names owner and field and ends the command; --force-conflicts takes over; dry run changes nothing."""
    body = json.dumps(config("ssa", {"a": "1"}, namespace="shop"))
    assert "serverside-applied" in kubectl("apply", "--server-side", "--field-manager", "one", "-f", "-", stdin=body)
    other = body.replace('"1"', '"2"')
    refused = kubectl("apply", "--server-side", "--field-manager", "two", "-f", "-", stdin=other, fails=True)
    assert 'Apply failed with 1 conflict: conflict with "one": .data.a' in refused
    assert "server dry run" in kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", stdin=other)
    assert kubectl("get", "cm", "ssa", "-n", "shop", "-o", "jsonpath={.data.a}") == "1"
    kubectl("apply", "--server-side", "--force-conflicts", "--field-manager", "two", "-f", "-", stdin=other)
    assert kubectl("get", "cm", "ssa", "-n", "shop", "-o", "jsonpath={.data.a}") == "2"


def test_create_and_its_refusals(kubectl: Kubectl) -> None:
    """create -f, create of typed kinds (sent as protobuf), AlreadyExists, strict field validation."""
    assert "created" in kubectl("create", "-f", "-", stdin=json.dumps(config("made", namespace="shop")))
    again = kubectl("create", "-f", "-", stdin=json.dumps(config("made", namespace="shop")), fails=True)
    assert "(AlreadyExists)" in again
    for words in (
        ["ns", "typed"],
        ["cm", "typed", "--from-literal=a=b"],
        ["secret", "generic", "typed", "--from-literal=a=b"],
        ["sa", "typed"],
    ):
        assert "typed created" in kubectl("create", *words)
    assert len(kubectl("create", "token", "typed").strip().split(".")) == 3
    assert "quota/typed created" in kubectl("create", "quota", "typed", "-n", "typed", "--hard=pods=1,requests.storage=5Gi")
    assert "role.rbac.authorization.k8s.io/typed created" in kubectl("create", "role", "typed", "--verb=get", "--resource=pods")
    wrong = widget("wrong", namespace="shop")
    wrong["spec"]["sise"] = 1
    assert 'strict decoding error: unknown field "spec.sise"' in kubectl("create", "-f", "-", stdin=json.dumps(wrong), fails=True)


def test_patches(kubectl: Kubectl) -> None:
    """All three types; a failed test says no more than the real server."""
    kubectl.api.admin.post("/api/v1/namespaces/shop/configmaps", config("patched"))
    at = ("cm", "patched", "-n", "shop")
    kubectl("patch", *at, "-p", '{"data":{"b":"2"}}')
    kubectl("patch", *at, "--type=merge", "-p", '{"data":{"a":null}}')
    kubectl("patch", *at, "--type=json", "-p", '[{"op":"add","path":"/data/c","value":"3"}]')
    assert json.loads(kubectl("get", *at, "-o", "jsonpath={.data}")) == {"b": "2", "c": "3"}
    refused = kubectl("patch", *at, "--type=json", "-p", '[{"op":"test","path":"/data/c","value":"4"}]', fails=True)
    assert "The request is invalid: the server rejected our request due to an error in our request" in refused
    assert "labeled" in kubectl("label", *at, "x=y")
    assert "annotated" in kubectl("annotate", *at, "x=y")


def test_waits(kubectl: Kubectl) -> None:
    """--for=jsonpath, --for=delete (also of something absent), and a timeout."""
    path = "/apis/example.org/v1/namespaces/shop/widgets"
    kubectl.api.admin.post(path, widget("awaited", finalizers=["example.org/a"]))
    waiting = kubectl.start("wait", "widget/awaited", "-n", "shop", "--for=jsonpath={.status.phase}=Done", "--timeout=20s")
    kubectl.api.admin.patch(f"{path}/awaited/status", {"status": {"phase": "Done"}})
    assert waiting.wait(20) == 0
    assert "timed out" in kubectl(
        "wait", "widget/awaited", "-n", "shop", "--for=jsonpath={.status.phase}=Never", "--timeout=1s", fails=True
    )
    deleting = kubectl.start("delete", "widget", "awaited", "-n", "shop")
    waiting = kubectl.start("wait", "widget/awaited", "-n", "shop", "--for=delete", "--timeout=20s")
    kubectl.api.until(lambda: "deletionTimestamp" in kubectl.api.admin.get(f"{path}/awaited").body["metadata"])
    assert deleting.poll() is None
    kubectl.api.admin.patch(f"{path}/awaited", {"metadata": {"finalizers": None}})
    assert (deleting.wait(20), waiting.wait(20)) == (0, 0)


def test_describe_and_explain(kubectl: Kubectl) -> None:
    """describe of built-in and custom kinds with events; explain from OpenAPI."""
    made = kubectl.api.admin.post("/apis/example.org/v1/namespaces/shop/widgets", widget("told")).body["metadata"]
    target = {"kind": "Widget", "apiVersion": "example.org/v1", "namespace": "shop", "name": "told", "uid": made["uid"]}
    event = {"metadata": {"name": "told.1"}, "involvedObject": target, "reason": "Turned", "message": "round and round", "type": "Normal"}
    kubectl.api.admin.post("/api/v1/namespaces/shop/events", event)
    assert re.search(r"Normal +Turned +.*round and round", kubectl("describe", "widget", "told", "-n", "shop"))
    assert "Status:       Active" in kubectl("describe", "ns", "shop")
    assert re.search(r"Status: +Running", kubectl("describe", "pod", "web", "-n", "shop"))
    assert "size" in kubectl("explain", "widget.spec")


def test_what_the_cluster_offers(kubectl: Kubectl) -> None:
    """api-resources, api-versions, version, cluster readiness."""
    listed = kubectl("api-resources")
    assert re.search(r"^widgets +wd +example.org/v1 +true +Widget$", listed, re.MULTILINE)
    assert "example.org/v1beta1" in kubectl("api-versions")
    assert "Server Version: v1.32.4" in kubectl("version")
    assert kubectl("get", "--raw", "/readyz").strip() == "ok"


def test_who_may_what(kubectl: Kubectl) -> None:
    """auth can-i (also --list, and as somebody else), whoami, and the words of a refusal."""
    assert kubectl("auth", "can-i", "create", "widgets").strip() == "yes"
    assert "no" in kubectl("auth", "can-i", "get", "secrets", "--as", "nobody", fails=True)
    assert re.search(r"^\*\.\* ", kubectl("auth", "can-i", "--list"), re.MULTILINE)
    assert "selfsubjectaccessreviews" in kubectl("auth", "can-i", "--list", "--as", "nobody")
    assert re.search(r"Username +admin", kubectl("auth", "whoami"))
    refused = kubectl("get", "secrets", "--as", "nobody", fails=True)
    assert 'User "nobody" cannot list resource "secrets" in API group "" in the namespace "default"' in refused


def test_logs_of_a_pod(kubectl: Kubectl) -> None:
    """Whole, and the tail."""
    assert kubectl("logs", "web", "-n", "shop") == "first\nsecond\n"
    assert kubectl("logs", "web", "-n", "shop", "--tail=1") == "second\n"


@pytest.mark.parametrize("websockets", ["true", "false"])
def test_port_forward(kubectl: Kubectl, websockets: str) -> None:
    """kubectl's default (SPDY in a websocket) and its older way (bare SPDY): several requests through one forward."""
    forward = kubectl.start("port-forward", "pod/web", "-n", "shop", ":80", KUBECTL_PORT_FORWARD_WEBSOCKETS=websockets)
    try:
        assert forward.stdout is not None
        line = forward.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+) -> 80", line)
        assert found, line
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", int(found.group(1))), timeout=20) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b"".join(iter(lambda sock=sock: sock.recv(65536), b""))
            assert answer.endswith(b"hello")
        asked = kubectl.api.server.requests.since(0, user_agent="kubectl")[-1]
        assert (asked.subresource, asked.method, asked.status) == ("portforward", "GET" if websockets == "true" else "POST", 101)
    finally:
        forward.kill()
        forward.wait()


def test_deletes(kubectl: Kubectl) -> None:
    """By name, by selector, cascading, and a namespace with all that is in it."""
    admin = kubectl.api.admin
    owner = admin.post("/apis/example.org/v1/namespaces/shop/widgets", widget("parent", labels={"batch": "1"})).body["metadata"]
    reference = {"apiVersion": "example.org/v1", "kind": "Widget", "name": "parent", "uid": owner["uid"], "blockOwnerDeletion": True}
    admin.post("/api/v1/namespaces/shop/configmaps", config("child", ownerReferences=[reference]))
    assert "deleted" in kubectl("delete", "widget", "-n", "shop", "-l", "batch=1", "--cascade=foreground")
    assert "NotFound" in kubectl("get", "cm", "child", "-n", "shop", fails=True)
    kubectl("create", "ns", "short")
    kubectl("create", "cm", "inside", "-n", "short")
    assert 'namespace "short" deleted' in kubectl("delete", "ns", "short")
    assert "NotFound" in kubectl("get", "ns", "short", fails=True)
    assert "NotFound" in kubectl("delete", "cm", "nothing", fails=True)
    assert kubectl("delete", "cm", "nothing", "--ignore-not-found") == ""
