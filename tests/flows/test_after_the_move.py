"""What comes after a finished move: its disks are proven once more, its source is retired; neither when it would be wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from migrate.cli.show_report import report_text
from migrate.kube.kinds import DATAVOLUME, PVC, VM
from migrate.model import labels
from migrate.model.errors import Blocked, Conflict
from migrate.model.migration import Start, Verify
from migrate.model.objects import annotations_of, leaving
from migrate.model.report import Outcome, Report
from migrate.reading.proof import proof_of
from migrate.steps.claim_source import ClaimSource, release
from migrate.steps.retire_source import RetireSource
from migrate.workflow import records
from migrate.workflow.afterwards import Afterwards
from migrate.workflow.ask import Question
from migrate.workflow.reporting import standing
from migrate.workflow.run import Ending
from tests.accounts import Accounts
from tests.flows.conftest import Begin
from tests.flows.flow import Flow, interrupt
from tests.flows.test_wrong_bytes_are_found import OFFSET, flip

pytestmark = pytest.mark.slow


@contextmanager
def opened(flow: Flow, purpose: str = "move") -> Iterator[Afterwards]:
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref, purpose) for ref in (flow.source, flow.target))
        yield Afterwards(Question(flow.source, flow.target), source=source, target=target, clock=flow.lab.clock)


def prove(flow: Flow, depth: Verify = Verify.FULL) -> Ending:
    with opened(flow) as afterwards:
        return afterwards.prove(depth, flow._show)


def retire(flow: Flow) -> Ending:
    with opened(flow, "retire") as afterwards:
        return afterwards.retire(flow._show)


def to_retire(flow: Flow) -> str:
    with opened(flow, "retire") as afterwards:
        return afterwards.to_retire()


def cut_short(flow: Flow) -> None:
    """Retire the source up to the end of its VM; its disks are left."""
    with opened(flow, "retire") as afterwards:
        x = afterwards._crossing(afterwards.migration)
        ClaimSource().observe(x)
        ClaimSource().act(x)
        RetireSource().act(x)
        release(x)
    flow.until(lambda: flow.vm() is None)


def refusal(flow: Flow, deed: Callable[[Flow], object] = prove) -> str:
    """Return what is said when it is refused, and see that nothing was written."""
    found: list[Blocked] = []

    def refused() -> None:
        with pytest.raises(Blocked) as caught:
            deed(flow)
        found.append(caught.value)

    assert flow.writes(refused) == []
    return " ".join(f"{problem.what} {problem.why} {problem.now}" for problem in found[0].problems)


@pytest.mark.anywhere
def test_a_finished_move_is_proven_once_more(begin: Begin) -> None:
    """A deeper proof stands on every disk and in the record, nothing that it needed is left, the source stays halted."""
    flow = begin(disks=("root", "data"), start=Start.NEVER, verify=Verify.SIZE)
    flow.move()
    ours = flow.ours()
    ending = prove(flow)
    assert (ending.error, ending.report.outcome) == (None, Outcome.PROVEN)
    assert [(disk.coverage, bool(disk.digest)) for disk in ending.report.disks] == [("full", True)] * 2
    assert flow.ours() == ours
    assert [disk.coverage for disk in flow.move().report.disks] == ["full"] * 2
    assert not flow.runs()
    first = [proof_of(flow.west.get(DATAVOLUME, f"{flow.name}-{word}")) for word in ("root", "data")]
    flow.lab.clock.sleep(5)
    assert prove(flow).report.outcome is Outcome.PROVEN
    second = [proof_of(flow.west.get(DATAVOLUME, f"{flow.name}-{word}")) for word in ("root", "data")]
    assert all(old and new and old.at < new.at and old.digest == new.digest for old, new in zip(first, second, strict=True))


def test_a_shallow_look_does_not_replace_a_deep_proof(begin: Begin) -> None:
    """`verify --verify size` after a full proof ends well and leaves disk and record with what the full one found."""
    flow = begin(start=Start.NEVER, verify=Verify.FULL)
    flow.move()
    before = proof_of(flow.west.get(DATAVOLUME, f"{flow.name}-root"))
    flow.lab.clock.sleep(5)
    ending = prove(flow, Verify.SIZE)
    assert (ending.error, ending.report.outcome) == (None, Outcome.PROVEN)
    assert [(disk.coverage, bool(disk.digest)) for disk in ending.report.disks] == [("full", True)]
    assert [disk.coverage for disk in flow.move().report.disks] == ["full"]
    volume = flow.west.get(DATAVOLUME, f"{flow.name}-root")
    assert proof_of(volume) == before
    compared = proof_of(volume, labels.COMPARED)
    assert compared is not None
    assert compared.coverage == "size"


def test_a_byte_that_rotted_since_is_found(begin: Begin) -> None:
    """FAILED names the place, marks the disk, leaves neither export nor token; from then on no report calls it equal, or offers a start."""
    flow = begin(start=Start.NEVER)
    flow.move()
    ours = flow.ours()
    flip(flow, f"{flow.name}-root")
    ending = prove(flow)
    assert ending.report.outcome is Outcome.FAILED
    assert str(OFFSET) in ending.report.problems[0].why
    flow.until(lambda: flow.ours() == ours)
    assert labels.DIFFERS in annotations_of(flow.west.get(DATAVOLUME, f"{flow.name}-root"))
    assert retire(flow).report.outcome is Outcome.BLOCKED
    assert flow.vm() is not None
    record = records.read(flow.west, f"migrate-{ending.report.migration}")
    assert record is not None
    for report in (ending.report, flow.move().report, standing(record, flow.east, flow.west)):
        (disk,) = report.disks
        assert (disk.coverage, disk.digest) == ("", "")
        assert str(OFFSET) in disk.differs
        text = report_text(report)
        assert "1 of 1 DIFFERENT from the source" in text
        assert f"go back: migrate undo {flow.source} {flow.target} --even-if-started" in text
        for words in ("equal", "not moved", "start it", "migrate retire"):
            assert words not in text, text
    assert flow.undo().report.outcome is Outcome.BLOCKED
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE


def test_no_proof_once_the_target_was_started(begin: Begin) -> None:
    """Its guest has written since: refused without a write, even when it is halted again."""
    flow = begin()
    flow.move()
    assert "was started" in refusal(flow)
    flow.set_strategy("Halted", "west")
    flow.until(lambda: flow.instance("west") is None)
    assert "was started" in refusal(flow)


def test_a_retirement_without_the_rights_to_it_is_not_begun(begin: Begin) -> None:
    """An account that may move and not delete is told so before a disk is marked: half a retirement is worse than none."""
    flow = begin(start=Start.NEVER)
    flow.accounts = flow.accounts or Accounts(flow.lab)
    flow.move()

    def as_mover(flow: Flow) -> None:
        with opened(flow) as afterwards:
            afterwards.to_retire()

    said = refusal(flow, as_mover)
    assert "delete virtualmachines.kubevirt.io in shop" in said
    assert "--for retire" in said
    with opened(flow) as afterwards:
        assert afterwards.retire(flow._show).report.outcome is Outcome.BLOCKED
    assert labels.RETIRED_BY not in annotations_of(flow.east.get(PVC, f"{flow.name}-root"))


@pytest.mark.slow
def test_no_proof_once_the_source_was_started(begin: Begin) -> None:
    """The source is not what was copied any more."""
    flow = begin(start=Start.NEVER)
    flow.move()
    flow.set_strategy("Always")
    flow.until(flow.runs)
    assert "somebody started" in refusal(flow)


@pytest.mark.slow
def test_no_proof_of_a_move_that_is_not_finished(begin: Begin) -> None:
    """Neither one that was never begun, nor one that was undone."""
    flow = begin()
    assert "not finished" in refusal(flow)

    flow.when("create-target", "", interrupt)
    flow.move()
    assert "not finished" in refusal(flow)
    flow.undo()
    assert "undone" in refusal(flow)


def test_retire_deletes_the_vm_and_its_disks_only(begin: Begin) -> None:
    """The source VM and its claims are gone by name, the target runs on, others' disks and one that the VM owned stay; twice is fine."""
    flow = begin(disks=("root", "data"))
    other = begin(disks=("root",), strategy="Halted")
    vm, once = flow.vm(), f"{other.name}-root"
    assert vm is not None
    owner = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": flow.name, "uid": vm["metadata"]["uid"], "controller": True}
    flow.east.merge(DATAVOLUME, once, {"metadata": {"ownerReferences": [owner]}})
    flow.move()
    report = retire(flow).report
    assert report.outcome is Outcome.RETIRED
    assert report.now == (f"owned by the VM and not copied, so it stays: DataVolume {once}",)
    assert flow.vm() is None
    for word in ("root", "data"):
        assert flow.east.get(PVC, f"{flow.name}-{word}") is None
        assert flow.east.get(DATAVOLUME, f"{flow.name}-{word}") is None
        assert flow.west.get(PVC, f"{flow.name}-{word}") is not None
    assert flow.runs("west")
    flow.lab.clock.sleep(30)
    assert flow.east.get(PVC, once) is not None
    assert [line for line in flow.ours() if line.startswith("east") and flow.name in line] == []
    assert retire(flow).report.outcome is Outcome.RETIRED


