"""One lab cluster, put together: API server, node, storage, KubeVirt, CDI, control socket; and the process that runs just this."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from migrate.kube.kinds import CSIDRIVER, NODE, POD, PVC, SERVICE, STORAGECLASS
from migrate.kube.session import open_cluster
from migrate.lab import kinds, storage
from migrate.lab.api import ApiServer
from migrate.lab.api_builtin import CRDS
from migrate.lab.api_create import create
from migrate.lab.api_update import system_write
from migrate.lab.certs import Authority
from migrate.lab.controller import Controller, Runtime
from migrate.lab.disks import DiskContent, list_disks
from migrate.lab.places import kubeconfig_text, write_private
from migrate.lab.pods import PROGRAMS
from migrate.lab.pods_kubelet import Kubelet
from migrate.lab.pods_scheduler import Scheduler
from migrate.lab.pods_slot import stamp
from migrate.lab.seed import Planter, of_cluster
from migrate.lab.storage_binder import Binder, ClaimProtection, Reclaimer
from migrate.lab.storage_snapshots import Snapshotter
from migrate.lab.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from migrate.kube.cluster import Cluster
    from migrate.lab.clock import LabClock

NAMESPACES = ("kubevirt", "cdi", "shop")


class LabCluster:
    """A cluster in this process. `start` returns when everything runs; `plant` adds seeds.

    A `bare` one has neither KubeVirt nor CDI, only Kubernetes with node and storage.
    """

    without: ClassVar[Mapping[str, str]] = {}
    """Places of trouble that such a cluster has not, each with the reason."""

    def __init__(
        self, name: str, directory: Path, *, clock: LabClock, release: str, external: bool | str = True, bare: bool = False
    ) -> None:
        self.name = name
        self.directory = directory
        self.clock = clock
        self.release = release
        self.trouble = Trouble(self.without)
        self.volumes = storage.Volumes(directory / "volumes")
        self.node_name = f"{name}-node"
        self._external = external
        self._bare = bare
        self._authority = Authority(f"kubernetes {name}")
        self._controllers: list[Controller] = []
        self._log = logging.getLogger(f"migrate.lab.{name}")
        self.api = self._serve()
        self.runtime: Runtime

    @property
    def requests(self) -> Any:
        """Return the log of requests to the API server."""
        return self.api.requests

    @property
    def access(self) -> dict[str, str]:
        """Return what a kubeconfig needs to know: server, and base64 of CA, client certificate and key of an administrator."""
        admin = self._authority.client("admin", "system:masters")
        texts = {"ca": self.api.ca_pem, "certificate": admin.chain_pem, "key": admin.key_pem}
        return {"server": self.api.url} | {word: base64.b64encode(text.encode()).decode() for word, text in texts.items()}

    def start(self) -> None:
        """Serve, install what a cluster has from its first day, and start every controller."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.api.admission.append(storage.admit_claim)
        if not self._bare:
            self._define()
        self.api.start()
        kubeconfig = self.directory / "kubeconfig"
        write_private(kubeconfig, kubeconfig_text({self.name: self.access}, current=self.name))
        client = open_cluster(self.name, kubeconfig=str(kubeconfig), clock=self.clock, user_agent="lab/controllers")
        self.runtime = Runtime(client, self.clock, self.trouble, name=self.name)
        client.create(*({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in NAMESPACES))
        client.create(self._node(), *storage.manifests())
        kubelet = Kubelet(self.runtime, self.volumes, self.directory / "pods", node=self.node_name)
        self.api.node = kubelet
        for kind in (POD, PVC, SERVICE, STORAGECLASS, CSIDRIVER, NODE):
            self.runtime.cache(kind)
        self._controllers = [
            kubelet,
            Scheduler(self.runtime, self.node_name),
            Binder(self.runtime, self.volumes),
            Reclaimer(self.runtime, self.volumes),
            ClaimProtection(self.runtime),
            *([] if self._bare else self._extensions()),
        ]
        for controller in self._controllers:
            controller.start()
        self.runtime.wait_synced()

    def _serve(self) -> ApiServer:
        registry = kinds.Registry(kinds.builtin())
        return ApiServer(self.name, registry=registry, clock=self.clock, authority=self._authority, trouble=self.trouble)

    def _define(self) -> None:
        """Put the definitions of KubeVirt and CDI straight into the server: over HTTPS they would take half of the time to start."""
        resource = self.api.registry.resource(*CRDS)
        assert resource is not None
        for definition in kinds.crds(self.release):
            create(self.api.objects, system_write(resource, "", "", manager="lab"), definition)

    def _extensions(self) -> list[Controller]:
        """Install KubeVirt and CDI and return their controllers."""
        from migrate.lab import cdi, kubevirt

        self.api.admission.extend([*kubevirt.admissions(self.release), *cdi.admissions()])
        kubevirt.install(self.runtime, self.release, external=self._external)
        cdi.install(self.runtime)
        kubevirt.routes(self.api, self.runtime, self.release)
        cdi.routes(self.api, self.runtime)
        PROGRAMS.update(kubevirt.PROGRAMS)
        PROGRAMS.update(cdi.PROGRAMS)
        self.runtime.api.create(*storage.snapshot_classes())
        return [Snapshotter(self.runtime, self.volumes), *kubevirt.controllers(self.runtime, self.release), *cdi.controllers(self.runtime)]

    def plant(self, manifests: Iterable[dict[str, Any]]) -> None:
        """Plant the seeds that belong to this cluster. Raise BadSeed or TimeoutError."""
        Planter(self.runtime, self.volumes, self.name).plant(of_cluster(manifests, self.name))

    def client(self, user_agent: str = "lab/user") -> Cluster:
        """Return an administrator's handle on this cluster."""
        return open_cluster(self.name, kubeconfig=str(self.directory / "kubeconfig"), clock=self.clock, user_agent=user_agent)

    def disks(self) -> list[DiskContent]:
        """Return what really lies on the disks."""
        return list_disks(self.runtime.api, self.volumes, self.name)

    def stop(self) -> None:
        """Switch everything off. The files of the volumes stay."""
        for controller in reversed(self._controllers):
            controller.stop()
        self.runtime.close()
        self.runtime.api.close()
        self.api.stop()

    def _node(self) -> dict[str, Any]:
        since = stamp(self.clock.now())
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
        size = {"cpu": "8", "memory": "64Gi", "pods": "250", "devices.kubevirt.io/kvm": "1k"}
        labels = {"kubernetes.io/hostname": self.node_name, "kubernetes.io/os": "linux", "kubevirt.io/schedulable": "true"}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.node_name, "labels": labels},
            "spec": {},
            "status": {
                "capacity": size,
                "allocatable": size,
                "conditions": [ready | {"lastHeartbeatTime": since, "lastTransitionTime": since}],
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": self.node_name}],
                "nodeInfo": {
                    "kubeletVersion": f"v{self.api.kubernetes}",
                    "osImage": "migrate lab",
                    "architecture": "amd64",
                    "operatingSystem": "linux",
                    "containerRuntimeVersion": "lab://1",
                    "kernelVersion": "lab",
                    "kubeProxyVersion": f"v{self.api.kubernetes}",
                    "machineID": self.node_name,
                    "systemUUID": self.node_name,
                    "bootID": self.node_name,
                },
            },
        }


def on_backend(backend: str) -> type[LabCluster]:
    """Return the clusters of a backend: `embedded` is our own API server, `kube` the real programs. Raise ValueError for another word."""
    match backend:
        case "embedded":
            return LabCluster
        case "kube":
            from migrate.lab.kube_cluster import KubeCluster

            return KubeCluster
        case _:
            raise ValueError(f"no backend {backend!r}, only embedded and kube")
