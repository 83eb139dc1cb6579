"""A move driven as the command line drives it, with the means to meddle in the middle and to look at both sides past our own code."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from migrate.kube.cluster import Cluster
from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, EXPORT, LEASE, POD, PV, PVC, SECRET, SNAPSHOT, VM, VMI
from migrate.kube.session import open_cluster
from migrate.lab.storage import disk_file
from migrate.lab.up import Lab
from migrate.model import labels
from migrate.model.clock import Clock
from migrate.model.errors import MigrateError
from migrate.model.migration import Names, Options
from migrate.model.objects import annotations_of
from migrate.model.observation import State
from migrate.model.refs import VMRef
from migrate.model.report import Event, Report
from migrate.workflow import records
from migrate.workflow.ask import Question
from migrate.workflow.reporting import standing
from migrate.workflow.run import Ending, Run
from tests.accounts import Accounts, accounts_of
from tests.pair import home

Meddle = Callable[[], object]
OUR_KINDS = (EXPORT, SNAPSHOT, CONFIGMAP, LEASE, DATAVOLUME, PVC, VM)


def interrupt() -> None:
    """Be the Ctrl-C of somebody who watches."""
    raise KeyboardInterrupt


def secrets(cluster: Cluster) -> list[dict[str, Any]]:
    """List the Secrets of a namespace, which our own client refuses to do."""
    found = cluster.call("GET", f"/api/v1/namespaces/{cluster.namespace}/secrets")
    assert isinstance(found, dict)
    items: list[dict[str, Any]] = found["items"]
    return items


def status(flow: Flow) -> Report:
    """Return what `migrate status` tells of the first migration of a flow."""
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        (record,) = (one for one in records.every(target) if one.migration.id == flow.events[0].migration)
        return standing(record, source, target)


class Flow:
    """One question about one VM of a lab. Every verb is a run of its own, as a command would be."""

    def __init__(
        self,
        lab: Lab,
        name: str,
        *,
        namespace: str = "",
        to: str = "",
        to_name: str = "",
        accounts: Accounts | None = None,
        playbook: str = "cold-move",
        **options: Any,
    ) -> None:
        """On the real API server our code runs under the accounts that `migrate rbac` prints, elsewhere if `accounts` are given."""
        self.lab, self.name = lab, name
        self.accounts = accounts or accounts_of(lab)
        self.clock: Clock = lab.clock
        """What our code takes for time."""
        self.playbook = playbook
        self.options = options
        namespace = namespace or home(lab)
        self.source = VMRef(lab.east.name, namespace, name)
        self.target = VMRef(lab.west.name, to or namespace, to_name or name)
        self.events: list[Event] = []
        self.killed = False
        """The latest run was ended from outside our code, as a SIGKILL would, so nothing could be taken down."""
        self.stays = False
        """The latest run stopped within the import, and said that the source's export stays."""
        self.east: Cluster = lab.east.client("lab/user").at(namespace)
        self.west: Cluster = lab.west.client("lab/user").at(self.target.namespace)
        self.login: Path | None = None
        """A kubeconfig with other credentials than the lab's own, for commands of ours."""
        self._meddles: list[tuple[str, str | State, Meddle]] = []

    def remove(self) -> None:
        """Delete the VM on both sides: every guest that runs on costs later tests time."""
        self.east.delete(VM, self.name)
        self.west.delete(VM, self.target.name)

    def close(self) -> None:
        self.east.close()
        self.west.close()

    def when(self, step: str, reason: str | State, meddle: Meddle) -> None:
        """Do something once, in the middle of a run: as soon as the step is seen with this reason ("" = with any) or in this state."""
        self._meddles.append((step, reason, meddle))

    def move(self, *, again: bool = False, **changes: Any) -> Ending:
        return self._run("move", again=again, **changes)

    def plan(self, **changes: Any) -> Ending:
        return self._run("plan", **changes)

    def undo(self, *, even_if_started: bool = False) -> Ending:
        return self._run("undo", {"even_if_started": even_if_started})

    def _run(self, verb: str, wishes: dict[str, Any] | None = None, *, again: bool = False, **changes: Any) -> Ending:
        question = Question(self.source, self.target, Options(**{**self.options, **changes}), playbook=self.playbook, again=again)
        with ExitStack() as stack:
            source, target = (self._open(stack, ref) for ref in (self.source, self.target))
            run = Run(question, source=source, target=target, clock=self.clock, show=self._show)
            self.killed, mark = True, len(self.events)
            try:
                ending: Ending = getattr(run, verb)(**(wishes or {}))
            except MigrateError:
                self.killed = False
                raise
            self.killed = False
        imports = [event.state for event in self.events[mark:] if event.step == "import-disks" and not event.disk]
        self.stays = bool(imports) and imports[-1] is not State.DONE and any(line.startswith("stays: ") for line in ending.report.now)
        return ending

    def kubeconfig(self, purpose: str = "") -> str | None:
        """Return the file that a command of ours is given; None = the user's own."""
        purpose = purpose or ("copy" if self.playbook == "snapshot-copy" else "move")
        if self.login is not None:
            return str(self.login)
        if self.accounts is not None:
            return str(self.accounts.kubeconfig(self.source.namespace, self.target.namespace, purpose))
        return str(self.lab.kubeconfig) if self.lab.kubeconfig else None

    def _open(self, stack: ExitStack, ref: VMRef, purpose: str = "") -> Cluster:
        cluster = open_cluster(ref.context, kubeconfig=self.kubeconfig(purpose), namespace=ref.namespace, clock=self.clock)
        stack.callback(cluster.close)
        return cluster

    def _show(self, event: Event) -> None:
        self.events.append(event)
        for waiting in list(self._meddles):
            step, reason, meddle = waiting
            fits = not event.disk and event.state is reason if isinstance(reason, State) else reason in ("", event.reason)
            if event.step == step and fits:
                self._meddles.remove(waiting)
                meddle()

    def writes(self, deed: Callable[[], object]) -> list[str]:
        """Return what our code wrote on either side while the deed was done."""
        marks = {name: cluster.requests.mark for name, cluster in self.lab.clusters.items()}
        deed()
        return [
            f"{name}: {asked.verb} {asked.resource}/{asked.name}"
            for name, cluster in self.lab.clusters.items()
            for asked in cluster.requests.since(marks[name], user_agent="kubevirt-migrate", sort="write")
        ]

    def vm(self, side: str = "east") -> dict[str, Any] | None:
        return self.east.get(VM, self.name) if side == "east" else self.west.get(VM, self.target.name)

    def instance(self, side: str = "east") -> dict[str, Any] | None:
        return self.east.get(VMI, self.name) if side == "east" else self.west.get(VMI, self.target.name)

    def runs(self, side: str = "east") -> bool:
        return ((self.instance(side) or {}).get("status") or {}).get("phase") == "Running"

    def claims(self) -> list[str]:
        """Name the claims that the source VM holds, in the order of its volumes."""
        vm = self.vm()
        assert vm is not None
        volumes = vm["spec"]["template"]["spec"]["volumes"]
        held = [volume.get("persistentVolumeClaim", {}).get("claimName") or volume.get("dataVolume", {}).get("name") for volume in volumes]
        return [claim for claim in held if claim]

    def unequal(self) -> list[str]:
        """Name the source's claims whose content is not on the target under the name it got there, by the hashes of the storage."""
        found = self.lab.disks()
        volumes = self.west.list(DATAVOLUME, labels={labels.ID: None})
        record = {annotations_of(volume).get(labels.DISK): volume["metadata"]["name"] for volume in volumes}
        return [
            claim
            for claim in self.claims()
            if found["east", self.source.namespace, claim] != found.get(("west", self.target.namespace, record.get(claim, "")))
        ]

    def ours(self) -> list[str]:
        """List everything on both sides that carries our mark."""
        mark: dict[str, str | None] = {labels.MANAGED_BY: labels.OWNER}
        ids: dict[str, str | None] = {labels.ID: None}
        found: set[str] = set()
        for word, cluster in (("east", self.east), ("west", self.west)):
            for kind in OUR_KINDS:
                for selector in (mark, ids):
                    found |= {f"{word}: {kind} {one['metadata']['name']}" for one in cluster.list(kind, labels=selector)}
            found |= {f"{word}: Secret {one['metadata']['name']}" for one in secrets(cluster) if labels.is_ours(one)}
        return sorted(found)

    def theirs(self) -> dict[str, Any]:
        """Return, of everything on both sides that is the user's, what it is: labels, annotations, spec, data."""
        found: dict[str, Any] = {}
        for side, cluster in (("east", self.east), ("west", self.west)):
            for kind in (VM, PVC, DATAVOLUME, CONFIGMAP, SECRET, EXPORT, LEASE):
                for one in secrets(cluster) if kind is SECRET else cluster.list(kind):
                    metadata = one["metadata"]
                    if self.name in metadata["name"] and not labels.is_ours(one):
                        parts = {key: metadata.get(key) or {} for key in ("labels", "annotations")}
                        found[f"{side} {kind} {metadata['name']}"] = {**parts, "spec": one.get("spec"), "data": one.get("data")}
        return found

    def left_behind(self, *ids: str, stays: bool | None = None) -> list[str]:
        """Name what only a running move needs and is there all the same: exports, their server pods, tokens, headers, CAs, claims.

        `ids`: of which migrations, by default all of this flow. `stays`: the latest run said that the source's export stays, with what
        carries its token, since it stopped while the target imported by itself (decisions/0005); nothing else may.
        """
        stays = self.stays if stays is None else stays
        found: list[str] = []
        for one in ids or sorted({event.migration for event in self.events if event.migration}):
            names = Names.of(one, "")
            pull = [(self.east, EXPORT, names.export), (self.east, SECRET, names.token)]
            pull += [(self.west, SECRET, names.header), (self.west, CONFIGMAP, names.ca)]
            proof = [(self.west, EXPORT, names.proof), (self.west, SECRET, names.proof_token)]
            if not self.options.get("keep_snapshot") and not any(labels.is_ours(disk, one) for disk in self.west.list(DATAVOLUME)):
                pull.append((self.east, SNAPSHOT, names.snapshot))
            for cluster, kind, name in (*proof, *([] if stays else pull)):
                if labels.is_ours(cluster.get(kind, name) or {}, one):
                    found.append(f"{cluster.context}: {kind} {name}")
            for cluster, export in ((self.west, names.proof), *([] if stays else [(self.east, names.export)])):
                pods = cluster.list(POD, labels={"kubevirt.io.virt-export-service": export})
                found += [f"{cluster.context}: Pod {pod['metadata']['name']}" for pod in pods]
            for cluster in (self.east, self.west):
                leases = [lease["metadata"]["name"] for lease in cluster.list(LEASE) if labels.is_ours(lease, one)]
                found += [f"{cluster.context}: Lease {name}" for name in leases]
        return found

    def file(self, side: str, claim: str) -> Path:
        """Return the file in the lab's storage that is a claim's disk."""
        api = self.east if side == "east" else self.west
        pvc = api.get(PVC, claim)
        assert pvc is not None
        pv = api.get(PV, pvc["spec"]["volumeName"])
        assert pv is not None
        return disk_file(self.lab.clusters[side].volumes.path(pv))

    def set_strategy(self, strategy: str, side: str = "east") -> None:
        """Set the run strategy as somebody else would, with a patch of his own."""
        cluster, name = (self.east, self.name) if side == "east" else (self.west, self.target.name)
        cluster.merge(VM, name, {"spec": {"runStrategy": strategy}})

    def until(self, look: Callable[[], Any], *, what: str = "it") -> Any:
        return self.lab.until(look, what=what)
