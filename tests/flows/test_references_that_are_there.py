"""What the target has already under the names that the VM uses: used, refused with the difference, or replaced and brought back."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest

from migrate.kube.kinds import CONFIGMAP, POD, SECRET, VM
from migrate.model import labels
from migrate.model.migration import Names, OnFailure, References, Start
from migrate.model.objects import annotations_of
from migrate.model.report import Outcome
from migrate.workflow.cleanup import Leftovers, Rules, leftovers
from tests.flows.conftest import Begin
from tests.flows.exhibits import config_map, secret, volume
from tests.flows.flow import Flow, interrupt, secrets
from tests.machines import machine

AT_ONCE = Rules(timedelta(0))
HIDDEN = "hunter2-of-the-target"


def named(vm: str, word: str) -> str:
    return f"{vm}-{word}"


def two(name: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Let a VM name a Secret and a ConfigMap."""
    volume(secret={"secretName": "NAME"})(spec, named(name, "key"))
    volume(configMap={"name": "NAME"})(spec, named(name, "conf"))
    return [secret(named(name, "key")), config_map(named(name, "conf"))]


def other_there(flow: Flow, **body: Any) -> None:
    """Plant others of these names on the target."""
    flow.lab.plant(
        [secret(named(flow.name, "key"), HIDDEN, cluster="west", **body), config_map(named(flow.name, "conf"), "theirs", cluster="west")]
    )


def replacing(begin: Begin) -> Flow:
    """Plant a VM that names two things of which the target has others, and ask to replace those."""
    flow = begin(disks=(), strategy="Halted", start=Start.NEVER, alter=two, references=References.REPLACE)
    other_there(flow)
    return flow


def held(flow: Flow) -> list[dict[str, Any]]:
    """Return what the target holds under these names: data, labels, annotations."""
    found = (flow.west.get(SECRET, named(flow.name, "key")), flow.west.get(CONFIGMAP, named(flow.name, "conf")))
    return [{key: (one or {}).get(key) for key in ("type", "data", "binaryData")} | _notes(one or {}) for one in found]


def _notes(one: dict[str, Any]) -> dict[str, Any]:
    return {key: (one.get("metadata") or {}).get(key) for key in ("labels", "annotations")}


def test_what_differs_is_shown_and_never_overwritten(begin: Begin) -> None:
    """The difference is said before anything is changed, of a Secret the key only, and nothing is written."""
    flow = begin(disks=(), strategy="Halted", alter=two)
    other_there(flow)
    before = held(flow)
    assert flow.writes(lambda: refused(flow)) == []
    report = flow.plan().report
    said = " ".join(f"{problem.what} {problem.why} {problem.now}" for problem in report.problems)
    assert report.reason == "CheckFailed"
    assert f"Secret {named(flow.name, 'key')} of the target differs" in said
    assert "key userdata differs" in said
    assert "key a: 'plain' on the source, 'theirs' on the target" in said
    assert "--references replace" in said
    for text in (HIDDEN, base64.b64encode(HIDDEN.encode()).decode(), "s3cret"):
        assert text not in str([report, flow.events])
    assert held(flow) == before


def refused(flow: Flow) -> None:
    assert flow.move().report.outcome is Outcome.BLOCKED


@pytest.mark.slow
def test_what_is_fixed_cannot_be_replaced(begin: Begin) -> None:
    """An immutable Secret is refused with the reason even with --references replace."""
    flow = begin(disks=(), strategy="Halted", alter=two, references=References.REPLACE)
    other_there(flow, immutable=True)
    report = flow.move().report
    assert "it cannot be replaced: it is immutable" in str(report.problems)
    assert flow.writes(flow.move) == []