def of_the_source(report: Report) -> str:
    """Return what the last lines say about the source that is kept."""
    (line,) = [line for line in report.now if line.startswith("the source VM and its disks are kept")]
    return line


def test_retire_is_offered_only_where_it_can_be(begin: Begin) -> None:
    """Not proven by its bytes: first `migrate verify`, as long as that works; not as the halt left it: by hand alone."""
    flow = begin(start=Start.NEVER, verify=Verify.SIZE, fence=True)
    pair = f"{flow.source} {flow.target}"
    for report in (flow.move().report, prove(flow, Verify.SIZE).report, flow.move().report):
        assert f"not proven by their bytes: {flow.name}-root; migrate verify {pair}" in of_the_source(report)
        assert "migrate retire" not in of_the_source(report)
    for report in (prove(flow, Verify.SAMPLE).report, flow.move().report):
        assert of_the_source(report).endswith(f"delete them when you no longer need them: migrate retire {pair}")
    with opened(flow) as afterwards:
        assert afterwards.unfence(flow._show).report.outcome is Outcome.UNFENCED
    assert "not as the halt left it" in of_the_source(flow.move().report)
    assert "by hand" in of_the_source(flow.move().report)
    assert f"migrate retire {pair}" not in of_the_source(flow.move().report)
    assert retire(flow).report.outcome is Outcome.BLOCKED


