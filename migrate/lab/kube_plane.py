"""A real control plane on loopback: etcd, kube-apiserver, kube-controller-manager, with certificates of their own."""

from __future__ import annotations

import base64
import json
import signal
import socket
import ssl
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

from migrate.lab.certs import Authority, load
from migrate.lab.clock import RealClock
from migrate.lab.kube_binaries import Binaries
from migrate.lab.kube_processes import Child, Group
from migrate.lab.places import LabError, kubeconfig_text, write_private

READY_S = 120.0
HOSTS = ("127.0.0.1", "localhost", "kubernetes.default.svc", "kubernetes.default", "kubernetes")
CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
    "persistentvolume-protection-controller",
)
"""Those of kube-controller-manager that run. Binding, provisioning and claim protection are the lab's; nobody else is missed."""

_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "users": ["system:apiserver", "system:kube-controller-manager"]},
        {"level": "None", "nonResourceURLs": ["/readyz*", "/livez*", "/healthz*"]},
        {"level": "Metadata"},
    ],
}


class ControlPlane:
    """The three programs of one cluster. `start` returns when the API server is ready.

    `roots` are more certificates (PEM) for the ConfigMap kube-root-ca.crt, as clusters with an ingress of their own publish them.
    """

    def __init__(self, name: str, directory: Path, *, authority: Authority, binaries: Binaries, roots: str = "") -> None:
        self.name = name
        self.directory = directory
        self.audit_log = directory / "audit.log"
        self.front_proxy = Authority(f"front proxy {name}")
        self._authority = authority
        self._etcd_authority = Authority(f"etcd {name}")
        self._binaries = binaries
        self._roots = roots
        self._group: Group | None = None
        self._api_server: Child | None = None
        self.port = free_port()
        self.restarts: list[tuple[datetime, datetime]] = []
        """From when to when the API server was killed and not ready again: for a while it answers then without having read its roles."""
        self._etcd_port = free_port()
        self._clock = RealClock()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start everything. Raise LabError, with the last words of the program concerned, when it does not come up."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write_files()
        self._group = Group()
        etcd = self._group.spawn(self._etcd_words(), self.directory / "etcd.log")
        self._await(etcd, self._etcd_answers)
        self._start_api_server()
        self._group.spawn(self._manager_words(), self.directory / "kube-controller-manager.log")

    def stop(self) -> None:
        """End everything. The data stay."""
        if self._group is not None:
            self._group.stop()

    def restart_api_server(self) -> None:
        """Kill the API server as a crash would, and start it anew on the same port and data."""
        assert self._api_server is not None
        began = self._clock.now()
        self._api_server.stop(signal.SIGKILL)
        self._start_api_server()
        self.restarts.append((began, self._clock.now()))

    def compact(self) -> int:
        """Drop the history of etcd up to now, so that no older list or watch can be continued from it. Return the revision."""
        revision = int(self._etcd("/v3/kv/range", {"key": "AA=="})["header"]["revision"])
        self._etcd("/v3/kv/compaction", {"revision": str(revision), "physical": True})
        return revision

    def _start_api_server(self) -> None:
        assert self._group is not None
        self._api_server = self._group.spawn(self._api_words(), self.directory / "kube-apiserver.log")
        self._await(self._api_server, self._api_ready)

    def _await(self, child: Child, ready: Any) -> None:
        end = self._clock.monotonic() + READY_S
        while not ready():
            child.check()
            if self._clock.monotonic() > end:
                raise LabError(f"{child.name} is not ready after {READY_S:g} s:\n{child.last_words()}", now=f"See {child.log}.")
            self._clock.sleep(0.1)

    def _api_ready(self) -> bool:
        context = self._authority.client_context()
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5, context=context) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _etcd_answers(self) -> bool:
        try:
            self._etcd("/v3/kv/range", {"key": "AA=="})
        except OSError:
            return False
        return True

    def _etcd(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"https://127.0.0.1:{self._etcd_port}{path}"
        request = urllib.request.Request(url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10, context=self._etcd_context) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    def _file(self, name: str) -> str:
        return str(self.directory / name)

    def _write_files(self) -> None:
        api, etcd = self._authority, self._etcd_authority
        pairs = {
            "api": api.server(*HOSTS),
            "kubelet-client": api.client("kube-apiserver-kubelet-client", "system:masters"),
            "proxy-client": self.front_proxy.client("front-proxy-client"),
            "etcd": etcd.server("127.0.0.1", "localhost"),
            "etcd-client": (etcd_client := etcd.client("kube-apiserver-etcd-client")),
        }
        for name, pair in pairs.items():
            write_private(self.directory / f"{name}.crt", pair.chain_pem)
            write_private(self.directory / f"{name}.key", pair.key_pem)
        self._etcd_context: ssl.SSLContext = etcd.client_context()
        load(self._etcd_context, etcd_client)
        texts = {"ca.crt": api.ca_pem, "front-proxy-ca.crt": self.front_proxy.ca_pem, "etcd-ca.crt": etcd.ca_pem}
        texts |= {"roots.crt": api.ca_pem + self._roots, "accounts.key": _new_key(), "audit.yaml": json.dumps(_AUDIT_POLICY)}
        manager = api.client("system:kube-controller-manager", "system:masters")
        facts = {"ca": api.ca_pem, "certificate": manager.chain_pem, "key": manager.key_pem}
        encoded = {word: base64.b64encode(text.encode()).decode() for word, text in facts.items()}
        texts["manager.kubeconfig"] = kubeconfig_text({self.name: {"server": self.url, **encoded}}, current=self.name)
        for name, text in texts.items():
            write_private(self.directory / name, text)

    def _etcd_words(self) -> list[str]:
        url = f"https://127.0.0.1:{self._etcd_port}"
        return [
            str(self._binaries.etcd),
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            "--listen-peer-urls=http://127.0.0.1:0",
            "--client-cert-auth",
            f"--trusted-ca-file={self._file('etcd-ca.crt')}",
            f"--cert-file={self._file('etcd.crt')}",
            f"--key-file={self._file('etcd.key')}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _api_words(self) -> list[str]:
        file = self._file
        flags = {
            "advertise-address": "127.0.0.1",
            "allow-privileged": "true",
            "audit-log-maxsize": "100000",  # megabytes; by default 100, and then a new log is begun
            "audit-log-path": str(self.audit_log),
            "audit-policy-file": file("audit.yaml"),
            "authorization-mode": "RBAC",
            "bind-address": "127.0.0.1",
            "client-ca-file": file("ca.crt"),
            "endpoint-reconciler-type": "none",
            "etcd-cafile": file("etcd-ca.crt"),
            "etcd-certfile": file("etcd-client.crt"),
            "etcd-keyfile": file("etcd-client.key"),
            "etcd-servers": f"https://127.0.0.1:{self._etcd_port}",
            "kubelet-certificate-authority": file("ca.crt"),
            "kubelet-client-certificate": file("kubelet-client.crt"),
            "kubelet-client-key": file("kubelet-client.key"),
            "kubelet-preferred-address-types": "InternalIP",
            "profiling": "false",
            "proxy-client-cert-file": file("proxy-client.crt"),
            "proxy-client-key-file": file("proxy-client.key"),
            "requestheader-allowed-names": "front-proxy-client",
            "requestheader-client-ca-file": file("front-proxy-ca.crt"),
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-username-headers": "X-Remote-User",
            "secure-port": str(self.port),
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": file("accounts.key"),
            "service-account-signing-key-file": file("accounts.key"),
            "service-cluster-ip-range": "10.96.0.0/16",
            "shutdown-delay-duration": "0s",
            "tls-cert-file": file("api.crt"),
            "tls-private-key-file": file("api.key"),
        }
        return [str(self._binaries.api_server), *(f"--{flag}={value}" for flag, value in flags.items())]

    def _manager_words(self) -> list[str]:
        return [
            str(self._binaries.controller_manager),
            f"--kubeconfig={self._file('manager.kubeconfig')}",
            f"--controllers={','.join(CONTROLLERS)}",
            f"--root-ca-file={self._file('roots.crt')}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--secure-port=0",
            "--namespace-sync-period=30s",
            "--resource-quota-sync-period=30s",
        ]


def free_port() -> int:
    """Return a port on loopback that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _new_key() -> str:
    """Return a key for signing ServiceAccount tokens, PEM."""
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.TraditionalOpenSSL, forms.NoEncryption()).decode()
