"""What is kept in the cluster and what is told: JSON that reads back, and that scripts can rely on."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model.errors import Problem
from migrate.model.migration import Disk, Format, Migration, OnFailure, Options, Start, Verify
from migrate.model.observation import DiskProgress, Observation, State
from migrate.model.record import KEY, DiskProof, Record, StepTally, differences
from migrate.model.refs import VMRef
from migrate.model.report import DiskReport, Outcome, Report, Stand, StepReport, events_of
from migrate.model.snapshot import Consistency, Taken
from migrate.reading.proof import Proof, proof_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
texts = st.text(max_size=12)
sizes = st.integers(0, 2**60)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda time: time.replace(microsecond=0, tzinfo=UTC))
refs = st.builds(VMRef, texts, texts, texts)
options = st.builds(
    Options,
    start=st.sampled_from(Start),
    verify=st.sampled_from(Verify),
    format=st.sampled_from(Format),
    storage_map=st.dictionaries(texts, texts, max_size=3).map(lambda found: tuple(found.items())),
    parallel_disks=st.integers(1, 64),
    create_namespace=st.booleans(),
    allow_managed=st.booleans(),
    source_ca=texts,
    target_ca=texts,
    on_failure=st.sampled_from(OnFailure),
)
disks = st.builds(Disk, volume=texts, pvc=texts, target=texts, capacity_bytes=sizes, storage_class=texts, volume_mode=texts)
migrations = st.builds(
    Migration,
    id=texts,
    attempt=st.integers(1, 99),
    playbook=texts,
    source=refs,
    target=refs,
    source_uid=texts,
    source_cluster_uid=texts,
    target_cluster_uid=texts,
    options=options,
    disks=st.lists(disks, max_size=3).map(tuple),
)
records = st.builds(
    Record,
    migration=migrations,
    tool=texts,
    who=texts,
    started=moments,
    finished=st.none() | moments,
    outcome=st.none() | st.sampled_from(Outcome),
    halted=st.none() | moments,
    ready=st.none() | moments,
    steps=st.lists(
        st.builds(StepTally, texts, st.integers(0, 9999).map(lambda n: n / 8), st.integers(0, 99), st.none() | sizes), max_size=3
    ).map(tuple),
    disks=st.lists(st.builds(DiskProof, texts, texts, texts, sizes, st.integers(0, 99), texts), max_size=3).map(tuple),
    extra=st.dictionaries(st.sampled_from(["newer", "newest"]), st.integers() | texts, max_size=2),
)
PLAIN = Migration("m1", 1, "cold-move", VMRef("east", "shop", "db"), VMRef("west", "shop", "db"), "u", "e", "w")


@given(records)
def test_a_record_reads_back(record: Record) -> None:
    """A record is the same after a stay in the cluster, fields of newer versions included."""
    assert Record.of_data(record.to_data()) == record


def test_a_record_is_readable_with_kubectl() -> None:
    """It is indented JSON under one key, with the schema and times as Kubernetes writes them."""
    data = Record(PLAIN, "0.1.0", "me@here", NOON).to_data()
    assert list(data) == [KEY]
    assert '\n  "schema": "kubevirt-migrate.io/record/v1"' in data[KEY]
    assert '"started": "2026-01-01T12:00:00Z"' in data[KEY]


def test_fields_of_a_newer_version_inside_are_passed_over() -> None:
    """Newer fields at any depth do not disturb."""
    whole = json.loads(Record(replace(PLAIN, disks=(Disk("v", "p", "t", 1),)), "0.1.0", "me", NOON).to_data()[KEY])
    whole["migration"]["options"]["pace"] = "10MiB/s"
    whole["migration"]["disks"][0]["encrypted"] = True
    whole["migration"]["hooks"] = []
    read = Record.of_data({KEY: json.dumps(whole)})
    assert read.migration.disks == (Disk("v", "p", "t", 1),)


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"migration": {}}', '{"migration": 3, "started": "x"}', "null"])
def test_what_is_no_record(text: str | None) -> None:
    """Anything else is a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 - any ValueError is what callers catch
        Record.of_data({} if text is None else {KEY: text})


def test_a_step_adds_up_over_runs() -> None:
    """Seconds, acts and bytes of several runs are summed, in the order of the steps."""
    record = Record(PLAIN, "0.1.0", "me", NOON).tally("stop-source", seconds=2, acts=1).tally("import-disks", seconds=5, acts=2, bytes=10)
    record = record.tally("stop-source", seconds=1, acts=0).tally("import-disks", seconds=5, acts=1)
    assert record.steps == (StepTally("stop-source", 3, 1), StepTally("import-disks", 10, 3, 10))


def test_downtime() -> None:
    """Downtime runs from the halt until the target is ready, and is unknown before."""
    record = Record(PLAIN, "0.1.0", "me", NOON, halted=NOON)
    assert record.downtime_s is None
    assert replace(record, ready=NOON + timedelta(seconds=90)).downtime_s == 90


