"""A random schedule: commands with something that happens in the middle of them, and what must hold after each."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from itertools import count
from types import TracebackType
from typing import ClassVar, Self

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from migrate.kube.kinds import CONFIGMAP, DATAVOLUME, EXPORT, LEASE, PV, PVC, VM, VMI
from migrate.kube.session import open_cluster
from migrate.lab.storage import disk_file
from migrate.lab.up import Lab
from migrate.model import labels
from migrate.model.errors import MigrateError
from migrate.model.migration import OnFailure, Verify
from migrate.model.objects import Object, annotations_of, dig, generation_of, uid_of
from migrate.model.refs import VMRef
from migrate.model.report import Outcome
from migrate.reading.machine import instance_alive, set_by
from migrate.steps.strategies import STARTS_WHEN_SET
from migrate.workflow.afterwards import Afterwards
from migrate.workflow.ask import Question
from migrate.workflow.run import Ending
from tests.flows.flow import secrets
from tests.flows.gate import Abandoned, Runner, Sent, bury
from tests.machines import disk, machine

SIDES = ("east", "west")
VERBS = ("move", "undo", "again", "undo even if started", "verify")
FOREIGN = ("start source", "stop source", "start target", "stop target", "label source", "edit source")
OURS: dict[str, str | None] = {labels.MANAGED_BY: labels.OWNER}
NOTICED = re.compile(r"started|changed|halted|held by this migration")
_numbers = count(1)


def other_of(side: str) -> str:
    return "west" if side == "east" else "east"


class World:
    """What all schedules of a worker share: a lab, its sessions, and objects that nobody may touch."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.tally: Counter[str] = Counter()
        self.ours = {name: open_cluster(name, kubeconfig=str(lab.kubeconfig), namespace="shop", clock=lab.clock) for name in SIDES}
        self.user = {name: lab.clusters[name].client("lab/user").at("shop") for name in SIDES}
        self._stay: dict[str, object] = {}

    def __enter__(self) -> Self:
        for side in SIDES:
            text = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "namespace": "shop"}, "data": {"a": "b"}}
            self.user[side].create(text)
            self.lab.plant([disk(f"theirs-{side}", mib=1, cluster=side), machine(f"theirs-{side}", [f"theirs-{side}"], cluster=side)])
        self.lab.clock.sleep(5)
        self._stay = self.bystanders()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for cluster in (*self.ours.values(), *self.user.values()):
            cluster.close()

    def bystanders(self) -> dict[str, object]:
        """Return what must stay as it is, on both sides."""
        found: dict[str, object] = {}
        for side in SIDES:
            for kind, name in ((CONFIGMAP, "theirs"), (VM, f"theirs-{side}"), (DATAVOLUME, f"theirs-{side}"), (PVC, f"theirs-{side}")):
                one = self.user[side].get(kind, name)
                meta = (one or {}).get("metadata", {})
                kept = [meta.get(key) for key in ("uid", "labels", "annotations")]
                found[f"{side} {kind}"] = (kept, (one or {}).get("spec"), (one or {}).get("data"))
        return found

    def unharmed(self) -> None:
        """Check that nothing without our mark has changed or gone."""
        assert self.bystanders() == self._stay

    def sweep(self, name: str) -> None:
        """Remove a schedule's VM on both sides and whatever of ours is left."""
        for side, api in self.user.items():
            api.delete(VM, name)
            for kind in (EXPORT, CONFIGMAP, LEASE, DATAVOLUME):
                for one in api.list(kind, labels=OURS):
                    api.delete(kind, one["metadata"]["name"])
            for one in secrets(api):
                if labels.is_ours(one):
                    api.call("DELETE", f"/api/v1/namespaces/shop/secrets/{one['metadata']['name']}")
            if side == "east":
                api.delete(DATAVOLUME, f"{name}-root")


