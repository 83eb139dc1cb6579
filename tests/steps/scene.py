"""One machine in `east`, the question to move it to `west`, and the means to walk single steps and to count what they write."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import DATAVOLUME, EXPORT, PV, PVC, SNAPSHOT, VM, VMI
from migrate.kube.session import open_cluster
from migrate.lab.storage import disk_file
from migrate.lab.up import Lab
from migrate.model.errors import Conflict
from migrate.model.migration import Options
from migrate.model.objects import annotations_of, uid_of
from migrate.model.observation import Observation, State
from migrate.model.refs import VMRef
from migrate.rendering.assets import find_data
from migrate.rendering.render import Renderer
from migrate.steps.base import Crossing, Step
from migrate.steps.runner import this_runner
from migrate.steps.work import Works
from migrate.transfer.export_client import ExportClient
from migrate.workflow import playbook
from migrate.workflow.ask import Question, ask
from tests.machines import disk, machine


class Scene:
    """A planted VM and the crossing of its move."""

    def __init__(
        self,
        lab: Lab,
        name: str,
        *,
        disks: Sequence[str] = ("root",),
        strategy: str = "Halted",
        grace_s: int | None = None,
        modes: Sequence[str] = (),
        target_namespace: str = "shop",
        claim: bool = True,
        agent: bool = False,
        storage_class: str = "fast",
        method: str = "cold-move",
        **options: Any,
    ) -> None:
        self.lab, self.name = lab, name
        self.steps: dict[str, Step] = {step.name: step for step in playbook.load(method).steps}
        self.disks = [f"{name}-{word}" for word in disks]
        planted = [
            disk(one, mode=mode, storage_class=storage_class)
            for one, mode in zip(self.disks, modes or ["Filesystem"] * len(self.disks), strict=True)
        ]
        lab.plant([*planted, machine(name, self.disks, strategy=strategy, grace_s=grace_s, agent=agent)])
        self.east = self._open("east", "shop")
        self.west = self._open("west", target_namespace)
        if strategy not in ("Halted", "Manual"):
            self.until(lambda: self.phase(self.east) == "Running")
        self._question = Question(VMRef("east", "shop", name), VMRef("west", target_namespace, name), Options(**options), playbook=method)
        self.bell = threading.Event()
        self.x = Crossing(
            migration=ask(self._question, self.east, self.west).migration,
            source=self.east,
            target=self.west,
            render=Renderer([find_data("templates")]).render,
            clock=lab.clock,
            works=Works(self.bell),
            runner=this_runner(),
            connect=lambda ca, token: ExportClient(ca_pem=ca, token=token, clock=lab.clock),
        )
        if claim:
            self.walk("claim-source")

    def close(self) -> None:
        """Leave nothing that would go on working in the lab."""
        self.x.works.cancel(self.x.migration.id)
        for cluster in (self.east, self.west):
            cluster.delete(VM, self.name)
            for export in (self.x.migration.names.export, self.x.migration.names.proof):
                cluster.delete(EXPORT, export)
            cluster.delete(SNAPSHOT, self.x.migration.names.snapshot)
            for name in self.disks:
                cluster.delete(DATAVOLUME, name)
        self.east.close()
        self.west.close()

    def ask_again(self) -> None:
        """Ask as if anew, after the VM was changed."""
        self.x = replace(self.x, migration=ask(self._question, self.east, self.west).migration)

    def options(self, **changes: Any) -> None:
        """Ask for something else from now on."""
        self.x = replace(self.x, migration=replace(self.x.migration, options=replace(self.x.migration.options, **changes)))

    def even_if_started(self, told: bool = True) -> None:
        """Tell undo to go back all the same, from now on, or not."""
        self.x = replace(self.x, even_if_started=told)

    def look(self, step: str) -> Observation:
        return self.steps[step].observe(self.x)

    def act(self, step: str) -> None:
        self.steps[step].act(self.x)

    def walk(self, *steps: str) -> None:
        """Run steps to their end: look, act when needed, wait when not."""
        for step in steps:
            end = self.lab.clock.monotonic() + 600
            while (seen := self.look(step)).state is not State.DONE:
                assert seen.state in (State.NEEDED, State.WAITING), (step, seen)
                assert self.lab.clock.monotonic() < end, (step, seen)
                if seen.state is State.NEEDED:
                    with suppress(Conflict):
                        self.act(step)
                else:
                    self.lab.clock.wait(self.bell, 1)
                    self.bell.clear()

    def to(self, last: str) -> Scene:
        """Run every step up to and including one; the check and the claim are left to their own tests."""
        names = [name for name in self.steps if name not in ("check-both", "claim-source")]
        self.walk(*names[: names.index(last) + 1])
        return self

    def undo(self, step: str) -> Observation:
        """Take a step back until it answers something else than WAITING; who was overtaken by KubeVirt looks again, as the engine does."""
        while True:
            with suppress(Conflict):
                seen = self.steps[step].undo(self.x)
                if seen.state is not State.WAITING:
                    return seen
            self.lab.clock.sleep(1)

    def writes(self, deed: Callable[[], object]) -> list[str]:
        """Return what we wrote, on both sides, while the deed was done: `patch virtualmachines`. What met a conflict does not count."""
        marks = {name: cluster.requests.mark for name, cluster in self.lab.clusters.items()}
        deed()
        return [
            f"{asked.verb} {asked.resource}{'/' + asked.subresource if asked.subresource else ''}"
            for name, cluster in self.lab.clusters.items()
            for asked in cluster.requests.since(marks[name], user_agent="kubevirt-migrate", sort="write")
            if asked.status != 409
        ]

    def vm(self, cluster: Cluster) -> dict[str, Any]:
        found = cluster.get(VM, self.name)
        assert found is not None
        return found

    def phase(self, cluster: Cluster) -> str:
        return str(((cluster.get(VMI, self.name) or {}).get("status") or {}).get("phase", ""))

    def start(self, cluster: Cluster) -> None:
        """Start the VM as a user would, and wait until it runs."""
        self.call(cluster, "start")
        self.until(lambda: self.phase(cluster) == "Running")

    def stop(self, cluster: Cluster) -> None:
        self.call(cluster, "stop")
        self.until(lambda: cluster.get(VMI, self.name) is None)

    def call(self, cluster: Cluster, verb: str) -> None:
        cluster.call("PUT", f"/apis/subresources.kubevirt.io/v1/namespaces/{cluster.namespace}/virtualmachines/{self.name}/{verb}", {})

    def until(self, look: Callable[[], Any]) -> Any:
        return self.lab.until(look)

    def claim(self, cluster: str, name: str) -> str:
        """Return the uid of a claim."""
        return uid_of((self.east if cluster == "east" else self.west).get(PVC, name) or {})

    def file(self, cluster: str, claim: str) -> Path:
        """Return the file that holds a claim's disk in the lab's storage."""
        api = self.east if cluster == "east" else self.west
        pvc = api.get(PVC, claim)
        assert pvc is not None
        pv = api.get(PV, pvc["spec"]["volumeName"])
        assert pv is not None
        return disk_file(self.lab.clusters[cluster].volumes.path(pv))

    def _open(self, context: str, namespace: str) -> Cluster:
        return open_cluster(context, kubeconfig=str(self.lab.kubeconfig), namespace=namespace, clock=self.lab.clock)


def refill(scene: Scene, claim: str) -> None:
    """Delete a claim of the target under its DataVolume, and wait until CDI has filled another one in its place."""
    uid = scene.claim("west", claim)
    scene.west.delete(PVC, claim)
    until_refilled(scene, claim, uid)


def until_refilled(scene: Scene, claim: str, uid: str) -> None:
    """Wait until CDI has filled a claim in the place of the one with this uid."""

    def anew() -> bool:
        there, volume = scene.west.get(PVC, claim), scene.west.get(DATAVOLUME, claim)
        phases = [(found or {}).get("status", {}).get("phase") for found in (there, volume)]
        filled = annotations_of(there).get("cdi.kubevirt.io/storage.pod.phase") == "Succeeded"
        return phases == ["Bound", "Succeeded"] and filled and uid_of(there or {}) != uid

    scene.until(anew)