def test_what_is_replaced_is_brought_back(begin: Begin) -> None:
    """With --references replace the target gets the source's content; an undo brings back what was there, with labels and notes."""
    flow = replacing(begin)
    before = held(flow)
    flow.when("create-target", "TargetMissing", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    assert [one["data"] for one in held(flow)] == [{"userdata": base64.b64encode(b"s3cret").decode()}, {"a": "plain"}]
    assert not any(labels.ID in one["labels"] for one in held(flow))
    assert flow.undo().report.outcome is Outcome.UNDONE
    assert held(flow) == before
    assert kept(flow) == []


@pytest.mark.slow
def test_who_else_uses_what_is_replaced_is_named(begin: Begin) -> None:
    """Every other VM and pod of the target that uses it stands in the warning, and nobody beside what they do not use."""
    flow = replacing(begin)
    conf = {"name": "c", "configMap": {"name": named(flow.name, "conf")}}
    flow.lab.plant([machine(f"{flow.name}-user", volumes=[conf], cluster="west")])
    spec = {"containers": [{"name": "main", "image": "busybox"}], "volumes": [conf]}
    flow.west.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{flow.name}-reader"}, "spec": spec})
    assert flow.plan().report.outcome is Outcome.PLANNED
    told = {problem.what.split()[1]: problem.why for event in flow.events for problem in event.problems if "is replaced" in problem.what}
    assert f"used by pod {flow.name}-reader, VM {flow.name}-user, too" in told[named(flow.name, "conf")]
    assert "used by" not in told[named(flow.name, "key")]
    flow.west.delete(VM, f"{flow.name}-user")
    flow.west.delete(POD, f"{flow.name}-reader")


def kept(flow: Flow) -> list[str]:
    """Name what is kept of objects that were replaced."""
    names = Names.of(flow.events[0].migration, "")
    found = [(SECRET, named(flow.name, "key")), (CONFIGMAP, named(flow.name, "conf"))]
    return [name for kind, name in found if flow.west.get(kind, names.before_of(kind.kind, name)) is not None]


@pytest.mark.slow
def test_cleanup_after_a_replacing_move(begin: Begin) -> None:
    """What was there before is spared, and that is said, so that an undo brings it back all the same; copies are no leftovers."""
    flow = begin(disks=(), strategy="Halted", start=Start.NEVER, alter=two, references=References.REPLACE)
    flow.lab.plant([secret(named(flow.name, "key"), HIDDEN, cluster="west")])
    before = held(flow)[0]
    flow.when("create-target", "TargetMissing", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    assert [line for line in leftover(flow) if "before" in line] == []
    assert flow.move().report.outcome is Outcome.MOVED
    assert kept(flow) == [named(flow.name, "key")]
    assert labels.is_ours(flow.west.get(CONFIGMAP, named(flow.name, "conf")) or {})
    said = [words for words in looked(flow).spared if flow.events[0].migration in words]
    assert [words.split(" held")[0] for words in said] == [f"what Secret {named(flow.name, 'key')} of west"]
    assert leftover(flow) == []
    assert flow.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    assert held(flow)[0] == before
    assert kept(flow) == []


def test_what_is_not_kept_any_more_is_told(begin: Begin) -> None:
    """Once the record is old enough to go, what was before goes with it; an undo after that says what stays replaced."""
    flow = replacing(begin)
    assert flow.move().report.outcome is Outcome.MOVED
    flow.west.delete(VM, flow.name)
    flow.until(lambda: flow.vm("west") is None)
    found = removed(flow, Rules(timedelta(0), record_age=timedelta(0), records=0))
    assert len(found) == 3
    assert [name for _, name in replaced(flow) if not any(f"{name} held" in line and "no undo" in line for line in found)] == []
    assert kept(flow) == []
    report = flow.undo(even_if_started=True).report
    assert report.outcome is Outcome.UNDONE
    (line,) = [line for line in report.now if line.startswith("stays replaced: ")]
    assert [name for _, name in replaced(flow) if name not in line] == []
    assert [one["data"] for one in held(flow)] == [{"userdata": base64.b64encode(b"s3cret").decode()}, {"a": "plain"}]


@pytest.mark.slow
def test_a_way_back_after_a_failure_tells_what_stays(begin: Begin) -> None:
    """`--on-failure undo`: what cannot be given back is said in that report, too."""
    flow = replacing(begin)
    flow.options["on_failure"] = OnFailure.UNDO
    name = named(flow.name, "key")

    def fail() -> None:
        flow.west.delete(SECRET, Names.of(flow.events[0].migration, "").before_of("Secret", name))
        flow.lab.plant([machine(flow.name, cluster="west")])

    flow.when("create-target", "TargetMissing", fail)
    report = flow.move().report
    assert report.outcome is Outcome.UNDONE
    assert [line.split(" of ")[0] for line in report.now if "replaced" in line] == [f"stays replaced: Secret {name}"]


@pytest.mark.slow
def test_what_is_kept_without_a_record_is_told(begin: Begin) -> None:
    """The record is gone: what was before is spared in words as long as the note stands, and is a leftover when that is off."""
    flow = replacing(begin)
    assert flow.move().report.outcome is Outcome.MOVED
    mine = flow.events[0].migration
    flow.west.delete(CONFIGMAP, f"migrate-{mine}")
    said = [words for words in looked(flow).spared if mine in words]
    assert [name for _, name in replaced(flow) if not any(name in line and "its record is gone" in line for line in said)] == []
    assert leftover(flow) == []
    for kind, name in ((CONFIGMAP, named(flow.name, "conf")), (SECRET, named(flow.name, "key"))):
        flow.west.merge(kind, name, {"metadata": {"annotations": {labels.REPLACED_BY: None}}})
    assert len(removed(flow, AT_ONCE)) == 2
    assert kept(flow) == []


@pytest.mark.slow
def test_a_record_stays_as_long_as_what_it_tells_of(begin: Begin) -> None:
    """What was before cannot be removed, or is too young to be: then the record is not removed either, or nobody would know whose it is."""
    flow = replacing(begin)
    assert flow.move().report.outcome is Outcome.MOVED
    flow.west.delete(VM, flow.name)
    flow.until(lambda: flow.vm("west") is None)
    record = f"migrate-{flow.events[0].migration}"
    young = looked(flow, Rules(timedelta(days=9), record_age=timedelta(0), records=0))
    assert [one.words for one in young.found if record in one.words] == []
    every = Rules(timedelta(0), record_age=timedelta(0), records=0)
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        found = leftovers(source, target, rules=every, clock=flow.lab.clock, everywhere=(False, False)).found
        (last,) = [one for one in found if one.object["metadata"]["name"] == record]
        assert "is still there" in last.remove()
    assert flow.west.get(CONFIGMAP, record) is not None
    assert len(removed(flow, every)) == 3
    assert flow.west.get(CONFIGMAP, record) is None


@pytest.mark.slow
def test_what_somebody_deleted_is_told_every_time(begin: Begin) -> None:
    """Where only one of two objects can be given back, it is; of the other one every undo says that it stays, until its note is off."""
    flow = replacing(begin)
    before = held(flow)
    flow.when("create-target", "TargetMissing", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    name = named(flow.name, "key")
    flow.west.delete(SECRET, Names.of(flow.events[0].migration, "").before_of("Secret", name))
    for _ in range(2):
        report = flow.undo().report
        assert report.outcome is Outcome.UNDONE
        assert [line.split(" of ")[0] for line in report.now if "replaced" in line] == [f"stays replaced: Secret {name}"]
    assert held(flow)[1] == before[1]
    flow.west.merge(SECRET, name, {"metadata": {"annotations": {labels.REPLACED_BY: None}}})
    assert [line for line in flow.undo().report.now if "replaced" in line] == []


@pytest.mark.slow
def test_what_was_noted_only_is_as_it_was(begin: Begin) -> None:
    """A run that dies between its note and the overwriting has replaced nothing: an undo takes the note off and says nothing else."""
    flow = replacing(begin)
    before = held(flow)
    flow.when("carry-references", "ReferencesMissing", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    mine = flow.events[0].migration
    flow.west.merge(SECRET, named(flow.name, "key"), {"metadata": {"annotations": {labels.REPLACED_BY: mine}}})
    report = flow.undo().report
    assert report.outcome is Outcome.UNDONE
    assert [line for line in report.now if "replaced" in line] == []
    assert held(flow) == before


def replaced(flow: Flow) -> list[tuple[str, str]]:
    return [("ConfigMap", named(flow.name, "conf")), ("Secret", named(flow.name, "key"))]


def sharing(begin: Begin, word: str) -> Flow:
    """Plant a VM that names a Secret of this name, and ask to replace what the target has."""

    def alter(name: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
        volume(secret={"secretName": "NAME"})(spec, word)
        return []

    return begin(disks=(), strategy="Halted", start=Start.NEVER, alter=alter, references=References.REPLACE)


@pytest.mark.slow
def test_what_somebody_uses_by_now_is_not_taken_from_him(begin: Begin) -> None:
    """A second VM came for what the first one's move had replaced: an undo leaves it, names the user, and gives it back when he is gone.

    Who used it before it was replaced knew it as it was, and keeps nothing from being given back.
    """
    word = "replaced-and-used"
    first, second = sharing(begin, word), sharing(begin, word)
    older = machine(f"{first.name}-older", volumes=[{"name": "s", "secret": {"secretName": word}}], cluster="west")
    first.lab.plant([secret(word, "original", cluster="west"), secret(word, "of the source"), older])
    first.lab.clock.sleep(2)  # creation times are whole seconds
    assert first.move().report.outcome is Outcome.MOVED
    assert second.move().report.outcome is Outcome.MOVED
    report = first.undo(even_if_started=True).report
    assert report.outcome is Outcome.UNDONE
    (line,) = [line for line in report.now if line.startswith("stays replaced: ")]
    assert f"used by VM {second.name}, which" in line
    assert (first.west.get(SECRET, word) or {})["data"] == encoded("of the source")
    second.west.delete(VM, second.name)
    second.until(lambda: second.vm("west") is None)
    report = first.undo().report
    assert (report.outcome, [line for line in report.now if "replaced" in line]) == (Outcome.UNDONE, [])
    assert (first.west.get(SECRET, word) or {})["data"] == encoded("original")
    first.west.delete(VM, f"{first.name}-older")
    for cluster in (first.east, first.west):
        cluster.delete(SECRET, word)


def encoded(text: str) -> dict[str, str]:
    return {"userdata": base64.b64encode(text.encode()).decode()}


@pytest.fixture
def twice(begin: Begin) -> Iterator[tuple[Flow, Flow, dict[str, Any]]]:
    """Two moves, each with a content of its own, replaced the same Secret of the target, which is given as it was before."""
    word = "twice-replaced"
    first, second = sharing(begin, word), sharing(begin, word)
    first.lab.plant([secret(word, "original", cluster="west"), secret(word, "of the first")])
    before = first.west.get(SECRET, word)
    assert before is not None
    assert first.move().report.outcome is Outcome.MOVED
    first.east.merge(SECRET, word, {"data": encoded("of the second")})
    first.lab.clock.sleep(2)  # the first one's VM is older than what the second one keeps
    assert second.move().report.outcome is Outcome.MOVED
    assert content(first) == (encoded("of the second"), f"{second.events[0].migration}/{first.events[0].migration}")
    yield first, second, before
    assert [one["metadata"]["name"] for one in secrets(first.west) if labels.BEFORE in (one["metadata"].get("annotations") or {})] == []
    assert content(first) == (before["data"], None)
    for cluster in (first.east, first.west):
        cluster.delete(SECRET, word)


def content(flow: Flow) -> tuple[Any, str | None]:
    found = flow.west.get(SECRET, "twice-replaced") or {}
    return found.get("data"), annotations_of(found).get(labels.REPLACED_BY)


@pytest.mark.slow
def test_what_two_moves_replaced_goes_back_through_both(twice: tuple[Flow, Flow, dict[str, Any]]) -> None:
    """The second is undone first: it gives back what the first made of it, which is still the first one's to give back."""
    first, second, _ = twice
    assert second.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    assert content(first) == (encoded("of the first"), first.events[0].migration)
    report = first.undo(even_if_started=True).report
    assert (report.outcome, [line for line in report.now if "replaced" in line]) == (Outcome.UNDONE, [])


@pytest.mark.slow
def test_what_another_move_replaced_since_waits_for_that_one(twice: tuple[Flow, Flow, dict[str, Any]]) -> None:
    """The first is undone first: it leaves what the second made of it, says so, and gives it back when undone again after that one."""
    first, second, _ = twice
    one, two = (flow.events[0].migration for flow in (first, second))
    report = first.undo(even_if_started=True).report
    assert report.outcome is Outcome.UNDONE
    (line,) = [line for line in report.now if line.startswith("stays replaced: ")]
    assert f"by migration {two}" in line
    assert f"migrate undo {two} --target west" in line
    assert content(first) == (encoded("of the second"), f"{two}/{one}")
    assert second.undo(even_if_started=True).report.outcome is Outcome.UNDONE
    assert content(first) == (encoded("of the first"), one)
    report = first.undo().report
    assert (report.outcome, [line for line in report.now if "replaced" in line]) == (Outcome.UNDONE, [])


def looked(flow: Flow, rules: Rules = AT_ONCE) -> Leftovers:
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        return leftovers(source, target, rules=rules, clock=flow.lab.clock, everywhere=(False, False))


def leftover(flow: Flow) -> list[str]:
    return [one.words for one in looked(flow).found if flow.events[0].migration in (one.object["metadata"]["labels"] or {}).values()]


def removed(flow: Flow, rules: Rules) -> list[str]:
    """Remove what is left of this flow, and say what that was."""
    with ExitStack() as stack:
        source, target = (flow._open(stack, ref) for ref in (flow.source, flow.target))
        every = leftovers(source, target, rules=rules, clock=flow.lab.clock, everywhere=(False, False)).found
        mine = [one for one in every if flow.events[0].migration in (one.object["metadata"]["labels"] or {}).values()]
        assert [why for one in mine if (why := one.remove())] == []
        return [one.words for one in mine]


@pytest.mark.slow
def test_a_copy_that_others_use_stays(begin: Begin) -> None:
    """Two copies were made; one has come to be used by another VM of the target: an undo removes the other one, and says what stays."""
    flow = begin(disks=(), strategy="Halted", start=Start.NEVER, alter=two)
    flow.when("create-target", "TargetMissing", interrupt)
    assert flow.move().report.outcome is Outcome.INTERRUPTED
    user = machine(f"{flow.name}-user", volumes=[{"name": "c", "configMap": {"name": named(flow.name, "conf")}}], cluster="west")
    flow.lab.plant([user])
    assert flow.undo().report.outcome is Outcome.UNDONE
    assert flow.west.get(SECRET, named(flow.name, "key")) is None
    assert flow.west.get(CONFIGMAP, named(flow.name, "conf")) is not None
    assert any(
        f"left in place: ConfigMap {named(flow.name, 'conf')} (used by VM {flow.name}-user)" in event.message for event in flow.events
    )
    flow.west.delete(VM, f"{flow.name}-user")


@pytest.mark.slow
def test_two_vms_share_what_they_name(begin: Begin) -> None:
    """The second finds the first one's copy equal and uses it; as long as its move is not finished, an undo of the first leaves it."""
    first = begin(disks=(), strategy="Halted", start=Start.NEVER, alter=two)

    def same(name: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
        volume(secret={"secretName": named(first.name, "key")})(spec, "key")
        return []

    second = begin(disks=(), strategy="Halted", start=Start.NEVER, alter=same)
    for flow in (first, second):
        flow.when("create-target", "TargetMissing", interrupt)
        assert flow.move().report.outcome is Outcome.INTERRUPTED
    assert first.undo().report.outcome is Outcome.UNDONE
    copy = first.west.get(SECRET, named(first.name, "key"))
    assert labels.is_ours(copy or {}, first.events[0].migration)
    assert second.move().report.outcome is Outcome.MOVED


def test_those_who_manage_references_elsewhere_are_left_alone(begin: Begin) -> None:
    """--references skip: what differs is used, what is missing is said, nothing is read of the source and nothing is written."""
    flow = begin(disks=(), strategy="Halted", start=Start.NEVER, alter=two, references=References.SKIP)
    flow.lab.plant([secret(named(flow.name, "key"), HIDDEN, cluster="west")])
    before = held(flow)
    ending = flow.move()
    assert ending.report.outcome is Outcome.MOVED
    told = [problem.what for event in flow.events if event.step == "check-both" for problem in event.problems]
    assert f"ConfigMap {named(flow.name, 'conf')} is missing on the target" in told
    assert held(flow) == before
    assert any(event.reason == "ReferencesSkipped" for event in flow.events)
