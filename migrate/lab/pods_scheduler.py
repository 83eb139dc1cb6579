"""The scheduler: one node, but the questions of the real one (claims there and bound, who is the first consumer, node selectors)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from migrate.kube.kinds import NODE, POD, PVC, STORAGECLASS, Kind
from migrate.lab.controller import Controller, Key, Object, Runtime, itself
from migrate.lab.pods_slot import stamp
from migrate.lab.storage import SELECTED_NODE
from migrate.lab.storage_binder import claims_of_pod

NAME = "default-scheduler"
"""Pods that name another scheduler wait for that one."""
TAIL = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."


class Scheduler(Controller):
    """Gives pods a node."""

    name = "scheduler"

    def __init__(self, runtime: Runtime, node: str) -> None:
        super().__init__(runtime)
        self.node = node
        runtime.trouble.listen(lambda _order: self._look_again())

    @property
    def watches(self) -> list[tuple[Kind, Callable[[Object], Iterable[Key]]]]:
        return [(POD, self._unscheduled), (PVC, self._waiting), (NODE, lambda _: self._waiting(None))]

    def _unscheduled(self, pod: Object) -> Iterable[Key]:
        meta = pod["metadata"]
        another = pod["spec"].get("schedulerName") or NAME
        return () if pod["spec"].get("nodeName") or meta.get("deletionTimestamp") or another != NAME else itself(pod)

    def _waiting(self, claim: Object | None) -> list[Key]:
        namespace = claim["metadata"]["namespace"] if claim else None
        return [key for pod in self.runtime.cache(POD).all(namespace) for key in self._unscheduled(pod)]

    def _look_again(self) -> None:
        for key in self._waiting(None):
            self.enqueue(*key)

    def reconcile(self, namespace: str, name: str) -> float | None:
        pod = self.runtime.api.get(POD, name, namespace)
        if pod is None or not self._unscheduled(pod):
            return None
        problem = self._problem(pod)
        if problem:
            self._refuse(pod, f"0/1 nodes are available: {problem}. {TAIL}")
            return 30.0
        waits = self._bind_claims(pod)
        if waits:
            return None
        target = {"apiVersion": "v1", "kind": "Node", "name": self.node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": namespace}, "target": target}
        self.runtime.api.call("POST", f"/api/v1/namespaces/{namespace}/pods/{name}/binding", binding)
        message = f"Successfully assigned {namespace}/{name} to {self.node}"
        self.runtime.event(pod, "Normal", "Scheduled", message, "default-scheduler")
        return None

    def _problem(self, pod: Object) -> str:
        meta = pod["metadata"]
        labels = meta.get("labels") or {}
        order = self.runtime.trouble.find(
            "node",
            "refuse",
            namespace=meta["namespace"],
            name=meta["name"],
            image=pod["spec"]["containers"][0].get("image", ""),
            app=labels.get("kubevirt.io") or labels.get("cdi.kubevirt.io") or labels.get("app", ""),
        )
        if order is not None:
            return order.text("message", "1 Insufficient memory")
        node = self.runtime.cache(NODE).get("", self.node)
        own = (node["metadata"].get("labels") or {}) if node else {}
        if node is None or node["spec"].get("unschedulable"):
            return "1 node(s) were unschedulable"
        if any(own.get(key) != value for key, value in (pod["spec"].get("nodeSelector") or {}).items()):
            return "1 node(s) didn't match Pod's node affinity/selector"
        return self._problem_of_claims(pod)

    def _problem_of_claims(self, pod: Object) -> str:
        for namespace, name in claims_of_pod(pod):
            claim = self.runtime.api.get(PVC, name, namespace)
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if claim["metadata"].get("deletionTimestamp"):
                return f'persistentvolumeclaim "{name}" is being deleted'
            phase = (claim.get("status") or {}).get("phase")
            if phase == "Lost":
                return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{claim["spec"].get("volumeName", "")}"'
            if phase != "Bound" and not self._waits_for_consumer(claim):
                return "pod has unbound immediate PersistentVolumeClaims"
        return ""

    def _waits_for_consumer(self, claim: Object) -> bool:
        cls = self.runtime.cache(STORAGECLASS).get("", claim["spec"].get("storageClassName") or "")
        return cls is not None and cls.get("volumeBindingMode") == "WaitForFirstConsumer"

    def _bind_claims(self, pod: Object) -> bool:
        """Name the node on claims that wait for their first consumer; tell whether any of them is still unbound."""
        waits = False
        for namespace, name in claims_of_pod(pod):
            claim = self.runtime.api.get(PVC, name, namespace)
            if claim is None or (claim.get("status") or {}).get("phase") == "Bound":
                continue
            waits = True
            if SELECTED_NODE not in (claim["metadata"].get("annotations") or {}):
                self.runtime.api.merge(PVC, name, {"metadata": {"annotations": {SELECTED_NODE: self.node}}}, namespace)
        return waits

    def _refuse(self, pod: Object, message: str) -> None:
        meta = pod["metadata"]
        old: Object = next((c for c in (pod.get("status") or {}).get("conditions", ()) if c["type"] == "PodScheduled"), {})
        if old.get("message") == message:
            return
        entry = {
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": stamp(self.clock.now()),
            "reason": "Unschedulable",
            "message": message,
        }
        status = {"phase": "Pending", "conditions": [entry]}
        self.runtime.api.merge(POD, meta["name"], {"status": status}, meta["namespace"], subresource="status")
        self.runtime.event(pod, "Warning", "FailedScheduling", message, "default-scheduler")
