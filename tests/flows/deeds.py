"""Everything that our commands do on a cluster, done under the accounts that `migrate rbac` prints: one deed for each group of rights.

Run on the embedded API server by test_the_printed_roles_suffice.py, on the real one by tests/kubernetes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

from typer.testing import CliRunner

from migrate.cli.app import app
from migrate.kube.kinds import CONFIGMAP, CONTROLLERREVISION, DATAVOLUME, INGRESS, LEASE, PVC, ROUTE, SECRET, VM
from migrate.lab.kubevirt_guest import WINDOW_END, read_guest_log
from migrate.lab.up import Lab
from migrate.model import labels
from migrate.model.migration import Names, References, Start, Verify
from migrate.model.objects import annotations_of
from migrate.model.record import Record
from migrate.model.report import Outcome, Report
from migrate.workflow.afterwards import Afterwards
from migrate.workflow.ask import Question, ask
from migrate.workflow.cleanup import Rules, leftovers
from tests.accounts import Accounts, accounts_of
from tests.case_files import words_of
from tests.flows.deeds_export import disks_are_exported_by_hand
from tests.flows.exhibits import config_map, on_both, secret, sizes, tastes
from tests.flows.flow import Flow, interrupt
from tests.machines import disk, keeping, machine

NAMESPACE = "rights"
_numbers = count(1)


class Stage:
    """A namespace on both sides with both accounts, and the machines that deeds plant there."""

    namespace = NAMESPACE

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.accounts = accounts_of(lab) or Accounts(lab)
        self.flows: list[Flow] = []
        for cluster in lab.clusters.values():
            cluster.runtime.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})

    def plant(
        self,
        *,
        strategy: str = "Halted",
        grace_s: int | None = None,
        alter: Callable[[dict[str, Any]], None] = lambda _: None,
        **wishes: Any,
    ) -> Flow:
        """Plant a VM with one disk and ask to move it. `alter` changes its spec before."""
        name = f"deed{next(_numbers)}"
        vm = machine(name, [f"{name}-root"], namespace=NAMESPACE, strategy=strategy, grace_s=grace_s)
        alter(vm["spec"])
        self.lab.plant([disk(f"{name}-root", namespace=NAMESPACE), vm])
        self.flows.append(Flow(self.lab, name, namespace=NAMESPACE, accounts=self.accounts, **wishes))
        return self.flows[-1]

    def clear(self) -> None:
        """Take away what a deed planted."""
        for flow in self.flows:
            flow.remove()
            flow.close()
        self.flows.clear()
        for cluster in self.lab.clusters.values():
            cluster.trouble.clear()


def planned_as_copy(flow: Flow) -> Report:
    """Look at a VM as for a copy of it, under the account for copies."""
    flow.playbook = "snapshot-copy"
    try:
        return flow.plan().report
    finally:
        flow.playbook = "cold-move"


def ask_to_start(flow: Flow) -> None:
    """Start a VM as an administrator would, and wait until it runs."""
    flow.east.call("PUT", f"/apis/subresources.kubevirt.io/v1/namespaces/{NAMESPACE}/virtualmachines/{flow.name}/start", {})
    flow.until(flow.runs, what=f"{flow.name} runs")


@contextmanager
def afterwards(flow: Flow, purpose: str) -> Iterator[Afterwards]:
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref, purpose) for ref in (flow.source, flow.target))
        yield Afterwards(Question(flow.source, flow.target), source=source, target=target, clock=flow.lab.clock)


@contextmanager
def no_way_in(lab: Lab) -> Iterator[None]:
    """Take away what leads to the export proxy of `west` from outside, for a while."""
    west = lab.west.client("lab/user").at("kubevirt")
    taken = [(kind, one) for kind in (INGRESS, ROUTE) if west.serves(kind) is not None for one in west.list(kind)]
    for kind, one in taken:
        west.delete(kind, one["metadata"]["name"])
    try:
        yield
    finally:
        for _, one in taken:
            metadata = {key: one["metadata"].get(key) or {} for key in ("labels", "annotations")}
            status = {"status": one["status"]} if one["kind"] == ROUTE.kind else {}
            west.create(
                {key: one[key] for key in ("apiVersion", "kind", "spec")}
                | {"metadata": {**metadata, "name": one["metadata"]["name"], "namespace": "kubevirt"}}
                | status
            )
        west.close()


def a_running_vm_is_moved(stage: Stage) -> None:
    """Moved, started as it ran; a dry run before, the same command and its status after."""
    flow = stage.plant(strategy="Always")
    flow.until(flow.runs)
    for make in (False, True):  # the namespace is there, so the right to make one is not asked for
        assert flow.plan(create_namespace=make).report.outcome is Outcome.PLANNED
    ending = flow.move()
    assert (ending.report.outcome, ending.report.problems) == (Outcome.MOVED, ())
    assert flow.runs("west")
    assert flow.move().report.outcome is Outcome.NOTHING_LEFT
    command = ["status", "--target", f"west:{NAMESPACE}", "--kubeconfig", str(flow.kubeconfig()), "-o", "json"]
    said = CliRunner().invoke(app, command)
    assert ending.report.migration in [row["id"] for row in json.loads(said.stdout)["migrations"]]


def a_vm_with_a_tpm_is_moved(stage: Stage) -> None:
    """Its state is found by its label and sent through the upload proxy, its guest finds it there, and it is retired with its source."""
    flow = stage.plant(strategy="Always", alter=lambda spec: keeping({"spec": spec}))
    flow.until(flow.runs)
    assert "not copied while it goes on" in words_of(planned_as_copy(flow).problems)
    ending = flow.move()
    assert (ending.report.outcome, ending.report.problems) == (Outcome.MOVED, ())
    assert flow.runs("west")
    assert [proof.coverage for proof in ending.report.disks] == ["sample", "full"]
    with flow.file("west", f"{flow.name}-root").open("rb") as file:
        assert not read_guest_log(file.read(WINDOW_END)).locked
    with afterwards(flow, "retire") as retiring:
        assert retiring.retire(flow._show).report.outcome is Outcome.RETIRED
    found = [cluster.list(PVC, labels={"persistent-state-for": flow.name}) for cluster in (flow.east, flow.west)]
    assert list(map(len, found)) == [0, 1]


def a_vm_that_is_started_by_request_is_moved(stage: Stage) -> None:
    """Manual: Always brings it up on the target, Manual follows. Without grace, a stop request on the source goes before the halt."""
    flow = stage.plant(strategy="Manual", grace_s=0)
    ask_to_start(flow)
    assert flow.move().report.outcome is Outcome.MOVED
    assert flow.runs("west")


def a_move_is_taken_back(stage: Stage) -> None:
    """An undo after the target VM was made: all that we made goes, and the source, which is Manual, runs again."""
    flow = stage.plant(strategy="Manual")
    ask_to_start(flow)
    flow.when("verify-disks", "ProofToBegin", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    assert flow.undo().report.outcome is Outcome.UNDONE
    flow.until(flow.runs, what="the source runs again")
    assert flow.vm("west") is None


def an_evicted_importer_is_replaced(stage: Stage) -> None:
    """A dead importer pod is deleted, so that CDI makes another."""
    flow = stage.plant()
    flow.lab.west.trouble.set("importer", "delay", seconds=30, times=1)
    for reason in ("Importing", "ImportingBlind"):
        flow.when("import-disks", reason, lambda: flow.lab.west.trouble.set("node", "evict", app="importer", times=1))
    assert flow.move(start=Start.NEVER).report.outcome is Outcome.MOVED


def a_claim_that_was_let_go_is_taken(stage: Stage) -> None:
    """A Lease that is there is written anew."""
    flow = stage.plant()
    names = Names.of("another", flow.vm()["metadata"]["uid"])  # type: ignore[index]
    metadata = {"name": names.claim, "namespace": NAMESPACE, "labels": labels.ours("another", "claim")}
    flow.east.create({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {"holderIdentity": ""}})
    assert flow.move().report.outcome is Outcome.MOVED
    assert flow.east.get(LEASE, names.claim) is None


def a_vm_that_was_moved_there_is_moved_on(stage: Stage) -> None:
    """On the record of the move that brought it, it is noted that it went on; a way back takes that off again."""
    flow = stage.plant(start=Start.NEVER)
    came = replace(ask(Question(flow.source, flow.target), flow.east, flow.west).migration, id="came-by")
    record = Record(came, "", "", flow.lab.clock.now(), flow.lab.clock.now(), Outcome.MOVED)
    metadata = {"name": came.names.record, "namespace": NAMESPACE, "labels": labels.ours(came.id, "record")}
    flow.east.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": record.to_data()})
    flow.east.merge(VM, flow.name, {"metadata": {"labels": labels.ours(came.id, "vm")}})
    notes = []
    for deed in (flow.move, lambda: flow.undo(even_if_started=True)):
        assert deed().error is None
        notes.append(annotations_of(flow.east.get(CONFIGMAP, came.names.record)).get(labels.HALTED_BY, ""))
    assert notes == [flow.events[0].migration, ""]


def references_are_looked_for(stage: Stage) -> None:
    """Everything that a VM may refer to is looked at on the target; what is missing is said, and nothing is refused to us.

    The revisions of its instance type and preference are gone, so these are looked at on the source themselves; the target has equal ones.
    """
    east = stage.lab.east.client("lab/user").at(NAMESPACE)
    for scope in ("", "Cluster"):
        kinds = [f"VirtualMachine{scope}{word}" for word in ("Instancetype", "Preference")]
        stage.lab.plant(on_both(sizes(kinds[0], "small", namespace=NAMESPACE), tastes(kinds[1], "linux", namespace=NAMESPACE)))

        def refer(spec: dict[str, Any], kinds: list[str] = kinds) -> None:
            guest = spec["template"]["spec"]
            del guest["domain"]["memory"]
            spec["instancetype"], spec["preference"] = {"kind": kinds[0], "name": "small"}, {"kind": kinds[1], "name": "linux"}
            guest["priorityClassName"] = "high"
            guest["networks"].append({"name": "second", "multus": {"networkName": "wire"}})
            guest["domain"]["devices"]["interfaces"].append({"name": "second", "bridge": {}})
            guest["volumes"].append({"name": "account", "serviceAccount": {"serviceAccountName": "robot"}})
            guest["domain"]["devices"]["disks"].append({"name": "account", "disk": {"bus": "virtio"}})
            guest["resourceClaims"] = [{"name": "a", "resourceClaimName": "card"}, {"name": "b", "resourceClaimTemplateName": "cards"}]

        flow = stage.plant(alter=refer)
        flow.until(lambda flow=flow: (flow.vm() or {}).get("status", {}).get("preferenceRef"), what="the revisions")
        for one in east.list(CONTROLLERREVISION):
            east.delete(CONTROLLERREVISION, one["metadata"]["name"])
        report = flow.plan().report
        said = str(report.problems)
        assert all(word in said for word in ("PriorityClass high", "wire", "robot", "ResourceClaim card", "ResourceClaimTemplate cards"))
        assert len(report.problems) == 5, said
        assert planned_as_copy(flow).outcome in (Outcome.PLANNED, Outcome.BLOCKED)
    east.close()


def what_a_vm_names_is_carried(stage: Stage) -> None:
    """Secrets and ConfigMaps are copied, one is replaced; an instance type is written into the VM; all of it is taken back."""

    def refer(spec: dict[str, Any]) -> None:
        guest = spec["template"]["spec"]
        del guest["domain"]["memory"]
        spec["instancetype"] = {"kind": "VirtualMachineInstancetype", "name": "own"}
        guest["volumes"] += [{"name": "key", "secret": {"secretName": "key"}}, {"name": "conf", "configMap": {"name": "conf"}}]
        guest["domain"]["devices"]["disks"] += [{"name": word, "disk": {"bus": "virtio"}} for word in ("key", "conf")]

    here = {"namespace": NAMESPACE}
    own = sizes("VirtualMachineInstancetype", "own", **here)
    stage.lab.plant([secret("key", **here), config_map("conf", **here), own, config_map("conf", "other", cluster="west", **here)])
    flow = stage.plant(alter=refer, references=References.REPLACE)
    assert any("create Secret" in line for line in planned_as_copy(flow).writes)
    flow.when("verify-disks", "ProofToBegin", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    assert (flow.west.get(CONFIGMAP, "conf") or {})["data"] == {"a": "plain"}
    assert flow.undo().report.outcome is Outcome.UNDONE
    assert (flow.west.get(CONFIGMAP, "conf") or {})["data"] == {"a": "other"}
    assert flow.west.get(SECRET, "key") is None


def the_proof_goes_through_the_api_server(stage: Stage) -> None:
    """No link from outside on the target: the exporter pod is reached by a port-forward."""
    flow = stage.plant(verify=Verify.SIZE)
    with no_way_in(flow.lab):
        ending = flow.move()
    assert (ending.report.outcome, ending.report.problems) == (Outcome.MOVED, ())
    assert [proof.coverage for proof in ending.report.disks] == ["size"]


def leftovers_are_removed(stage: Stage) -> None:
    """What an interrupted import left on both sides is found and removed, and the move is taken back after that."""
    flow = stage.plant()
    flow.lab.west.trouble.set("importer", "delay", seconds=30, times=1)
    for reason in ("Importing", "ImportingBlind"):
        flow.when("import-disks", reason, interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        found = leftovers(source, target, rules=Rules(timedelta(0)), clock=flow.lab.clock, everywhere=(False, False)).found
        assert found
        for one in found:
            one.remove()
    assert flow.undo().report.outcome is Outcome.UNDONE


def a_finished_move_is_proven_and_retired(stage: Stage) -> None:
    """`verify` under the everyday account, `retire` under the one that may delete: a disk of a DataVolume, and one that is a bare claim."""

    def bare(spec: dict[str, Any]) -> None:
        name = spec["template"]["spec"]["volumes"][0]["dataVolume"]["name"]
        spec["template"]["spec"]["volumes"].append({"name": "bare", "persistentVolumeClaim": {"claimName": f"{name}-bare"}})
        spec["template"]["spec"]["domain"]["devices"]["disks"].append({"name": "bare", "disk": {"bus": "virtio"}})
        stage.lab.plant([disk(f"{name}-bare", namespace=NAMESPACE)])
        east = stage.lab.east.client("lab/user").at(NAMESPACE)
        east.delete(DATAVOLUME, f"{name}-bare", propagation="Orphan")
        stage.lab.until(lambda: east.get(DATAVOLUME, f"{name}-bare") is None)
        east.close()

    flow = stage.plant(alter=bare, verify=Verify.SIZE)
    assert flow.move().report.outcome is Outcome.MOVED
    with afterwards(flow, "move") as proving:
        assert proving.prove(Verify.SAMPLE, flow._show).report.outcome is Outcome.PROVEN
    with afterwards(flow, "retire") as retiring:
        assert "to be deleted" in retiring.to_retire()
        assert retiring.retire(flow._show).report.outcome is Outcome.RETIRED
    assert [flow.east.get(VM, flow.name), *(flow.east.get(PVC, f"{flow.name}-{word}") for word in ("root", "root-bare"))] == [None] * 3


def a_vm_that_goes_on_is_copied(stage: Stage) -> None:
    """Under the account for copies; killed in the middle, looked at by a cleanup and taken up by another run, then by an undo."""
    flow = stage.plant(strategy="Always", playbook="snapshot-copy")
    flow.until(flow.runs)
    assert flow.plan().report.outcome is Outcome.PLANNED
    flow.lab.west.trouble.set("importer", "delay", seconds=30, times=1)
    flow.when("verify-disks", "ProofToBegin", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        assert leftovers(source, target, rules=Rules(timedelta(0)), clock=flow.lab.clock, everywhere=(False, False)).spared
    ending = flow.move()
    assert (ending.report.outcome, ending.report.problems) == (Outcome.COPIED, ())
    assert flow.runs()
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE


DEEDS = (
    a_running_vm_is_moved,
    a_vm_with_a_tpm_is_moved,
    a_vm_that_is_started_by_request_is_moved,
    a_move_is_taken_back,
    an_evicted_importer_is_replaced,
    a_claim_that_was_let_go_is_taken,
    a_vm_that_was_moved_there_is_moved_on,
    references_are_looked_for,
    what_a_vm_names_is_carried,
    the_proof_goes_through_the_api_server,
    leftovers_are_removed,
    a_finished_move_is_proven_and_retired,
    a_vm_that_goes_on_is_copied,
    disks_are_exported_by_hand,
)