def test_retire_is_not_offered_of_what_cannot_be_proven_any_more(begin: Begin) -> None:
    """Moved with --verify off and started: nothing can be compared, so the source goes by hand, when its owner trusts the target."""
    flow = begin(verify=Verify.OFF)
    line = of_the_source(flow.move().report)
    assert f"not proven by their bytes: {flow.name}-root; {flow.target} was started" in line
    assert "by hand" in line
    assert "migrate retire" not in line
    assert retire(flow).report.outcome is Outcome.BLOCKED


@pytest.mark.parametrize("verify", [Verify.SIZE, pytest.param(Verify.OFF, marks=pytest.mark.slow)])
def test_a_copy_that_was_not_read_is_not_enough(begin: Begin, verify: Verify) -> None:
    """Retire wants a proof by bytes; the remedy is `migrate verify`, after which it works."""
    flow = begin(start=Start.NEVER, verify=verify)
    flow.move()
    ending = retire(flow)
    assert ending.report.outcome is Outcome.BLOCKED
    assert "migrate verify" in ending.report.problems[0].now
    assert flow.vm() is not None
    prove(flow, Verify.SAMPLE)
    assert retire(flow).report.outcome is Outcome.RETIRED


@pytest.mark.parametrize(
    "change",
    [
        "shared disk",
        *(
            pytest.param(word, marks=pytest.mark.slow)
            for word in ("started", "started and stopped", "target gone", "copy gone", "copy going")
        ),
    ],
)
def test_a_source_that_is_still_needed_is_kept(begin: Begin, change: str) -> None:
    """Whatever happened since the proof: BLOCKED, and VM and disks are there as before."""
    flow = begin(start=Start.NEVER)
    flow.move()
    match change:
        case "started":
            flow.set_strategy("Always")
        case "started and stopped":
            flow.set_strategy("Always")
            flow.until(flow.runs)
            flow.set_strategy("Halted")
            flow.until(lambda: flow.instance() is None)
        case "target gone":
            flow.west.delete(VM, flow.name)
            flow.until(lambda: flow.vm("west") is None)
        case "copy gone":
            flow.west.delete(DATAVOLUME, f"{flow.name}-root")
            flow.until(lambda: flow.west.get(DATAVOLUME, f"{flow.name}-root") is None)
        case "copy going":
            flow.set_strategy("Always", "west")
            flow.until(lambda: flow.runs("west"))
            flow.west.delete(PVC, f"{flow.name}-root")
        case _:
            sharing = begin(
                disks=(), strategy="Halted", volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": f"{flow.name}-root"}}]
            )
            assert sharing.vm() is not None
    assert retire(flow).report.outcome is Outcome.BLOCKED
    vm, claim = flow.vm(), flow.east.get(PVC, f"{flow.name}-root")
    assert vm is not None
    assert claim is not None
    assert labels.RETIRED_BY not in annotations_of(claim)


