"""No disk is called copied without proof: what differs is found, named to the byte, and never started."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from migrate.kube.kinds import PVC
from migrate.model import labels
from migrate.model.errors import StepFailed
from migrate.model.migration import Format, Start, Verify
from migrate.model.objects import uid_of
from migrate.model.report import Outcome
from tests.flows.conftest import Begin
from tests.flows.flow import Flow, interrupt

MIB = 1 << 20
OFFSET = 1_234_567


def flip(flow: Flow, claim: str) -> None:
    """Change one byte of a target disk in the lab's storage."""
    with flow.file("west", claim).open("r+b") as file:
        file.seek(OFFSET)
        (byte,) = file.read(1)
        file.seek(OFFSET)
        file.write(bytes([byte ^ 0x01]))


def test_one_flipped_byte_is_found_by_a_full_proof(begin: Begin) -> None:
    """--verify full names disk and offset, the target is never started, a second run finds the same, undo brings the source back."""
    flow = begin(disks=("root", "data"), verify=Verify.FULL)
    flow.when("create-target", "", lambda: flip(flow, f"{flow.name}-data"))
    for _ in range(2):
        ending = flow.move()
        assert isinstance(ending.error, StepFailed)
        assert ending.report.outcome is Outcome.FAILED
        (problem,) = ending.report.problems
        assert f"{flow.name}-data" in problem.what
        assert str(OFFSET) in problem.why
        assert "undo" in problem.now
        assert flow.instance("west") is None
        vm = flow.vm("west")
        assert vm is not None
        assert vm["spec"]["runStrategy"] == "Halted"
        assert labels.STARTED not in (vm["metadata"].get("annotations") or {})
    assert flow.undo().report.outcome is Outcome.UNDONE
    flow.until(flow.runs)


def cut(flow: Flow, claim: str) -> None:
    """Take the last MiB of a target disk away, as a pull that ended early would."""
    path = flow.file("west", claim)
    os.truncate(path, path.stat().st_size - MIB)


def blank(flow: Flow, claim: str) -> None:
    """Turn the last MiB of a target disk into zeros."""
    size = flow.file("west", claim).stat().st_size
    cut(flow, claim)
    os.truncate(flow.file("west", claim), size)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "format", "said"),
    [(blank, Format.RAW, "differs"), pytest.param(cut, Format.GZIP, "the target has", marks=pytest.mark.slow)],
)
def test_a_lost_tail_is_found(begin: Begin, damage: Callable[[Flow, str], None], format: Format, said: str) -> None:
    """A tail of zeros is found by the default proof, a disk that is 1 MiB short by every proof; nothing of the proof is left behind."""
    flow = begin(mib=40, format=format, verify=Verify.SAMPLE if format is Format.RAW else Verify.FULL)
    before = flow.ours()
    flow.when("create-target", "", lambda: damage(flow, f"{flow.name}-root"))
    ending = flow.move()
    assert ending.report.outcome is Outcome.FAILED
    assert said in ending.report.problems[0].why
    assert flow.instance("west") is None
    left = {line.split()[1] for line in set(flow.ours()) - set(before)}
    flow.until(lambda: {line.split()[1] for line in set(flow.ours()) - set(before)}.isdisjoint({"VirtualMachineExport", "Secret", "Lease"}))
    assert "DataVolume" in left


@pytest.mark.slow
def test_the_wrong_disk_is_found_by_a_sample(begin: Begin) -> None:
    """An exporter that serves another disk under a link is found by the default proof."""
    flow = begin(disks=("root", "data"), verify=Verify.SAMPLE)
    flow.lab.east.trouble.set("export", "swap", volume=f"{flow.name}-root")
    flow.when("create-target", "", flow.lab.east.trouble.clear)
    ending = flow.move()
    assert ending.report.outcome is Outcome.FAILED
    assert [f"{flow.name}-root" in problem.what for problem in ending.report.problems] == [True]
    assert flow.instance("west") is None


def short_gzip(flow: Flow) -> None:
    """Let the export's gzip stream end early and cleanly, as the real server does after a read error."""
    flow.lab.east.trouble.set("export", "truncate", after="1Mi", format="gzip", volume=f"{flow.name}-root")


def swapped_disk(flow: Flow) -> None:
    """Let the export serve another disk under a link."""
    order = flow.lab.east.trouble.set("export", "swap", volume=f"{flow.name}-root")
    flow.when("create-target", "", lambda: flow.lab.east.trouble.clear(order))


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "format"), [(short_gzip, Format.GZIP), (swapped_disk, Format.RAW)])
def test_wrong_bytes_pass_for_moved_without_a_proof(begin: Begin, spoil: Callable[[Flow], None], format: Format) -> None:
    """CDI, and a move with --verify off, call a wrong disk well; with the proof that is the default the target never starts on it."""
    blind = begin(disks=("root", "data"), format=format, verify=Verify.OFF, start=Start.NEVER)
    spoil(blind)
    report = blind.move().report
    assert (report.outcome, report.problems) == (Outcome.MOVED, ())
    assert blind.unequal() == [f"{blind.name}-root"]
    assert [disk.digest or disk.coverage for disk in report.disks] == [""] * len(report.disks)
    blind.lab.east.trouble.clear()
    ours = begin(disks=("root", "data"), format=format, verify=Verify.FULL if format is Format.GZIP else Verify.SAMPLE)
    spoil(ours)
    report = ours.move().report
    assert (report.outcome, report.reason) == (Outcome.FAILED, "DiskDiffers")
    assert f"{ours.name}-root" in report.problems[0].what
    assert ours.instance("west") is None
    assert "start-target" not in {event.step for event in ours.events}


@pytest.mark.slow
def test_a_claim_that_was_filled_anew_is_proven_anew(begin: Begin) -> None:
    """Proven, then deleted and filled by CDI under the same DataVolume: the next run compares what is there now, and finds it wrong."""
    flow = begin(verify=Verify.FULL)
    flow.when("start-target", "", interrupt)
    flow.move()
    claim = f"{flow.name}-root"
    before = flow.west.get(PVC, claim)
    assert before is not None
    flow.west.delete(PVC, claim)
    flow.until(lambda: uid_of(flow.west.get(PVC, claim) or before) != uid_of(before))
    flow.when("create-target", "", lambda: flip(flow, claim))
    report = flow.move().report
    assert (report.outcome, report.reason) == (Outcome.FAILED, "DiskDiffers")
    assert flow.instance("west") is None


@pytest.mark.slow
@pytest.mark.parametrize("verify", [Verify.SIZE, Verify.SAMPLE, Verify.OFF])
def test_the_depth_that_was_asked_for_is_reported(begin: Begin, verify: Verify) -> None:
    """The report tells how deep each disk was compared, and claims no proof that was not made."""
    flow = begin(verify=verify)
    report = flow.move().report
    assert report.outcome is Outcome.MOVED
    assert [disk.coverage for disk in report.disks] == ([""] if verify is Verify.OFF else [verify.value])
    assert flow.runs("west")