class Schedule(RuleBasedStateMachine):
    """One VM, and what happens to it."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.name = f"m{next(_numbers)}"
        self.at = 0
        """Number of our latest request, to put foreign deeds and our looks in an order."""
        self.looked = dict.fromkeys(SIDES, 0)
        """By side: when we last read the VM's instance there."""
        self.theirs = dict.fromkeys(SIDES, -1)
        """By side: when somebody else last started the VM there."""
        self.knew = dict.fromkeys(SIDES, 0)
        """By side: when we had last read the other side's instance as we wrote a run strategy that starts this one."""
        self.running: dict[str, str] = {}
        """By side: uid of the instance that runs there."""
        self.target_ran = False
        """An instance of the target was seen to run, and no undo is through since."""
        self.given_up = False
        """What it wrote was given up: an undo was told to go back even if it was started, and its target has not come up since."""
        self.moved_meanwhile = False
        """Somebody started or changed the source while a migration held it halted."""
        self.planted: Object = {}
        self.digest: str | None = None
        self.was: Object | None = None
        """How the user last spelled whether the source runs; None when he said it while our halt stood."""
        self.has_disk = False

    @initialize(
        has_disk=st.sampled_from([False] * 7 + [True]),
        strategy=st.sampled_from(["Always", "Always", "Always", "running", "RerunOnFailure", "Manual", "Halted"]),
        fence=st.booleans(),
        on_failure=st.sampled_from(OnFailure),
    )
    def plant(self, has_disk: bool, strategy: str, fence: bool, on_failure: OnFailure) -> None:
        """Make the VM, and see it run if it does."""
        world, self.has_disk = self.world, has_disk
        world.tally["schedules"] += 1
        self.options = {"fence": fence, "on_failure": on_failure, "verify": Verify.SIZE}
        disks = [f"{self.name}-root"] if has_disk else []
        world.lab.plant([*(disk(one, mib=1) for one in disks), machine(self.name, disks, strategy=strategy, grace_s=5)])
        if strategy not in ("Manual", "Halted"):
            world.lab.until(lambda: dig(self.instance("east"), "status", "phase") == "Running")
        self.planted, self.was = self.essence(), self.spelled()
        self.see()

    @rule(
        verb=st.sampled_from(VERBS[:1] * 3 + VERBS),
        fate=st.sampled_from(["crash", "lost answer", "rival", "frozen", "start source", "start source", *FOREIGN]),
        when=st.sampled_from([*range(1, 261), *range(130, 240), *range(130, 240), *range(130, 240)]),
        rival=st.sampled_from(VERBS[:4]),
        settle=st.sampled_from([0, 1, 20]),
    )
    def command(self, verb: str, fate: str, when: int, rival: str, settle: int) -> None:
        """Run a command; at its n-th request something happens."""
        note(f"{verb}; {fate} at {when} (rival: {rival}); then {settle} s")
        self.world.tally[fate] += 1
        sent = [0]

        def ask(request: Sent) -> None:
            self.see(request)
            sent[0] += 1
            if sent[0] == when * (2 if self.has_disk else 1):
                self.happen(fate, rival)

        def answered() -> None:
            if fate == "lost answer" and sent[0] >= when:
                raise Abandoned

        self.judge(verb, self.run(verb, Runner(self.world.lab, self.world.ours, ask, answered)))
        self.rest(settle)

    @rule(verb=st.sampled_from(VERBS[:2] + VERBS), settle=st.sampled_from([0, 1, 20]))
    def peaceful(self, verb: str, settle: int) -> None:
        """Run a command that nothing happens to."""
        note(f"{verb}, in peace; then {settle} s")
        self.world.tally["in peace"] += 1
        self.judge(verb, self.run(verb, Runner(self.world.lab, self.world.ours, self.see)))
        self.rest(settle)

    @rule(deed=st.sampled_from(FOREIGN), settle=st.sampled_from([0, 1, 20]))
    def foreign(self, deed: str, settle: int) -> None:
        """Let somebody else do something while nothing of ours runs."""
        note(f"somebody: {deed}; then {settle} s")
        self.world.tally["between"] += 1
        self.happen(deed, "")
        self.rest(settle)

    def run(self, verb: str, runner: Runner) -> Ending | MigrateError | None:
        """Do one command; None = it was abandoned, and its claim looks dead."""
        source, target = VMRef("east", "shop", self.name), VMRef("west", "shop", self.name)
        try:
            match verb:
                case "verify":
                    here, there = runner.pair(source, target)
                    question = Question(source, target)
                    return Afterwards(question, source=here, target=there, clock=self.world.lab.clock).prove(
                        Verify.SIZE, runner.events.append
                    )
                case "undo":
                    return runner.run("undo", source, target)
                case "undo even if started":
                    try:
                        return runner.run("undo", source, target, even_if_started=True)
                    finally:
                        self.given_up = True
                case _:
                    return runner.run("move", source, target, again=verb == "again", **self.options)
        except MigrateError as error:
            return error
        except Abandoned:
            bury(self.world.user.values(), OURS)
            return None

    def happen(self, deed: str, rival: str) -> None:
        """Let something happen between two requests of ours."""
        user, name = self.world.user, self.name
        side = "east" if deed.endswith("source") else "west"
        match deed:
            case "lost answer":
                return
            case "crash":
                raise Abandoned
            case "rival" | "frozen":
                if deed == "frozen":
                    bury(self.world.user.values(), OURS)
                self.judge(rival, self.run(rival, Runner(self.world.lab, self.world.ours, self.see)))
                return
        vm = user[side].get(VM, name)
        if vm is None:
            return
        match deed.split(maxsplit=1)[0]:
            case "start":
                self.theirs[side] = self.at
                user[side].merge(VM, name, {"spec": {"runStrategy": "Always", "running": None}})
            case "stop":
                user[side].merge(VM, name, {"spec": {"runStrategy": "Halted", "running": None}})
            case "label":
                user[side].merge(VM, name, {"metadata": {"labels": {"theirs": str(self.at)}}})
            case "edit":
                user[side].merge(VM, name, {"spec": {"template": {"metadata": {"labels": {"theirs": str(self.at)}}}}})
        if side == "east":
            after = user[side].get(VM, name) or {}
            if self.held(vm) and generation_of(after) != generation_of(vm):
                self.moved_meanwhile = True
            self.planted = self.essence()
            if deed.split(maxsplit=1)[0] in ("start", "stop"):
                self.was = None if labels.HALTED_BY in annotations_of(vm) else self.spelled()

    def held(self, vm: Object) -> bool:
        """Tell whether a migration of ours holds the source halted, not merely announced, and has not released it."""
        notes = annotations_of(vm)
        return labels.HALTED_GENERATION in notes and labels.MOVED_TO not in notes

    def judge(self, verb: str, ending: Ending | MigrateError | None) -> None:
        """Check what a command said about what had happened."""
        if not isinstance(ending, Ending):
            self.world.tally["abandoned" if ending is None else "refused"] += 1
            return
        outcome = ending.report.outcome
        self.world.tally[outcome.value] += 1
        said = " ".join(f"{one.what} {one.why}" for one in ending.report.problems)
        if ending.report.source.running and ending.report.target.running:
            told = f"{said} {' '.join(ending.report.now)}".lower()
            assert "both" in told, f"{verb} ended {outcome} while both run, and does not say so: {told}"
        if outcome is Outcome.MOVED:
            assert not self.moved_meanwhile, f"{verb} called it moved although somebody had the source meanwhile"
        if outcome is Outcome.BLOCKED and self.moved_meanwhile and verb == "move":
            assert NOTICED.search(said), f"nothing is said of the source in: {said}"
        if outcome is Outcome.UNDONE:
            assert self.given_up or not self.target_ran, f"{verb} undid a target that had run, and was not told to"
            self.target_ran = self.given_up = self.moved_meanwhile = False
            assert self.was in (None, self.spelled()), "the source is not as it was"
            self.was = self.spelled()
            notes = annotations_of(self.world.user["east"].get(VM, self.name))
            assert not [key for key in notes if key.startswith(labels.PREFIX)], notes

    def rest(self, seconds: float) -> None:
        """Let time pass, and look at everything."""
        self.world.lab.clock.sleep(seconds)
        self.see()
        assert self.essence() == self.planted, "what is the user's of the source VM has changed"

    def see(self, request: Sent | None = None) -> None:
        """Look, past the API, who runs where; called before each of our requests, and after each event."""
        self.at += 1
        for side in SIDES:
            if request is not None and request.method == "GET" and request.context == side and "/virtualmachineinstances/" in request.path:
                self.looked[side] = self.at
            if request is not None and request.context == side and self.starts(request):
                self.knew[side] = self.looked[other_of(side)]
            vmi = self.instance(side)
            runs = vmi is not None and dig(vmi, "status", "phase") == "Running"
            if runs and vmi is not None and self.running.get(side) != uid_of(vmi):
                self.running[side] = uid_of(vmi)
                self.came_up(side)
            elif not runs:
                self.running.pop(side, None)
        if self.has_disk:
            self.intact()

    def came_up(self, side: str) -> None:
        """Judge an instance that came up beside another: it is somebody else's deed, or the other one could not be seen by us."""
        if side == "west":
            self.target_ran, self.given_up = True, False
        other = other_of(side)
        if other not in self.running:
            return
        self.world.tally["both run"] += 1
        vm = self.world.user[side].get(VM, self.name)
        if vm is None or not set_by(vm, labels.OWNER):
            return
        assert self.theirs[other] >= self.knew[side], f"we started {side} while {other} runs, which we had seen"
        self.world.tally["both run, unseeable"] += 1

    @staticmethod
    def starts(request: Sent) -> bool:
        """Tell whether a request of ours writes a run strategy that brings up an instance."""
        operations = request.body if isinstance(request.body, list) and "/virtualmachines/" in request.path else []
        spelled = [one.get("value") for one in operations if one["op"] == "add" and one["path"] in ("/spec/runStrategy", "/spec/running")]
        return any(value is True or value in STARTS_WHEN_SET for value in spelled)

    def intact(self) -> None:
        """Check that the source disk is there, and what is on it while no guest writes."""
        claim = self.world.lab.east.runtime.cache(PVC).get("shop", f"{self.name}-root")
        assert claim is not None, "the source disk is gone"
        if instance_alive(self.instance("east")):
            self.digest = None
            return
        volume = self.world.lab.east.runtime.cache(PV).get("", claim["spec"]["volumeName"])
        assert volume is not None
        digest = hashlib.sha256(disk_file(self.world.lab.east.volumes.path(volume)).read_bytes()).hexdigest()
        assert self.digest in (None, digest), "the source disk has changed although nothing runs on it"
        self.digest = digest

    def instance(self, side: str) -> Object | None:
        return self.world.lab.clusters[side].runtime.cache(VMI).get("shop", self.name)

    def essence(self) -> Object:
        """Return what of the source VM is the user's alone: neither whether it runs, nor a fence, nor our notes."""
        vm = self.world.user["east"].get(VM, self.name) or {}
        spec = {key: value for key, value in (vm.get("spec") or {}).items() if key not in ("runStrategy", "running", "template")}
        template = dig(vm, "spec", "template", default={})
        inner = {key: value for key, value in (template.get("spec") or {}).items() if key != "nodeSelector"}
        notes = {key: value for key, value in annotations_of(vm).items() if not key.startswith(labels.PREFIX)}
        return {"spec": spec, "inner": inner, "of": template.get("metadata"), "labels": dig(vm, "metadata", "labels"), "notes": notes}

    def spelled(self) -> Object:
        """Return how the source spells whether it runs."""
        vm = self.world.user["east"].get(VM, self.name) or {}
        return {key: value for key, value in (vm.get("spec") or {}).items() if key in ("runStrategy", "running")}

    def teardown(self) -> None:
        """Check the rest, and remove what the schedule has left."""
        try:
            self.world.unharmed()
        finally:
            self.world.sweep(self.name)