@pytest.mark.slow
def test_a_retirement_that_was_cut_short_goes_on(begin: Begin) -> None:
    """Killed when the VM was gone and its disks were not: the next run finds the disks by their mark. A disk without it is left."""
    flow = begin(disks=("root", "data"), start=Start.NEVER)
    flow.move()
    cut_short(flow)
    stray = f"{flow.name}-data"
    flow.east.merge(PVC, stray, {"metadata": {"annotations": {labels.RETIRED_BY: None}}})
    assert retire(flow).report.outcome is Outcome.RETIRED
    assert flow.east.get(PVC, f"{flow.name}-root") is None
    assert flow.east.get(PVC, stray) is not None


@pytest.mark.slow
def test_a_retirement_that_was_cut_short_looks_again(begin: Begin) -> None:
    """The target was lost in between: the disks that are left are all there is, they stay, and no way back is offered that is none."""
    flow = begin(start=Start.NEVER)
    flow.move()
    cut_short(flow)
    flow.west.delete(VM, flow.name)
    flow.west.delete(DATAVOLUME, f"{flow.name}-root")
    flow.until(lambda: flow.west.get(PVC, f"{flow.name}-root") is None)
    report = retire(flow).report
    assert (report.outcome, report.reason) == (Outcome.BLOCKED, "NotRetirable")
    assert not any("migrate undo" in line for line in report.now)
    claim = flow.east.get(PVC, f"{flow.name}-root")
    assert claim is not None
    assert not leaving(claim)


@pytest.mark.slow
def test_marks_of_a_retirement_that_did_not_come_about_go(begin: Begin) -> None:
    """Killed between the marks and the delete, and the source was started since: `retire` asks nothing, takes them off, and says why."""
    flow = begin(start=Start.NEVER)
    flow.move()
    vm, root = flow.vm(), f"{flow.name}-root"
    mark = f"{annotations_of(vm)[labels.HALTED_BY]}/{annotations_of(vm)[labels.HALTED_GENERATION]}"
    flow.east.merge(PVC, root, {"metadata": {"annotations": {labels.RETIRED_BY: mark}}})
    flow.set_strategy("Always")
    flow.until(flow.runs)
    with opened(flow, "retire") as afterwards:
        assert afterwards.to_retire() == ""
        report = afterwards.retire(flow._show, told=False).report
    assert (report.outcome, report.reason) == (Outcome.BLOCKED, "NotRetirable")
    assert "somebody started" in report.problems[0].what
    assert labels.RETIRED_BY not in annotations_of(flow.east.get(PVC, root))
    assert "somebody started" in refusal(flow, lambda _: to_retire(flow))


@pytest.mark.slow
def test_a_proof_that_could_not_be_recorded_is_reported(begin: Begin) -> None:
    """The record refuses its last write: the proofs stand on the disks, and the report has them, with a word about the record."""
    flow = begin(start=Start.NEVER)
    record = f"migrate-{flow.move().report.migration}"
    trouble = flow.lab.west.trouble
    flow.when("clean-up", "CleanedUp", lambda: trouble.set("api", "refuse", status=403, verb="patch", resource="configmaps", name=record))
    ending = prove(flow)
    trouble.clear()
    assert (ending.error, ending.report.outcome) == (None, Outcome.PROVEN)
    assert [disk.coverage for disk in ending.report.disks] == ["full"]
    assert "not in the record" in ending.report.now[-1]


@pytest.mark.slow
def test_a_start_at_the_last_moment_saves_the_source(begin: Begin) -> None:
    """The delete names the version that was judged: whoever touches the VM in between keeps it."""
    flow = begin(start=Start.NEVER)
    flow.move()
    version = flow.vm()["metadata"]["resourceVersion"]  # type: ignore[index]
    flow.set_strategy("Always")
    with pytest.raises(Conflict):
        flow.east.delete(VM, flow.name, version=version)
    assert flow.vm() is not None