@pytest.mark.parametrize(
    ("thawed", "words"),
    [(None, "frozen since 2026-01-01T12:00:00Z, and not seen going on"), (NOON + timedelta(seconds=4), "frozen for about 4 s")],
)
def test_a_guest_that_was_seen_frozen(thawed: datetime | None, words: str) -> None:
    """It is told for how long, or that nobody saw it going on."""
    assert words in Taken("s", "u", NOON, Consistency.APPLICATION, "agent", NOON, thawed).words


def test_differences_of_options_are_named() -> None:
    """Fixed options that differ are named as the user writes them; loose ones and equal ones are not."""
    asked = Options(
        format=Format.GZIP, storage_map=(("fast", "ceph"),), create_namespace=True, parallel_disks=9, allow_managed=True, source_ca="PEM"
    )
    assert differences(replace(PLAIN, options=asked), PLAIN) == (
        "format: raw was begun, gzip is asked",
        "storage-map: none was begun, fast=ceph is asked",
        "create-namespace: no was begun, yes is asked",
    )
    assert differences(PLAIN, PLAIN) == ()


def test_events_are_flat_and_whole() -> None:
    """One event for the step with the sums of its disks, one for each disk; every key is always there."""
    seen = Observation(
        State.WAITING,
        "Importing",
        "1 of 2 imported",
        progress=0.75,
        disks=(
            DiskProgress("a", State.DONE, "DiskCopied", 100, 100),
            DiskProgress("b", State.WAITING, "Importing", 100, 50, "importing"),
        ),
    )
    whole, first, second = (event.to_json() for event in events_of(seen, time=NOON, migration="m1", step="import-disks"))
    assert whole == {
        "schema": "kubevirt-migrate.io/event/v1",
        "time": "2026-01-01T12:00:00Z",
        "migration": "m1",
        "step": "import-disks",
        "disk": "",
        "state": "waiting",
        "reason": "Importing",
        "message": "1 of 2 imported",
        "progress": 0.75,
        "bytesDone": 150,
        "bytesTotal": 200,
        "problems": [],
    }
    assert (first["disk"], first["progress"]) == ("a", 1.0)
    assert (second["disk"], second["progress"], second["bytesDone"], second["state"]) == ("b", 0.5, 50, "waiting")
    assert all(set(event) == set(whole) for event in (first, second))


def test_bytes_of_a_step_are_unknown_while_a_disk_is() -> None:
    """A gzip import has no bytes done, and then neither the step nor its total is made up."""
    seen = Observation(State.WAITING, "Importing", "x", disks=(DiskProgress("a", State.WAITING, "Importing", None, None),))
    whole, part = events_of(seen, time=NOON, migration="m1", step="s")
    assert (whole.bytes_done, whole.bytes_total, part.progress) == (None, None, None)


def test_a_report_has_every_key() -> None:
    """The report is JSON with a schema, and no key is missing however the run ended."""
    bare = Report("m1", "cold-move", 1, Outcome.BLOCKED, Stand("east:shop/db"), Stand("west:shop/db")).to_json()
    full = Report(
        "m1",
        "cold-move",
        2,
        Outcome.MOVED,
        Stand("east:shop/db", True, "Halted", False, "halted"),
        Stand("west:shop/db", True, "Always", True, "running"),
        steps=(StepReport("stop-source", State.DONE, "Stopped", "stopped", 1.23456, 1, None),),
        disks=(DiskReport("db", "db", 5, "sample", "sha256:x", "2026-01-01T12:00:00Z"),),
        started=NOON,
        finished=NOON,
        downtime_s=9.5,
        problems=(Problem("what", "where", "why", "now"),),
        now=("nothing",),
    ).to_json()
    json.dumps(full, allow_nan=False)
    assert set(bare) == set(full)
    assert full["schema"] == "kubevirt-migrate.io/report/v1"
    assert full["outcome"] == "moved"
    assert full["steps"][0]["seconds"] == 1.235
    assert full["problems"] == [{"what": "what", "where": "where", "why": "why", "now": "now"}]
    assert full["disks"][0]["provenAt"] == "2026-01-01T12:00:00Z"


@given(st.builds(Proof, texts, texts, sizes, st.integers(0, 99), texts))
def test_a_proof_reads_back_from_its_disk(proof: Proof) -> None:
    """What is written on the disk is what is read from it."""
    assert proof_of({"metadata": {"annotations": {"kubevirt-migrate.io/proof": proof.to_json()}}}) == proof


@pytest.mark.parametrize("text", ["", "[]", "{}", "no", '{"digest": "x"}'])
def test_a_broken_proof_is_no_proof(text: str) -> None:
    """Anything else on the disk proves nothing."""
    assert proof_of({"metadata": {"annotations": {"kubevirt-migrate.io/proof": text}}}) is None
    assert proof_of({"metadata": {}}) is None
    assert proof_of(None) is None
